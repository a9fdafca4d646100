"""The producer of the table: what each row calls, and what Celery shows of it.

`python -m tests.compatibility.table_program` prints one JSON object: by row what was observed, and the
ids of tasks to look up. All rows send first, then each looks at what became of it.
"""

from __future__ import annotations

import json
import os
import re
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ["TEST_ROLE"] = "producer"

from celery import chain, chord, group, signature
from kombu import Connection

from tests.compatibility import table_app as project
from tests.compatibility.table_app import app, told, until

Seen = tuple[Any, dict[str, str]]
Row = Iterator[Seen | None]

ROWS: dict[str, Callable[[], Row]] = {}
FOLDER = Path(os.environ["TEST_LEDGER"]).parent
TIMEOUT = 60.0


def row(made: Callable[[], Row]) -> Callable[[], Row]:
    ROWS[made.__name__] = made
    return made


def result(one: Any) -> dict[str, Any]:
    """What an AsyncResult shows once its task has ended."""
    value = one.get(timeout=TIMEOUT, propagate=False)
    is_error = isinstance(value, BaseException)
    return {
        "type": f"{type(one).__module__}.{type(one).__qualname__}",
        "backend": type(one.backend).__qualname__,
        "id": one.id,
        "state": one.state,
        "value": re.sub(r"Job: \d+", "Job", repr(value)) if is_error else value,
        "traceback": one.traceback,
        "flags": [one.ready(), one.successful(), one.failed()],
        "name": one.name,
        "retries": one.retries,
        "queue": one.queue,
    }


def sent_again(task_id: str) -> str:
    """Replay what was recorded, and return the task id that it has then; without the line nothing."""
    if os.environ.get("TEST_LINE") != "1":
        return ""
    from trigger_celery import runs

    return str(runs.retrieve(runs.replay(task_id).sync()).sync().celery_task_id)


def stored(task_id: str) -> Any:
    """What the result backend has stored of a task, but for the time."""
    raw = app.backend.get(app.backend.get_key_for_task(task_id))
    if raw is None:
        return None
    found = json.loads(raw)
    found.pop("date_done", None)
    return found


def message(queue: str) -> dict[str, Any]:
    """Take the message of a queue that nobody serves: all of it, but for times and the process."""
    with app.connection_for_read() as connection:
        found = connection.default_channel.basic_get(queue, no_ack=True)
    headers = {**found.headers, "origin": bool(found.headers["origin"])}
    for name in ("eta", "expires"):
        headers[name] = bool(headers[name])
    return {
        "headers": headers,
        "properties": found.properties,
        "delivery": found.delivery_info,
        "type": [found.content_type, found.content_encoding],
        "body": bytes(found.body).hex(),
    }


def ended(task_id: str, times: int = 1) -> None:
    """Wait for the end of an execution whose result nobody stores."""
    until(lambda: len(told(task_id, "signal task_postrun")) >= times, f"{task_id} has ended")


def begun(task_id: str) -> float:
    return float(told(task_id, "signal task_prerun")[0]["at"])


# The rows


@row
def kinds_of_tasks() -> Row:
    plain, by_name = project.add.delay(1, 2), project.shout.delay("hey")
    bound = project.describe.delay(1, x=2)
    based = project.watched.delay("well")
    yield None
    yield (
        {
            "results": [result(one) for one in (plain, by_name, bound, based)],
            "same objects": [
                app.tasks["table.add"] == project.add,
                app.tasks["table.shout"].run("a"),
                isinstance(project.watched, project.Watched),
                project.add(1, y=5),
            ],
            "classes": [
                [cls.__qualname__ for cls in type(app.tasks[name]).__mro__]
                for name in ("table.add", "table.shout", "table.watched", "celery.chord")
            ],
            "attributes": sorted(vars(project.add)),
            "app": [type(app).__qualname__, app.Task.__qualname__, sorted(app.tasks)],
        },
        {"add": plain.id, "shout": by_name.id, "describe": bound.id, "watched": based.id},
    )


