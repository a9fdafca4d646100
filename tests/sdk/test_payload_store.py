"""Large payloads outside of Redis: where they are, who reads them, and when they go."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery

from tests.driving import HOUR, RETENTION, Engine
from trigger_celery import (
    BatchTriggerError,
    PayloadLostError,
    PayloadStoreError,
    PayloadTooLargeError,
    PollTimeoutError,
    SettingsError,
    TriggerCelery,
    idempotency_keys,
    runs,
    task,
    tasks,
    wait,
)
from trigger_celery.bridge import context
from trigger_celery.bridge.taking_over.taken_over import Attempt
from trigger_celery.engine import attempts, keys, offloading, querying
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.services.bulk_actions import BulkActions
from trigger_celery.engine.services.object_pruner import LOOK_EVERY, ObjectPruner
from trigger_celery.model.packet import JSON, STORE, Packet, encode
from trigger_celery.model.stored_packet import read_reference
from trigger_celery.store.op import AskPayloads
from trigger_celery.store.payloads import Directory, PayloadStore

LARGE = {"text": "ä" * 70_000, "day": date(2031, 5, 4)}
"""Fewer than 128 K characters, more than 128 KB."""
MINUTE = 60_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


@pytest.fixture
def bound(trigger: TriggerCelery, root: Path) -> TriggerCelery:
    """The app, with a payload store of files; it has the task `t`."""
    trigger.configure(payload_store=root.as_uri(), store_retry=0.2)

    @task(id="t")
    def t(payload: Any) -> None: ...

    return trigger


@pytest.fixture
def engine(bound: TriggerCelery, client: redis.Redis) -> Engine:
    """A worker that has the payload store, by hand."""
    made = Engine(bound.store, client)
    made.register("w1", ["t"])
    return made


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def owners(root: Path) -> set[str]:
    return {path.parent.name for path in files(root)}


def finish(engine: Engine, value: Any = 1) -> Grant:
    """Execute the next run: its output is *value*."""
    grant = engine.take_one()
    packet = encode(value)
    [kept] = engine.run(offloading.put_away(engine.scope, [(grant.id, packet)]))
    assert engine.end(grant, "done", kept.type, kept.data) == "ok"
    return grant


# Where they are


def test_a_large_payload_is_a_file_and_redis_has_a_reference(engine: Engine, root: Path) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    [file] = files(root)
    assert file.relative_to(root).parts[2:] == (run, file.name)
    assert {oct(path.stat().st_mode & 0o777) for path in (root, *file.parents[:3])} == {"0o700"}
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    text = engine.client.get(engine.key("payload", run))
    assert len(text) < 400
    reference = read_reference(Packet(text.decode(), STORE))
    assert (reference.owner, reference.type) == (run, "application/super+json")
    assert reference.size == file.stat().st_size > 128 * 1024
    assert runs.retrieve(run).sync().payload == LARGE


def test_whoever_executes_the_run_gets_the_payload(engine: Engine) -> None:
    tasks.trigger("t", LARGE).sync()
    grant = engine.take_one()
    assert (grant.payload_apart, grant.payload_type) == (True, STORE)
    engine.run(attempts.fetch_payload(engine.scope, grant))
    assert (grant.payload_apart, grant.payload_type) == (False, "application/super+json")
    assert json.loads(grant.payload)["json"]["text"] == LARGE["text"]


def test_outputs_are_read_by_all_who_ask(engine: Engine, root: Path) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    finish(engine, [LARGE])
    assert len(files(root)) == 2
    assert engine.client.strlen(engine.key("output", run)) < 400
    assert runs.retrieve(run).sync().output == [LARGE]
    assert runs.poll(run).sync().payload == LARGE
    assert next(iter(runs.subscribe_to_run(run))).output == [LARGE]
    [outcome] = engine.run(querying.read_outcomes(engine.scope, [run]))
    assert outcome.output == [LARGE]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: runs.retrieve(run).sync().output, range(8)))
    assert found == [[LARGE]] * 8


def test_the_data_of_a_token(bound: TriggerCelery, root: Path) -> None:
    token = wait.create_token().sync()
    assert wait.complete_token(token, LARGE).sync()
    assert owners(root) == {token.id}
    assert wait.retrieve_token(token).sync().output == LARGE
    assert [one.output for one in wait.list_tokens().sync()] == [None]


def test_items_of_a_batch(engine: Engine, root: Path) -> None:
    items = [{"payload": "x" * 200_000 + str(n)} for n in range(20)]
    made = tasks.batch_trigger("t", [*items, {"payload": "small"}]).sync()
    assert owners(root) == {run.id for run in made.runs[:20]}
    for run, item in zip(made.runs[::7], items[::7], strict=True):
        assert runs.retrieve(run).sync().payload == item["payload"]


def test_what_is_small_stays_in_redis(engine: Engine, root: Path) -> None:
    run = tasks.trigger("t", "x" * 128 * 1024).sync().id
    wait.complete_token(wait.create_token().sync(), "small").sync()
    assert runs.retrieve(run).sync().payload == "x" * 128 * 1024
    finish(engine)
    assert not root.exists()
    assert not engine.client.exists(engine.key("objects"))


def test_without_a_payload_store_everything_stays_in_redis(
    trigger: TriggerCelery, client: redis.Redis
) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    assert client.strlen(keys.key(trigger.scope, "payload", run)) > 128 * 1024
    assert not client.exists(keys.key(trigger.scope, "objects"))


def test_limits_are_the_same(bound: TriggerCelery, root: Path) -> None:
    with pytest.raises(PayloadTooLargeError, match="10,485,760"):
        tasks.trigger("t", "x" * (10 * 1024 * 1024 + 1))
    assert not root.exists()


def test_the_last_payload_of_a_debounced_run_stays_in_redis(engine: Engine, root: Path) -> None:
    """It becomes the payload of a run whose id the caller does not know."""
    debounce: Any = {"key": "k", "delay": "1m", "mode": "trailing"}
    first = tasks.trigger("t", "small", debounce=debounce).sync()
    second = tasks.trigger("t", LARGE, debounce=debounce).sync()
    assert (second.id, second.is_cached) == (first.id, True)
    assert runs.retrieve(first).sync().payload == LARGE
    assert not root.exists()


def test_what_a_retry_is_called_with(
    bound: TriggerCelery, app: Celery, root: Path, client: redis.Redis
) -> None:
    """`self.retry(args=…)` of a task that was taken over: as large and as stored as a trigger's."""
    bound.configure(**{**bound.keywords, "manage": ["taken.*"]})
    engine = Engine(bound.store, client)

    @app.task(name="taken.grows", shared=False)
    def grows(value: Any) -> Any:
        return value

    app.finalize()
    engine.register("w1", ["t", "taken.grows"])
    result = grows.delay(1)
    grant = engine.take_one()

    def retry(value: Any) -> None:
        app.send_task("taken.grows", (value,), task_id=result.id, retries=1, countdown=60)

    attempt = context.current_call.set(Attempt(result.id, 0, (1,), {}))
    execution = context.current_execution.set(SimpleNamespace(grant=grant))  # type: ignore[arg-type]
    try:
        with pytest.raises(PayloadTooLargeError, match="10,485,760"):
            retry("x" * (10 * 1024 * 1024 + 1))
        assert runs.retrieve(grant.id).sync().payload == {"args": [1], "kwargs": {}}
        retry(LARGE)
    finally:
        context.current_execution.reset(execution)
        context.current_call.reset(attempt)
    [file] = files(root)
    assert owners(root) == {grant.id}
    assert runs.retrieve(grant.id).sync().payload == {"args": [LARGE], "kwargs": {}}
    assert not grant.payload_apart  # for the attempt that follows at once
    assert json.loads(grant.payload)["json"]["args"][0]["text"] == LARGE["text"]
    engine.retry(grant, HOUR)
    engine.clock.advance(HOUR)
    engine.fire()
    again = engine.take_one()
    assert again.payload_type == STORE
    engine.run(attempts.fetch_payload(engine.scope, again))
    assert again.payload == file.read_text("utf-8")
    bound.taken_over.give_back()


