"""Kill -9 of workers on each pool that hold runs of each kind in each state.

Side by side, in one environment, each worker with a queue of its own. All are killed at the same moment;
then time passes, what was to be waited for is there, and new workers do the rest.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chain, chord
from kombu import Connection

from tests.driving import Clock
from tests.faults import matrix_tasks
from tests.faults.kill_matrix import WAYS, Cell, Way, table
from tests.faults.matrix_tasks import LONG, MANAGE
from tests.waiting import wait_until
from tests.worker.workers import Deployment, WorkerProcess
from trigger_celery import Run, runs, tasks, wait
from trigger_celery.engine import keys
from trigger_celery.errors import RunNotFoundError

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

MODULE = "tests.faults.matrix_worker"
LEASE = 4.0
PATIENCE = 60.0
SPAWNS = {"worker_pool_start_method": "spawn", "worker_proc_alive_timeout": PATIENCE}
AT_ONCE = 2
"""Workers that are started side by side: what starts is busy."""


class Matrix:
    """The workers, the calls they hold, and the ledger."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment = deployment
        self.app: Any = deployment.app
        deployment.binding.configure(
            redis_url=deployment.server.url, manage=MANAGE, **deployment.settings
        )
        self.ours: dict[str, SimpleNamespace] = {
            way.name: matrix_tasks.ours(way.name) for way in WAYS
        }
        matrix_tasks.plain(self.app)
        self.app.finalize()
        self.gate = folder / "gate"
        self.cells: list[Cell] = []
        self.workers: dict[str, WorkerProcess] = {}

    # Workers

    def start(self, ways: Sequence[Way]) -> None:
        """Start a worker for each way, a few at a time."""
        self._start_all([[way] for way in ways])

    def replace(self, ways: Sequence[Way]) -> None:
        """Start others on the same pools, which serve the same queues."""
        groups: dict[tuple[str, bool], list[Way]] = {}
        for way in ways:
            groups.setdefault((way.pool, way.spawns), []).append(way)
        self._start_all(list(groups.values()))

    def _start_all(self, groups: Sequence[Sequence[Way]]) -> None:
        for some in (groups[i : i + AT_ONCE] for i in range(0, len(groups), AT_ONCE)):
            started = [self._start(group) for group in some]
            for worker in started:
                wait_until(
                    lambda worker=worker: not worker.is_running or " ready." in worker.log,
                    "a worker is ready",
                    timeout=PATIENCE,
                    interval=0.05,
                )
                assert worker.is_running, worker.log

    def _start(self, ways: Sequence[Way]) -> WorkerProcess:
        """Start one worker for the queues of some ways."""
        way = ways[0]
        worker = self.deployment.start_worker(
            way.pool,
            way.slots,
            module=MODULE,
            arguments=("-Q", ",".join(one.name for one in ways)),
            conf={
                "broker_transport_options": unacked(way),
                **(SPAWNS if way.spawns else {}),
            },
            wait=False,
            worker_lease=LEASE,
            wait_hold=0.2,
        )
        self.workers[way.name] = worker
        return worker

    # Calls

    def spec(self, cell: Cell) -> dict[str, Any]:
        return {"cell": cell.name, "state": cell.state, "gate": str(self.gate), **cell.more}

    def add(self, way: Way, method: str, state: str, **more: Any) -> Cell:
        cell = Cell(way, method, state, f"{way.name}#{len(self.cells)}", more=more)
        self.cells.append(cell)
        return cell

    def call(self, way: Way, method: str, state: str) -> None:
        """Make one call, and what belongs to it."""
        {"child": self._family, "member": self._family, "chain": self._chain, "chord": self._chord}.get(
            method, self._single
        )(way, method, state)  # fmt: skip

    def _single(self, way: Way, method: str, state: str) -> None:
        cell = self.add(way, method, state)
        if state == "waiting":
            cell.more["token"] = wait.create_token(timeout="1h").sync().id
        spec, ours = self.spec(cell), self.ours[way.name]
        if "." in method:
            options = {"queue": way.name, **({"countdown": LONG} if state == "delayed" else {})}
            name = "taken.early" if method == "taken.countdown" else method
            cell.run_id = self.app.send_task(name, (spec,), **options).id
        elif method == "trigger":
            act = {"waiting": ours.waits, "between": ours.soon}.get(state, ours.acts)
            cell.run_id = act.trigger(spec).sync().id
        else:
            act = {"waiting": ours.waits_sync, "between": ours.later}.get(state, ours.acts_sync)
            cell.run_id = act.delay(spec).id

    def _family(self, way: Way, method: str, state: str) -> None:
        """Call a parent, which waits for two: there is room for one of them in their queue."""
        first, second = self.add(way, method, state), self.add(way, method, state)
        families = [[first], [second]] if method == "child" else [[first, second]]
        for family in families:
            parent = self.add(way, "parent" if method == "child" else "batch", "waiting")
            options = [
                {"concurrency_key": f"{way.name}-{method}", "tags": [cell.name]} for cell in family
            ]
            spec = {
                **self.spec(parent),
                "children": [self.spec(cell) for cell in family],
                "options": options,
            }
            task = "parent" if method == "child" else "batch"
            parent.run_id = tasks.trigger(f"{task}.{way.name}", spec).sync().id
            for cell in family:
                wait_until(lambda cell=cell: self._by_tag(cell), "a parent has called")
        self._sort([first, second])

    def _by_tag(self, cell: Cell) -> str:
        found = runs.list(tag=cell.name).sync().runs
        cell.run_id = found[0].id if found else ""
        return cell.run_id

    def _sort(self, cells: Sequence[Cell]) -> None:
        """One of those that share a slot has it, and the others are queued."""
        names = [cell.name for cell in cells]

        def begun() -> str:
            found = [entry.run for entry in self.deployment.ledger(event="begin")]
            return next((name for name in names if name in found), "")

        first = wait_until(begun, f"one of {names} has begun")
        for cell in cells:
            cell.state = "executing" if cell.name == first else "queued"

    def _chain(self, way: Way, method: str, state: str) -> None:
        step, ours = self.add(way, method, state), self.ours[way.name]
        act = ours.later if state == "between" else ours.acts_sync
        tail = self.add(way, method, "follows")
        tail.name = f"{step.name}>tail"
        result = chain(act.s(self.spec(step)), ours.tail.s()).apply_async()
        step.run_id, tail.run_id = result.parent.id, result.id

    def _chord(self, way: Way, method: str, state: str) -> None:
        header = [self.add(way, method, state) for _ in range(2)]
        narrow, tail = self.ours[way.name].narrow, self.ours[way.name].tail
        key = f"{way.name}-chord"
        steps = [narrow.s(self.spec(cell)).set(concurrency_key=key) for cell in header]
        result = chord(steps)(tail.s())
        for cell, one in zip(header, result.parent.results, strict=True):
            cell.run_id = one.id
        body = self.add(way, method, "follows")
        body.name, body.run_id = f"{header[0].name}>tail", result.id
        self._sort(header)

    # What has become of them

    def look(self, cells: Sequence[Cell]) -> None:
        """Read ledger and records."""
        begun = Counter(entry.run for entry in self.deployment.ledger(event="begin"))
        for cell in cells:
            cell.begins = begun[cell.name]
            cell.run = self._read(cell) if cell.run_id else None

    def _read(self, cell: Cell) -> Run | None:
        try:
            return runs.retrieve(cell.run_id).sync()
        except RunNotFoundError:
            return None

    def until(self, cells: Sequence[Cell], fits: Callable[[Cell], bool], what: str) -> None:
        """Wait until all fit; those that do are not looked at again."""
        left = list(cells)

        def look() -> bool:
            self.look(left)
            left[:] = [cell for cell in left if not fits(cell)]
            return not left

        try:
            wait_until(look, what, timeout=PATIENCE, interval=0.1)
        except AssertionError as late:
            raise AssertionError(f"{late}:\n" + "\n".join(map(str, left))) from None