@row
def calls() -> Row:
    made = {
        "delay": project.add.delay(1, y=2),
        "apply_async": project.add.apply_async(
            (1,), {"y": 3}, task_id=f"mine-{os.urandom(4).hex()}"
        ),
        "send_task": app.send_task("table.add", [1], {"y": 4}),
        "s": project.add.s(1).delay(5),
        "si": project.add.si(1, 6).apply_async(),
        "signature": signature("table.add", args=(1, 7), app=app).delay(),
    }
    project.add.apply_async(
        (1,), {"y": 2}, queue="unserved-calls", headers={"tenant": "acme"}, priority=3, shadow="sum"
    )
    app.send_task("table.elsewhere", ("x",), queue="unserved-names")
    yield None
    yield (
        {
            "results": [{**result(one), "id": one.id == one.task_id} for one in made.values()],
            "messages": [message("unserved-calls"), message("unserved-names")],
        },
        {name: one.id for name, one in made.items()},
    )


@row
def retries() -> Row:
    flaky, gives_up = project.flaky.delay(2, 0.2), project.flaky.delay(9, 0)
    auto, jittery = project.auto.delay(), project.jittery.delay()
    yield None
    made = [flaky, gives_up, auto, jittery]
    yield (
        {
            "results": [result(one) for one in made],
            "times begun": [len(told(one.id, "signal task_prerun")) for one in made],
        },
        {"flaky": flaky.id, "gives up": gives_up.id, "auto": auto.id, "jittery": jittery.id},
    )


@row
def times() -> Row:
    sent = datetime.now(UTC)
    countdown = project.add.apply_async((1, 1), countdown=0.4)
    eta = project.add.apply_async((1, 2), eta=sent + timedelta(seconds=0.4))
    in_time = project.add.apply_async((1, 3), expires=600)
    late = project.add.apply_async((1, 4), expires=-5)
    far = project.add.apply_async((1, 5), countdown=7200, expires=9000, queue="unserved-times")
    yield None
    due = (sent + timedelta(seconds=0.35)).timestamp()
    until(lambda: stored(late.id), "it has expired")
    yield (
        {
            "results": [result(one) for one in (countdown, eta, in_time)],
            "late": [late.state, stored(late.id), told(late.id, "signal task_prerun")],
            "not too early": [begun(countdown.id) >= due, begun(eta.id) >= due],
            "message": message("unserved-times"),
        },
        {"countdown": countdown.id, "eta": eta.id, "late": late.id, "far": far.id},
    )


@row
def rate_limit() -> Row:
    first, second = project.limited.delay(), project.limited.delay()
    yield None

    both = (first, second)
    done = until(lambda: [one for one in both if one.ready()], "one is executed")
    until(lambda: all(told(one.id, "signal task_received") for one in both), "both are received")
    project.add.delay(0).get(timeout=TIMEOUT)  # what came later is not held back
    waits = second if done == [first] else first
    yield (
        {
            "executed": [result(one)["value"] for one in done],
            "held back": [waits.state, told(waits.id, "signal task_prerun")],
        },
        {"executed": done[0].id, "held back": waits.id},
    )


@row
def canvas() -> Row:
    add, heard, total = project.add, project.heard, project.total
    chained = chain(add.s(1, 2), add.s(10), add.si(5, 5))()
    grouped = group(add.s(number, 1) for number in range(3))()
    ended_in = chord([add.s(1, 1), add.s(2, 2)])(total.s())
    mapped, starred = total.map([[1, 2], [3]]).delay(), add.starmap([(1, 2), (3, 4)]).delay()
    chunked = add.chunks([(1, 1), (2, 2), (3, 3)], 2).delay()
    linked = add.apply_async((1, 2), link=heard.s("after"))
    failed = project.fail.apply_async(("bad",), link_error=heard.s())
    swapped = chain(project.swap.s(1), add.s(1000))()
    # A chord whose header has no results.
    flagged = chord([add.si(3, 4).set(ignore_result=True) for _ in range(2)])(total.s())
    yield None
    until(lambda: told(linked.id, "heard"), "the callback was called")
    result(failed)
    until(lambda: told(failed.id, "heard"), "the errback was called")
    header = [one.id for one in flagged.parent.results]
    for one in header:
        ended(one)
    yield (
        {
            "chain": [result(one) for one in (chained, chained.parent, chained.parent.parent)],
            "group": [type(grouped).__qualname__, grouped.get(timeout=TIMEOUT), len(grouped)],
            "chord": [result(ended_in), ended_in.parent.get(timeout=TIMEOUT)],
            "lists": [result(mapped), result(starred), chunked.get(timeout=TIMEOUT)],
            "callbacks": [told(one.id, "heard")[0]["args"] for one in (linked, failed)],
            "replaced": result(swapped),
            "flagged": [stored(one) for one in header],
        },
        {
            "chain": chained.id,
            "chain 2": chained.parent.id,
            "chain 1": chained.parent.parent.id,
            "group": grouped.results[0].id,
            "chord": ended_in.id,
            "map": mapped.id,
            "linked": linked.id,
            "failed": failed.id,
            "swapped": swapped.parent.id,
            "flagged": header[0],
        },
    )


