"""The hooks around an attempt: their order, what follows when one fails, and middleware."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.driving import Engine
from tests.worker.attempts import KINDS, ONCE_MORE, Attempts, Ended, Story
from trigger_celery import (
    AbortTaskRunError,
    AttemptOutcome,
    CompleteTaskWithOutput,
    Context,
    Local,
    OutsideRunError,
    StateError,
    TriggerCelery,
    context,
    ctx,
    run_locals,
    runs,
    schema_task,
    task,
    tasks,
    wait,
    wait_until,
)
from trigger_celery.worker.background_loop import BACKGROUND

BOTH = [(kind, hooks) for kind in KINDS for hooks in KINDS]


@pytest.fixture
def attempts(trigger: TriggerCelery, engine: Engine) -> Iterator[Attempts]:
    yield Attempts(engine, trigger)
    BACKGROUND.run(trigger.store.aclose())


@pytest.fixture(params=BOTH, ids=[f"{kind} task, {hooks} hooks" for kind, hooks in BOTH])
def story(request: pytest.FixtureRequest, attempts: Attempts) -> Story:
    """Every pair of an async or sync task and async or sync hooks."""
    return Story(*request.param)


def register(story: Story) -> None:
    for name, hook in story.all_hooks("all: ").items():
        getattr(tasks, name)(name, hook)


# The order


def test_hooks_are_called_in_their_order_around_a_run_that_succeeds(
    story: Story, attempts: Attempts
) -> None:
    register(story)
    story.task("t", {"a": 1}, **story.all_hooks())
    ended = attempts.run("t", {"p": 1})
    assert ended.run.output == {"a": 1}
    assert story.told == [
        "all: middleware >", "middleware >",
        "all: init", "init", "all: on_start", "on_start",
        "all: on_start_attempt", "on_start_attempt", "run",
        "all: on_success", "on_success", "all: on_complete", "on_complete",
        "all: cleanup", "cleanup",
        "< middleware", "< all: middleware",
    ]  # fmt: skip
    given = story.given["on_success"]
    assert (given["payload"], given["output"], given["task"]) == ({"p": 1}, {"a": 1}, "t")
    assert given["ctx"].run.id == ended.run.id
    assert given["signal"].aborted is False
    assert story.given["on_complete"]["result"] == AttemptOutcome(True, {"a": 1})
    assert story.given["middleware"].data == {"a": 1}
    assert "init" not in story.given["on_start_attempt"]


def test_hooks_are_called_in_their_order_around_a_run_that_fails(
    story: Story, attempts: Attempts
) -> None:
    """The task's own catch_error is asked first; what ends a run is told only at its last attempt."""
    register(story)
    story.task("t", ValueError("no"), retry=ONCE_MORE, **story.all_hooks())
    ended = attempts.run("t")
    assert ended.ending is not None
    assert ended.ending.kind == "retry"
    start = [
        "all: middleware >", "middleware >", "all: init", "init", "all: on_start", "on_start",
        "all: on_start_attempt", "on_start_attempt", "run", "catch_error", "all: catch_error",
    ]  # fmt: skip
    end = ["all: cleanup", "cleanup", "< middleware", "< all: middleware"]
    assert story.told == [*start, *end]
    assert story.given["middleware"].ok is False
    story.told.clear()
    ended = attempts.again(ended)
    assert ended.run.status == "FAILED"
    again = [one for one in start if not one.endswith("on_start")]
    told = ["all: on_failure", "on_failure", "all: on_complete", "on_complete"]
    assert story.told == [*again, *told, *end]
    assert str(story.given["on_failure"]["error"]) == "no"
    assert story.given["on_complete"]["result"].error is story.given["on_failure"]["error"]


def test_what_init_returns_is_merged_and_the_tasks_own_counts(
    story: Story, attempts: Attempts
) -> None:
    tasks.init("one", story.hook("init", {"a": 1, "b": 1}, "one"))
    tasks.init("two", story.hook("init", {"b": 2, "c": 2}, "two"))
    story.task("t", init=story.hook("init", {"c": 3}, "own"), on_success=story.hook("on_success"))
    attempts.run("t")
    assert story.given["run"] == story.given["on_success"]["init"] == {"a": 1, "b": 2, "c": 3}


# Hooks that fail


