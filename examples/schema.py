"""Checked payloads: a pydantic model says what a task takes; what does not fit is refused at once.

A caller that does not import the task triggers it by id: then the worker checks, and the run fails
without a retry.

Output:
    Order #4711: 2 x tea for ada@example.org
    refused before anything was stored:
    - quantity: Input should be greater than 0
    FAILED after 1 attempt: PayloadValidationError
"""

from celery import Celery
from pydantic import BaseModel, PositiveInt

from trigger_celery import PayloadValidationError, TriggerCelery, runs, schema_task, tasks

app = Celery("schema")
TriggerCelery(app)


class Order(BaseModel):
    """What the task takes."""

    id: int
    item: str
    quantity: PositiveInt = 1
    email: str


@schema_task(id="confirm-order", schema=Order, retry={"max_attempts": 5})
async def confirm_order(order: Order) -> str:
    return f"Order #{order.id}: {order.quantity} x {order.item} for {order.email}"


if __name__ == "__main__":
    from playground import playground

    tea = {"id": 4711, "item": "tea", "quantity": 2, "email": "ada@example.org"}
    with playground(__file__, quiet=True):
        handle = confirm_order.trigger(Order(**tea)).sync()
        print(runs.poll(handle, timeout=60).sync().output)

        try:
            confirm_order.trigger({**tea, "quantity": 0})
        except PayloadValidationError as problem:
            print("refused before anything was stored:")
            print(str(problem).splitlines()[1].strip())

        run = runs.poll(tasks.trigger("confirm-order", {"id": "?"}).sync(), timeout=60).sync()
        print(f"{run.status} after {run.attempt_count} attempt: {run.error.name}")