def is_there(cell: Cell) -> bool:
    """Whether a cell is in its state."""
    if cell.state == "follows":
        return cell.run is None and cell.begins == 0
    if cell.run is None:
        return False
    status, begins, run = str(cell.run.status), cell.begins, cell.run
    match cell.state:
        case "queued":
            return (status, begins) == ("QUEUED", 0)
        case "delayed":
            return (status, begins) == ("DELAYED", 0)
        case "waiting":
            return (status, begins) == ("WAITING", 1)
        case "executing":
            return (status, begins) == ("EXECUTING", 1)
        case "between":
            told = [attempt for attempt in run.attempts if attempt.error is not None]
            cell.before = begins
            return begins == len(told) > 0
        case "finishing":
            return (status, begins) == ("COMPLETED" if cell.is_message else "EXECUTING", 1)
    return False


def unacked(way: Way) -> dict[str, Any]:
    """Return transport options with which a worker notes its messages apart from others'."""
    return {"unacked_key": f"unacked-{way.name}", "unacked_index_key": f"index-{way.name}"}


@pytest.fixture
def matrix(deploy: Callable[..., Deployment], tmp_path: Path) -> Matrix:
    return Matrix(deploy(worker_lease=LEASE), tmp_path)


def hold(matrix: Matrix, ways: Sequence[Way]) -> None:
    """Let every worker hold what it is to hold, in the order in which there is room for it."""
    first = len(matrix.cells)
    for what in ("waiting", "between", "busy", "on top", "queued", "delayed"):
        before = len(matrix.cells)
        for way in ways:
            for method, state in way.calls(what):
                matrix.call(way, method, state)
        matrix.until(matrix.cells[before:], is_there, f"what is to be {what} is there")
    for way in ways:
        if way.prefetches:
            wait_until(
                lambda way=way: not matrix.deployment.client.llen(way.name),
                f"the worker of {way.name} has fetched its messages",
            )
    heard(matrix)
    matrix.until(matrix.cells[first:], is_there, "everything is as it was")