@pytest.mark.parametrize("name", ["init", "on_start", "on_start_attempt"])
def test_a_hook_before_the_run_that_fails_fails_the_attempt(
    story: Story, attempts: Attempts, name: str
) -> None:
    hooks = story.all_hooks(**{name: ValueError("the hook")})
    story.task("t", retry=ONCE_MORE, **hooks)
    ended = attempts.run("t")
    assert "run" not in story.told
    assert "catch_error" in story.told
    assert ended.ending is not None
    assert ended.ending.kind == "retry"
    if name == "on_start":  # not of a later attempt
        return
    ended = attempts.again(ended)
    assert (ended.run.status, ended.run.error and ended.run.error.message) == ("FAILED", "the hook")
    assert {"on_failure", "on_complete", "cleanup"} <= set(story.told)


@pytest.mark.parametrize("name", ["on_success", "on_complete"])
def test_a_hook_after_a_success_that_fails_changes_nothing(
    story: Story, attempts: Attempts, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    story.task("t", 7, **story.all_hooks(**{name: ValueError("the hook")}))
    assert attempts.run("t").run.output == 7
    assert {"on_success", "on_complete", "cleanup"} <= set(story.told)
    assert f"{name} of run" in caplog.text
    assert "the hook" in caplog.text


@pytest.mark.parametrize("name", ["on_failure", "on_complete"])
def test_a_hook_after_a_failure_that_fails_changes_nothing(
    story: Story, attempts: Attempts, name: str
) -> None:
    story.task("t", ValueError("mine"), **story.all_hooks(**{name: ValueError("the hook")}))
    ended = attempts.run("t")
    assert ended.run.error is not None
    assert ended.run.error.message == "mine"
    assert {"on_failure", "on_complete", "cleanup"} <= set(story.told)


def test_cleanup_that_fails_fails_an_attempt_that_had_succeeded(
    story: Story, attempts: Attempts
) -> None:
    hooks = story.all_hooks(cleanup=ValueError("the hook"))
    story.task("t", 7, retry=ONCE_MORE, **hooks)
    ended = attempts.run("t")
    assert ended.ending is not None
    assert ended.ending.kind == "retry"
    assert "catch_error" not in story.told
    ended = attempts.again(ended)
    assert (ended.run.status, ended.run.error and ended.run.error.message) == ("FAILED", "the hook")
    assert "on_failure" not in story.told


def test_cleanup_that_fails_leaves_a_failure_as_it_is(story: Story, attempts: Attempts) -> None:
    story.task("t", ValueError("mine"), **story.all_hooks(cleanup=ValueError("the hook")))
    ended = attempts.run("t")
    assert ended.run.error is not None
    assert ended.run.error.message == "mine"


def test_catch_error_that_fails_crashes_the_run(story: Story, attempts: Attempts) -> None:
    hooks = story.all_hooks(catch_error=ValueError("the hook"))
    story.task("t", KeyError("mine"), retry=ONCE_MORE, **hooks)
    ended = attempts.run("t")
    assert (ended.run.status, ended.code) == ("CRASHED", "HANDLE_ERROR_ERROR")
    assert ended.run.error is not None
    assert "KeyError: 'mine'" in str(ended.run.error.stack_trace)
    assert not {"on_failure", "on_complete"} & set(story.told)
    assert "cleanup" in story.told


@pytest.mark.parametrize("where", ["before", "after"])
def test_middleware_that_fails_fails_the_attempt(
    story: Story, attempts: Attempts, where: str
) -> None:
    """Without catch_error; on_failure is told unless the outcome has been told already."""
    hooks = story.all_hooks()
    hooks["middleware"] = story.middleware("mw", **{where: ValueError("the hook")})
    story.task("t", 7, retry=ONCE_MORE, **hooks)
    ended = attempts.run("t")
    assert ended.ending is not None
    assert ended.ending.kind == "retry"
    assert "catch_error" not in story.told
    assert "on_failure" not in story.told
    assert ("run" in story.told) == ("on_success" in story.told) == (where == "after")
    ended = attempts.again(ended)
    assert (ended.run.status, ended.code) == ("FAILED", "TASK_MIDDLEWARE_ERROR")
    assert ("on_failure" in story.told) == (where == "before")


def test_middleware_that_fails_after_a_failure_leaves_it_as_it_is(
    story: Story, attempts: Attempts
) -> None:
    story.task("t", ValueError("mine"), middleware=story.middleware("mw", after=ValueError("late")))
    ended = attempts.run("t")
    assert ended.run.error is not None
    assert (ended.run.error.message, ended.code) == ("mine", None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["never", "twice"])
def test_middleware_calls_next_once(attempts: Attempts, kind: str, fault: str) -> None:
    times = {"never": 0, "twice": 2}[fault]
    told: list[str] = []

    async def around_async(next: Any) -> None:
        for _ in range(times):
            await next()

    def around(next: Any) -> None:
        for _ in range(times):
            next()

    story = Story(kind, kind)
    story.task(
        "t",
        middleware=around_async if kind == "async" else around,
        on_failure=lambda error: told.append(str(error)),
    )
    ended = attempts.run("t")
    assert (ended.run.status, ended.code) == ("FAILED", "TASK_MIDDLEWARE_ERROR")
    assert ended.run.error is not None
    word = "did not call next()" if fault == "never" else "called next() twice"
    assert word in ended.run.error.message
    assert story.told == ["run"] * min(1, times)
    assert len(told) == (fault == "never")


def test_middleware_may_refuse_a_run(story: Story, attempts: Attempts) -> None:
    story.task(
        "t", retry=ONCE_MORE, middleware=story.middleware("mw", before=AbortTaskRunError("no"))
    )
    ended = attempts.run("t")
    assert (ended.run.status, story.told) == ("FAILED", ["mw >"])


def test_middleware_with_a_time_limit_of_its_own(attempts: Attempts) -> None:
    async def limited(next: Any) -> None:
        async with asyncio.timeout(0.01):
            await next()

    @task(id="t", middleware=limited)
    async def slow() -> None:
        await asyncio.get_running_loop().create_future()

    ended = attempts.run("t")
    assert (ended.run.status, ended.code) == ("FAILED", "TASK_MIDDLEWARE_ERROR")
    assert ended.run.error is not None
    assert ended.run.error.name == "TimeoutError"


# What is not told


def test_no_hook_is_called_for_a_payload_that_does_not_fit(
    story: Story, attempts: Attempts
) -> None:
    def body(payload: int) -> None:
        story.told.append("run")

    schema_task(id="t", schema=int, retry=ONCE_MORE, **story.all_hooks())(body)
    ended = attempts.run("t", "no number")
    assert (ended.run.status, ended.code, story.told) == ("FAILED", "TASK_INPUT_ERROR", [])


def test_only_cleanup_is_called_for_an_output_that_cannot_be_stored(
    story: Story, attempts: Attempts
) -> None:
    story.task("t", object(), retry=ONCE_MORE, **story.all_hooks())
    ended = attempts.run("t")
    assert (ended.run.status, ended.code) == ("FAILED", "TASK_OUTPUT_ERROR")
    after = story.told[story.told.index("run") + 1 :]
    assert after == ["cleanup", "< middleware"]


def test_a_run_that_gives_up_is_not_asked_about(story: Story, attempts: Attempts) -> None:
    story.task("t", AbortTaskRunError("enough"), retry=ONCE_MORE, **story.all_hooks())
    ended = attempts.run("t")
    assert ended.run.status == "FAILED"
    assert "catch_error" not in story.told
    assert "on_failure" in story.told


@pytest.mark.parametrize("how", ["cancelled", "taken over"])
def test_a_run_that_was_taken_away_tells_no_outcome(
    attempts: Attempts, engine: Engine, how: str
) -> None:
    """Though this process does not know of it yet."""
    told: list[str] = []

    @task(
        id="t",
        retry=ONCE_MORE,
        on_success=lambda: told.append("on_success"),
        on_complete=lambda: told.append("on_complete"),
        middleware=lambda payload, ctx, go_on: (go_on(), told.append("middleware")),
    )
    def taken_away(ctx: Context) -> None:
        if how == "cancelled":
            engine.cancel(ctx.run.id)
        else:
            engine.let_lapse()

    ended = attempts.run("t")
    assert ended.ending is None
    assert told == []
    assert ended.run.status == ("CANCELED" if how == "cancelled" else "QUEUED")


@pytest.mark.parametrize("kind", ["DEVELOPMENT", "PRODUCTION"])
def test_retries_can_be_switched_off_in_dev(
    attempts: Attempts, story: Story, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Then `catch_error` is not asked, and every failure is the last."""
    settings = replace(attempts.trigger.settings, retry_in_dev=False)
    monkeypatch.setattr(attempts.trigger, "_settings", settings)
    monkeypatch.setattr("trigger_celery.bridge.precedence.environment_type", lambda _: kind)
    story.task("t", ValueError("no"), retry=ONCE_MORE, **story.all_hooks())
    ended = attempts.run("t")
    assert ended.ending is not None
    if kind == "PRODUCTION":
        assert ended.ending.kind == "retry"
        assert "catch_error" in story.told
    else:
        assert ended.run.status == "FAILED"
        assert "on_failure" in story.told
        assert "catch_error" not in story.told


def test_the_context_knows_when_the_run_began(attempts: Attempts) -> None:
    seen: list[Context] = []

    @task(id="t", retry=ONCE_MORE)
    def fails(ctx: Context) -> None:
        seen.append(ctx)
        raise ValueError("no")

    first = attempts.run("t")
    attempts.again(first)
    assert seen[0].run.started_at == seen[0].attempt.started_at
    started = attempts.engine.read(first.grant.id).started_at
    assert started is not None
    assert seen[1].run.started_at == started < seen[1].attempt.started_at


# catch_error


@pytest.mark.parametrize(
    ("answer", "kind", "detail"),
    [
        (None, "retry", 0),
        ({"skip_retrying": True}, "failed", "FAILED"),
        ({"skip_retrying": True, "retry_delay_in_ms": 5}, "failed", "FAILED"),
        ({"retry_delay_in_ms": 40_000}, "retry", 40_000),
        ({"retry_at": datetime(2020, 1, 1, tzinfo=UTC), "retry_delay_in_ms": 9}, "retry", 0),
        ({"retry": {"max_attempts": 5, "min_timeout_in_ms": 70, "factor": 1, "randomize": False}},
         "retry", 70),
        ({"retry": {"max_attempts": 1}}, "failed", "FAILED"),
        ({"error": KeyError("other")}, "failed", "FAILED"),
    ],
)  # fmt: skip
def test_catch_error_decides_what_follows(
    attempts: Attempts, answer: Any, kind: str, detail: Any
) -> None:
    story = Story("async", "sync")
    story.task(
        "t", ValueError("mine"), retry=ONCE_MORE, catch_error=story.hook("catch_error", answer)
    )
    ended = attempts.run("t")
    assert ended.ending is not None
    assert (ended.ending.kind, ended.ending.detail) == (kind, detail)
    given = story.given["catch_error"]
    assert (str(given["error"]), given["retry_delay_in_ms"]) == ("mine", 0)
    assert given["retry"].max_attempts == 2
    assert abs(given["retry_at"] - datetime.now(UTC)) < timedelta(minutes=1)
    if answer is not None and "error" in answer:
        assert ended.run.error is not None
        assert ended.run.error.name == "KeyError"


def test_catch_error_gives_no_attempts_that_there_are_not(attempts: Attempts) -> None:
    """And on_failure is told of the end."""
    story = Story("sync", "sync")
    answer = {"retry_delay_in_ms": 1}
    hooks = {"on_failure": story.hook("on_failure")}
    story.task("t", ValueError("no"), catch_error=story.hook("catch_error", answer), **hooks)
    ended = attempts.run("t")
    assert ended.run.status == "FAILED"
    assert story.told == ["run", "catch_error", "on_failure"]
    given = story.given["catch_error"]
    assert (given["retry"], given["retry_at"], given["retry_delay_in_ms"]) == (None, None, None)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ({"skip_retying": True}, "Did you mean 'skip_retrying'"),
        ({"retry_delay_in_ms": -1}, "not a number of milliseconds"),
        ({"retry_at": "tomorrow"}, "no datetime"),
        ({"error": "text"}, "no exception"),
        ("again", "may return None or a dict"),
    ],
)
def test_an_answer_of_catch_error_that_means_nothing_crashes_the_run(
    attempts: Attempts, answer: Any, word: str
) -> None:
    story = Story("sync", "sync")
    story.task("t", ValueError("no"), retry=ONCE_MORE, catch_error=story.hook("c", answer))
    ended = attempts.run("t")
    assert (ended.run.status, ended.code) == ("CRASHED", "HANDLE_ERROR_ERROR")
    assert ended.run.error is not None
    assert word in ended.run.error.message


# Completing, background work, locals, ctx


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_completes_with_an_output_from_anywhere(
    attempts: Attempts, kind: str, hooked: bool
) -> None:
    story = Story(kind, kind)
    hooks = {"on_success": story.hook("on_success")} if hooked else {}
    story.task("t", CompleteTaskWithOutput({"early": True}), **hooks)
    ended = attempts.run("t")
    assert (ended.run.status, ended.run.output) == ("COMPLETED", {"early": True})
    if hooked:
        assert story.given["on_success"]["output"] == {"early": True}


def test_a_run_completes_from_a_task_group(attempts: Attempts) -> None:
    async def leave() -> None:
        raise CompleteTaskWithOutput(3)

    @task(id="t")
    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(leave())

    assert attempts.run("t").run.output == 3


def test_a_completion_with_an_output_that_cannot_be_stored_fails(attempts: Attempts) -> None:
    Story("async", "async").task("t", CompleteTaskWithOutput(object()))
    assert attempts.run("t").code == "TASK_OUTPUT_ERROR"


def test_a_completion_in_a_hook_is_an_error_like_any_other(
    story: Story, attempts: Attempts
) -> None:
    story.task("t", 1, on_success=story.hook("on_success", CompleteTaskWithOutput(2)))
    assert attempts.run("t").run.output == 1
    story.task("u", 1, on_start=story.hook("on_start", CompleteTaskWithOutput(2)))
    assert attempts.run("u").run.status == "FAILED"


@pytest.mark.parametrize("ends", ["well", "badly"])
@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_waits_for_its_background_work(
    attempts: Attempts, kind: str, hooked: bool, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    async def later(word: str) -> None:
        await asyncio.sleep(0)
        told.append(word)
        if word == "bad":
            raise ValueError("in the background")

    def begin() -> None:
        wait_until(later("good"))
        wait_until(later("bad"))
        if ends == "badly":
            raise KeyError("the task")

    async def begin_async() -> None:
        begin()

    hooks: dict[str, Any] = {"cleanup": lambda: told.append("cleanup")} if hooked else {}
    task(id="t", **hooks)(begin_async if kind == "async" else begin)
    with caplog.at_level(logging.ERROR):
        ended = attempts.run("t")
    assert ended.run.status == ("COMPLETED" if ends == "well" else "FAILED")
    assert {"good", "bad"} <= set(told)
    assert "in the background" in caplog.text


def test_background_work_that_takes_too_long_is_cancelled(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trigger_celery.worker.grounds.BACKGROUND_BUDGET", 0.01)
    never: concurrent.futures.Future[None] = concurrent.futures.Future()

    @task(id="t")
    def begins() -> int:
        wait_until(never)
        return 1

    assert attempts.run("t").run.output == 1
    assert never.cancelled()
    assert "was not done" in caplog.text


DB: Local[str] = run_locals.create("db")


def test_locals_go_from_middleware_to_the_run_and_its_hooks(
    attempts: Attempts, story: Story
) -> None:
    found: list[Any] = []

    async def around_async(ctx: Context, next: Any) -> None:
        run_locals.set(DB, f"db of {ctx.run.id}")
        await next()

    def around(ctx: Context, next: Any) -> None:
        run_locals.set(DB, f"db of {ctx.run.id}")
        next()

    def body() -> None:
        found.append(run_locals.get_or_throw(DB))
        assert run_locals.get(run_locals.create("db")) == found[0]

    async def body_async() -> None:
        body()

    task(
        id="t",
        middleware=around_async if story.hooks == "async" else around,
        on_success=lambda: found.append(run_locals.get(DB)),
    )(body_async if story.kind == "async" else body)
    ended = attempts.run("t")
    assert found == [f"db of {ended.run.id}"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_locals_do_not_outlive_an_attempt(attempts: Attempts, kind: str) -> None:
    found: list[Any] = []

    def body(payload: int) -> None:
        found.append(run_locals.get(DB))
        run_locals.set(DB, f"of {payload}")

    async def body_async(payload: int) -> None:
        body(payload)

    task(id="t")(body_async if kind == "async" else body)
    attempts.run("t", 1)
    attempts.run("t", 2)
    assert found == [None, None]


def test_locals_of_runs_that_execute_at_once_are_apart(attempts: Attempts) -> None:
    met = asyncio.Barrier(2)

    @task(id="t")
    async def meets(payload: str) -> str:
        run_locals.set(DB, payload)
        await met.wait()
        return run_locals.get_or_throw(DB)

    first, second = attempts.start("t", "a"), attempts.start("t", "b")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ended: list[Ended] = list(pool.map(attempts.execute, (first, second)))
    assert [one.run.output for one in ended] == ["a", "b"]


def test_a_local_that_is_not_set_says_so(attempts: Attempts) -> None:
    assert run_locals.get(DB) is None
    with pytest.raises(StateError, match="'db' is not set outside of a run"):
        run_locals.get_or_throw(DB)
    with pytest.raises(OutsideRunError, match=r"locals.set\('db'"):
        run_locals.set(DB, "x")

    @task(id="t")
    def unset() -> None:
        run_locals.get_or_throw(DB)

    error = attempts.run("t").run.error
    assert error is not None
    assert "'db' is not set in this run" in error.message


def test_the_context_is_there_wherever_a_run_is(attempts: Attempts) -> None:
    assert context.current() is None
    assert not ctx
    with pytest.raises(OutsideRunError, match="there is no run here"):
        _ = ctx.run

    @task(id="t", on_success=lambda output: seen.append((ctx.run.id, output)))
    async def reads() -> Any:
        found = context.current()
        assert found is not None
        assert found.environment.type == "PRODUCTION"
        assert found.queue.id == found.queue.name == "task/t"
        return [ctx.run.id, ctx.attempt.number]

    seen: list[Any] = []
    ended = attempts.run("t")
    assert ended.run.output == [ended.run.id, 1]
    assert seen == [(ended.run.id, [ended.run.id, 1])]


def test_work_outside_of_a_run_cannot_be_waited_for() -> None:
    async def work() -> None: ...

    with pytest.raises(OutsideRunError):
        wait_until(work())
    with pytest.raises(ValueError, match="pass a coroutine"):
        wait_until(work)  # type: ignore[arg-type]


# Replays


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_calls_middleware_and_init_again_and_starts_nothing(
    attempts: Attempts, engine: Engine, kind: str
) -> None:
    story = Story(kind, kind)
    attempts.trigger.configure(wait_hold=0.001)
    token = wait.create_token().sync()

    async def waits_async() -> Any:
        return (await wait.for_token(token.id)).output

    def waits() -> Any:
        return wait.for_token(token.id).sync().output

    task(id="t", **story.all_hooks())(waits_async if kind == "async" else waits)
    ended = attempts.run("t")
    assert (ended.ending, ended.run.status) == (None, "WAITING")
    assert story.told == ["middleware >", "init", "on_start", "on_start_attempt"]
    story.told.clear()
    wait.complete_token(token, "yes").sync()
    ended = attempts.execute(engine.take_one())
    assert ended.run.output == "yes"
    assert story.told == [
        "middleware >", "init", "on_success", "on_complete", "cleanup", "< middleware",
    ]  # fmt: skip


def test_a_wait_in_middleware_does_not_hide_the_start(attempts: Attempts, engine: Engine) -> None:
    attempts.trigger.configure(wait_hold=0.001)
    token = wait.create_token().sync()
    told: list[str] = []

    async def around(next: Any) -> None:
        await wait.for_token(token.id)
        await next()

    @task(id="t", middleware=around, on_start=lambda: told.append("on_start"))
    async def runs_after() -> str:
        return "done"

    assert attempts.run("t").run.status == "WAITING"
    assert told == []
    wait.complete_token(token).sync()
    assert attempts.execute(engine.take_one()).run.output == "done"
    assert told == ["on_start"]


def test_an_attempt_is_in_its_slot_when_its_outcome_is_told(attempts: Attempts) -> None:
    statuses: list[str] = []

    async def look(ctx: Context) -> None:
        statuses.append((await runs.retrieve(ctx.run.id)).status)

    @task(id="t", on_success=look)
    async def gives_up_a_wait() -> None:
        waits = asyncio.ensure_future(wait.for_duration("1h"))
        await asyncio.wait([waits], timeout=0.05)
        waits.cancel()

    assert attempts.run("t").run.status == "COMPLETED"
    assert statuses == ["EXECUTING"]
