"""The table, filled in: one program, executed without the line and with it, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.sides import Side, ready, without_ids
from tests.waiting import wait_until
from tests.worker.workers import Deployment, WorkerProcess
from trigger_celery import Run, RunStatus, runs
from trigger_celery.errors import RunNotFoundError

MODULE = "tests.compatibility.table_app"
PROGRAM = "tests.compatibility.table_program"


@dataclass
class Table:
    """What Celery showed on both sides, and where the records of the one with the line are."""

    deployment: Deployment
    plain: dict[str, Any]
    line: dict[str, Any]
    log: str
    """What the producer with the line logged."""
    entries: dict[str, str]
    """Entries of beat, as our command shows them."""

    def same(self, row: str) -> Any:
        """Fail unless Celery shows the same with and without the line; return what it shows."""
        for side in (self.plain, self.line):
            assert "error" not in side[row], side[row]["error"]
        shown, expected = (without_ids(side[row]["shows"]) for side in (self.line, self.plain))
        assert shown == expected
        return self.line[row]["shows"]

    def run(self, row: str, name: str, status: str = "COMPLETED") -> Run:
        """Return the run that records a task of a row, once it has the status."""
        task_id, seen = self.line[row]["ids"][name], []

        def look() -> Run | None:
            try:
                seen[:] = [runs.retrieve(task_id).sync()]
            except RunNotFoundError:
                return None
            return seen[0] if seen[0].status is RunStatus[status] else None

        try:
            found = wait_until(look, f"{name!r} of {row!r} is {status}")
        except AssertionError as late:
            raise AssertionError(f"{late}; it is {seen}") from None
        assert found is not None
        return found


def _start_workers(side: Side, files: dict[str, Any]) -> list[WorkerProcess]:
    schedule = str(side.folder / "beat")
    return [
        side.start_worker(MODULE, "prefork", "-c", "4", "-Q", "celery,mail", "-E"),
        # A process that dies takes along what it had not told yet, of earlier tasks as well.
        side.start_worker(MODULE, "prefork", "-c", "2", "-Q", "doomed", "-n", "doomed@tests"),
        side.start_worker(MODULE, "threads", "-c", "2", "-Q", "threads", "-B", "-s", schedule),
        side.start_worker(MODULE, "gevent", "-c", "2", "-Q", "gevent"),
        side.start_worker(
            MODULE,
            "solo",
            *("-Q", "solo"),
            CELERY_BROKER_URL="filesystem://",
            TEST_CELERY_CONF=json.dumps({"broker_transport_options": files}),
        ),
    ]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, server_binary: str | None) -> Iterator[Table]:
    """Everything that the table is about, done once on each side."""
    folder = tmp_path_factory.mktemp("table")
    deployment = Deployment(folder, binary=server_binary)
    try:
        yield _fill(deployment, folder)
    finally:
        print(deployment.logs())
        deployment.close()


def _fill(deployment: Deployment, folder: Path) -> Table:
    sides = [
        Side(deployment, folder / name, database, line=line)
        for name, database, line in (("plain", 1, False), ("line", 2, True))
    ]
    workers = []
    for side in sides:
        files = {
            "data_folder_in": str(side.folder / "queue"),
            "data_folder_out": str(side.folder / "queue"),
            "control_folder": str(side.folder / "control"),
            "polling_interval": 0.1,
        }
        (side.folder / "queue").mkdir()
        side.environment["TEST_FILES"] = json.dumps(files)
        workers += _start_workers(side, files)
    ready(workers)
    producers = [side.start("-m", PROGRAM) for side in sides]
    show = ("-m", "trigger_celery.cli", "schedules", "list", "--beat", "--json", "-A", MODULE)
    shown = sides[1].start(*show)
    plain, line = (side.answer(made) for side, made in zip(sides, producers, strict=True))
    assert shown.wait(60) == 0, shown.log
    listed = json.loads(shown.log[shown.log.index("{") :])["entries"]
    entries = {entry["name"]: entry["schedule"] for entry in listed}
    return Table(deployment, plain, line, producers[1].log, entries)