@pytest.fixture
def memory(trigger: TriggerCelery) -> Iterator[Any]:
    from fsspec.implementations.memory import MemoryFileSystem

    trigger.configure(payload_store="memory://bucket/prefix")
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def test_a_bucket(trigger: TriggerCelery, client: redis.Redis, memory: Any) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    [name] = memory.find("/bucket/prefix")
    assert name.split("/")[-2] == run
    assert runs.retrieve(run).sync().payload == LARGE
    memory.rm(name)
    with pytest.raises(PayloadLostError, match="is not in the payload store memory://bucket/"):
        runs.retrieve(run).sync()
    tasks.trigger("t", LARGE).sync()
    for name in ("run_" + "0" * 26, run):
        trigger.store.run_sync(_deletes(name))
    assert len(memory.find("/bucket/prefix")) == 1


def test_a_bucket_is_not_made(trigger: TriggerCelery, root: Path) -> None:
    trigger.configure(payload_store=f"local://{root}", store_retry=0.1)
    with pytest.raises(PayloadStoreError, match="could not be written"):
        tasks.trigger("t", LARGE).sync()
    assert not root.exists()
    root.mkdir()
    run = tasks.trigger("t", LARGE).sync().id
    assert owners(root) == {run}
    assert runs.retrieve(run).sync().payload == LARGE


