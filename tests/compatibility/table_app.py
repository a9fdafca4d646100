"""A Celery project as the rows of the table need it: nothing in it knows of the library but one line.

`TEST_LINE=1` adds the line. What happens is written into the file `TEST_LEDGER`, a line an event.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery, Task, shared_task, signals
from celery.exceptions import Ignore, Reject
from celery.schedules import crontab, solar
from kombu import Exchange, Queue

from tests.waiting import wait_until

LEDGER = Path(os.environ["TEST_LEDGER"])
ROLE = os.environ.get("TEST_ROLE", "worker")
PATIENCE = 60.0

app = Celery("table")
app.conf.update(
    accept_content=["json", "pickle", "yaml", "msgpack"],
    result_accept_content=["json", "pickle", "yaml", "msgpack"],
    broker_connection_retry_on_startup=True,
    task_send_sent_event=True,
    task_queues=[
        Queue("celery", Exchange("celery"), routing_key="celery"),
        Queue("mail", Exchange("post", type="direct"), routing_key="letters"),
        Queue("unserved", Exchange("unserved"), routing_key="unserved"),
    ],
    task_routes={"table.routed": {"queue": "mail"}},
    beat_schedule={
        "often": {"task": "table.ticked", "schedule": 0.3, "args": ["often"]},
        "nightly": {
            "task": "table.ticked",
            "schedule": crontab(minute="30", hour="2"),
            "options": {"queue": "mail"},
        },
        "every-week": {"task": "table.ticked", "schedule": timedelta(days=7)},
        "dawn": {"task": "table.ticked", "schedule": solar("dawn_civil", 52.5, 13.4)},
    },
    **json.loads(os.environ.get("TEST_CELERY_CONF", "{}")),
)
if os.environ.get("TEST_LINE") == "1":
    from trigger_celery import TriggerCelery

    TriggerCelery(app)


def note(event: str, task_id: str, **more: Any) -> None:
    """Write an event down; lines of this length are written as a whole."""
    line = json.dumps({"event": event, "id": task_id, "at": time.time(), **more})
    with LEDGER.open("a") as ledger:
        ledger.write(line + "\n")


def told(task_id: str, event: str = "") -> list[dict[str, Any]]:
    """Return what was written down of a task."""
    lines = LEDGER.read_text().split("\n")[:-1]
    found = (json.loads(line) for line in lines)
    return [one for one in found if one["id"] == task_id and event in ("", one["event"])]


def until(look: Callable[[], Any], what: str) -> Any:
    """Return the first true value."""
    return wait_until(look, what, timeout=PATIENCE, interval=0.02)


# Signals


def _on(sent: Any, name: str, find: Callable[[dict[str, Any]], Any]) -> None:
    def heard(**given: Any) -> None:
        task_id = find(given)
        if isinstance(task_id, str):
            note(f"signal {name}", task_id, role=ROLE)

    sent.connect(heard, weak=False)


for _name, _find in {
    "before_task_publish": lambda given: given["headers"].get("id"),
    "after_task_publish": lambda given: given["headers"].get("id"),
    "task_received": lambda given: given["request"].id,
    "task_prerun": lambda given: given["task_id"],
    "task_postrun": lambda given: given["task_id"],
    "task_success": lambda given: given["sender"].request.id,
    "task_failure": lambda given: given["task_id"],
    "task_retry": lambda given: given["request"].id,
    "task_revoked": lambda given: given["request"].id,
    "task_unknown": lambda given: given["id"],
    "task_internal_error": lambda given: given["task_id"],
}.items():
    _on(getattr(signals, _name), _name, _find)


# Kinds of tasks


@app.task(name="table.add")
def add(x: int, y: int = 0) -> int:
    return x + y


@shared_task(name="table.shout")
def shout(text: str) -> str:
    return text.upper()


class Watched(Task):
    """A base class with all hooks."""

    greeting = "hello"

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("before_start", task_id)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note("on_success", task_id)

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_retry", task_id)

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("on_failure", task_id)

    def after_return(self, status: str, retval: Any, task_id: str, *_: Any) -> None:
        note("after_return", task_id, status=status)


@app.task(name="table.watched", base=Watched, bind=True, max_retries=1)
def watched(self: Any, ends: str) -> str:
    note("body", self.request.id)
    if ends == "retry" and not self.request.retries:
        raise self.retry(countdown=0)
    if ends == "fail":
        raise ValueError("no luck")
    return str(self.greeting)


@app.task(name="table.describe", bind=True)
def describe(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What a bound task sees of its call."""
    request = self.request
    info = request.delivery_info
    return {
        "name": self.name,
        "args": list(request.args),
        "kwargs": request.kwargs,
        "retries": request.retries,
        "headers": {name: (request.headers or {}).get(name) for name in ("tenant",)},
        "origin": bool(request.origin),
        "hostname": str(request.hostname).partition("@")[0],
        "delivery": [info["exchange"], info["routing_key"], info["priority"]],
        "eta": bool(request.eta),
        "expires": bool(request.expires),
        "timelimit": list(request.timelimit),
        "ignore_result": request.ignore_result,
        "group": bool(request.group),
        "ids": [request.id, request.root_id, request.parent_id],
        "attributes": sorted(vars(request)),
    }


