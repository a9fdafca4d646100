"""Code follows runs as they go on, with `for` and with `async for`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from tests.driving import HOUR, Engine
from tests.faultproxy import FaultProxy
from tests.waiting import wait_until
from trigger_celery import (
    BatchNotFoundError,
    InvalidDurationError,
    InvalidOptionError,
    Run,
    RunCanceledError,
    RunNotFoundError,
    SyncInAsyncError,
    Task,
    TriggerCelery,
    batch,
    runs,
    task,
    tasks,
)
from trigger_celery.bridge.durable import Durable, Scope, current_scope
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.model.ids import batch_id, run_id
from trigger_celery.sdk.subscriptions import RunSubscription

WHOLE_LIFE = ["QUEUED", "EXECUTING", "WAITING", "EXECUTING", "COMPLETED"]


class Loop:
    """A loop over a subscription in a thread of its own."""

    def __init__(self, kind: str, subscribe: Callable[[], RunSubscription]) -> None:
        self.runs: list[Run] = []
        self.subscription: RunSubscription | None = None
        self.error: BaseException | None = None
        self._subscribe = subscribe
        self._thread = threading.Thread(target=self._work, args=(kind,), daemon=True)
        self._thread.start()

    def _work(self, kind: str) -> None:
        try:
            self.subscription = self._subscribe()
            if kind == "for":
                for run in self.subscription:
                    self.runs.append(run)
            else:
                asyncio.run(self._work_async(self.subscription))
        except BaseException as error:
            self.error = error

    async def _work_async(self, subscription: RunSubscription) -> None:
        try:
            async for run in subscription:
                self.runs.append(run)
        finally:
            await subscription._store.aclose()

    @property
    def statuses(self) -> list[str]:
        return [run.status.value for run in self.runs]

    def until(self, count: int) -> list[Run]:
        """Wait for a number of snapshots."""
        wait_until(lambda: len(self.runs) >= count or self.error, f"{count} snapshots", timeout=30)
        assert self.error is None
        return self.runs

    def end(self) -> list[str]:
        """Wait for the end of the loop; return the statuses."""
        self._thread.join(30)
        assert not self._thread.is_alive(), f"the loop goes on after {self.statuses}"
        if self.error is not None:
            raise self.error
        return self.statuses

    def close(self) -> None:
        if self.subscription is not None:
            self.subscription.close()
        self._thread.join(30)


@pytest.fixture(params=["for", "async for"])
def follow(request: pytest.FixtureRequest) -> Iterator[Callable[..., Loop]]:
    """Starts loops, sync ones and then asynchronous ones."""
    loops: list[Loop] = []

    def start(subscribe: Callable[..., RunSubscription], *args: Any, **options: Any) -> Loop:
        loops.append(Loop(request.param, lambda: subscribe(*args, **options)))
        return loops[-1]

    yield start
    for loop in loops:
        loop.close()


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="t")
    def my_task(payload: Any) -> None:
        """Do nothing."""

    return my_task


@pytest.fixture
def worker(engine: Engine) -> Engine:
    """A worker that does what the test says."""
    engine.register()
    return engine


def subscribers(client: redis.Redis) -> int:
    return sum(int(one["sub"]) > 0 for one in client.client_list())


def readers(client: redis.Redis) -> int:
    """Return how many connections wait for the next entry of the feed."""
    return sum(one["cmd"] == "xread" for one in client.client_list())


async def until(done: Callable[[], bool]) -> None:
    """Let the loop turn until something is true."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - what is waited for happens in the server
            await asyncio.sleep(0)


# One run


