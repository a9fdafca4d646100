"""Large payloads do not travel with their runs: who executes a run fetches its payload."""

from __future__ import annotations

import pytest

from tests.driving import Engine
from trigger_celery.engine import attempts, keys
from trigger_celery.errors import RunLeaseLostError

INSIDE = f'"{"x" * (keys.MAX_INLINE - 2)}"'
OUTSIDE = f'"{"x" * (keys.MAX_INLINE - 1)}"'


@pytest.fixture
def session(engine: Engine) -> str:
    return engine.register()


@pytest.mark.parametrize(("payload", "apart"), [("{}", False), (INSIDE, False), (OUTSIDE, True)])
def test_a_payload_over_the_limit_is_fetched(
    engine: Engine, session: str, payload: str, apart: bool
) -> None:
    run = engine.create(payload=payload)
    grant = engine.take_one()
    assert (grant.payload_apart, grant.payload) == (apart, "" if apart else payload)
    engine.run(attempts.fetch_payload(engine.scope, grant))
    assert (grant.payload_apart, grant.payload) == (False, payload)
    assert engine.end(grant, data=payload) == "ok"
    assert engine.read(run).output == engine.read(run).payload


def test_a_run_that_is_handed_over_leaves_a_small_message(engine: Engine) -> None:
    session = engine.register(direct=True)
    engine.take(session)  # it is idle now
    engine.create(payload=OUTSIDE)
    (message,) = engine.client.lrange(keys.key(engine.scope, "mailbox", session), 0, -1)
    assert len(message) < 500
    grant = attempts.handed(message)
    engine.run(attempts.fetch_payload(engine.scope, grant))
    assert grant.payload == OUTSIDE


def test_a_run_that_is_gone_has_no_payload(engine: Engine, session: str) -> None:
    run = engine.create(payload=OUTSIDE)
    grant = engine.take_one()
    engine.client.delete(keys.key(engine.scope, "payload", run))
    with pytest.raises(RunLeaseLostError, match="not there any more"):
        engine.run(attempts.fetch_payload(engine.scope, grant))
