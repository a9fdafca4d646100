"""Workers of the old project, and the project itself in the test's process as the producer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.waiting import wait_until
from tests.worker.workers import Deployment
from trigger_celery import Run, runs
from trigger_celery.errors import RunNotFoundError

MODULE = "tests.worker.recorded.old_tasks"
PICKLE = {
    "accept_content": ["json", "pickle"],
    "result_accept_content": ["json", "pickle"],
    "result_serializer": "pickle",
}


class OldProject:
    """Calls old tasks as a web process does, which knows them by name only."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    @property
    def app(self) -> Celery:
        return self.deployment.app

    def send(self, task: str, *args: Any, kwargs: Any = None, **options: Any) -> str:
        return str(self.app.send_task(f"old.{task}", args, kwargs, **options).id)

    def get(self, task_id: str) -> Run | None:
        try:
            return runs.retrieve(task_id).sync()
        except RunNotFoundError:
            return None

    def until(
        self, task_id: str, fits: Callable[[Run], bool], what: str = "", timeout: float = 20.0
    ) -> Run:
        seen: list[Run | None] = []

        def look() -> Run | None:
            seen[:] = [self.get(task_id)]
            return seen[0] if seen[0] is not None and fits(seen[0]) else None

        try:
            found = wait_until(look, what or "the run is as expected", timeout=timeout)
        except AssertionError as late:
            raise AssertionError(f"{late}; it is {seen}") from None
        assert found is not None
        return found

    def status(self, task_id: str, status: str, attempts: int = 0) -> Run:
        """Return the run once it has the status, and that many attempts are over.

        Each process tells of what it executed, so the last attempt may be known before the first.
        """

        def is_there(run: Run) -> bool:
            over = [attempt for attempt in run.attempts if attempt.finished_at is not None]
            return run.status == status and len(over) >= attempts

        return self.until(task_id, is_there, f"the run is {status}")

    def run(
        self, task: str, *args: Any, status: str = "COMPLETED", attempts: int = 0, **options: Any
    ) -> Run:
        return self.status(self.send(task, *args, **options), status, attempts)


@pytest.fixture(scope="module", params=["prefork"])
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shared(
    pool: str, tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Deployment]:
    """One deployment for all tests of a module, with a worker of the old project."""
    made = Deployment(tmp_path_factory.mktemp(pool), binary=server_binary)
    made.app.conf.update(PICKLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("C_FORCE_ROOT", "1")  # or Celery takes no pickle from tests in a container
        made.start_worker(pool, 2, module=MODULE, conf=PICKLE, arguments=("-Q", "celery,special"))
    yield made
    made.close()


@pytest.fixture
def project(shared: Deployment) -> OldProject:
    return OldProject(shared)


@pytest.fixture
def alone(tmp_path: Path, server_binary: str | None) -> Iterator[OldProject]:
    """A deployment of its own, without workers yet."""
    made = Deployment(tmp_path, binary=server_binary)
    yield OldProject(made)
    print(made.logs())
    made.close()