# Retries


@app.task(name="table.flaky", bind=True, max_retries=3)
def flaky(self: Any, times: int, countdown: float) -> int:
    if self.request.retries < times:
        try:
            raise OSError(f"try {self.request.retries}")
        except OSError as problem:
            raise self.retry(exc=problem, countdown=countdown) from problem
    return int(self.request.retries)


@app.task(
    name="table.auto",
    bind=True,
    autoretry_for=(KeyError,),
    max_retries=1,
    retry_backoff=True,
    retry_backoff_max=1,
    retry_jitter=False,
)
def auto(self: Any) -> None:
    raise KeyError(f"try {self.request.retries}")


@app.task(
    name="table.jittery", bind=True, autoretry_for=(KeyError,), retry_backoff=1, retry_jitter=True
)
def jittery(self: Any) -> int:
    if not self.request.retries:
        raise KeyError("once")
    return int(self.request.retries)


@app.task(name="table.limited", rate_limit="1/h")
def limited() -> str:
    return "once an hour"


# Canvas


@app.task(name="table.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="table.heard", bind=True)
def heard(self: Any, *args: Any) -> None:
    """A callback, or an errback."""
    note("heard", self.request.root_id, args=[str(type(arg).__name__) for arg in args])


@app.task(name="table.fail")
def fail(text: str) -> None:
    raise RuntimeError(text)


@app.task(name="table.swap", bind=True)
def swap(self: Any, x: int) -> None:
    raise self.replace(add.s(x, 100))


# Limits, acknowledgements


@app.task(name="table.soft", soft_time_limit=1)
def soft() -> None:
    threading.Event().wait(PATIENCE)


@app.task(name="table.hard", time_limit=1)
def hard() -> None:
    threading.Event().wait(PATIENCE)


@app.task(name="table.die")
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="table.die-once", bind=True, acks_late=True, reject_on_worker_lost=True)
def die_once(self: Any) -> str:
    note("begun", self.request.id)
    if len(told(self.request.id, "begun")) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "the second time"


@app.task(name="table.reject", bind=True, acks_late=True)
def reject(self: Any, requeue: bool) -> str:
    note("begun", self.request.id)
    if requeue and len(told(self.request.id, "begun")) == 2:
        return "the second time"
    raise Reject("no good", requeue=requeue)


@app.task(name="table.ignore", bind=True)
def ignore(self: Any) -> None:
    note("begun", self.request.id)
    raise Ignore


@app.task(name="table.unacked", bind=True, acks_late=True, acks_on_failure_or_timeout=False)
def unacked(self: Any) -> None:
    note("begun", self.request.id)
    raise ValueError("not acknowledged")


# Results


@app.task(name="table.silent", ignore_result=True, bind=True)
def silent(self: Any) -> str:
    note("begun", self.request.id)
    return "nobody hears it"


@app.task(name="table.progress", bind=True)
def progress(self: Any, gate: str) -> str:
    """Says how far it is, until somebody makes the file."""
    self.update_state(state="PROGRESS", meta={"done": 3, "of": 9, "password": "hunter2"})
    until(Path(gate).exists, "the gate opens")
    return "done"


@app.task(name="table.parent")
def parent(x: int) -> str:
    return str(add.delay(x, x).id)


class Odd:
    """Nothing that JSON knows."""

    def __init__(self, size: str) -> None:
        self.size = size

    def __repr__(self) -> str:
        return f"<odd {self.size}>"


@app.task(name="table.shape")
def shape(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


@app.task(name="table.routed")
def routed() -> str:
    return "there"


@app.task(name="table.ticked", bind=True)
def ticked(self: Any, *args: Any) -> None:
    note("ticked", "beat", args=list(args), task=self.request.id)
