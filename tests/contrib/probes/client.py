"""The browser's side of the tests: a process with Django that prints what it saw, as JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from orders.models import Order  # noqa: E402
from orders.tasks import send_receipt  # noqa: E402

from tests.contrib.package import task_backends  # noqa: E402
from tests.contrib.probes import tasks as probes  # noqa: E402
from tests.waiting import wait_until  # noqa: E402
from trigger_celery import Run, RunNotFoundError, runs, tasks, wait  # noqa: E402
from trigger_celery.contrib.django import trigger_on_commit  # noqa: E402

LONG = 40.0


def end_of(run: str) -> Run:
    return runs.poll(run, timeout=LONG).sync()


def output_of(task: Any, payload: Any = None) -> Any:
    run = end_of(task.trigger(payload).sync().id)
    return run.output if run.is_success else f"{run.status}: {run.error}"


def cut_connections() -> None:
    """End the server's side of every connection but this process's, if there is a server."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where pid <> pg_backend_pid() and datname = current_database()"
            )


def the_shop() -> dict[str, Any]:
    browser = Client()
    placed = browser.post("/orders/", {"customer": "ann"})
    answer = placed.json()
    end_of(answer["run"])
    receipt = browser.post(f"/receipts/{answer['order']}/").json()["run"]
    end_of(receipt)
    return {
        "status": placed.status_code,
        "progress": browser.get(f"/orders/{answer['order']}/").json(),
        "receipt": browser.get(f"/runs/{receipt}/").json(),
        "unknown": browser.get("/runs/run_nothing/").status_code,
        "tags": runs.retrieve(answer["run"]).sync().tags == (f"order:{answer['order']}",),
    }


def connections() -> dict[str, Any]:
    found: dict[str, Any] = {
        "sync": [output_of(probes.sync_probe) for _ in range(2)],
        "async": [output_of(probes.async_probe) for _ in range(2)],
    }
    cut_connections()
    found["after a cut"] = [
        isinstance(output_of(task), bool) for task in (probes.sync_probe, probes.async_probe)
    ]
    token = wait.create_token(timeout="5m").sync()
    waiting = probes.around_a_wait.trigger(token.id).sync()
    wait_until(lambda: runs.retrieve(waiting).sync().is_waiting, "it waits", timeout=LONG)
    cut_connections()
    wait.complete_token(token, {}).sync()
    found["cut in a wait"] = end_of(waiting.id).output
    return found


def replays() -> dict[str, Any]:
    seen = output_of(probes.commits)
    children = sorted(run.id for run in runs.list(task="child").sync().runs)
    return {
        "is_first": seen["is_first"],
        "children": children == seen["children"],
        "outputs": [end_of(child).output for child in children],
    }


def commits() -> dict[str, Any]:
    """Trigger a batch in a transaction, and another one in a part of it that is rolled back."""
    with transaction.atomic():
        order = Order.objects.create(customer="many")
        kept = trigger_on_commit(probes.child.batch_trigger([{"payload": order.pk}] * 2))
        with suppress(LookupError), transaction.atomic():
            undone = trigger_on_commit(tasks.batch_trigger("child", [{"payload": order.pk}]))
            raise LookupError
        early = is_there(kept.runs[0].id)
    return {
        "early": early,
        "outputs": [end_of(run.id).output for run in kept.runs],
        "undone": is_there(undone.runs[0].id),
    }


def is_there(run: str) -> bool:
    try:
        runs.retrieve(run).sync()
    except RunNotFoundError:
        return False
    return True


def cancels() -> dict[str, Any]:
    handle = probes.cancelled.trigger("x").sync()
    wait_until(lambda: Order.objects.filter(customer="began x").exists(), "began", timeout=LONG)
    runs.cancel(handle).sync()
    told = Order.objects.filter(customer=f"cancelled {handle.id}")
    return {"told": wait_until(told.count, "the hook was called", timeout=LONG)}


def shown(result: Any) -> dict[str, Any]:
    run = end_of(result.id)
    result.refresh()
    return {
        "status": str(result.status),
        "output": result._return_value,
        "attempts": result.attempts,
        "workers": sorted(set(result.worker_ids)),
        "errors": [error.exception_class_path for error in result.errors],
        "traced": all("LookupError: no" in error.traceback for error in result.errors),
        "in order": bool(
            result.enqueued_at
            <= result.started_at
            <= result.last_attempted_at
            <= result.finished_at
            == run.finished_at
        ),
        "retried": result.last_attempted_at > result.started_at,
        "filled": sorted(name for name, one in asdict_of(result).items() if one is not None),
        "id": result.id,
    }


def asdict_of(result: Any) -> dict[str, Any]:
    names = ("enqueued_at", "started_at", "finished_at", "last_attempted_at")
    return {name: getattr(result, name) for name in names}


def django_tasks() -> dict[str, Any]:
    return {
        "receipt": shown(send_receipt.enqueue(1)),
        "fails": shown(probes.fails.enqueue("no")),
        "context": shown(probes.tells_context.using(priority=-7).enqueue(5)),
        "async": shown(probes.counts.enqueue(6)),
        "backend": type(task_backends["default"]).__module__,
    }


if __name__ == "__main__":
    call_command("check")
    call_command("migrate", verbosity=0)
    told = (the_shop, connections, replays, commits, cancels, django_tasks)
    seen = {one.__name__: one() for one in told}
    print()  # what Django said stands above
    print(json.dumps(seen))