def _deletes(owner: str) -> Any:
    payloads = yield AskPayloads()
    payloads.delete([owner])


# What may be wrong


def test_an_object_that_is_gone(engine: Engine, root: Path) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    files(root)[0].unlink()
    with pytest.raises(PayloadLostError, match=rf"{run}/.* is not in the payload store file://"):
        runs.retrieve(run).sync()
    with pytest.raises(PollTimeoutError):  # while a run goes on, its payload is not read
        runs.poll(run, timeout=0.01).sync()
    assert [one.id for one in runs.list().sync()] == [run]
    with pytest.raises(PayloadLostError):
        engine.run(attempts.fetch_payload(engine.scope, engine.take_one()))


@pytest.mark.parametrize("changed", [b"[]", None])
def test_an_object_that_is_not_what_was_stored(
    bound: TriggerCelery, root: Path, changed: bytes | None
) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    [file] = files(root)
    data = file.read_bytes()
    file.write_bytes(data.replace(b"2031", b"2032") if changed is None else changed)
    with pytest.raises(PayloadLostError, match="is not what was stored"):
        runs.retrieve(run).sync()
    file.write_bytes(data)
    assert runs.retrieve(run).sync().payload == LARGE


@pytest.mark.parametrize("name", ["../../etc/passwd", f"run_{'0' * 26}/../{'a' * 64}"])
def test_a_reference_leads_nowhere_else(root: Path, name: str) -> None:
    fields = {"name": name, "type": JSON, "size": 1, "sha256": "a" * 64}
    store = PayloadStore(root.as_uri(), "p/e", retry_for=1)
    with pytest.raises(PayloadLostError, match="no reference"):
        store.load([Packet(json.dumps(fields), STORE)])
    with pytest.raises(ValueError, match="no run or token"):
        store.keep([("..", Packet("x" * 200_000, JSON))])
    with pytest.raises(ValueError, match="no run or token"):
        store.delete(["."])


def test_a_process_without_the_payload_store(bound: TriggerCelery) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    bound.configure(payload_store=None)
    with pytest.raises(PayloadStoreError, match="give it the setting payload_store"):
        runs.retrieve(run).sync()


def test_a_payload_store_that_is_away(engine: Engine, root: Path) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    root.rename(root.with_name("elsewhere"))
    root.write_text("no directory")
    with pytest.raises(PayloadStoreError, match="could not be written in the payload store"):
        tasks.trigger("t", LARGE).sync()
    with pytest.raises(BatchTriggerError, match="could not be written"):
        tasks.batch_trigger("t", [{"payload": LARGE}, {"payload": LARGE}]).sync()
    with pytest.raises(PayloadStoreError, match="could not be read") as problem:
        runs.retrieve(run).sync()
    assert not isinstance(problem.value, PayloadLostError)  # it may come back
    assert [one.id for one in runs.list().sync()] == [run]
    root.unlink()
    root.with_name("elsewhere").rename(root)
    assert runs.retrieve(run).sync().payload == LARGE


def test_a_short_failure_is_not_seen(bound: TriggerCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError("reset"), TimeoutError()]
    write = Directory.write

    def flaky(self: Directory, name: str, data: bytes) -> None:
        if failures:
            raise failures.pop()
        write(self, name, data)

    monkeypatch.setattr(Directory, "write", flaky)
    run = tasks.trigger("t", LARGE).sync()
    assert runs.retrieve(run).sync().payload == LARGE


