"""Python programs without the price of their start.

A new interpreter that imports Celery and us takes most of a second of processor time, and the tests
start hundreds. `start` and `run` take a command as `subprocess` does, and fork it from a process that
has imported those already (`tests.forked`): one for each kind of program and path of modules, begun when
it is first asked for. The program has its own process, session, environment, folder and arguments; what
it shares are imported modules. So those are started by `subprocess` whose point is the start itself,
which patch modules (gevent, Sentry), or whose environment is read when Celery is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.architecture.source import ROOT
from tests.forked import COMMANDS

# Read when Celery is imported: by it the name `custom` means our pool.
POOL = {"CELERY_CUSTOM_WORKER_POOL": "trigger_celery.worker.pool:TaskPool"}
# What of an interpreter's own variables a program may have for itself.
OWN = ("PYTHONPATH", "PYTHONWARNINGS")
ABOUT_US = ("TRIGGER_", "CELERY_", "DJANGO_", "FLASK_")


class Process:
    """A program under way, with what `subprocess.Popen` offers that the tests use."""

    def __init__(self, command: Sequence[str], line: socket.socket) -> None:
        self.args = command
        self.returncode: int | None = None
        self._line = line
        self._lock = threading.Lock()
        self.pid = int(self._said())

    def _said(self) -> bytes:
        said = b""
        while not said.endswith(b"\n"):
            more = self._line.recv(1)
            assert more, "the process that forks programs has ended; it says why on stderr"
            said += more
        return said

    def poll(self) -> int | None:
        """Return the exit code, or None as long as it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._line], [], [], timeout)[0]:
                self.returncode = int(self._said())
                self._line.shutdown(socket.SHUT_WR)  # heard: its process id may be given up
                self._line.recv(1)
                self._line.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Source:
    """The process that programs are forked from."""

    def __init__(self, module: str, path: str) -> None:
        ours, theirs = socket.socketpair()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ABOUT_US)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "forked.py"), str(theirs.fileno()), module],
                env={**kept, **POOL, "PYTHONPATH": path},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._requests = ours
        self._lock = threading.Lock()
        atexit.register(self._close)

    def _close(self) -> None:
        self._requests.close()
        self._process.wait(10)

    def fork(self, request: Mapping[str, object], standard: Sequence[int]) -> socket.socket:
        ours, theirs = socket.socketpair()
        body = json.dumps(request).encode()
        with theirs, self._lock:
            head = len(body).to_bytes(4, "big")
            socket.send_fds(self._requests, [head], [*standard, theirs.fileno()])
            self._requests.sendall(body)
        return ours


@cache
def _source(module: str, path: str) -> _Source:
    return _Source(module, path)


def _module(arguments: Sequence[str]) -> str:
    """Return what is run, if programs of that kind import more than others: `-m` and its name."""
    found = arguments[1] if arguments[0] == "-m" else ""
    return found if found in COMMANDS else ""


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdout: IO[bytes],
    stderr: IO[bytes],
) -> Process:
    """Start `[sys.executable, "-m", module, …]`, or a script, in a session of its own."""
    program, *arguments = command
    assert program == sys.executable, f"not a Python program: {command}"
    for name in {*env, *os.environ}:
        if name.startswith("PYTHON") and name not in OWN:
            assert env.get(name) == os.environ.get(name), f"{name} is read before it could be set"
    request = {"arguments": arguments, "env": dict(env), "cwd": str(cwd)}
    with Path(os.devnull).open("rb") as nothing:
        standard = [nothing.fileno(), stdout.fileno(), stderr.fileno()]
        source = _source(_module(arguments), env["PYTHONPATH"])
        line = source.fork(request, standard)
    return Process(command, line)


def start_interpreter(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdout: IO[bytes],
    stderr: IO[bytes],
) -> subprocess.Popen[bytes]:
    """Do what `start` does with a new interpreter."""
    return subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout: float,
    start: Callable[..., Process | subprocess.Popen[bytes]] = start,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it printed, as `subprocess.run` does."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(command, env=env, cwd=cwd, stdout=out, stderr=err)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        printed = [_text(out), _text(err)]
    return subprocess.CompletedProcess(command, code, *printed)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")
