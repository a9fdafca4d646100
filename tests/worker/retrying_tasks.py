"""Tasks that try parts of themselves again, for `tests/worker/waits/test_retried_parts.py`."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

from tests.worker.app_tasks import QUICK, note
from trigger_celery import AbortTaskRunError, logger, retry, step, task, tasks, wait

SOON = {"min_timeout_in_ms": 20, "factor": 1, "randomize": False}


class Wobbly:
    """Fails until its try number *good*; notes every call."""

    def __init__(self, payload: dict[str, Any], name: str = "try") -> None:
        self.good = payload["good"]
        self.error = {"value": ValueError, "abort": AbortTaskRunError}[
            payload.get("error", "value")
        ]
        self.name = name

    def __call__(self, attempt: int, max_attempts: int) -> str:
        note(self.name, attempt_in=attempt, most=max_attempts)
        if attempt < self.good:
            raise self.error(f"try {attempt} failed")
        return f"try {attempt}"


@task(id="on-throw")
async def on_throw(payload: dict[str, Any]) -> Any:
    try:
        return await retry.on_throw(Wobbly(payload), **{**SOON, **payload.get("options", {})})
    except ValueError as problem:
        return f"raised {problem}"


@task(id="on-throw-sync")
def on_throw_sync(payload: dict[str, Any]) -> Any:
    wobbly = Wobbly(payload)
    try:
        return retry.on_throw(wobbly, **{**SOON, **payload.get("options", {})}).sync()
    except ValueError as problem:
        return f"raised {problem}"


@task(id="on-throw-side-by-side")
async def on_throw_side_by_side(payload: Any) -> Any:
    async def one(name: str, good: int) -> str:
        wobbly = Wobbly({"good": good}, name)

        async def call(attempt: int, max_attempts: int) -> str:
            return wobbly(attempt, max_attempts)

        return await retry.on_throw(call, **SOON)

    direct = retry.on_throw(Wobbly({"good": 2}, "c"), **SOON)
    return list(await asyncio.gather(one("a", 2), one("b", 3), direct))


def _charge(amount: int) -> int:
    note("charged")
    return amount


@task(id="on-throw-program")
async def on_throw_program(payload: dict[str, Any]) -> Any:
    """Durable calls inside of tries, and after them; a replay in the middle and one at the end."""
    logger.info("said at the beginning")

    async def part(attempt: int) -> list[Any]:
        note("part", attempt_in=attempt)
        charged = await step.run("charge", _charge, 5)
        child = await tasks.trigger_and_wait("echo", attempt).unwrap()
        if attempt < 3:
            raise ValueError("not yet")
        return [charged, child]

    result = await retry.on_throw(part, **{**SOON, "min_timeout_in_ms": payload["ms"]})
    logger.info("said after the tries")
    await wait.for_token(payload["token"])
    logger.info("said after the token")
    return [*result, await tasks.trigger_and_wait("echo", "end").unwrap()]


@task(id="on-throw-program-sync")
def on_throw_program_sync(payload: dict[str, Any]) -> Any:
    def part(attempt: int) -> list[Any]:
        note("part", attempt_in=attempt)
        charged = step.run("charge", _charge, 5).sync()
        child = tasks.trigger_and_wait("echo", attempt).unwrap().sync()
        if attempt < 3:
            raise ValueError("not yet")
        return [charged, child]

    result = retry.on_throw(part, **{**SOON, "min_timeout_in_ms": payload["ms"]}).sync()
    wait.for_token(payload["token"]).sync()
    return [*result, tasks.trigger_and_wait("echo", "end").unwrap().sync()]


@task(id="on-throw-anew", retry=QUICK)
async def on_throw_anew(payload: Any, ctx: Any) -> int:
    """The next attempt begins with the first try."""

    def part(attempt: int) -> int:
        note("part", attempt_in=attempt)
        if ctx.attempt.number == 1 or attempt == 1:
            raise ValueError("not yet")
        return attempt

    return await retry.on_throw(part, **{**SOON, "max_attempts": 2})


@task(id="on-throw-misused")
async def on_throw_misused(payload: str) -> str:
    """Return the error of a use that cannot work."""

    async def in_step() -> None:
        await retry.on_throw(note_try)

    async def asynchronous() -> None:
        """Do nothing."""

    def note_try() -> None:
        note("try")

    def needs(order: int) -> None:
        note("try")

    try:
        match payload:
            case "in a step":
                await step.run("outer", in_step)
            case "parameters":
                await retry.on_throw(needs)
            case "no function":
                await retry.on_throw("text")  # type: ignore[call-overload]
            case "options":
                await retry.on_throw(note_try, max_attempts=0)
            case "sync":
                await asyncio.to_thread(lambda: retry.on_throw(asynchronous).sync())
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return "no error"


def _fetching(payload: dict[str, Any]) -> Any:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        options = dict(payload.get("options", {}))
        if options.get("retry") == "old":
            options["retry"] = {
                "max_attempts": 2,
                "condition": lambda response, error: response is None or response.status_code > 400,
            }
        request = retry.fetch(payload["url"], **options)
    note("fetch", warned=[str(one.message) for one in warned])
    return request


def _seen(response: Any) -> dict[str, Any]:
    return {
        "status": response.status_code,
        "text": response.text[:100],
        "kind": response.headers.get("x-kind"),
        "size": len(response.content),
    }


@task(id="fetch")
async def fetch(payload: dict[str, Any]) -> Any:
    try:
        response = await _fetching(payload)
    except Exception as problem:
        return {"error": type(problem).__name__, "text": str(problem)}
    if token := payload.get("token"):
        note("fetched")
        await wait.for_token(token)
    return _seen(response)


@task(id="fetch-sync")
def fetch_sync(payload: dict[str, Any]) -> Any:
    try:
        response = _fetching(payload).sync()
    except Exception as problem:
        return {"error": type(problem).__name__, "text": str(problem)}
    if token := payload.get("token"):
        note("fetched")
        wait.for_token(token).sync()
    return _seen(response)
