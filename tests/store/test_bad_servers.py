"""A server that cannot hold runs is named with what to do about it, before anything is lost."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.architecture.source import LUA, files
from tests.driving import RETENTION, Engine
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import triggering
from trigger_celery.errors import (
    ServerUnfitError,
    StoreAuthenticationError,
    StoreUnavailableError,
)
from trigger_celery.store import checks
from trigger_celery.store.checks import Finding, check_server, require_fit
from trigger_celery.store.op import Flow
from trigger_celery.store.store import Store

Starter = Callable[..., EmbeddedServer]
SCOPE = "{tc:test:check}"


@pytest.fixture
def user(client: redis.Redis) -> Iterator[Callable[[str], None]]:
    """Makes the user bob, password pw, with these rights."""

    def make(rules: str) -> None:
        client.execute_command("ACL", "SETUSER", "bob", "reset", "on", ">pw", *rules.split())

    yield make
    client.execute_command("ACL", "DELUSER", "bob")


def store_of(server: EmbeddedServer, login: str = "") -> Store:
    url = server.url.replace("unix://", f"unix://{login}@" if login else "unix://")
    return Store(url, SCOPE, retry_for=0.1)


def findings(store: Store) -> dict[str, Finding]:
    found = store.run_sync(check_server(store))
    store.close()
    return {finding.name: finding for finding in found}


def create_one(store: Store) -> None:
    try:
        store.run_sync(triggering.create_run(SCOPE, Engine.new_run(), RETENTION))
    finally:
        store.close()


def faked(store: Store, **facts: str) -> dict[str, Finding]:
    """Check the server as if INFO had said something else."""

    def flow() -> Flow[list[Finding]]:
        check = check_server(store)
        step: Any = next(check)
        try:
            while True:
                reply = yield step
                if step.args == ("INFO",):
                    reply = {**reply, **facts}
                step = check.send(reply)
        except StopIteration as stop:
            return stop.value

    found = store.run_sync(flow())
    store.close()
    return {finding.name: finding for finding in found}


def test_the_embedded_server_is_fit_but_for_its_persistence(
    server: EmbeddedServer, client: redis.Redis
) -> None:
    client.flushall()
    found = findings(store_of(server))
    assert {name: finding.level for name, finding in found.items()} == {
        "persistence": "warning",
        "version": "ok",
        "eviction": "ok",
        "role": "ok",
        "permission": "ok",
        "clock": "ok",
        "memory": "ok",
    }
    assert "appendonly yes" in found["persistence"].fix
    assert store_of(server).run_sync(require_fit(store_of(server))) is None
    assert client.dbsize() == 0


def test_with_an_append_only_file_nothing_is_left_to_say(start_server: Starter) -> None:
    own = start_server("--appendonly", "yes", "--maxmemory", "100mb")
    found = findings(store_of(own))
    assert {finding.level for finding in found.values()} == {"ok"}
    assert "memory" not in found


def test_an_evicting_server_is_refused(start_server: Starter) -> None:
    own = start_server("--maxmemory-policy", "allkeys-lru")
    found = findings(store_of(own))["eviction"]
    assert (found.level, "allkeys-lru" in found.message) == ("error", True)
    assert "noeviction" in found.fix
    store = store_of(own)
    with pytest.raises(ServerUnfitError, match=r"loses runs in silence.*Set maxmemory-policy"):
        store.run_sync(require_fit(store))
    store.close()


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        ({"redis_version": "6.0.16"}, "error"),
        ({"redis_version": "6.2.0"}, "ok"),
        ({"redis_version": "7.4.1"}, "ok"),
        ({"valkey_version": "7.0.0"}, "error"),
        ({"valkey_version": "7.2.0"}, "ok"),
        ({"valkey_version": "9.1.2"}, "ok"),
    ],
)
def test_an_old_server_is_refused(
    monkeypatch: pytest.MonkeyPatch, server: EmbeddedServer, facts: dict[str, str], level: str
) -> None:
    def only_these(reply: Any) -> dict[str, str]:
        kept = {name: text for name, text in real(reply).items() if "_version" not in name}
        return {**kept, **facts}

    real = checks._facts
    monkeypatch.setattr(checks, "_facts", only_these)
    found = findings(store_of(server))["version"]
    assert found.level == level
    assert level == "ok" or ("too old" in found.message and found.fix)


def test_a_replica_is_refused(start_server: Starter) -> None:
    own = start_server("--replicaof", "127.0.0.1", "1")
    found = findings(store_of(own))
    assert "replica" in next(iter(found.values())).message


def test_a_clock_that_is_off_is_a_warning(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for offset, word in ((100, "behind"), (-100, "ahead")):
        now = time.time() + offset
        monkeypatch.setattr(checks.time, "time", lambda now=now: now)
        found = findings(store_of(server))["clock"]
        assert found.level == "warning"
        assert word in found.message
        monkeypatch.undo()


def test_a_policy_that_is_not_told_is_a_warning(server: EmbeddedServer) -> None:
    assert faked(store_of(server), maxmemory_policy="unknown")["eviction"].level == "warning"


def test_a_server_that_is_down(tmp_path: Path) -> None:
    store = Store(f"unix://{tmp_path}/nobody.sock", SCOPE, retry_for=0.1)
    assert findings(store)["connection"].level == "error"
    with pytest.raises(StoreUnavailableError, match="cannot serve now"):
        store.run_sync(require_fit(store))
    with pytest.raises(StoreUnavailableError, match="cannot serve now"):
        create_one(store)


def test_a_host_that_does_not_exist() -> None:
    store = Store("redis://bob:secret@no-such-host.invalid", SCOPE, retry_for=0.05)
    with pytest.raises(StoreUnavailableError) as raised:
        create_one(store)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("login", ["bob:wrong", "nobody:pw", ":wrong"])
def test_a_wrong_password(server: EmbeddedServer, user: Callable[[str], None], login: str) -> None:
    user("+@all ~* &*")
    assert findings(store_of(server, login))["permission"].level == "error"
    store = store_of(server, login)
    with pytest.raises(StoreAuthenticationError, match="Check user and password") as raised:
        store.run_sync(require_fit(store))
    assert "wrong" not in str(raised.value).replace("WRONGPASS", "")
    with pytest.raises(StoreAuthenticationError):
        create_one(store)


def test_a_missing_password(start_server: Starter) -> None:
    own = start_server()
    with redis.Redis.from_url(own.url) as admin:
        admin.config_set("requirepass", "pw")
    with pytest.raises(StoreAuthenticationError):
        create_one(store_of(own))
    create_one(store_of(own, ":pw"))


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ("+@all -eval -evalsha ~* &*", "evalsha"),
        ("+@all -@scripting ~* &*", "evalsha"),
        ("+@all -hset ~* &*", "HSET"),
        ("+@all -zadd -xadd ~* &*", "ZADD, XADD"),
        ("+@all -@stream ~* &*", "XADD"),
        ("+@all ~other* &*", "key"),
    ],
)
def test_a_user_without_the_permission_for_scripts(
    server: EmbeddedServer,
    client: redis.Redis,
    user: Callable[[str], None],
    rules: str,
    refused: str,
) -> None:
    client.flushall()
    user(rules)
    found = findings(store_of(server, "bob:pw"))["permission"]
    assert found.level == "error"
    assert refused in found.message
    store = store_of(server, "bob:pw")
    with pytest.raises(StoreAuthenticationError, match=refused):
        store.run_sync(require_fit(store))
    store.close()
    with pytest.raises(StoreAuthenticationError):
        create_one(store_of(server, "bob:pw"))
    assert client.dbsize() == 0 or "xadd" in rules or "stream" in rules
    client.flushall()


def test_a_user_with_just_the_rights_that_the_check_names_can_trigger(
    server: EmbeddedServer, client: redis.Redis, user: Callable[[str], None]
) -> None:
    client.flushall()
    names = {line.split()[0].lower() for line in checks.COMMANDS}
    names |= {"eval", "evalsha", "info", "client|setname", "select", "hello"}
    user(f"-@all {' '.join(f'+{name}' for name in sorted(names))} ~{SCOPE}* &*")
    store = store_of(server, "bob:pw")
    store.run_sync(require_fit(store))
    create_one(store)
    client.flushall()


def test_the_check_tries_the_commands_of_the_scripts_and_no_others() -> None:
    called = {
        name
        for path in files(LUA, ".lua")
        for name in re.findall(r"redis\.p?call\('(\w+)'", path.read_text("utf-8"))
    }
    assert called == {line.split()[0] for line in checks.COMMANDS}


def test_something_that_is_no_redis_at_all(tmp_path: Path) -> None:
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print(flush=True)\n"
        "while True:\n"
        "    c, _ = s.accept(); c.recv(100); c.sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'); c.close()\n"
    )
    path = str(tmp_path / "http.sock")
    with subprocess.Popen(["python3", "-c", program, path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        store = Store(f"unix://{path}", SCOPE, retry_for=0.1)
        assert next(iter(findings(store).values())).level == "error"
        other.kill()
