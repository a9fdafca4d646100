r"""A shop's Celery tasks as they were, beside new ones: recorded, taken over, and all in one canvas.

`label` and `fulfil` are plain Celery tasks. With the line `TriggerCelery(app)` each of their calls can be
seen as a run. `charge` is taken over: its code and its calls stay, but the calls wait in a run queue that has
a limit, and `self.retry` makes attempts of one run. `invoice` is a new `@task`. Celery's own canvas takes
them all: a chord, and a chain that goes on with its body.

Output:
    the canvas returned: order 4711: 24 EUR, paid at try 2
    shop.label    recorded    COMPLETED  attempts: 1
    shop.fulfil   recorded    COMPLETED  attempts: 1
    bank.charge   taken over  COMPLETED  attempts: 2  after ConnectionError: the bank is busy
    invoice       a @task     COMPLETED  attempts: 1
    bank.refund   taken over  DELAYED    a day, in the store and not in a worker
    bank.refund   taken over  CANCELED
"""

import os
import time

from celery import Celery, chain, chord

from trigger_celery import Run, TriggerCelery, runs, task

app = Celery("take_over")
TriggerCelery(app, manage={"bank.*": {"queue": {"concurrency_limit": 2}}})


@app.task(name="shop.label")
def label(sku: str) -> int:
    return len(sku) * 2


@app.task(name="shop.fulfil")
def fulfil(costs: list[int], order: int) -> dict:
    return {"order": order, "total": sum(costs)}


@app.task(name="bank.charge", bind=True, max_retries=3)
def charge(self, bill: dict) -> dict:
    if not self.request.retries:
        raise self.retry(exc=ConnectionError("the bank is busy"), countdown=0.2)
    return bill | {"tries": self.request.retries + 1}


@app.task(name="bank.refund")
def refund(order: int) -> None: ...


@task(id="invoice")
async def invoice(paid: dict) -> str:
    return f"order {paid['order']}: {paid['total']} EUR, paid at try {paid['tries']}"


def ended(name: str) -> Run:
    """Return a run of the task. What is recorded arrives a moment after it happened."""
    while not (found := runs.list(task=name, status="COMPLETED", limit=1).sync().runs):
        time.sleep(0.05)
    return runs.retrieve(found[0]).sync()


def show(run: Run, kind: str, text: str = "") -> None:
    count = f"attempts: {run.attempt_count}  " if run.attempt_count else ""
    print(f"{run.task_identifier:<12}  {kind:<10}  {run.status:<9}  {count}{text}".rstrip())


if __name__ == "__main__":
    from playground import playground

    with playground(__file__, worker=False) as start_worker:
        # Chords count in the result backend, as always. The server has room for it, and for the broker.
        url = os.environ.setdefault("CELERY_BROKER_URL", os.environ["TRIGGER_REDIS_URL"])
        os.environ["CELERY_RESULT_BACKEND"] = url
        start_worker()
        labels = [label.s(sku) for sku in ("cup", "plate", "fork")]
        result = chain(chord(labels, fulfil.s(4711)), charge.s(), invoice.s())()
        print(f"the canvas returned: {result.get(timeout=60)}")

        show(ended("shop.label"), "recorded")
        show(ended("shop.fulfil"), "recorded")
        charged = ended("bank.charge")
        error = charged.attempts[0].error
        show(charged, "taken over", f"after {error.name}: {error.message}")
        show(ended("invoice"), "a @task")

        later = refund.apply_async((4711,), countdown=24 * 60 * 60)
        waiting = runs.retrieve(later.id).sync()
        show(waiting, "taken over", "a day, in the store and not in a worker")
        later.revoke()
        show(runs.retrieve(later.id).sync(), "taken over")
