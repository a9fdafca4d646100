"""The server user of docs/how-to/redis-server.md may do all that runs need, and no more."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.architecture.pages import blocks
from tests.architecture.source import LUA, PACKAGE, ROOT, files
from tests.conftest import Environment
from tests.driving import DAY, ERROR, RETENTION, Engine
from tests.driving_schedules import Schedules, wanted
from tests.driving_waits import HOUR
from trigger_celery.dev import events
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import (
    admission,
    attempts,
    bulk,
    continuing,
    keys,
    listing,
    metadata,
    querying,
    queueing,
    recording,
    relating,
    scheduling,
    sessions,
    streams,
    tagging,
    waitpoints,
)  # fmt: skip
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.logs import LogReader, append_lines
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.recording import About, Fact, end_detail, start_detail
from trigger_celery.engine.run_groups import TagGroup
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.services.bulk_actions import BulkActions
from trigger_celery.engine.subscribing import FeedFollower, RunFollower, StreamedRunFollower
from trigger_celery.engine.triggering import NewRun, Placement
from trigger_celery.engine.waitpoints import TokenFilter
from trigger_celery.errors import StoreAuthenticationError
from trigger_celery.model.bulk import BulkType
from trigger_celery.model.duration import Delay
from trigger_celery.model.idempotency import scoped_key
from trigger_celery.model.ids import bulk_id, op_id, run_id, run_id_of
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.model.rate import parse_rate
from trigger_celery.model.recorded import position
from trigger_celery.model.trigger_options import Debounce
from trigger_celery.store import checks
from trigger_celery.store.op import Call, ask, command
from trigger_celery.store.scripts import Script
from trigger_celery.store.store import Store

PAGE = ROOT / "docs" / "how-to" / "redis-server.md"
CONNECTION = {"auth", "client|setname", "client|setinfo", "select", "eval", "evalsha"}
"""What a connection sends by itself, and how scripts are called."""


def setuser() -> list[str]:
    """Return the words of the page's ACL command."""
    [text] = [block.text for block in blocks(PAGE) if block.text.startswith("ACL SETUSER")]
    return text.split()


def granted() -> set[str]:
    return {word[1:] for word in setuser() if word.startswith("+")}


def used() -> set[str]:
    """Return the commands of the scripts, of the checks, and of the Python code that serves runs.

    The testing kit empties servers of its users' tests; it needs more.
    """
    lua = "".join(path.read_text("utf-8") for path in files(LUA, ".lua"))
    scripts = set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", lua))
    probed = {line.split()[0] for line in checks.COMMANDS}
    kit = PACKAGE / "testing"
    python = "".join(
        path.read_text("utf-8") for path in files(PACKAGE, ".py") if kit not in path.parents
    )
    sent = set(re.findall(r'(?:\bcommand|_packed|Call\(None, "", )\(\s*"([A-Z]+)"', python))
    return {name.lower() for name in scripts | probed | sent}


def test_the_page_grants_what_is_used() -> None:
    missing, needless = used() - granted(), granted() - used() - CONNECTION
    assert not missing, f"grant them: {' '.join(f'+{name}' for name in sorted(missing))}"
    assert not needless, f"nothing uses them: {sorted(needless)}"


@pytest.fixture
def address(server: EmbeddedServer, client: redis.Redis) -> Iterator[str]:
    """The address of the server for the user of the page."""
    client.execute_command("ACL", "SETUSER", "runs", "reset")
    words = setuser()
    version = tuple(map(int, client.info("server")["redis_version"].split(".")[:2]))
    if version < (7, 2):  # the page says to leave it out there
        words.remove("+client|setinfo")
    client.execute_command(*words)
    client.execute_command("ACL", "LOG", "RESET")
    yield f"unix://runs:secret@{server.socket_path}?db=0"
    client.execute_command("ACL", "DELUSER", "runs")


@pytest.fixture
def limited(address: str, environment: Environment) -> Iterator[Store]:
    made = Store(address, environment.scope)
    yield made
    made.close()


