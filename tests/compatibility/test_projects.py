"""Celery projects that are not ours: the line is added, and taken out again, on the same broker.

The projects in `projects/` are written in the manner of the examples that come with Celery, and know
nothing of the library. Each is deployed three times: as it is, with the line, and as it is again. Each
deployment leaves some messages behind for the next.
"""

from __future__ import annotations

import difflib
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.sides import Side, ready, without_ids
from tests.waiting import wait_until
from tests.worker.workers import ROOT, Deployment
from trigger_celery import Run, runs
from trigger_celery.errors import RunNotFoundError

pytest.importorskip("django")
pytestmark = pytest.mark.processes

FOLDER = Path(__file__).with_name("projects")
DEPLOYED = ("without", "with", "without again")
_LINE = "import trigger_celery; trigger_celery.TriggerCelery(app)\n"


@dataclass(frozen=True)
class Foreign:
    """A project: where its app is, and the line that is added to which of its files."""

    name: str
    app: str
    task: str
    """A task whose runs can be looked for."""
    file: str
    above: str
    line: str
    beat: bool = False


PROJECTS = (
    Foreign("plain", "proj", "proj.tasks.add", "proj/celery.py", "app.conf.update(\n", _LINE),
    Foreign(
        *("bookshop", "bookshop", "catalog.tasks.add_book", "bookshop/settings.py"),
        '    "catalog",\n',
        '    "trigger_celery.contrib.django",\n',
    ),
    Foreign(
        *("chimes", "chimes", "chimes.ring", "chimes.py"),
        'app.conf.timezone = "Europe/Berlin"\n',
        _LINE,
        beat=True,
    ),
)


def with_line(project: Foreign, folder: Path) -> None:
    """Add the line to the project in the folder."""
    file = folder / project.file
    before = file.read_text()
    assert before.count(project.above) == 1
    file.write_text(before.replace(project.above, project.line + project.above))


@dataclass
class Outcome:
    """What a project did in its three deployments."""

    results: list[Any] = field(default_factory=list)
    left: list[list[str]] = field(default_factory=list)
    recorded: list[int] = field(default_factory=list)
    """How many runs there were after each."""


class Deployments:
    """Deploys one project after the other way of it, on one broker."""

    def __init__(self, deployment: Deployment, project: Foreign, folder: Path, number: int) -> None:
        self._deployment = deployment
        self._project = project
        self._folder = folder / project.name
        self._folder.mkdir()
        self._database = number
        self.outcome = Outcome()

    def run(self) -> Outcome:
        for number, name in enumerate(DEPLOYED):
            place = self._folder / name.replace(" ", "-")
            shutil.copytree(FOLDER / self._project.name, place / "code")
            if name == "with":
                with_line(self._project, place / "code")
            self._deploy(number, place)
        return self.outcome

    def _deploy(self, number: int, place: Path) -> None:
        left = self.outcome.left[-1] if self.outcome.left else []
        side = Side(self._deployment, place / "processes", self._database, line=number == 1)
        side.environment |= {
            "PYTHONPATH": os.pathsep.join((str(place / "code"), str(ROOT))),
            "SQLITE_FILE": str(place / "db.sqlite3"),
            "RUNG": str(place / "rung"),
            "LEFT": " ".join(left),
            "LATER": f"later-{number}",
        }
        queues = f"celery,later-{number - 1}"
        beat = ("-B", "-s", str(place / "schedule")) if self._project.beat else ()
        worker = side.start_worker(self._project.app, "solo", "-Q", queues, *beat)
        client = side.start(str(place / "code" / "client.py"))
        ready([worker])
        answer = side.answer(client)
        worker.signal(signal.SIGTERM)
        assert worker.wait(30) == 0, worker.log
        self.outcome.results.append(without_ids(answer["results"]))
        self.outcome.left.append(answer["left"])
        self.outcome.recorded.append(len(runs.list(task=self._project.task, limit=100).sync().runs))


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[dict[str, Outcome]]:
    """All projects, side by side."""
    folder = tmp_path_factory.mktemp("projects")
    deployment = Deployment(folder, binary=server_binary)
    try:
        with ThreadPoolExecutor(len(PROJECTS)) as threads:
            under_way = {
                project.name: threads.submit(Deployments(deployment, project, folder, number).run)
                for number, project in enumerate(PROJECTS, 1)
            }
            yield {name: future.result() for name, future in under_way.items()}
    finally:
        print(deployment.logs())
        deployment.close()


def recorded(task_id: str, status: str) -> Run:
    def look() -> Run | None:
        try:
            run = runs.retrieve(task_id).sync()
        except RunNotFoundError:
            return None
        return run if run.status == status else None

    found = wait_until(look, f"a run of {task_id} is {status}")
    assert found is not None
    return found


each_project = pytest.mark.parametrize("project", PROJECTS, ids=[one.name for one in PROJECTS])


@each_project
def test_it_is_one_line(project: Foreign, tmp_path: Path) -> None:
    shutil.copytree(FOLDER / project.name, tmp_path / "code")
    with_line(project, tmp_path / "code")
    found = []
    for old in sorted((FOLDER / project.name).rglob("*.py")):
        new = tmp_path / "code" / old.relative_to(FOLDER / project.name)
        difference = difflib.ndiff(
            old.read_text().splitlines(True), new.read_text().splitlines(True)
        )
        found += [line for line in difference if line[0] in "+-"]
    assert found == [f"+ {project.line}"]


@each_project
def test_results_are_the_same_without_with_and_without_again(
    outcomes: dict[str, Outcome], project: Foreign
) -> None:
    without, with_it, again = outcomes[project.name].results
    # The first deployment found nothing that was left.
    assert without.pop("what was left") == []
    assert with_it.pop("what was left") == again.pop("what was left") != []
    assert with_it == without
    assert again == without


@each_project
def test_only_the_deployment_with_the_line_is_recorded(
    outcomes: dict[str, Outcome], project: Foreign
) -> None:
    before, with_it, after = outcomes[project.name].recorded
    assert before == 0
    assert with_it > 0
    assert after == with_it


@each_project
def test_messages_cross_the_line_both_ways(outcomes: dict[str, Outcome], project: Foreign) -> None:
    """That they were executed, the results say. The records say what was seen of them."""
    before, with_it, _ = outcomes[project.name].left
    for task_id in before:  # of a producer without the line
        adopted = recorded(task_id, "COMPLETED")
        assert (adopted.task_identifier, adopted.queue) == (project.task, "later-0")
    for task_id in with_it:  # executed by a worker without the line: nobody said so
        assert recorded(task_id, "QUEUED").attempts == ()