async def test_the_loop_of_the_documentation(
    trigger: TriggerCelery, worker: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(worker.register, "w1", ["my-task"])

    def work() -> None:
        worker.end(wait_until(worker.take, "there is a run")[0], data="7")

    working = asyncio.ensure_future(asyncio.to_thread(work))

    handle = await tasks.trigger("my-task", {"some": "data"})
    async for run in runs.subscribe_to_run(handle.id):
        print(f"Run status: {run.status}")
        if run.status in ["completed", "failed"]:
            break

    await working
    assert capsys.readouterr().out.splitlines()[-1] == "Run status: COMPLETED"
    await trigger.store.aclose()


def test_each_change_of_a_run_comes_once_and_in_order(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    handle = my_task.trigger({"a": 1}).sync()
    loop = follow(runs.subscribe_to_run, handle.id)
    loop.until(1)
    grant = worker.take_one()
    loop.until(2)
    token = worker.token()
    worker.wait(grant, token)
    loop.until(3)
    worker.complete(token)
    loop.until(4)
    worker.end(grant, data='{"ok":true}')
    assert loop.end() == WHOLE_LIFE
    assert [run.output for run in loop.runs] == [None] * 4 + [{"ok": True}]
    assert all(run.payload == {"a": 1} for run in loop.runs)


def test_many_changes_at_once_all_come(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    handle = my_task.trigger({}).sync()
    loop = follow(runs.subscribe_to_run, handle)
    loop.until(1)
    grant = worker.take_one()
    for _ in range(100):
        token = worker.token()
        worker.wait(grant, token)
        worker.complete(token)
    worker.end(grant)
    assert loop.end() == ["QUEUED", *["EXECUTING", "WAITING"] * 100, "EXECUTING", "COMPLETED"]


def test_a_loop_that_starts_late_begins_with_the_present(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    handle = my_task.trigger({}).sync()
    grant = worker.take_one()
    loop = follow(runs.subscribe_to_run, runs.retrieve(handle).sync())
    loop.until(1)
    worker.fail(grant)
    assert loop.end() == ["EXECUTING", "FAILED"]
    assert loop.runs[-1].error is not None


def test_a_final_run_comes_once_and_the_loop_ends(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    handle = my_task.trigger({}).sync()
    runs.cancel(handle).sync()
    assert follow(runs.subscribe_to_run, handle).end() == ["CANCELED"]


def test_retries_come_with_their_attempts(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    handle = my_task.trigger({}).sync()
    loop = follow(runs.subscribe_to_run, handle)
    loop.until(1)
    grant = worker.take_one()
    worker.retry(grant, 0)
    worker.end(grant)
    loop.end()
    assert [run.attempt_count for run in loop.runs] == [0, 1, 2, 2]
    assert [len(run.attempts) for run in loop.runs] == [0, 0, 1, 1]


def test_an_unknown_run_is_not_found(trigger: TriggerCelery, follow: Callable[..., Loop]) -> None:
    with pytest.raises(RunNotFoundError):
        follow(runs.subscribe_to_run, run_id()).end()
    with pytest.raises(RunNotFoundError):
        runs.subscribe_to_run("run_1")
    with pytest.raises(InvalidOptionError, match="is not a run"):
        runs.subscribe_to_run(7)  # type: ignore[arg-type]


def test_each_loop_over_a_subscription_starts_with_the_present(
    my_task: Task[Any, Any], worker: Engine
) -> None:
    subscription = runs.subscribe_to_run(my_task.trigger({}).sync())
    first = iter(subscription)
    assert next(first).status == "QUEUED"
    worker.end(worker.take_one())
    second = iter(subscription)
    assert next(second).status == "COMPLETED"
    assert [run.status for run in first] == ["EXECUTING", "COMPLETED"]
    assert list(second) == []


# A batch


def test_a_batch_is_followed_until_all_its_runs_have_ended(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    handle = my_task.batch_trigger([{"payload": n} for n in range(5)]).sync()
    my_task.trigger("another").sync()
    loop = follow(runs.subscribe_to_batch, handle)
    assert [run.id for run in loop.until(5)] == [run.id for run in handle.runs]
    while grants := worker.take(want=2):
        for grant in grants:
            worker.end(grant)
    loop.end()
    for run in handle.runs:
        statuses = [one.status for one in loop.runs if one.id == run.id]
        assert statuses == ["QUEUED", "EXECUTING", "COMPLETED"]
    assert len(loop.runs) == 15
    assert batch.retrieve(handle).sync().is_completed
    assert len(follow(runs.subscribe_to_batch, handle.id).end()) == 5


def test_an_unknown_batch_is_not_found(trigger: TriggerCelery, follow: Callable[..., Loop]) -> None:
    with pytest.raises(BatchNotFoundError):
        follow(runs.subscribe_to_batch, batch_id()).end()
    with pytest.raises(BatchNotFoundError):
        runs.subscribe_to_batch("batch_1")
    with pytest.raises(InvalidOptionError, match="is not a batch"):
        runs.subscribe_to_batch(None)  # type: ignore[arg-type]


# Tags


def test_runs_with_a_tag_come_also_when_they_are_created_later(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    first = my_task.trigger({}, tags=["user:1"]).sync()
    loop = follow(runs.subscribe_to_runs_with_tag, "user:1")
    loop.until(1)
    my_task.trigger({}, tags=["user:2"]).sync()
    second = my_task.trigger({"b": 2}, tags=["x", "user:1"]).sync()
    loop.until(2)
    for grant in worker.take():
        worker.end(grant)
    loop.until(6)
    for run in (first, second):
        statuses = [one.status for one in loop.runs if one.id == run.id]
        assert statuses == ["QUEUED", "EXECUTING", "COMPLETED"]
    assert loop.runs[1].payload == {"b": 2}
    loop.close()
    assert len(loop.end()) == 6


def test_of_a_list_of_tags_all_must_be_present(
    my_task: Task[Any, Any], follow: Callable[..., Loop]
) -> None:
    my_task.trigger({}, tags=["a"]).sync()
    loop = follow(runs.subscribe_to_runs_with_tag, ["a", "b"])
    my_task.trigger({}, tags=["b"]).sync()
    both = my_task.trigger({}, tags=["b", "a"]).sync()
    assert [run.id for run in loop.until(1)] == [both.id]


def test_runs_created_long_ago_are_left_out(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    my_task.trigger({}, tags=["a"]).sync()
    worker.clock.advance(2 * HOUR)
    young = my_task.trigger({}, tags=["a"]).sync()
    loop = follow(runs.subscribe_to_runs_with_tag, "a", created_at="1h")
    assert [run.id for run in loop.until(1)] == [young.id]
    assert len(follow(runs.subscribe_to_runs_with_tag, "a", created_at="3h").until(2)) == 2


def test_a_tag_or_a_window_that_cannot_be_is_refused(trigger: TriggerCelery) -> None:
    for nothing in ([], [""], "", [7]):
        with pytest.raises(InvalidOptionError, match="subscribe_to_runs_with_tag"):
            runs.subscribe_to_runs_with_tag(nothing)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="7 days"):
        runs.subscribe_to_runs_with_tag("a", created_at="8d")
    with pytest.raises(InvalidDurationError):
        runs.subscribe_to_runs_with_tag("a", created_at="soon")


# What goes wrong on the way


@pytest.fixture
def own(tmp_path: Path, server_binary: str | None, registry: None) -> Iterator[Any]:
    """A worker on a server that keeps its data and that the test may break."""
    always = ("--appendfsync", "always")  # else a kill may cost the writes of two seconds
    with EmbeddedServer(
        binary=server_binary, data_dir=tmp_path / "data", arguments=always
    ) as server:
        app = Celery("own", broker="memory://", set_as_current=False)
        bound = TriggerCelery(app, redis_url=server.url, env="own", store_retry=0.2)
        with redis.Redis.from_url(server.url) as client:
            engine: Any = Engine(bound.store, client)
            engine.register()
            engine.server = server
            yield engine
        bound.unbind()
        app.close()


@pytest.mark.parametrize("kind", ["run", "batch", "tag"])
def test_a_server_that_restarts_costs_no_change(
    own: Any, follow: Callable[..., Loop], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = own.batch([own.new_run(id=(run := run_id()), tags=["a"])])
    subscribe, what = {
        "run": (runs.subscribe_to_run, run),
        "batch": (runs.subscribe_to_batch, made),
        "tag": (runs.subscribe_to_runs_with_tag, "a"),
    }[kind]
    loop = follow(subscribe, what)
    loop.until(1)
    grant = own.take_one()
    loop.until(2)
    own.server.kill()

    def warned() -> list[str]:
        found = [vars(record).get("action") for record in caplog.records]
        return [action for action in found if action == "subscription_waits"]

    wait_until(warned, "the loop has noticed", timeout=30)
    own.server.start()
    token = wait_until(lambda: _tried(own.token), "the server is back")
    own.wait(grant, token)
    own.complete(token)
    own.end(grant)
    assert [run.status for run in loop.until(5)] == WHOLE_LIFE
    loop.close()
    assert loop.end() == WHOLE_LIFE
    assert len(warned()) == 1


def _tried(call: Callable[[], str]) -> str:
    with contextlib.suppress(Exception):
        return call()
    return ""


@pytest.fixture
def proxied(
    app: Celery, server: EmbeddedServer, engine: Engine, registry: None
) -> Iterator[FaultProxy]:
    """The app, bound through a proxy that loses replies."""
    engine.register()
    with FaultProxy(str(server.socket_path)) as proxy:
        project, env = engine.scope.strip("{}").split(":")[1:]
        bound = TriggerCelery(app, redis_url=proxy.url, project=project, env=env)
        yield proxy
        bound.unbind()


@pytest.mark.parametrize("kind", ["run", "tag"])
def test_any_reply_that_gets_lost_costs_no_change(
    proxied: FaultProxy, engine: Engine, follow: Callable[..., Loop], kind: str
) -> None:
    """Announcements among them: they are replies of a connection that listens."""
    for number in range(1, 9):
        run = engine.create(tags=[f"tag{number}"])
        subscribe, what = {
            "run": (runs.subscribe_to_run, run),
            "tag": (runs.subscribe_to_runs_with_tag, f"tag{number}"),
        }[kind]
        loop = follow(subscribe, what)
        loop.until(1)
        proxied.lose(number)
        grant = engine.take_one()
        loop.until(2)
        token = engine.token()
        engine.wait(grant, token)
        engine.complete(token)
        engine.end(grant)
        assert [one.status for one in loop.until(5)] == WHOLE_LIFE
        proxied.lose(0)
        loop.close()


def test_an_announcement_that_nobody_hears_costs_no_change(
    my_task: Task[Any, Any], worker: Engine, client: redis.Redis, follow: Callable[..., Loop]
) -> None:
    handle = my_task.trigger({}).sync()
    loop = follow(runs.subscribe_to_run, handle)
    loop.until(1)
    client.delete(worker.key("watch", handle.id))
    worker.end(worker.take_one())
    assert loop.end() == ["QUEUED", "EXECUTING", "COMPLETED"]


# Connections, and what is left


async def test_100_subscriptions_of_a_process_share_one_connection(
    my_task: Task[Any, Any], worker: Engine, client: redis.Redis, trigger: TriggerCelery
) -> None:
    handles = (await my_task.batch_trigger([{"payload": n} for n in range(50)])).runs
    before = len(client.client_list())
    seen: dict[int, list[str]] = {}

    async def follow(number: int) -> None:
        seen[number] = []
        async for run in runs.subscribe_to_run(handles[number // 2]):
            seen[number].append(run.status.value)

    following = [asyncio.ensure_future(follow(number)) for number in range(100)]

    await until(lambda: len(seen) == 100 and all(seen.values()))
    assert subscribers(client) == 1
    assert len(client.client_list()) <= before + 1  # that of the calls was there before

    def work() -> None:
        while grants := worker.take(want=20):
            for grant in grants:
                worker.end(grant)

    await asyncio.to_thread(work)
    async with asyncio.timeout(30):
        await asyncio.gather(*following)
    assert list(seen.values()) == [["QUEUED", "EXECUTING", "COMPLETED"]] * 100
    await trigger.store.aclose()


def test_threads_share_one_listening_connection(
    my_task: Task[Any, Any], worker: Engine, client: redis.Redis
) -> None:
    handle = my_task.trigger({}).sync()
    loops = [Loop("for", lambda: runs.subscribe_to_run(handle)) for _ in range(20)]
    for loop in loops:
        loop.until(1)
    assert subscribers(client) == 1
    worker.end(worker.take_one())
    assert [loop.end() for loop in loops] == [["QUEUED", "EXECUTING", "COMPLETED"]] * 20


def test_watching_leaves_only_what_expires(
    my_task: Task[Any, Any], worker: Engine, client: redis.Redis
) -> None:
    handle = my_task.trigger({}).sync()
    for _ in runs.subscribe_to_run(handle):
        break
    assert 0 < client.pttl(worker.key("watch", handle.id)) <= HOUR


@pytest.mark.parametrize("way", ["break", "close", "with", "exception"])
def test_leaving_a_loop_closes_its_connection(
    my_task: Task[Any, Any], worker: Engine, client: redis.Redis, way: str
) -> None:
    my_task.trigger({}, tags=["a"]).sync()
    grants: list[Any] = []
    before = len(client.client_list())
    subscription = runs.subscribe_to_runs_with_tag("a")

    def loop() -> None:
        for run in subscription:
            if run.status == "QUEUED":
                timer = threading.Timer(0.05, lambda: grants.extend(worker.take()))
                timer.start()  # while the next turn waits for it
                continue
            timer.join()
            assert len(client.client_list()) > before
            if way == "break":
                break
            if way == "close":
                subscription.close()
            if way == "exception":
                raise KeyError

    with contextlib.suppress(KeyError):
        if way == "with":
            with subscription:
                first = iter(subscription)
                assert [next(first).status] == ["QUEUED"]
            assert list(first) == []
        else:
            loop()
    gc.collect()
    # Calls have connections too, which are kept: here one for each thread that made some.
    wait_until(lambda: len(client.client_list()) <= before + 1, "its connection is closed")
    assert readers(client) == 0


@pytest.mark.parametrize("way", ["break", "close", "cancel", "async with"])
async def test_leaving_an_asynchronous_loop_closes_its_connection(
    my_task: Task[Any, Any], client: redis.Redis, trigger: TriggerCelery, way: str
) -> None:
    await my_task.trigger({}, tags=["a"])
    subscription = runs.subscribe_to_runs_with_tag("a")
    seen: list[Run] = []

    async def loop() -> None:
        async with contextlib.AsyncExitStack() as stack:
            if way == "async with":
                await stack.enter_async_context(subscription)
            async for run in subscription:
                seen.append(run)
                if len(seen) == 2 and way in ("break", "async with"):
                    break

    looping = asyncio.ensure_future(loop())
    await until(lambda: readers(client) == 1)
    if way == "close":
        subscription.close()
    elif way == "cancel":
        looping.cancel()
    else:
        await my_task.trigger({}, tags=["a"])
    await asyncio.wait([looping], timeout=30)
    assert looping.cancelled() == (way == "cancel")
    await until(lambda: readers(client) == 0)
    assert [one["cmd"] for one in client.client_list() if one["cmd"] == "xread"] == []
    await trigger.store.aclose()


async def test_a_turn_that_timed_out_loses_nothing(
    my_task: Task[Any, Any], worker: Engine, trigger: TriggerCelery
) -> None:
    handle = await my_task.trigger({}, tags=["a"])
    for subscription in (runs.subscribe_to_run(handle), runs.subscribe_to_runs_with_tag("a")):
        loop = aiter(subscription)
        first = await anext(loop)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(loop)
        for status in ("EXECUTING", "COMPLETED"):
            if first.status != "COMPLETED":
                grant = None if status == "COMPLETED" else await asyncio.to_thread(worker.take_one)
                if grant is not None:
                    await asyncio.to_thread(worker.end, grant)
                assert (await anext(loop)).status == status
        subscription.close()
    await trigger.store.aclose()


async def test_two_turns_of_one_loop_at_once_are_a_mistake(
    my_task: Task[Any, Any], trigger: TriggerCelery
) -> None:
    subscription = runs.subscribe_to_run(await my_task.trigger({}))
    loop = aiter(subscription)
    await anext(loop)
    waiting = asyncio.ensure_future(anext(loop))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="start another loop"):
        await anext(loop)
    await subscription.aclose()
    with pytest.raises(StopAsyncIteration):
        await waiting
    await trigger.store.aclose()


def test_closing_from_another_thread_ends_an_asynchronous_loop(
    my_task: Task[Any, Any], client: redis.Redis
) -> None:
    handle = my_task.trigger({}, tags=["a"]).sync()
    for subscribe, what in (
        (runs.subscribe_to_run, handle.id),
        (runs.subscribe_to_runs_with_tag, "a"),
    ):
        loop = Loop("async for", lambda subscribe=subscribe, what=what: subscribe(what))
        loop.until(1)
        loop.close()
        assert loop.end() == ["PENDING_VERSION"]  # no worker knows the task
    wait_until(lambda: readers(client) == 0, "nobody reads the feed any more")


def test_a_closed_subscription_has_no_turns(my_task: Task[Any, Any]) -> None:
    subscription = runs.subscribe_to_run(my_task.trigger({}).sync())
    subscription.close()
    assert list(subscription) == []
    assert "closed" in repr(subscription)


async def test_a_sync_loop_in_async_code_is_refused(
    my_task: Task[Any, Any], trigger: TriggerCelery
) -> None:
    subscription = runs.subscribe_to_run(await my_task.trigger({}))
    with pytest.raises(SyncInAsyncError, match="async for"):
        iter(subscription)
    await trigger.store.aclose()


def test_a_loop_in_a_run_ends_with_the_run(my_task: Task[Any, Any], worker: Engine) -> None:
    """It is an ordinary loop there: no durable call is counted, and a cancel reaches it."""
    handle = my_task.trigger({}).sync()

    class Parking:
        canceled = False

        def check(self) -> None:
            if self.canceled:
                raise RunCanceledError("canceled")

    durable = Durable(run_id(), "1", 1, "")
    parking: Any = Parking()
    durable.parking = parking
    scope = Scope(durable)
    token = current_scope.set(scope)
    try:
        loop = iter(runs.subscribe_to_run(handle))
        assert next(loop).status == "QUEUED"
        assert scope.next_path() == "1"
        parking.canceled = True
        with pytest.raises(RunCanceledError):
            next(loop)
    finally:
        current_scope.reset(token)


def test_errors_of_a_run_come_with_its_end_only(
    my_task: Task[Any, Any], worker: Engine, follow: Callable[..., Loop]
) -> None:
    handle = my_task.trigger({}, tags=["a"]).sync()
    loop = follow(runs.subscribe_to_runs_with_tag, "a")
    loop.until(1)
    worker.fail(worker.take_one(), "FAILED")
    assert [run.error is not None for run in loop.until(3)] == [False, False, True]
    assert loop.runs[-1].id == handle.id
