"""Workers that are killed between the steps of a chain, a chord and a task that is taken over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, chord

from tests.waiting import wait_until
from tests.worker.celery_api.calling import MODULE, PATIENCE, Api
from tests.worker.workers import Deployment
from trigger_celery import runs
from trigger_celery.model.ids import run_id_of

pytestmark = pytest.mark.processes


@pytest.fixture
def fragile(tmp_path: Path, server_binary: str | None) -> Iterator[Api]:
    """A deployment whose workers' leases are short."""
    made = Deployment(tmp_path, binary=server_binary, worker_lease=2)
    yield Api(made)
    print(made.logs())
    made.close()


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_each_callback_once_though_the_worker_is_killed(fragile: Api, pool: str) -> None:
    deployment, ours, taken = fragile.deployment, fragile.ours, fragile.taken
    gate = str(deployment.folder / "gate")
    first = deployment.start_worker(pool, 5, module=MODULE)
    work = {"gate": gate, "value": 5}
    chained = chain(ours.gated.s(work), ours.notes.s(), ours.add_ten.s())()
    counted = chord([ours.gated.s(work), ours.double.s(1)])(ours.notes.s())
    late, early = taken.late.delay(gate), taken.early.delay(gate)

    def begun() -> bool:
        return all(
            len(deployment.ledger(event=event)) == count
            for event, count in (("gated", 2), ("late", 1), ("early", 1))
        )

    wait_until(begun, "everything is under way")
    part = run_id_of(counted.parent.results[1].id)
    wait_until(lambda: runs.retrieve(part).sync().is_completed, "one part of the chord has ended")
    first.kill()
    Path(gate).touch()
    deployment.start_worker(pool, 5, module=MODULE)
    assert chained.get(timeout=PATIENCE) == 15
    assert counted.get(timeout=PATIENCE) == [5, 2]
    assert late.get(timeout=PATIENCE) == "done"  # acks_late: another attempt
    wait_until(lambda: early.state == "FAILURE", "without acks_late: at most once")
    assert runs.retrieve(early.id).sync().status == "CRASHED"
    assert runs.retrieve(late.id).sync().attempt_count == 2
    noted = [one.more["payload"] for one in deployment.ledger(event="noted")]
    assert sorted(map(str, noted)) == ["5", "[5, 2]"]
    assert len(runs.list(task="notes").sync().runs) == 2
    assert runs.retrieve(run_id_of(chained.id)).sync().attempt_count == 1


def test_what_nobody_has_continued_is_continued_by_the_next_worker(fragile: Api) -> None:
    """The run has ended without a worker that could go on from it: it was cancelled."""
    ours = fragile.ours
    result = chain(ours.double.s(1), ours.double.s())()
    failed = ours.double.apply_async((1,), link_error=ours.notes.s(), task_id="lonely")
    result.parent.revoke()
    failed.revoke()
    assert result.state == "PENDING"
    fragile.deployment.start_worker(module=MODULE)
    wait_until(lambda: result.state == "REVOKED", "the chain is told")
    wait_until(lambda: fragile.app.AsyncResult("lonely").state == "REVOKED", "the backend is told")
