"""Executes attempts in the test's own process, as a pool's thread does, against a real store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.driving import Engine
from trigger_celery import Run, task
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.model.packet import decode
from trigger_celery.worker.child import run_in_pool
from trigger_celery.worker.job import next_attempt

KINDS = ("async", "sync")
ONCE_MORE = {"max_attempts": 2, "min_timeout_in_ms": 0, "max_timeout_in_ms": 0}


@dataclass
class Ended:
    """One attempt that was executed."""

    grant: Grant
    ending: Ending | None
    run: Run

    @property
    def code(self) -> str | None:
        return self.run.error.code if self.run.error is not None else None


class Attempts:
    """A session that executes what the test triggers."""

    def __init__(self, engine: Engine, trigger: TriggerCelery) -> None:
        self.engine = engine
        self.trigger = trigger
        trigger.app.finalize()

    def start(self, id: str, payload: Any = None, **options: Any) -> Grant:
        """Trigger a run and take it."""
        definition = self._definition(id)
        policy = definition.retry
        self.engine.register(
            tasks={id: policy.max_attempts if policy is not None else 1}, worker_queues=("celery",)
        )
        from trigger_celery import tasks

        tasks.trigger(id, payload, **options).sync()
        return self.engine.take_one()

    def execute(self, grant: Grant) -> Ended:
        """Execute the attempt and record how it ended."""
        payload = decode(grant.payload, grant.payload_type)
        request = {"id": grant.id, "args": (payload,), "kwargs": {}, "ignore_result": True}
        outcome = run_in_pool(grant, request)
        assert isinstance(outcome, tuple), outcome
        ending = outcome[3]
        if ending is not None:
            self.engine.end(grant, ending.kind, ending.detail, ending.data)
        return Ended(grant, ending, self.engine.read(grant.id))

    def run(self, id: str, payload: Any = None, **options: Any) -> Ended:
        """Trigger and execute one attempt."""
        return self.execute(self.start(id, payload, **options))

    def again(self, ended: Ended) -> Ended:
        """Execute the next attempt, which follows in place."""
        assert ended.ending is not None
        return self.execute(next_attempt(ended.grant, ended.ending))

    @staticmethod
    def _definition(id: str) -> Any:
        from trigger_celery.bridge.registry import REGISTRY

        return REGISTRY.tasks[id]


class Story:
    """Makes tasks and hooks of one kind, and notes the order in which they are called."""

    def __init__(self, kind: str, hooks: str) -> None:
        self.kind = kind
        self.hooks = hooks
        self.told: list[str] = []
        self.given: dict[str, Any] = {}

    def hook(self, name: str, result: Any = None, note: str | None = None) -> Callable[..., Any]:
        """Return a hook that notes its call; *result* is returned, or raised if it is an error."""

        def called(**offered: Any) -> Any:
            self.told.append(note or name)
            self.given[note or name] = offered
            if isinstance(result, BaseException):
                raise result
            return result

        async def called_async(**offered: Any) -> Any:
            return called(**offered)

        return called_async if self.hooks == "async" else called

    def middleware(
        self, name: str, *, before: BaseException | None = None, after: BaseException | None = None
    ) -> Callable[..., Any]:
        """Return middleware that notes when it begins and when it ends."""

        def begin() -> None:
            self.told.append(f"{name} >")
            if before is not None:
                raise before

        def end(outcome: Any) -> None:
            self.given[name] = outcome
            self.told.append(f"< {name}")
            if after is not None:
                raise after

        async def around_async(payload: Any, ctx: Any, next: Any) -> None:
            begin()
            end(await next())

        def around(payload: Any, ctx: Any, next: Any) -> None:
            begin()
            end(next())

        return around_async if self.hooks == "async" else around

    def task(self, id: str, result: Any = None, **options: Any) -> Any:
        """Declare a task that notes its call, and returns or raises *result*."""

        def body(payload: Any, init: Any) -> Any:
            self.told.append("run")
            self.given["run"] = init
            if isinstance(result, BaseException):
                raise result
            return result

        async def body_async(payload: Any, init: Any) -> Any:
            return body(payload, init)

        return task(id=id, **options)(body_async if self.kind == "async" else body)

    def all_hooks(self, note: str = "", **results: Any) -> dict[str, Any]:
        """Return every hook that is called around a run, noted with a word in front."""
        names = (
            "init", "on_start", "on_start_attempt", "on_success", "on_failure", "on_complete",
            "catch_error", "cleanup",
        )  # fmt: skip
        return {name: self.hook(name, results.get(name), f"{note}{name}") for name in names} | {
            "middleware": self.middleware(f"{note}middleware")
        }