@row
def beat() -> Row:
    yield None

    def often() -> list[dict[str, Any]]:
        return [one for one in told("beat") if one["args"]]  # others may be due by chance

    ticks = until(lambda: found if len(found := often()) >= 2 else None, "beat has sent")
    yield (
        {
            "sent": [one["args"] for one in ticks[:2]],
            "entries": {name: repr(entry) for name, entry in app.conf.beat_schedule.items()},
        },
        {"tick": ticks[0]["task"]},
    )


@row
def routing() -> Row:
    by_route, by_queue = (
        project.describe.s().apply_async(),
        project.describe.apply_async(queue="mail"),
    )
    routed = app.send_task("table.routed", queue=None)
    by_exchange = project.describe.apply_async(exchange="post", routing_key="letters", priority=6)
    with app.connection_for_write() as connection:
        app.amqp.queues["unserved"].bind(connection.default_channel).declare()
    project.describe.apply_async(exchange="unserved", routing_key="unserved", priority=9)
    yield None
    yield (
        {
            "results": [result(one)["value"] for one in (by_route, by_queue, by_exchange)],
            "routed": result(routed),
            "message": message("unserved"),
        },
        {
            "default": by_route.id,
            "queue": by_queue.id,
            "exchange": by_exchange.id,
            "route": routed.id,
        },
    )


@row
def time_limits() -> Row:
    soft, hard = project.soft.delay(), project.hard.delay()
    yield None
    yield {"results": [result(one) for one in (soft, hard)]}, {"soft": soft.id, "hard": hard.id}


@row
def acknowledgements() -> Row:
    died = project.die.apply_async(queue="doomed")
    died_once = project.die_once.apply_async(queue="doomed")
    back, thrown = project.reject.delay(True), project.reject.delay(False)
    ignored, unacked = project.ignore.delay(), project.unacked.delay()
    yield None
    for one in (thrown, ignored):
        ended(one.id)
    every = (died, died_once, back, unacked)
    yield (
        {
            "results": [{**result(one), "traceback": None} for one in every],
            "without a result": [[one.state, stored(one.id)] for one in (thrown, ignored)],
            "times begun": [
                len(told(one.id, "begun")) for one in (*every, thrown, ignored)
            ],
        },
        {
            "died": died.id, "died once": died_once.id, "back": back.id,
            "thrown": thrown.id, "ignored": ignored.id, "unacked": unacked.id,
        },
    )  # fmt: skip


@row
def results() -> Row:
    gate = FOLDER / "gate"
    silent, said = project.silent.delay(), project.progress.delay(str(gate))
    family = project.parent.delay(4)
    chained = chain(project.add.s(1, 1), project.add.s(2))()
    yield None
    ended(silent.id)
    until(lambda: said.state == "PROGRESS", "it says how far it is")
    on_the_way = [said.info, stored(said.id)]
    gate.touch()
    again = app.AsyncResult(said.id)
    yield (
        {
            "silent": [silent.state, silent.result, stored(silent.id)],
            "on the way": on_the_way,
            "in the end": [result(said), result(again), stored(said.id)],
            "children": [result(family), [child.get(timeout=TIMEOUT) for child in family.children]],
            "parent": [result(chained)["value"], chained.parent.id, chained.parent.result],
            "forgotten": [chained.forget(), chained.state],
        },
        {
            "silent": silent.id, "progress": said.id, "parent": family.id,
            "child": family.children[0].id,
        },
    )  # fmt: skip


