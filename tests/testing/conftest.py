"""What holds for all tests of the testing kit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests import police
from trigger_celery.engine import keys


@pytest.fixture(autouse=True)
def the_store_is_in_order(request: pytest.FixtureRequest, registry: None) -> Iterator[None]:
    """After a test with `trigger_env`: what it left in the store is consistent."""
    if "trigger_env" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("trigger_server")
    yield
    with redis.Redis.from_url(server.url) as client:
        police.inspect(client, keys.scope("test", "dev"))