def test_the_user_can_do_everything(
    limited: Store,
    client: redis.Redis,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: set[str] = set()
    make_call = Script.__call__

    def noted(script: Script, *args: Any, **named: Any) -> Call:
        called.add(script.name)
        return make_call(script, *args, **named)

    monkeypatch.setattr(Script, "__call__", noted)
    everything(Engine(limited, client))
    assert called == set(SCRIPTS.scripts)
    assert client.execute_command("ACL", "LOG") == []


def every_continuation(engine: Engine) -> None:
    engine.register("w3", ["t3"], worker_queues=("apart",))
    extras = Extras(task_id="abc", celery='c{"id":"abc"}')
    run = engine.create("t3", worker_queue="apart", extras=extras)
    grant = engine.take_one("w3", worker_queues=("apart",))
    assert (grant.id, engine.run(continuing.read_celery(engine.scope, run))) == (
        run,
        'c{"id":"abc"}',
    )
    long = Packet(f'"{"x" * 99}"', JSON)
    for packet in (long, Packet("2", "text/plain")):
        assert engine.run(continuing.change_call(engine.scope, run, grant.epoch, "c{}", packet))
    engine.end(grant)
    assert engine.run(continuing.claim(engine.scope, 9, 1000)) == [(run, "c{}")]
    engine.run(continuing.continued(engine.scope, [run]))
    engine.close("w3")


def everything(engine: Engine) -> None:
    """Call every script, and what is sent beside them; take the paths that use most commands."""
    findings = engine.run(checks.check_server(engine.store))
    assert [finding for finding in findings if finding.level == "error"] == []
    engine.register("w1", ["t"], {"q": 9}, limit=50)
    options: dict[str, Any] = {"queue": "q", "key": "k", "tags": ["a"], "metadata": "{}"}
    long = f'"{"x" * 99}"'
    for _ in range(7):
        engine.create(payload=long, **options)
    engine.create(delay=1000)
    engine.create("unheard-of", declared=False)
    engine.cancel(engine.create(**options))
    engine.revoke(engine.create(**options))
    done, failed = engine.take_one(), engine.take_one()
    assert engine.end(done, data=long) == "ok"
    assert engine.fail(failed) == "ok"
    assert engine.run(querying.wait_for_end(engine.scope, failed.id, 5)).is_failed
    engine.retry(engine.take_one(), 0)
    engine.retry(engine.take_one(), 60_000)
    started = engine.take_one(start=False)
    assert engine.start(started) == 1
    engine.end(started, "lost", "", ERROR)
    engine.unknown(engine.take_one())
    every_wait(engine)
    every_key(engine)
    every_subscription(engine)
    every_recorded(engine)
    every_log(engine, done.id)
    every_progress(engine, done.id)
    engine.run(ask(SCRIPTS.note_objects(engine.scope, [done.id, run_id()], None, most=1)))
    engine.register("w2", ["t", "unheard-of"], {"q": 9, "t2": 1})
    engine.refresh("q")
    assert engine.renew("w1")
    engine.run(sessions.owned(engine.scope, "w1"))
    engine.clock.advance(DAY)
    engine.fire()
    engine.let_lapse("w2")
    engine.take("w2")
    engine.close("w2")
    engine.run(listing.list_runs(engine.scope, listing.RunFilter(tags=("a",)), 2, None))
    page = engine.run(listing.list_runs(engine.scope, listing.RunFilter(), 2, None))
    engine.run(listing.list_runs(engine.scope, listing.RunFilter(), 2, page.next_cursor))
    every_bulk_action(engine)
    every_continuation(engine)
    every_schedule(engine)
    engine.run(queueing.list_queues(engine.scope))
    every_bound(engine)
    engine.run(querying.list_workers(engine.scope))
    engine.run(querying.list_unserved(engine.scope))
    engine.run(querying.server_version())
    engine.run(events.newest(engine.scope))
    engine.run(events.next_changes(engine.scope, "0-0"))
    engine.clock.advance(2 * RETENTION)
    for count in (9, 0):
        gone = [run_id(), "1"]
        engine.run(ask(SCRIPTS.prune_objects(engine.scope, gone, None, count=count)))
    assert engine.prune() > 0
    engine.run(sessions.prune_queues(engine.scope, b"0"))
    assert engine.status(done.id) == ""


def every_schedule(engine: Engine) -> None:
    """Call all that schedules need; what is broken is set aside."""
    driver = Schedules(engine)
    made, broken = driver.create("made"), driver.create("broken", catch_up="all")
    driver.resume(driver.pause(made))
    driver.update(made, task="u", external_id="x")
    driver.sync(wanted(None))
    driver.sync()
    engine.client.hset(engine.key("redbeat", broken.id), "cron", "broken")
    engine.clock.advance(HOUR)
    assert driver.fire()[0].run_count == 1
    assert engine.run(scheduling.next_due(engine.scope))[1] is not None
    assert engine.run(ask(command("HKEYS", engine.key("tasks"))))
    for schedule in driver.list():
        driver.delete(schedule)


def every_bound(engine: Engine) -> None:
    """Call what changes queues, and what looks at their bounds."""
    rate = parse_rate("1/s")
    bounded = QueueDeclaration("bounded", 9, 9, rate, rate, 2)
    engine.register("w7", ["t"], {"bounded": bounded})
    for key in ("a", "b"):
        engine.create(queue="bounded", key=key)
    _, calls = engine.batch_calls([engine.new_run(queue="bounded")])
    engine.store.send(*calls)
    engine.take("w7", want=50)
    engine.clock.advance(2000)
    engine.fire()
    engine.run(queueing.read_queue(engine.scope, "bounded"))
    engine.run(queueing.read_environment(engine.scope))
    for action in ("pause", "resume", "override", "reset"):
        engine.run(queueing.change_queue(engine.scope, "bounded", action, 1))
        engine.run(queueing.change_environment(engine.scope, action, 50))
    engine.create("not-there", declared=False)
    engine.register("w7", ["t", "not-there"], burst=2, limit=4)
    engine.close("w7")


def every_bulk_action(engine: Engine) -> None:
    """Cancel and replay runs by filter, give an action up, and look at one's relatives."""
    run = engine.create(tags=["bulk"])
    wanted = listing.RunFilter(tags=("bulk",), all_tags=True, tasks=("t",))
    for kind in BulkType:
        engine.run(bulk.create_bulk(engine.scope, bulk.NewBulk(bulk_id(), kind, wanted)))
    service = BulkActions(
        engine.scope, RETENTION, lambda task: Placement(task, False, "celery", "")
    )
    while engine.run(service.tick()) == 0.0:
        pass
    new = bulk.NewBulk(bulk_id(), BulkType.CANCEL, run_ids=(run,), name="n")
    engine.run(bulk.create_bulk(engine.scope, new))
    assert engine.run(bulk.abort_bulk(engine.scope, new.id, RETENTION)).is_completed
    assert len(engine.run(bulk.list_bulks(engine.scope, 9))) == 3
    engine.run(relating.read_with_related(engine.scope, run))


def every_wait(engine: Engine) -> None:
    """Let runs wait for all there is, with and without an owner; leave some of it behind."""
    long = f'"{"x" * 99}"'
    for _ in range(4):
        engine.create()
    one, two, three, four = engine.take("w1", 4)
    token, other = engine.token(key="a", tags=["a"]), engine.token(tags=["a"])
    assert engine.token(key="a") == token
    engine.run(waitpoints.read_token(engine.scope, token))
    engine.list_tokens(TokenFilter(), 1)
    engine.list_tokens(TokenFilter(tags=("a",)), 1)
    engine.step(one, "charge", long)
    assert engine.wait(one, token) == "parked"
    assert engine.wait(two, token, park=False) == "waiting"
    assert engine.wait(two, other, path="2", park=False) == "waiting"
    assert engine.park(two, token, other).word == "parked"
    child = engine.child(two, engine.new_run("t"), path="3")
    assert engine.ask_to_wait(one, one.id, path="2").word == "cycle"
    batch = engine.batch([engine.new_run("t"), engine.new_run("t")], parent=three)
    assert engine.wait(three, batch) == "parked"
    assert engine.wait(four, engine.date(HOUR)) == "parked"
    engine.run(ask(waitpoints.shorten_call(engine.scope, other, HOUR)))
    assert engine.resume(three) == "told"
    assert engine.evict(one, four) == ["evicted", "evicted"]
    assert engine.complete(token, data=long)
    engine.record(one)
    for grant in engine.take("w1", 9):
        engine.end(grant)
    assert engine.read_batch(batch).run_count == 2
    engine.run(querying.read_outcomes(engine.scope, [one.id, child]))
    engine.cancel(child)
    engine.cancel(two.id)
    engine.fire()


def every_key(engine: Engine) -> None:
    """Trigger with idempotency and debounce keys, alone and in a batch; let one run expire."""
    long = f'"{"x" * 99}"'
    key = scoped_key(["k"], "global")

    def keyed() -> NewRun:
        return engine.new_run(extras=Extras(key=key, ttl_ms=1000))

    made = engine.trigger(keyed())
    assert engine.read_batch(engine.batch([keyed(), engine.new_run()])).runs[0] == made.id
    assert engine.run(admission.reset_key(engine.scope, "t", key))
    for text in ("1", long):
        extras = Extras(debounce=Debounce("d", 9000, True), own=frozenset({"tags", "metadata"}))
        new = engine.new_run(
            payload=text, delay=5000, extras=extras, tags=[text[:1]], metadata="{}"
        )
        put_off = engine.trigger(new)
    assert put_off.is_cached
    assert engine.run(admission.reschedule_run(engine.scope, put_off.id, Delay(1000, None))) == "ok"
    engine.clock.advance(2000)
    engine.fire()
    assert engine.status(made.id) == "EXPIRED"
    for grant in engine.take("w1", 9):
        engine.end(grant)


def every_recorded(engine: Engine) -> None:
    """Record a task that retries, is silent, and ends, with a parent; look for those that are silent."""
    scope, lease = engine.scope, 1000
    run, long = run_id_of("task"), f'"{"x" * 99}"'
    about = About("task", "old", "celery", engine.create(), None, "application/json")

    def record(kinds: str, place: int, detail: str, body: str = "") -> None:
        fact = Fact(
            run, kinds, position(0, place), time.monotonic(), execution="x", about=about,
            payload=long, detail=detail, body=body,
        )  # fmt: skip
        engine.store.send(
            *recording.record_calls(scope, [fact], time.monotonic(), lease, RETENTION, 1)
        )

    record("p", 1, "")
    record("se", 0, f"{start_detail('w', True)}\x1f{end_detail('RETRY', '0')}", ERROR)
    record("s", 1, start_detail("w", False))
    engine.store.send(recording.renew_call(scope, [(run, "1", "x")], lease, RETENTION))
    engine.client.hdel(engine.key("env"), "hold")
    engine.clock.advance(lease + 1)
    assert engine.run(recording.sweep_recorded(scope, lease, RETENTION)).lost == (run,)
    engine.store.send(recording.renew_call(scope, [(run, "1", "x")], lease, RETENTION))
    record("e", 1, end_detail("COMPLETED", "application/json"), long)
    assert engine.run(querying.read_run(scope, run)).is_success
    assert engine.run(recording.read_unrecorded(scope)).count == 4


def every_subscription(engine: Engine) -> None:
    """Follow a run and the runs of a tag."""
    run = engine.create(tags=["b"])
    one = RunFollower(engine.scope, run)
    many = FeedFollower(
        engine.scope, TagGroup(engine.scope, ("b",), DAY), engine.store.stream_reader()
    )
    for follower in (one, many):
        assert engine.run(follower.next()).is_queued
    engine.cancel(run)
    for follower in (one, many):
        assert engine.run(follower.next()).is_cancelled
        follower.close()


def every_log(engine: Engine, final: str) -> None:
    """Say more than a log keeps, in a run that goes on and in one that is over, and read it."""
    long = f'{{"t": 1, "l": "info", "m": "{"x" * 60_000}", "a": 1}}'
    engine.create(payload=f'"{"x" * keys.MAX_INLINE}"')
    grant = engine.take_one()
    engine.run(attempts.fetch_payload(engine.scope, grant))
    assert engine.run(sessions.read_heartbeat(engine.scope, grant.id))
    for run in (grant.id, final):
        for _ in range(2):
            engine.run(ask(append_lines(engine.scope, op_id(), run, [long] * 40)))
        reader = LogReader(engine.scope, run, follow=run == final, level="info")
        while engine.run(reader.next()) is not None:
            assert reader.dropped > 0
    engine.end(grant)


def every_progress(engine: Engine, final: str) -> None:
    """Change metadata, add tags and fill streams, of a run that goes on and of one that is over."""
    engine.create(metadata="{}")
    grant = engine.take_one()
    long = f'[["set","a","{"x" * 300_000}"]]'
    for run in (grant.id, final):
        batch = metadata.Batch([(run, long, 1)])
        reply = engine.run(ask(batch.call(engine.scope, grant.id, grant.epoch)))
        assert engine.run(metadata.settle(engine.scope, batch, reply)) == "ok"
        assert engine.run(tagging.add_tags(engine.scope, run, ["new"]))
        to = streams.Address(engine.scope, run, "s", grant.id, grant.epoch)
        engine.run(streams.append(to, ["1"] * 10_001, begins=True, ends=True))
        follower = StreamedRunFollower(engine.scope, run)
        assert engine.run(follower.next())
        assert engine.run(follower.next())
        follower.close()
        reading = streams.StreamFollower(engine.scope, run, "s", engine.store.stream_reader())
        assert engine.run(reading.next()) == (1,)
        reading.close()
    engine.end(grant)


def test_keys_of_others_are_out_of_reach(address: str, client: redis.Redis) -> None:
    with redis.Redis.from_url(address) as plain, pytest.raises(redis.exceptions.NoPermissionError):
        plain.get("celery")


def test_a_user_without_scripts_is_told(
    address: str, client: redis.Redis, environment: Environment
) -> None:
    client.execute_command("ACL", "SETUSER", "runs", "-eval", "-evalsha")
    store = Store(address, environment.scope)
    with pytest.raises(StoreAuthenticationError, match="evalsha"):
        store.run_sync(sessions.prune(store.scope, 1))
    store.close()
