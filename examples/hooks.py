"""Hooks: a database for every run, an alert when one fails for good, and a say in retries.

Output:
    import   connected
    import   fetched 3 rows
    import   closed
    flaky    connected
    flaky    closed
    flaky    connected
    flaky    succeeded in attempt 2
    flaky    closed
    doomed   connected
    doomed   alert: no such customer
    doomed   closed
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from celery import Celery

from trigger_celery import (
    AttemptOutcome,
    CatchErrorResult,
    Context,
    Local,
    TriggerCelery,
    ctx,
    run_locals,
    runs,
    task,
    tasks,
)

app = Celery("hooks")
TriggerCelery(app)


# The worker is another process: both write down what happens in one file.
DIARY = Path(os.environ.setdefault("DIARY", str(Path(mkdtemp()) / "diary")))


def say(text: str) -> None:
    with DIARY.open("a") as diary:
        print(f"{ctx.task.id:8} {text}", file=diary)


@dataclass
class Database:
    """What a driver's connection would be."""

    rows: int = 3


DB: Local[Database] = run_locals.create("db")


@tasks.middleware
async def with_database(
    next: Callable[[], Awaitable[AttemptOutcome]],  # noqa: A002 - the name says what it asks for
) -> None:
    run_locals.set(DB, Database())
    say("connected")
    try:
        await next()
    finally:
        say("closed")


@tasks.on_failure
def alert(error: Exception) -> None:
    say(f"alert: {error}")


def when_unknown(error: Exception) -> CatchErrorResult | None:
    return {"skip_retrying": True} if isinstance(error, LookupError) else None


def note_success(ctx: Context) -> None:
    say(f"succeeded in attempt {ctx.attempt.number}")


POLICY = {"max_attempts": 3, "min_timeout_in_ms": 50}


@task(id="import")
async def import_rows() -> None:
    say(f"fetched {run_locals.get_or_throw(DB).rows} rows")


@task(id="flaky", retry=POLICY, on_success=note_success)
def flaky(payload: None, ctx: Context) -> None:
    if ctx.attempt.number < 2:
        raise ConnectionError("try again")


@task(id="doomed", retry=POLICY, catch_error=when_unknown)
def doomed() -> None:
    raise LookupError("no such customer")


if __name__ == "__main__":
    from playground import playground

    with playground(__file__, quiet=True):
        for name in ("import", "flaky", "doomed"):
            runs.poll(tasks.trigger(name).sync()).sync()
    print(DIARY.read_text())
