"""Tasks that tell what is around them."""

from __future__ import annotations

import os
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from orders.models import Order

from tests.contrib.package import task as django_task
from tests.contrib.package import task_finished, task_started
from trigger_celery import task, wait
from trigger_celery.contrib.django import trigger_on_commit


def note(sender, task_result, signal, **_) -> None:
    with Path(os.environ["PROBE_LEDGER"]).open("a") as ledger:
        word = "started" if signal is task_started else "finished"
        errors = len(task_result.errors)
        ledger.write(
            f"{word} {task_result.id} {task_result.status} {task_result.attempts} {errors}\n"
        )


task_started.connect(note)
task_finished.connect(note)


def is_closed() -> bool:
    return connection.connection is None


@task(id="sync-probe")
def sync_probe(payload):
    closed = is_closed()
    Order.objects.count()
    return closed


@task(id="async-probe")
async def async_probe(payload):
    closed = await sync_to_async(is_closed)()
    await Order.objects.acount()
    return closed


@task(id="around-a-wait")
async def around_a_wait(payload):
    before = await Order.objects.acount()
    await wait.for_token(payload)
    return before == await Order.objects.acount()


@task(id="child")
def child(payload):
    return Order.objects.filter(pk=payload).count()


@task(id="commits")
def commits(payload, ctx):
    with transaction.atomic():
        order, is_first = Order.objects.get_or_create(customer=ctx.run.id)
        one = trigger_on_commit(child, order.pk)
        many = trigger_on_commit(child.batch_trigger([{"payload": order.pk}]))
    wait.for_duration(1.5).sync()  # longer than its memory is kept
    return {"is_first": is_first, "children": sorted([one.id, many.runs[0].id])}


async def on_cancel(ctx):
    await Order.objects.acreate(customer=f"cancelled {ctx.run.id}")


@task(id="cancelled", on_cancel=on_cancel)
async def cancelled(payload, signal):
    await wait.for_duration(0.1)
    await Order.objects.acreate(customer=f"began {payload}")
    await signal.wait()


@django_task
def fails(word: str) -> None:
    raise LookupError(word)


@django_task(takes_context=True)
def tells_context(context, one: int) -> list:
    result = context.task_result
    return [one, context.attempt, result.id, len(result.worker_ids), result.task.priority]


@django_task
async def counts(one: int) -> int:
    return one + 0 * await Order.objects.acount()
