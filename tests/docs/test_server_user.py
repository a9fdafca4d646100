"""The server user of docs/how-to/redis-server.md may do all that runs need, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.architecture.pages import blocks
from tests.architecture.source import LUA, PACKAGE, ROOT, files
from tests.conftest import Environment
from tests.driving import DAY, ERROR, RETENTION, Engine
from tests.driving_waits import HOUR
from trigger_celery.dev import events
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import querying, sessions, waitpoints
from trigger_celery.engine.run_groups import TagGroup
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.subscribing import FeedFollower, RunFollower
from trigger_celery.engine.waitpoints import TokenFilter
from trigger_celery.errors import StoreAuthenticationError
from trigger_celery.store import checks
from trigger_celery.store.op import Call, ask
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
    """Return the commands of the scripts, of the checks, and of the Python code."""
    lua = "".join(path.read_text("utf-8") for path in files(LUA, ".lua"))
    scripts = set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", lua))
    probed = {line.split()[0] for line in checks.COMMANDS}
    python = "".join(path.read_text("utf-8") for path in files(PACKAGE, ".py"))
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
    every_subscription(engine)
    engine.register("w2", ["t", "unheard-of"], {"q": 9, "t2": 1})
    engine.refresh("q")
    assert engine.renew("w1")
    engine.run(sessions.owned(engine.scope, "w1"))
    engine.clock.advance(DAY)
    engine.fire()
    engine.let_lapse("w2")
    engine.take("w2")
    engine.close("w2")
    engine.run(querying.list_runs(engine.scope, querying.RunFilter(tags=("a",)), 2, None))
    page = engine.run(querying.list_runs(engine.scope, querying.RunFilter(), 2, None))
    engine.run(querying.list_runs(engine.scope, querying.RunFilter(), 2, page.next_cursor))
    engine.run(querying.list_queues(engine.scope))
    engine.run(querying.list_workers(engine.scope))
    engine.run(querying.list_unserved(engine.scope))
    engine.run(querying.server_version())
    engine.run(events.newest(engine.scope))
    engine.run(events.next_changes(engine.scope, "0-0"))
    engine.clock.advance(2 * RETENTION)
    assert engine.prune() > 0
    engine.run(sessions.prune_queues(engine.scope, b"0"))
    assert engine.status(done.id) == ""


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