@pytest.mark.parametrize(
    ("url", "missing", "message"),
    [
        ("s3://bucket/prefix", "s3fs", r"pip install 'trigger-celery\[s3\]'"),
        ("gs://bucket", "fsspec", r"pip install 'trigger-celery\[payloads\]'"),
        ("/var/payloads", "", "expects a URL, for example file:///"),
        ("file://payloads", "", "absolute path"),
        ("s3:///prefix", "", "names no bucket"),
    ],
)
def test_urls_that_do_not_fit(
    app: Celery,
    registry: None,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    missing: str,
    message: str,
) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    bound = TriggerCelery(app, redis_url="redis://localhost:7777/0", payload_store=url)
    with pytest.raises(SettingsError, match=message):
        _ = bound.settings
    bound.configure(payload_store="none")
    assert bound.settings.payload_store is None


def test_a_file_system_that_nobody_knows(trigger: TriggerCelery) -> None:
    trigger.configure(payload_store="nowhere://u:secret@x/y")
    with pytest.raises(PayloadStoreError, match="Protocol not known: nowhere") as problem:
        tasks.trigger("t", LARGE).sync()
    assert "secret" not in str(problem.value)


# Side by side


async def test_a_loop_goes_on_meanwhile(
    bound: TriggerCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on = threading.Event()
    write, read = Directory.write, Directory.read

    def slow_write(self: Directory, name: str, data: bytes) -> None:
        assert went_on.wait(10)
        write(self, name, data)

    def slow_read(self: Directory, name: str) -> bytes:
        assert went_on.wait(10)
        return read(self, name)

    monkeypatch.setattr(Directory, "write", slow_write)
    monkeypatch.setattr(Directory, "read", slow_read)
    triggers = asyncio.gather(*(tasks.trigger("t", LARGE) for _ in range(3)))
    asyncio.get_running_loop().call_later(0.02, went_on.set)
    handles = await triggers
    went_on.clear()
    asyncio.get_running_loop().call_later(0.02, went_on.set)
    assert (await runs.retrieve(handles[0])).payload == LARGE
    await bound.store.aclose()


def test_an_object_may_be_written_by_many_at_once(root: Path) -> None:
    store = PayloadStore(root.as_uri(), "p/e", retry_for=1)
    owner, packet = "run_" + "0" * 26, Packet("x" * 300_000, "text/plain")
    with ThreadPoolExecutor(8) as threads:
        kept = list(threads.map(lambda _: store.keep([(owner, packet)] * 4), range(12)))
    assert len(files(root)) == 1  # and nothing beside it
    assert store.load(kept[0]) == [packet] * 4
    assert {found for some in kept for found in some} == {kept[0][0]}


# Once more


def test_a_replay_has_a_copy_of_its_own(engine: Engine, root: Path) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    copy = runs.replay(run).sync().id
    other = runs.replay(run, tags=["again"]).sync().id
    assert owners(root) == {run, copy, other}
    next(file for file in files(root) if file.parent.name == run).unlink()
    assert runs.retrieve(copy).sync().payload == runs.retrieve(other).sync().payload == LARGE
    with pytest.raises(PayloadLostError):
        runs.replay(run).sync()


def test_a_bulk_replay_copies_what_is_there(
    bound: TriggerCelery, engine: Engine, root: Path
) -> None:
    made = [tasks.trigger("t", [n, LARGE]).sync().id for n in range(12)]
    next(file for file in files(root) if file.parent.name == made[3]).unlink()
    action = runs.bulk.replay(run_ids=made).sync()
    service = BulkActions(engine.scope, RETENTION, lambda task_id: bound.placement(None, task_id))
    while engine.run(service.tick()) == 0.0:
        pass
    done = runs.bulk.retrieve(action).sync()
    assert (done.success_count, done.failure_count) == (11, 1)
    copies = runs.list(bulk_action=action.id, limit=50).sync()
    payloads = [runs.retrieve(copy.id).sync().payload for copy in copies]
    assert sorted(number for number, _ in payloads) == [n for n in range(12) if n != 3]
    assert all(rest == LARGE for _, rest in payloads)


# When they go


def pruned(engine: Engine) -> int:
    """Let the service look once; return how many owners were gone."""
    return engine.run(offloading.prune_objects(engine.scope, 64))[1]


def test_objects_go_with_their_run(engine: Engine, root: Path) -> None:
    run = tasks.trigger("t", LARGE).sync().id
    lasting = tasks.trigger("t", LARGE, delay="30d").sync().id
    token = wait.create_token().sync()
    wait.complete_token(token, LARGE).sync()
    engine.clock.advance(2 * HOUR)
    assert pruned(engine) == 0  # they are looked at, and are there
    finish(engine, LARGE)
    retention = engine.client.zscore(engine.key("retention"), run)
    engine.clock.advance(int(retention) - engine.clock.now() - 1000)
    engine.prune()
    assert pruned(engine) == 1  # the token, which ended before
    assert owners(root) == {run, lasting}
    engine.clock.advance(10 * MINUTE)
    engine.prune()
    for _ in range(3):
        pruned(engine)
        engine.clock.advance(16 * MINUTE)
    assert owners(root) == {lasting}
    assert not (files(root)[0].parent.parent / run).exists()
    assert engine.client.zrange(engine.key("objects"), 0, -1) == [lasting.encode()]
    assert runs.retrieve(lasting).sync().payload == LARGE


def test_what_no_run_uses_goes_after_an_hour(engine: Engine, root: Path) -> None:
    key = idempotency_keys.create("once", scope="global").sync()
    first = tasks.trigger("t", LARGE, idempotency_key=key).sync()
    second = tasks.trigger("t", LARGE, idempotency_key=key).sync()
    assert second.is_cached
    assert len(owners(root)) == 2
    engine.clock.advance(50 * MINUTE)
    assert pruned(engine) == 0
    engine.clock.advance(11 * MINUTE)
    assert pruned(engine) == 1
    assert owners(root) == {first.id}
    assert runs.retrieve(first).sync().payload == LARGE


def test_what_could_not_be_deleted_is_deleted_later(
    engine: Engine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.run(
        offloading.put_away(engine.scope, [("run_" + "0" * 26, Packet("x" * 200_000, JSON))])
    )
    engine.clock.advance(HOUR + 1)
    with monkeypatch.context() as patched:
        patched.setattr(Directory, "delete", lambda self, folder: 1 / 0)
        with pytest.raises(PayloadStoreError, match="could not be deleted"):
            pruned(engine)
    assert pruned(engine) == 0  # somebody may be at it
    engine.clock.advance(MINUTE + 1)
    assert pruned(engine) == 1
    assert files(root) == []
    assert not engine.client.exists(engine.key("objects"))


def test_one_that_is_written_again_meanwhile_stays_known(engine: Engine, root: Path) -> None:
    owner = "run_" + "0" * 26
    write = [(owner, Packet("x" * 200_000, JSON))]
    engine.run(offloading.put_away(engine.scope, write))
    engine.clock.advance(HOUR + 1)
    flow = offloading.prune_objects(engine.scope, 64)
    step = flow.send(None)
    seen: list[Any] = []
    while True:  # by hand, with another writer in the middle
        reply = engine.run(_one(step))
        seen.append(step)
        if len(seen) == 3:  # it is deleted, and not yet forgotten
            engine.run(offloading.put_away(engine.scope, write))
        try:
            step = flow.send(reply)
        except StopIteration:
            break
    assert owners(root) == {owner}
    assert engine.client.zrange(engine.key("objects"), 0, -1) == [owner.encode()]


def _one(step: Any) -> Any:
    return (yield step)


def test_not_more_are_known_than_a_million(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(offloading, "MAX_OWNERS", 2)
    made = []
    for _ in range(3):
        made.append(tasks.trigger("t", LARGE).sync().id)
        engine.clock.advance(1000)
    known = engine.client.zrange(engine.key("objects"), 0, -1)
    assert known == [run.encode() for run in made[1:]]
    assert "setting payload_store?" in caplog.text


def test_the_service_rests_when_there_is_nothing(engine: Engine) -> None:
    service = ObjectPruner(engine.scope)
    assert engine.run(service.tick()) == LOOK_EVERY
    engine.cancel(tasks.trigger("t", LARGE).sync().id)
    assert engine.run(service.tick()) == LOOK_EVERY


def test_a_subscription_reads_an_object_once(
    bound: TriggerCelery, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the run changes."""
    read: list[str] = []
    monkeypatch.setattr(
        Directory,
        "read",
        lambda self, name, once=Directory.read: (read.append(name), once(self, name))[1],
    )
    run = tasks.trigger("t", LARGE).sync()
    following = iter(runs.subscribe_to_run(run))
    assert next(following).payload == LARGE
    for tag in ("a", "b"):
        runs.add_tags(run, tag).sync()  # reads it as well
        before = len(read)
        assert next(following).payload == LARGE
        assert len(read) == before
