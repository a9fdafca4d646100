"""The same cases through both runners: what a flow may rely on."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.architecture.source import ROOT
from tests.store.conftest import Driver
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.errors import StoreError, StoreUnavailableError
from trigger_celery.store.op import Call, Flow, ask, command
from trigger_celery.store.scripts import Script
from trigger_celery.store.store import Store

DOUBLE = Script("double", "return tonumber(ARGV[1]) * 2", ("number",), False)
Starter = Callable[..., EmbeddedServer]


def pipeline(*calls: Call) -> Flow[list[Any]]:
    return (yield list(calls))


def echo(text: str | bytes) -> Call:
    return command("ECHO", text)


def test_a_call_gets_its_reply_decoded(driver: Driver, server: EmbeddedServer) -> None:
    store = driver.store(server.url)
    assert driver.run(store, ask(echo("hello"))) == b"hello"
    assert driver.run(store, ask(command("ECHO", "é", decode=bytes.decode))) == "é"


@pytest.mark.parametrize(
    "value", [b"", b"\x00\xff\r\n$3\r\n", "é", 0, -7, 2**63, 1.5, b"x" * 10**6]
)
def test_values_of_every_kind_arrive_whole(
    driver: Driver, server: EmbeddedServer, value: str | bytes | float
) -> None:
    store = driver.store(server.url)
    wanted = value if isinstance(value, bytes) else str(value).encode()
    assert driver.run(store, ask(command("ECHO", value))) == wanted


def test_a_pipeline_gets_its_replies_in_order(driver: Driver, server: EmbeddedServer) -> None:
    store = driver.store(server.url)
    calls = [command("ECHO", number, decode=int) for number in range(1000)]
    assert driver.run(store, pipeline(*calls)) == list(range(1000))
    assert driver.run(store, pipeline()) == []


def test_an_error_reply_raises_and_the_next_call_works(
    driver: Driver, server: EmbeddedServer
) -> None:
    store = driver.store(server.url)
    for _ in range(3):
        with pytest.raises(StoreError, match="wrong number of arguments"):
            driver.run(store, ask(command("GET")))
        assert driver.run(store, ask(echo("fine"))) == b"fine"


def test_an_error_in_a_pipeline_does_not_mix_up_replies(
    driver: Driver, server: EmbeddedServer, client: redis.Redis
) -> None:
    client.flushall()
    store = driver.store(server.url)
    with pytest.raises(StoreError):
        driver.run(store, pipeline(echo("a"), command("GET"), command("SET", "k", "v")))
    assert driver.run(store, pipeline(echo("b"), command("GET", "k"))) == [b"b", b"v"]
    client.flushall()


def test_a_flow_may_handle_an_error(driver: Driver, server: EmbeddedServer) -> None:
    def flow() -> Flow[bytes]:
        try:
            yield command("GET")
        except StoreError:
            return (yield echo("handled"))
        raise AssertionError("no error")

    assert driver.run(driver.store(server.url), flow()) == b"handled"


def test_a_server_that_forgot_the_scripts_gets_them_again(
    driver: Driver, server: EmbeddedServer, client: redis.Redis
) -> None:
    store = driver.store(server.url)
    for _ in range(2):
        client.script_flush()
        assert driver.run(store, ask(DOUBLE("k", number=4))) == 8
    client.script_flush()
    mixed = pipeline(DOUBLE("k", number=1), echo("x"), DOUBLE("k", number=2), DOUBLE("k", number=3))
    assert driver.run(store, mixed) == [2, b"x", 4, 6]


def test_a_restarted_server_is_found_again(driver: Driver, start_server: Starter) -> None:
    own = start_server()
    store = driver.store(own.url)
    assert driver.run(store, ask(DOUBLE("k", number=4))) == 8
    own.restart()
    assert driver.run(store, ask(DOUBLE("k", number=5))) == 10
    own.restart()
    assert driver.run(store, pipeline(echo("a"), DOUBLE("k", number=6))) == [b"a", 12]


def test_a_server_that_comes_back_in_time_is_waited_for(
    driver: Driver, start_server: Starter
) -> None:
    own = start_server()
    store = driver.store(own.url, retry_for=20.0)
    driver.run(store, ask(echo("a")))
    own.stop()
    back = threading.Timer(0.2, own.start)
    back.start()
    assert driver.run(store, ask(echo("b"))) == b"b"
    back.join()


def test_a_connection_that_was_cut_is_replaced(
    driver: Driver, server: EmbeddedServer, client: redis.Redis
) -> None:
    store = driver.store(server.url)
    for text in (b"a", b"b", b"c"):
        assert driver.run(store, ask(echo(text))) == text
        client.client_kill_filter(_type="normal", skipme=True)


def test_a_server_that_stays_away_is_said_to_be_unavailable(
    driver: Driver, start_server: Starter
) -> None:
    own = start_server()
    store = driver.store(own.url, retry_for=0.3)
    driver.run(store, ask(echo("a")))
    own.stop()
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="cannot serve now"):
        driver.run(store, ask(echo("b")))
    assert 0.1 < time.monotonic() - began < 10
    own.start()
    assert driver.run(store, ask(echo("c"))) == b"c"


def test_a_reply_that_came_too_late_goes_to_nobody_else(
    driver: Driver, start_server: Starter
) -> None:
    own = start_server()
    store = driver.store(own.url, timeout=0.2, retry_for=0.01)
    driver.run(store, ask(echo("a")))
    own.pause()
    with pytest.raises(StoreUnavailableError):
        driver.run(store, ask(echo("late")))
    own.resume()
    for text in (b"1", b"2", b"3"):
        assert driver.run(store, ask(echo(text))) == text


def test_a_full_server_is_unavailable_and_the_rest_goes_on(
    driver: Driver, start_server: Starter
) -> None:
    own = start_server("--maxmemory", "1")
    store = driver.store(own.url, retry_for=0.1)
    with pytest.raises(StoreUnavailableError, match="maxmemory"):
        driver.run(store, ask(command("SET", "a", "b")))
    assert driver.run(store, ask(echo("reads"))) == b"reads"


def test_a_replica_is_unavailable_for_writes(driver: Driver, start_server: Starter) -> None:
    own = start_server("--replicaof", "127.0.0.1", "1")
    store = driver.store(own.url, retry_for=0.1)
    with pytest.raises(StoreUnavailableError):
        driver.run(store, ask(command("SET", "a", "b")))


def test_threads_get_their_own_replies(server: EmbeddedServer) -> None:
    store = Store(server.url, "{scope}")
    wrong: list[str] = []

    def work(name: str) -> None:
        for number in range(50):
            text = f"{name}.{number}"
            if store.run_sync(ask(command("ECHO", text, decode=bytes.decode))) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    store.close()


async def test_all_coroutines_of_a_loop_share_one_connection(
    server: EmbeddedServer, client: redis.Redis
) -> None:
    store = Store(server.url, "{scope}")
    before = len(client.client_list())
    texts = [str(number).encode() for number in range(500)]
    assert await asyncio.gather(*(store.run_async(ask(echo(text))) for text in texts)) == texts
    assert len(client.client_list()) == before + 1
    await store.aclose()


async def test_a_cancelled_caller_leaves_no_reply_for_another(server: EmbeddedServer) -> None:
    store = Store(server.url, "{scope}")
    for turns in (0, 1, 2, 3):
        tasks = [
            asyncio.create_task(store.run_async(ask(echo(str(number))))) for number in range(10)
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        for number, reply in enumerate(replies):
            allowed = (str(number).encode(),)
            assert (
                isinstance(reply, asyncio.CancelledError) if number % 2 == 0 else reply in allowed
            )
        assert await store.run_async(ask(echo("next"))) == b"next"
    await store.aclose()


async def test_a_cancelled_pipeline_leaves_no_reply_for_another(server: EmbeddedServer) -> None:
    store = Store(server.url, "{scope}")
    task = asyncio.create_task(store.run_async(pipeline(*[echo("old")] * 100)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    assert await store.run_async(ask(echo("new"))) == b"new"
    await asyncio.gather(task, return_exceptions=True)
    await store.aclose()


async def test_closing_ends_calls_under_way_with_an_error(start_server: Starter) -> None:
    own = start_server()
    store = Store(own.url, "{scope}", retry_for=0.01)
    await store.run_async(ask(echo("a")))
    own.pause()
    task = asyncio.create_task(store.run_async(ask(echo("b"))))
    for _ in range(3):
        await asyncio.sleep(0)
    await store.aclose()
    own.stop()
    with pytest.raises(StoreUnavailableError):
        await task


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loops_that_are_closed_are_forgotten(server: EmbeddedServer) -> None:
    store = Store(server.url, "{scope}")

    async def once() -> None:
        await store.run_async(ask(echo("a")))

    gone = []
    for _ in range(5):
        with asyncio.Runner() as runner:
            runner.run(once())
            gone.append(weakref.ref(runner.get_loop()))
    gc.collect()
    assert [loop() for loop in gone[:-1]] == [None] * 4
    store._loops.clear()
    gc.collect()  # here, where the sockets that nobody closed may be complained of


def test_many_idle_connections_that_were_cut_do_not_hold_up_a_call(
    server: EmbeddedServer, client: redis.Redis
) -> None:
    store = Store(server.url, "{scope}", retry_for=1.0)
    together = threading.Barrier(24)

    def work() -> None:
        connection = store._sync._take()
        connection.connect()
        together.wait()
        store._sync._give_back(connection)

    threads = [threading.Thread(target=work) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store._sync._idle) == together.parties
    client.client_kill_filter(_type="normal", skipme=True)
    assert store.run_sync(ask(echo("fine"))) == b"fine"
    store.close()


def test_each_loop_has_its_own_connection(server: EmbeddedServer) -> None:
    store = Store(server.url, "{scope}")

    async def once(text: str) -> Any:
        reply = await store.run_async(ask(echo(text)))
        await store.aclose()
        return reply

    assert [asyncio.run(once(text)) for text in "abc"] == [b"a", b"b", b"c"]


FORKING = """
import asyncio, gc, os, sys, time
from trigger_celery.store.op import ask, command
from trigger_celery.store.store import Store