def heard(matrix: Matrix) -> None:
    """Wait until every worker has said that it is there, after all has begun."""
    deployment = matrix.deployment
    now = Clock(deployment.client, deployment.scope).now()
    for worker in filter(lambda one: one.is_running, matrix.workers.values()):
        session = deployment.session_of(worker)
        assert session is not None
        name = keys.key(deployment.scope, "worker", session)
        wait_until(
            lambda name=name: int(deployment.client.hget(name, "seen") or 0) > now,
            "a worker has renewed its lease",
        )


def kill_children(matrix: Matrix, ways: Sequence[Way]) -> None:
    """Kill the pool processes that are at something; the workers live on."""
    names = {cell.name for cell in matrix.cells if cell.state != "waiting"}
    at_work = {entry.pid for entry in matrix.deployment.ledger() if entry.run in names}
    for way in ways:
        for pid in at_work.intersection(matrix.workers[way.name].children()):
            os.kill(pid, signal.SIGKILL)


def let_time_pass(matrix: Matrix, ways: Sequence[Way]) -> None:
    """What is due in a minute is due now; so is the visibility timeout of who is dead."""
    deployment = matrix.deployment
    Clock(deployment.client, deployment.scope).advance(LONG * 1000 + 1000)
    for way in ways:
        options = {**unacked(way), "visibility_timeout": 0}
        with Connection(deployment.broker_url, transport_options=options) as broker:
            broker.default_channel.qos.restore_visible(num=1000, interval=1)
    for way in ways:
        for index, raw in enumerate(deployment.client.lrange(way.name, 0, -1)):
            message = json.loads(raw)
            if message["headers"].get("eta"):
                message["headers"]["eta"] = datetime.now(UTC).isoformat()
                deployment.client.lset(way.name, index, json.dumps(message))


def complete_tokens(cells: Sequence[Cell]) -> None:
    for cell in cells:
        if "token" in cell.more:
            assert wait.complete_token(cell.more["token"], "yes").sync()


def has_ended_well(cell: Cell) -> bool:
    return cell.is_as_expected


def test_every_pool_with_everything_in_every_state(
    matrix: Matrix, record_property: Callable[[str, object], None]
) -> None:
    by_child = [way for way in WAYS if way.child]
    whole = [way for way in WAYS if not way.child]
    try:
        matrix.start(by_child)
        hold(matrix, by_child)
        kill_children(matrix, by_child)
        matrix.gate.touch()
        complete_tokens(matrix.cells)
        matrix.until(matrix.cells, has_ended_well, "what the killed processes were at has ended")
        for way in by_child:
            matrix.workers[way.name].kill()
        matrix.gate.unlink()

        matrix.start(whole)
        before = len(matrix.cells)
        hold(matrix, whole)
        held = matrix.cells[before:]
        for way in whole:
            matrix.workers[way.name].kill()
        matrix.gate.touch()
        complete_tokens(held)
        let_time_pass(matrix, whole)
        matrix.replace(whole)
        matrix.until(held, has_ended_well, "what the killed workers held has ended")
    finally:
        with suppress(Exception):
            matrix.look(matrix.cells)
        counts = table(matrix.cells)
        print(f"\n{counts}")
        record_property("kill matrix", counts)
    check_records(matrix.cells)
    assert all(map(has_ended_well, matrix.cells)), "it stays so"


def check_records(cells: Sequence[Cell]) -> None:
    """What happened can be read from the runs."""
    for cell in cells:
        run = cell.run
        assert run is not None
        if cell.state not in ("executing", "finishing"):
            continue
        if cell.is_message:
            check_recorded(cell, run)
        elif cell.is_early:
            assert run.error is not None, cell
            assert run.error.code == lost_code(cell), cell
        else:
            assert run.attempts[0].error is not None, cell
            assert run.attempts[0].error.code == lost_code(cell), cell


def lost_code(cell: Cell) -> str:
    return "TASK_PROCESS_EXITED" if cell.way.child else "TASK_RUN_WORKER_LOST"


def check_recorded(cell: Cell, run: Run) -> None:
    if cell.begins == 2:
        assert [attempt.number for attempt in run.attempts] == [1, 1], cell
        assert run.attempts[1].note == "redelivered", cell
    elif run.status == "CRASHED":
        assert run.error is not None
        if not cell.way.child:
            assert run.error.code == "TASK_RUN_WORKER_SILENT", cell
            assert run.attempts[0].note == "presumed lost", cell
