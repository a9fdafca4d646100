"""A Celery project as it was before the library came: plain tasks, and the one line.

`TEST_LINE=0` leaves the line out.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

from celery import Celery, shared_task
from celery.exceptions import Ignore, Reject

app = Celery("old")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_routes={"old.routed": {"queue": "special"}},
    **json.loads(os.environ.get("TEST_CELERY_CONF", "{}")),
)
if os.environ.get("TEST_LINE", "1") == "1":
    from trigger_celery import TriggerCelery, task

    TriggerCelery(app, mask=["iban"])

    @task(id="new")
    def new(payload: dict[str, Any]) -> dict[str, Any]:
        """A run of ours that calls an old task."""
        return {"called": add.delay(1, payload["y"]).id}


@app.task(name="old.add")
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="old.charge")
def charge(customer: str, password: str, *, details: dict[str, Any]) -> dict[str, Any]:
    return {"customer": customer, "token": "t0ken", "iban": details.get("iban")}


@app.task(name="old.flaky", bind=True, max_retries=3)
def flaky(self: Any, times: int, countdown: float) -> int:
    if self.request.retries < times:
        try:
            raise ValueError(f"not yet: {self.request.retries}")
        except ValueError as problem:
            raise self.retry(exc=problem, countdown=countdown) from problem
    return int(self.request.retries)


@app.task(
    name="old.auto", bind=True, autoretry_for=(KeyError,), max_retries=1, default_retry_delay=0
)
def auto(self: Any) -> None:
    raise KeyError("gone")


@app.task(name="old.fail")
def fail(text: str) -> None:
    raise RuntimeError(text)


@app.task(name="old.ignore")
def ignore() -> None:
    raise Ignore


@app.task(name="old.reject")
def reject() -> None:
    raise Reject("no good", requeue=False)


@app.task(name="old.again", bind=True, acks_late=True)
def again(self: Any) -> str:
    if not self.request.delivery_info["redelivered"]:
        raise Reject("once more", requeue=True)
    return "the second time"


@app.task(name="old.replace", bind=True)
def replace(self: Any, x: int) -> None:
    raise self.replace(add.s(x, 100))


@app.task(name="old.nap")
def nap(seconds: float) -> str:
    threading.Event().wait(seconds)
    return "rested"


@app.task(name="old.parent")
def parent(x: int) -> str:
    return str(add.delay(x, x).id)


@app.task(name="old.quiet", record=False)
def quiet() -> None:
    pass


@app.task(name="old.routed")
def routed() -> str:
    return "there"


@app.task(name="old.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="old.odd", serializer="pickle")
def odd(value: Any) -> Any:
    return value


@app.task(name="old.die", acks_late=False)
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="old.limited", time_limit=1)
def limited() -> None:
    threading.Event().wait(60)


@app.task(name="old.softly", soft_time_limit=1)
def softly() -> None:
    threading.Event().wait(60)