@row
def signals_and_serializers() -> Row:
    well, tried, bad = (project.watched.delay(ends) for ends in ("well", "retry", "fail"))
    values = {
        "json": [1],
        "yaml": [1, None],
        "msgpack": [1, "é"],
        "pickle": [{7}, project.Odd("x")],
    }
    echoed = {
        kind: project.shape.apply_async((value,), serializer=kind, headers={"tenant": "acme"})
        for kind, value in values.items()
    }
    for kind, value in values.items():
        project.shape.apply_async((value,), serializer=kind, queue=f"unserved-{kind}")
    app.conf.task_always_eager = True
    eager = project.watched.delay("well")
    app.conf.task_always_eager = False
    yield None
    for one, executions in ((well, 1), (tried, 2), (bad, 1)):
        ended(one.id, executions)
    until(lambda: told(bad.id, "after_return"), "its hooks were called")

    def told_by(task_id: str, role: str) -> list[str]:
        found = [one for one in told(task_id) if one.get("role", "worker") == role]
        # Two processes are in no step: when a message is received says nothing of the rest.
        return [one["event"] for one in found if one["event"] != "signal task_received"]

    yield (
        {
            "results": [result(one) for one in (well, tried, bad)],
            "by the producer": [told_by(one.id, "producer") for one in (well, tried, bad, eager)],
            "by the worker": [told_by(one.id, "worker") for one in (well, bad, eager)],
            # Its two executions may be in two processes.
            "by two": sorted(told_by(tried.id, "worker")),
            "received": [len(told(one.id, "signal task_received")) for one in (well, tried, bad)],
            "eager": [type(eager).__qualname__, eager.state, eager.result],
            "shapes": [result(one) for one in echoed.values()],
            "messages": [message(f"unserved-{kind}") for kind in values],
        },
        {"well": well.id, "tried": tried.id, "bad": bad.id, "eager": eager.id}
        | {kind: one.id for kind, one in echoed.items()}
        | {f"{kind} again": sent_again(one.id) for kind, one in echoed.items()},
    )


@row
def pools_and_brokers() -> Row:
    elsewhere = Connection("filesystem://", transport_options=json.loads(os.environ["TEST_FILES"]))
    made = {
        pool: [
            task.apply_async(
                args, queue=pool, **({"connection": elsewhere} if pool == "solo" else {})
            )
            for task, args in (
                (project.describe, (1,)),
                (project.fail, ("no",)),
                (project.auto, ()),
            )
        ]
        for pool in ("threads", "gevent", "solo")
    }
    yield None
    yield (
        {pool: [result(one) for one in sent] for pool, sent in made.items()},
        {
            f"{pool} {what}": one.id
            for pool, sent in made.items()
            for what, one in zip(("describe", "fail", "auto"), sent, strict=True)
        },
    )


EVENTS: list[dict[str, Any]] = []


@row
def events() -> Row:
    made = [project.add.delay(1, 2), project.fail.delay("for all to see"), project.jittery.delay()]
    lasts = (("task-succeeded", 1), ("task-failed", 1), ("task-succeeded", 2))
    yield None

    def of(one: Any) -> list[dict[str, Any]]:
        return [event for event in EVENTS if event.get("uuid") == one.id]

    def number(one: Any, kind: str) -> int:
        return sum(event["type"] == kind for event in of(one))

    for one, (last, sent) in zip(made, lasts, strict=True):
        until(lambda one=one, last=last: number(one, last), f"{last} is sent")
        until(lambda one=one, sent=sent: number(one, "task-sent") == sent, "task-sent is sent")
    counted = [sorted(Counter(event["type"] for event in of(one)).items()) for one in made]
    steady = ("name", "args", "kwargs", "queue", "routing_key", "result", "exception", "retries")
    shown = [
        sorted(
            json.dumps([event["type"], sorted(event), [event.get(name) for name in steady]])
            for event in of(one)
        )
        for one in made
    ]
    yield {"counts": counted, "fields": shown}, {"add": made[0].id, "jittery": made[2].id}


def listen(ready: threading.Event) -> None:
    """Collect events, as Flower and exporters do."""
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": EVENTS.append})
        with receiver.consumer_context(wakeup=False) as (open_connection, _, _):
            while True:
                with suppress(TimeoutError):
                    open_connection.drain_events(timeout=0.2)
                ready.set()  # it subscribes with its first look


def main() -> None:
    ready = threading.Event()
    threading.Thread(target=listen, args=(ready,), daemon=True).start()
    ready.wait(TIMEOUT)
    told_of: dict[str, Any] = {}
    under_way: dict[str, Row] = {}
    for step in (1, 2):
        for name in ROWS:
            try:
                if step == 1:
                    under_way[name] = ROWS[name]()
                    next(under_way[name])
                elif name in under_way and name not in told_of:
                    seen = next(under_way[name])
                    assert seen is not None
                    told_of[name] = {"shows": seen[0], "ids": seen[1]}
            except Exception:
                told_of[name] = {"error": traceback.format_exc()}
    print(json.dumps(told_of), flush=True)


if __name__ == "__main__":
    main()
