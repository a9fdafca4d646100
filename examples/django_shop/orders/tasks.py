"""What happens to an order once it is in the database. Workers import this module by themselves."""

from importlib.util import find_spec

from orders.models import Order
from trigger_celery import metadata, queue, task

if find_spec("django.tasks"):
    from django.tasks import task as django_task
else:
    from django_tasks import task as django_task

carrier = queue(name="carrier", concurrency_limit=2)


@task(id="buy-label", queue=carrier)
def buy_label(payload: dict) -> str:
    """Sync code uses the ORM as a view does."""
    order = Order.objects.get(pk=payload["order"])
    return f"label for {order.customer}"


@task(id="fulfil-order", retry={"max_attempts": 3})
async def fulfil_order(payload: dict) -> dict:
    """Async code uses the ORM's async methods; no connection is held while it waits."""
    metadata.set("progress", "buying a label")
    label = await buy_label.trigger_and_wait(payload).unwrap()
    metadata.set("progress", "label bought")
    order = await Order.objects.aget(pk=payload["order"])
    order.status = "fulfilled"
    await order.asave()
    return {"label": label}


@django_task(queue_name="mail")
def send_receipt(order: int) -> str:
    """A task of Django's own kind: the same worker executes it."""
    return f"receipt for {Order.objects.get(pk=order).customer}"
