"""An operation is a value: awaited in async code, `.sync()` in sync code, run once."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from trigger_celery.errors import ServerUnfitError, StoreError, SyncInAsyncError
from trigger_celery.store.op import Flow, Op, Sleep, ask, command
from trigger_celery.store.store import Store


def echo(store: Store, text: str = "hello") -> Op[str]:
    return Op(store, ask(command("ECHO", text, decode=bytes.decode)), "things.echo")


def test_sync(store: Store) -> None:
    assert echo(store).sync() == "hello"


async def test_await(store: Store) -> None:
    assert await echo(store) == "hello"
    await store.aclose()


async def test_gather(store: Store) -> None:
    texts = [str(number) for number in range(100)]
    assert await asyncio.gather(*(echo(store, text) for text in texts)) == texts
    await store.aclose()


async def test_as_a_task(store: Store) -> None:
    async def run() -> str:
        return await echo(store)

    assert await asyncio.create_task(run()) == "hello"
    await store.aclose()


def test_an_op_that_was_never_run_warns_with_its_name(store: Store) -> None:
    op = echo(store)
    with pytest.warns(RuntimeWarning, match=r"things\.echo was never run: write `await things"):
        del op


def test_an_op_that_was_run_does_not_warn(store: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        echo(store).sync()
        gc.collect()


def test_an_op_that_failed_does_not_warn(store: Store) -> None:
    op = Op(store, ask(command("GET")), "things.fail")
    with pytest.raises(StoreError):
        op.sync()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del op
        gc.collect()


def test_an_op_that_is_taken_for_its_result_says_what_is_missing(store: Store) -> None:
    op = echo(store)
    with pytest.raises(AttributeError, match=r"so it has no 'id': write `\(await things\.echo"):
        _ = op.id  # type: ignore[attr-defined]
    assert not hasattr(op, "_private")
    assert op.sync() == "hello"


def test_an_error_of_sync_is_shown_alone(store: Store) -> None:
    with pytest.raises(ServerUnfitError) as raised:
        Op(store, ask(command("NOPE"))).sync()
    shown = raised.value
    assert shown.__cause__ is not None  # the server's own words
    assert shown.__cause__.__context__ is None


def test_an_op_runs_once(store: Store) -> None:
    op = echo(store)
    op.sync()
    with pytest.raises(RuntimeError, match="already run; call it again to run it again"):
        op.sync()


async def test_an_op_is_awaited_once(store: Store) -> None:
    op = echo(store)
    await op
    with pytest.raises(RuntimeError, match="already run"):
        await op
    await store.aclose()


async def test_sync_inside_a_running_loop_says_to_await(store: Store) -> None:
    with pytest.raises(SyncInAsyncError, match="write `await …` instead"):
        echo(store).sync()


async def test_sync_in_a_thread_of_async_code(store: Store) -> None:
    assert await asyncio.to_thread(lambda: echo(store).sync()) == "hello"


def test_the_repr_says_whether_it_was_run(store: Store) -> None:
    op = echo(store)
    assert repr(op) == "<Op things.echo (not run yet): await it, or call .sync()>"
    op.sync()
    assert "(run)" in repr(op)


async def test_a_flow_may_let_time_pass(store: Store) -> None:
    def flow() -> Flow[int]:
        yield Sleep(0)
        return 7

    assert await store.run_async(flow()) == 7
    assert store.run_blocking(flow()) == 7


def test_a_flow_that_yields_nonsense_is_told_so(store: Store) -> None:
    def flow() -> Flow[None]:
        yield 7  # type: ignore[misc]

    with pytest.raises(TypeError, match="yielded 7"):
        store.run_sync(flow())