store = Store(sys.argv[1], "{scope}")
loop = asyncio.new_event_loop()

def sync(text):
    return store.run_sync(ask(command("ECHO", text, decode=bytes.decode)))

async def aio(text):
    return await store.run_async(ask(command("ECHO", text, decode=bytes.decode)))

def work(name, run):
    for number in range(100):
        text = f"{name}{number}"
        assert sync(text) == text
        assert run(aio(text)) == text

work("before", loop.run_until_complete)
began = time.monotonic()
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            own = asyncio.new_event_loop()
            work(f"child{child}.", own.run_until_complete)
            gc.collect()
            work(f"child{child}.", own.run_until_complete)
            code = 0
        finally:
            os._exit(code)
    children.append(pid)
    work("parent", loop.run_until_complete)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
work("after", loop.run_until_complete)
loop.run_until_complete(store.aclose())
print(codes, time.monotonic() - began < 4)
"""


def test_a_fork_speaks_on_connections_of_its_own(server: EmbeddedServer) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, server.url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "[0, 0, 0] True\n", done.stdout + done.stderr


def test_a_forked_child_closes_no_descriptor_that_is_another_s_by_now(
    server: EmbeddedServer,
) -> None:
    """As in Celery's embedded beat, which closes what it inherits by number and opens its own."""
    store = Store(server.url, "{scope}")
    store.run_sync(ask(echo("parent")))
    (idle,) = store._sync._idle
    number = idle._sock.fileno()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, number)
            del idle
            assert store.run_blocking(ask(echo("child"))) == b"child"
            gc.collect()
            assert os.path.sameopenfile(number, null), "it was closed, and is a socket now"
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert store.run_sync(ask(echo("parent"))) == b"parent"
    store.close()
