"""Tasks of ours, plain ones, and plain ones that are taken over, on any app: worker's and caller's."""

from __future__ import annotations

import json
import os
import time
from fractions import Fraction
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

from celery import Celery, Task, current_task
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from tests.waiting import wait_until
from trigger_celery import AbortTaskRunError, TriggerCelery, queue, task, wait
from trigger_celery.bridge.context import current_execution

QUICK = {"max_attempts": 3, "min_timeout_in_ms": 20, "randomize": False, "factor": 1}
MANAGE = ["taken.*"]


def note(event: str, **more: Any) -> None:
    """Append a line to the ledger."""
    execution: Any = current_execution.get()
    line = {
        "event": event,
        "run": "" if execution is None else execution.grant.id,
        "attempt": 0 if execution is None else execution.grant.attempt,
        "epoch": "",
        "pid": os.getpid(),
        "at": time.monotonic(),
        **more,
    }
    if "TEST_LEDGER" not in os.environ:
        return  # executed by the caller
    with Path(os.environ["TEST_LEDGER"]).open("ab", buffering=0) as ledger:
        ledger.write((json.dumps(line) + "\n").encode())


def until(path: str) -> None:
    """Block until a file is there."""
    wait_until(Path(path).exists, f"{path} is there", timeout=20)


class Told(Task):
    """A base class that a project has of its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["called", super().__call__(*args, **kwargs)]

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("before_start", task=task_id, args=list(args), kwargs=kwargs)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note("on_success", task=task_id, value=retval)

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_retry", task=task_id, problem=str(exc))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_failure", task=task_id, problem=str(exc))

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        note("after_return", task=task_id, status=status)


def ours() -> SimpleNamespace:
    """Declare the tasks of ours."""
    narrow = queue(name="narrow", concurrency_limit=1)

    @task(id="double")
    async def double(payload: int) -> int:
        return payload * 2

    @task(id="add-ten")
    def add_ten(payload: int) -> int:
        return payload + 10

    @task(id="total")
    def total(payload: list[int]) -> int:
        return sum(payload)

    @task(id="rough", retry=QUICK)
    async def rough(payload: int, ctx: Any) -> int:
        """Wait, fail, wait again: and then go on."""
        await wait.for_duration(seconds=0.05)
        if ctx.attempt.number == 1:
            raise ValueError("not yet")
        await wait.for_duration(seconds=0.05)
        return payload + 1

    @task(id="gated", retry=QUICK)
    def gated(payload: dict[str, Any]) -> int:
        note("gated")
        until(payload["gate"])
        return int(payload["value"])

    @task(id="waits")
    async def waits(payload: str) -> bool:
        return (await wait.for_token(payload)).ok

    @task(id="fails")
    def fails(payload: Any) -> None:
        raise AbortTaskRunError(f"no {payload}")

    @task(id="one-at-a-time", queue=narrow)
    def one_at_a_time(payload: int) -> int:
        note("enter")
        Event().wait(0.03)
        note("leave")
        return payload

    @task(id="looks")
    def looks(payload: Any) -> dict[str, Any]:
        request = current_task.request
        return {
            "id": request.id,
            "headers": request.headers,
            "parent": request.parent_id,
            "root": request.root_id,
            "chain": bool(request.chain),
        }

    @task(id="notes")
    def notes(payload: Any) -> Any:
        note("noted", payload=payload)
        return payload

    @task(id="calls")
    async def calls(payload: int) -> int:
        made = double.delay(payload)
        await wait.for_duration(seconds=0.05)
        assert isinstance(made.id, str)
        return 1

    @task(id="replaces")
    def replaces(payload: int) -> None:
        raise current_task.replace(app_of().signature("add-ten", (payload * 2,)))

    return SimpleNamespace(**{name: made for name, made in locals().items() if name != "narrow"})


def app_of() -> Any:
    return current_task.app


class Written:
    """Says to Celery how it is written."""

    def __json__(self) -> list[str]:
        return ["written"]


def plain(app: Celery) -> SimpleNamespace:
    """Declare the plain tasks."""

    @app.task(shared=False, name="plain.add")
    def add(x: int, y: int = 1) -> int:
        note("plain-add", values=[x, y])
        return x + y

    @app.task(shared=False, name="plain.total")
    def total(values: list[int]) -> int:
        return sum(values)

    @app.task(shared=False, name="plain.fails")
    def fails(value: Any) -> None:
        raise KeyError(value)

    @app.task(shared=False, name="plain.errback")
    def errback(request: Any, exc: Any, traceback: Any) -> None:
        note("errback", task=request.id, problem=str(exc), kind=type(exc).__name__)

    @app.task(shared=False, name="plain.errback-by-id")
    def errback_by_id(task_id: str) -> None:
        note("errback-by-id", task=task_id)

    return SimpleNamespace(**{name: made for name, made in locals().items() if name != "app"})


def taken(app: Celery) -> SimpleNamespace:
    """Declare the plain tasks that are taken over."""

    @app.task(shared=False, name="taken.add")
    def add(x: int, y: int = 1) -> int:
        note("taken-add", values=[x, y])
        return x + y

    @app.task(shared=False, bind=True, name="taken.flaky", max_retries=3, base=Told)
    def flaky(self: Any, until_retry: int, *, step: str = "a") -> list[Any]:
        if self.request.retries < until_retry:
            try:
                raise OSError(f"away {self.request.retries}")
            except OSError as problem:
                raise self.retry(exc=problem, countdown=0.05) from problem
        return [self.request.retries, step]

    @app.task(
        shared=False,
        name="taken.auto",
        bind=True,
        autoretry_for=(OSError,),
        retry_kwargs={"countdown": 0.02},
        max_retries=2,
    )
    def auto(self: Any, fails: int) -> int:
        note("auto", retries=self.request.retries)
        if self.request.retries < fails:
            raise OSError("away")
        return int(self.request.retries)

    @app.task(shared=False, bind=True, name="taken.counts", max_retries=5)
    def counts(self: Any, left: int, seen: list[int]) -> list[int]:
        if left:
            raise self.retry(args=(left - 1, [*seen, left]), countdown=0.02)
        return seen

    @app.task(shared=False, bind=True, name="taken.looks")
    def looks(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        request = self.request
        return {
            name: getattr(request, name)
            for name in (
                "id", "retries", "args", "kwargs", "hostname", "called_directly", "is_eager",
                "parent_id", "root_id", "delivery_info", "headers", "correlation_id", "eta", "expires",
                "timelimit", "argsrepr",
            )
        }  # fmt: skip

    @app.task(shared=False, name="taken.fails", throws=(KeyError,), base=Told)
    def fails(value: Any) -> None:
        raise KeyError(value)

    @app.task(shared=False, bind=True, name="taken.says", max_retries=9)
    def says(self: Any, what: str) -> Any:
        redelivered = bool(self.request.delivery_info["redelivered"])
        note("says", what=what, retries=self.request.retries, redelivered=redelivered)
        if what == "ignore":
            raise Ignore
        if what == "retry without raising" and not self.request.retries:
            return self.retry(countdown=0.02, throw=False)
        if what == "once more" and not redelivered:
            raise Reject("later", requeue=True)
        if what == "reject":
            raise Reject("never")
        return what

    @app.task(shared=False, name="taken.soft", soft_time_limit=1)
    def soft() -> None:
        Event().wait(60)

    @app.task(
        shared=False,
        name="taken.soft-again",
        soft_time_limit=1,
        autoretry_for=(SoftTimeLimitExceeded,),
        retry_kwargs={"countdown": 0.02},
        max_retries=1,
    )
    def soft_again() -> None:
        Event().wait(60)

    @app.task(shared=False, name="taken.hard", time_limit=1, acks_late=True)
    def hard() -> None:
        note("hard")
        Event().wait(60)

    @app.task(
        shared=False,
        bind=True,
        name="taken.hard-again",
        time_limit=1,
        acks_late=True,
        acks_on_failure_or_timeout=False,
    )
    def hard_again(self: Any) -> bool:
        if not self.request.delivery_info["redelivered"]:
            Event().wait(60)
        return True

    @app.task(shared=False, bind=True, name="taken.progress")
    def progress(self: Any, gate: str) -> str:
        self.update_state(state="PROGRESS", meta={"done": 1, "token": "t0p"})
        self.update_state("of-another", "PROGRESS", {"done": 2})
        until(gate)
        self.update_state(meta={"done": 3})
        return "done"

    @app.task(shared=False, name="taken.returns")
    def returns(what: str) -> Any:
        if what == "a child":
            return looks.delay(1)
        return add.delay(1) if what == "a result" else Written()

    @app.task(
        shared=False,
        name="taken.replies",
        backend=RPCBackend(app, serializer="pickle", accept=["json", "pickle"]),
    )
    def replies(value: int) -> Fraction | int:
        return Fraction(1, value) if value > 1 else value

    @app.task(shared=False, name="taken.tells-nobody", backend=DisabledBackend(app))
    def tells_nobody(value: int) -> int:
        return value

    @app.task(shared=False, name="taken.silent", ignore_result=True)
    def silent(value: int) -> int:
        note("silent")
        return value

    @app.task(
        shared=False,
        name="taken.one-at-a-time",
        trigger={"queue": {"concurrency_limit": 1}, "tags": ["narrow"]},
    )
    def one_at_a_time(value: int) -> int:
        note("taken-enter")
        Event().wait(0.03)
        note("taken-leave")
        return value

    @app.task(shared=False, bind=True, name="taken.replaces")
    def replaces(self: Any, x: int) -> Any:
        return self.replace(add.s(x) | add.s(100))

    @app.task(shared=False, name="taken.late", acks_late=True)
    def late(gate: str) -> str:
        note("late")
        until(gate)
        return "done"

    @app.task(shared=False, name="taken.early")
    def early(gate: str) -> str:
        note("early")
        until(gate)
        return "done"

    @app.task(
        shared=False,
        name="said.itself",
        trigger={"idempotency_key": lambda order: f"order-{order}"},
    )
    def said(order: int) -> int:
        note("said")
        return order

    return SimpleNamespace(**{name: made for name, made in locals().items() if name != "app"})


def worker_app() -> Celery:
    """Return the app of a worker."""
    made = Celery("celery-api")
    made.conf.update(
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        **json.loads(os.environ.get("TEST_CELERY_CONF", "{}")),
    )
    TriggerCelery(made, manage=MANAGE)
    ours()
    plain(made)
    taken(made)
    return made
