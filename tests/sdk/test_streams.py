"""A run sends chunks while it works, and others read them as they come."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis

from tests.driving import Engine
from tests.faultproxy import FaultProxy
from trigger_celery import (
    InvalidOptionError,
    OutputTooLargeError,
    OutsideRunError,
    RunLeaseLostError,
    RunNotFoundError,
    StateError,
    SyncInAsyncError,
    TriggerCelery,
    metadata,
    runs,
    streams,
)
from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.piping import drain
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.streams import MAX_CHUNK, Address, append
from trigger_celery.engine.waiting import Record
from trigger_celery.model.ids import run_id, token
from trigger_celery.store.store import Store

tokens = streams.define(id="tokens")


@pytest.fixture
def grant(engine: Engine, trigger: TriggerCelery) -> Grant:
    engine.register()
    return engine.begin()


@pytest.fixture
def durable(grant: Grant) -> Durable:
    return Durable(grant.id, grant.epoch, 1, "")


@pytest.fixture
def do(durable: Durable) -> Callable[..., Any]:
    inside = contextvars.copy_context()
    inside.run(current_scope.set, durable.root)
    return inside.run


async def counted(most: int) -> AsyncIterator[int]:
    for number in range(most):
        yield number


def chunks(run: str, name: str = "tokens", start: int = 0, timeout: float = 0.05) -> list[Any]:
    return list(streams.read(run, name, start_index=start, timeout_in_seconds=timeout))


def piped(source: Any, **options: Any) -> None:
    tokens.pipe(source, **options).wait_until_complete().sync()


def test_a_sync_source_is_piped_and_read(grant: Grant, do: Callable[..., Any]) -> None:
    values = ["text", 1, 1.5, None, True, {"a": []}, ["é"], ""]
    do(piped, values)
    assert chunks(grant.id) == values
    assert chunks(grant.id, start=6) == [["é"], ""]
    assert chunks(grant.id, "another") == []


def test_an_async_source_is_piped_and_iterated(
    grant: Grant, do: Callable[..., Any], trigger: TriggerCelery
) -> None:
    async def work() -> list[int]:
        pipe = tokens.pipe(counted(2000))
        found = [number async for number in pipe.stream]
        await pipe.wait_until_complete()
        again = [chunk async for chunk in tokens.read(grant.id)]
        assert again == found
        with pytest.raises(SyncInAsyncError):
            iter(pipe.stream)
        await trigger.store.aclose()
        return found

    assert do(asyncio.run, work()) == list(range(2000))


def test_metadata_stream_is_awaited_and_then_iterated(
    grant: Grant, do: Callable[..., Any], trigger: TriggerCelery
) -> None:
    async def work() -> list[int]:
        with pytest.warns(DeprecationWarning, match="streams.pipe"):
            piping = metadata.stream("tokens", counted(10))
        stream = await piping
        found = [chunk async for chunk in stream]
        await trigger.store.aclose()
        return found

    assert do(asyncio.run, work()) == list(range(10))

    def in_sync_code() -> list[str]:
        with pytest.warns(DeprecationWarning, match="streams.pipe"):
            piping = metadata.stream("letters", iter("abc"))
        return list(piping.sync())

    assert do(in_sync_code) == ["a", "b", "c"]
    assert chunks(grant.id, "letters") == ["a", "b", "c"]


def test_many_ready_chunks_cost_few_calls(
    grant: Grant, do: Callable[..., Any], client: redis.Redis
) -> None:
    before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    do(piped, list(range(5000)))
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - before < 250
    assert chunks(grant.id) == list(range(5000))


def test_the_last_ten_thousand_chunks_are_kept(grant: Grant, do: Callable[..., Any]) -> None:
    do(piped, range(10_005))
    found = chunks(grant.id)
    assert (len(found), found[-1]) == (9999, 10_004)  # the mark of the end is one of them


def test_a_chunk_of_the_greatest_size_and_one_over_it(
    grant: Grant, do: Callable[..., Any], engine: Engine
) -> None:
    most = "x" * (MAX_CHUNK - 2)
    do(lambda: tokens.append(most).sync())
    with pytest.raises(OutputTooLargeError, match="chunk"):
        do(tokens.append, most + "x")
    with pytest.raises(InvalidOptionError):
        do(tokens.append, {1, 2})
    assert chunks(grant.id) == [most]


def test_old_chunks_go_at_64_megabytes(grant: Grant, engine: Engine) -> None:
    to = Address(engine.scope, grant.id, "tokens")
    megabyte = '"' + "x" * 1_000_000 + '"'
    for _ in range(8):
        engine.run(append(to, [megabyte] * 9))
    assert engine.client.xlen(engine.key("stream", token("tokens"), grant.id)) == 67


def test_the_unbound_forms_use_the_default_stream(grant: Grant, do: Callable[..., Any]) -> None:
    def work() -> None:
        streams.append(1).sync()
        streams.append("named", 2).sync()
        streams.pipe([3]).wait_until_complete().sync()
        streams.pipe("named", [4]).wait_until_complete().sync()

    do(work)
    assert chunks(grant.id, "default") == list(streams.read(grant.id)) == [1, 3]
    assert chunks(grant.id, "named") == [2, 4]
    with pytest.raises(TypeError, match="3 arguments"):
        streams.append(1, 2, 3)


def test_a_writer_writes_and_merges(
    grant: Grant, do: Callable[..., Any], trigger: TriggerCelery
) -> None:
    async def execute(to: Any) -> None:
        to.write("first")
        to.merge(counted(3))
        await asyncio.sleep(0)
        to.write("second")

    async def work() -> list[Any]:
        pipe = tokens.writer(execute)
        found = [chunk async for chunk in pipe.stream]
        await pipe.wait_until_complete()
        await trigger.store.aclose()
        return found

    found = do(asyncio.run, work())
    assert found[0] == "first"
    assert set(found) == {"first", "second", 0, 1, 2}
    assert chunks(grant.id) == found


def test_targets(
    engine: Engine, grant: Grant, do: Callable[..., Any], trigger: TriggerCelery
) -> None:
    other = engine.create()
    do(lambda: tokens.append("up", target="parent").sync())  # without a parent: its own
    do(lambda: tokens.append("there", target=other).sync())
    tokens.append("from outside", target=other).sync()
    tokens.pipe(["piped"], target=other).wait_until_complete().sync()
    assert chunks(grant.id) == ["up"]
    assert chunks(other) == ["there", "from outside", "piped"]
    with pytest.raises(OutsideRunError, match="target"):
        tokens.append(1)
    with pytest.raises(InvalidOptionError, match="not a run"):
        tokens.append(1, target="other")
    with pytest.raises(RunNotFoundError):
        tokens.append(1, target=run_id()).sync()
    with pytest.raises(RunNotFoundError):
        chunks(run_id())


def test_a_source_that_fails_says_so_to_all_who_wait(grant: Grant, do: Callable[..., Any]) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    def work() -> None:
        pipe = tokens.pipe(source())
        seen = []
        with pytest.raises(ValueError, match="no more"):
            seen.extend(pipe.stream)
        with pytest.raises(ValueError, match="no more"):
            pipe.wait_until_complete().sync()

    do(work)
    assert chunks(grant.id) == [1]


def test_what_cannot_be_piped(do: Callable[..., Any]) -> None:
    with pytest.raises(InvalidOptionError, match="source"):
        do(tokens.pipe, 3)
    with pytest.raises(StateError, match="async source"):
        do(tokens.pipe, counted(1))
    for name in ("", "x" * 129, "a\nb", 3):
        with pytest.raises(InvalidOptionError, match="name of a stream"):
            streams.define(id=name)  # type: ignore[arg-type]
    for index in (-1, 1.5, True):
        with pytest.raises(InvalidOptionError, match="start_index"):
            tokens.read(run_id(), start_index=index)  # type: ignore[arg-type]


def test_a_run_has_at_most_100_streams(
    do: Callable[..., Any], engine: Engine, grant: Grant
) -> None:
    for number in range(100):
        engine.run(append(Address(engine.scope, grant.id, f"s{number}"), ["1"]))
    with pytest.raises(StateError, match="100 streams"):
        do(lambda: streams.append("one more", 1).sync())
    do(lambda: streams.append("s7", 1).sync())


def test_the_end_of_the_attempt_waits_for_its_pipes(
    engine: Engine, grant: Grant, durable: Durable, do: Callable[..., Any]
) -> None:
    go_on = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        go_on.wait(10)
        yield 2

    do(tokens.pipe, source())
    threading.Timer(0.05, go_on.set).start()
    assert durable.pipes
    engine.run(drain(grant.id, durable.pipes))
    assert chunks(grant.id) == [1, 2]


def test_a_stale_attempt_sends_nothing(
    engine: Engine, grant: Grant, do: Callable[..., Any]
) -> None:
    engine.cancel(grant.id)
    with pytest.raises(RunLeaseLostError):
        do(lambda: tokens.append(1).sync())
    with pytest.raises(RunLeaseLostError):
        do(piped, [1])
    assert chunks(grant.id) == []


def test_a_replay_sends_nothing_again_and_iterates_all_the_same(
    grant: Grant, durable: Durable, do: Callable[..., Any]
) -> None:
    durable.record = Record({"1": "wait.for_token x"})
    assert do(lambda: list(tokens.pipe(["a", "b"]).stream)) == ["a", "b"]
    do(lambda: tokens.append("c").sync())
    assert chunks(grant.id) == []
    durable.begin("wait.for_token x")
    do(lambda: tokens.append("d").sync())
    assert chunks(grant.id) == ["d"]


def test_lost_replies_count_once(engine: Engine, grant: Grant, server: EmbeddedServer) -> None:
    to = Address(engine.scope, grant.id, "tokens", grant.id, grant.epoch)
    with FaultProxy(str(server.socket_path)) as proxy:
        store = Store(proxy.url, engine.scope)
        for number in range(5):
            proxy.lose(1)
            store.run_sync(append(to, [str(number)], begins=number == 0, ends=number == 4))
            assert proxy.lost
        store.close()
    assert chunks(grant.id) == [0, 1, 2, 3, 4]


def test_several_pipes_into_one_stream_end_it_with_the_last(engine: Engine, grant: Grant) -> None:
    to = Address(engine.scope, grant.id, "tokens")
    engine.run(append(to, ["1"], begins=True))
    engine.run(append(to, ["2"], begins=True, ends=True))
    reading = iter(tokens.read(grant.id, timeout_in_seconds=30))
    assert [next(reading), next(reading)] == [1, 2]
    threading.Timer(0.05, engine.run, [append(to, ["3"], ends=True)]).start()
    assert list(reading) == [3]


def test_a_reader_waits_and_ends_with_the_run(engine: Engine, grant: Grant) -> None:
    to = Address(engine.scope, grant.id, "tokens")
    found: list[Any] = []
    reader = threading.Thread(
        target=lambda: found.extend(tokens.read(grant.id, timeout_in_seconds=30))
    )
    reader.start()
    engine.run(append(to, ["1"]))
    engine.end(grant)
    engine.run(append(to, ["2"]))
    reader.join(20)
    assert found == [1, 2]


def test_a_subscription_with_streams_gives_runs_and_chunks_in_order(
    engine: Engine, grant: Grant, trigger: TriggerCelery
) -> None:
    to = Address(engine.scope, grant.id, "tokens")
    engine.run(append(to, ["1"]))
    parts = iter(runs.subscribe_to_run(grant.id).with_streams())
    first, second = next(parts), next(parts)
    assert (first["type"], first["run"].status) == ("run", "EXECUTING")
    assert (second["type"], second["chunk"], second["run"].id) == ("tokens", 1, grant.id)
    engine.run(append(to, ["2", "null"]))
    assert [next(parts)["chunk"], next(parts)["chunk"]] == [2, None]
    runs.add_tags(grant.id, "a").sync()
    assert next(parts)["run"].tags == ("a",)
    engine.run(append(to, [str(number) for number in range(1200)]))
    engine.end(grant)
    rest = list(parts)
    assert [part["chunk"] for part in rest[:-1]] == list(range(1200))
    assert rest[-1] == {"type": "run", "run": engine.read(grant.id)}


def test_with_streams_in_async_code(engine: Engine, grant: Grant, trigger: TriggerCelery) -> None:
    engine.run(append(Address(engine.scope, grant.id, "tokens"), ["1"]))
    engine.end(grant)

    async def follow() -> list[str]:
        parts = [part async for part in runs.subscribe_to_run(grant.id).with_streams()]
        await trigger.store.aclose()
        return [part["type"] for part in parts]

    assert asyncio.run(follow()) == ["tokens", "run"]
    with pytest.raises(InvalidOptionError, match="run by run"):
        runs.subscribe_to_runs_with_tag("a").with_streams()
