"""A run that was handed to a live worker, whose message was lost, is executed all the same."""

from __future__ import annotations

from collections.abc import Callable

from tests.driving import Engine
from tests.worker.workers import Deployment


def test_a_lost_message_is_noticed_by_the_owner(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(worker_lease=1.5)
    worker = deployment.start_worker("asyncio", 4)
    session = deployment.session_of(worker)
    assert session is not None
    worker.pause()
    arrives = deployment.trigger("work", {"seconds": 0})
    lost = deployment.trigger("work", {"seconds": 0})
    # What the server gave to this session, and the session never read.
    taken = Engine(deployment.binding.store, deployment.client).take(session)
    assert [grant.id for grant in taken] == [lost]
    worker.resume()
    for run in (arrives, lost):
        ended = deployment.wait(run)
        assert (ended.status, ended.attempt_count) == ("COMPLETED", 1)
        assert len(deployment.ledger(run, "begin")) == 1
    print("\nhand-over lost: 2 runs, 0 lost, 0 executed twice")
