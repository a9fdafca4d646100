"""Replies that take their time."""

from __future__ import annotations

import pytest
import redis

from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.store import reading
from trigger_celery.store.connection import parse_address, sync_factory


@pytest.mark.parametrize("takes_timeout", [True, False])
def test_a_reply_is_waited_for_as_long_as_it_may_take(
    server: EmbeddedServer, takes_timeout: bool, monkeypatch: pytest.MonkeyPatch
):
    if takes_timeout and not reading._TAKES_TIMEOUT:
        pytest.skip("redis-py before 7 knows no timeout of a read")
    monkeypatch.setattr(reading, "_TAKES_TIMEOUT", takes_timeout)
    connection = sync_factory(parse_address(server.url), 0.5)()
    try:
        connection.send_command("BLPOP", "nothing", 0.05)
        assert reading.read_reply(connection, 30.0) is None
        connection.send_command("BLPOP", "nothing", 0.05)
        assert reading.read_reply(connection, None) is None
        connection.send_command("BLPOP", "nothing", 20)
        with pytest.raises(redis.TimeoutError):
            reading.read_reply(connection, 0.01)
    finally:
        connection.disconnect()
