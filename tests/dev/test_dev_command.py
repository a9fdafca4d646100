"""`trigger-celery dev` as a process: ready, an event, a save, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from redbeat import RedBeatSchedulerEntry
from redbeat.schedulers import get_redis

from tests import forking
from tests.architecture.source import ROOT
from tests.waiting import wait_until
from trigger_celery.dev import state
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import keys

pytestmark = pytest.mark.processes

APP = """
from celery import Celery
from trigger_celery import TriggerCelery, task

app = Celery("shop")
TriggerCelery(app)

@task(id="greet", retry={"max_attempts": 2, "min_timeout_in_ms": 50})
async def greet(payload, ctx):
    if payload == "twice" and ctx.attempt.number < 2:
        raise ValueError("not yet")
    if payload == "never":
        raise ValueError("no")
    return f"GREETING {payload}"
"""
HOST_VARIABLES = ("TRIGGER_", "CELERY_", "DJANGO_", "FLASK_")


class Dev:
    """A running `trigger-celery dev`, and what it has printed. Its workers are always new interpreters."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: dict[str, str] | None = None,
        start: Callable[..., forking.Process | subprocess.Popen[bytes]] = forking.start,
    ) -> None:
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith(HOST_VARIABLES)}
        self.environment = {**kept, "PYTHONPATH": str(ROOT), **(env or {})}
        command = [sys.executable, "-m", "trigger_celery.cli", "dev", *arguments]
        self._output, output = os.pipe()
        with (folder / "stderr").open("wb") as errors, os.fdopen(output, "wb") as printed:
            self.process = start(
                command, env=self.environment, cwd=folder, stdout=printed, stderr=errors
            )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with os.fdopen(self._output, encoding="utf-8") as lines:
            for line in lines:
                self.lines.append(line.rstrip())

    def close(self) -> None:
        self.process.wait()
        self._reader.join()

    def expect(self, *words: str, after: int = 0) -> int:
        """Wait for a line with all of the words; return the number of lines up to it."""

        def found() -> int:
            for number, line in enumerate(self.lines[after:], after + 1):
                if all(word in line for word in words):
                    return number
            assert self.process.poll() is None, self.report()
            return 0

        try:
            return wait_until(found, f"a line with {words}", timeout=30)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.report()}") from None

    def report(self) -> str:
        return "\n".join([*self.lines, (self.folder / "stderr").read_text()])

    def trigger(
        self, *arguments: str, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trigger_celery.cli", "trigger", "-q", *arguments]
        where = folder or self.folder
        return forking.run(command, env=self.environment, cwd=where, timeout=30)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


Start = Callable[..., Dev]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `dev` in a folder with an app; whatever is left at the end is ended."""
    started: list[Dev] = []
    (tmp_path / "app.py").write_text(APP)

    def begin(*arguments: str, **more: Any) -> Dev:
        started.append(Dev(tmp_path, *arguments, **more))
        return started[-1]

    yield begin
    for dev in started:
        if dev.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                dev.end()
            dev.process.kill()
        dev.close()


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_session(start: Start, tmp_path: Path) -> None:
    dev = start(start=forking.start_interpreter)
    dev.expect("ready in")
    assert any("app.py" in line and "found by app.py" in line for line in dev.lines)
    assert any("embedded" in line and ".trigger/" in line for line in dev.lines)
    assert any("asyncio x100" in line and "1 task, 1 queue" in line for line in dev.lines)
    assert any("export TRIGGER_REDIS_URL='unix://" in line for line in dev.lines)

    answer = dev.trigger("greet", '"twice"', "--wait")
    assert (answer.returncode, answer.stdout) == (0, "GREETING twice\n"), answer.stderr
    seen = dev.expect("greet", "queued")
    seen = dev.expect("greet", "started", "waited", after=seen)
    seen = dev.expect("greet", "try 2", "ValueError: not yet", after=seen)
    seen = dev.expect("greet", "✓", '→ "GREETING twice"', after=seen)

    failed = dev.trigger("greet", '"never"', "--wait")
    assert failed.returncode == 1
    assert "ended as FAILED after 2 attempts\n  ValueError: no" in failed.stderr
    seen = dev.expect("greet", "✗ failed", "ValueError: no", after=seen)

    (tmp_path / "app.py").write_text(APP.replace("GREETING", "WELCOME"))
    seen = dev.expect("app.py changed", "worker restarted in", after=seen)
    assert dev.trigger("greet", "1", "--wait").stdout == "WELCOME 1\n"

    server = state.read(tmp_path)
    assert server is not None
    assert server.pid == dev.process.pid
    assert dev.end() == 0
    assert state.read(tmp_path) is None
    assert dev.trigger("greet").returncode == 2  # nothing to reach any more, and it says so


SCHEDULED = (
    APP
    + """
from trigger_celery import scheduled_task

app.conf.beat_schedule = {"static": {"task": "greet", "schedule": 1.0, "args": ["STATIC"]}}

@scheduled_task(id="nightly", cron="* * * * *")
async def nightly(payload):
    return f"at {payload.timestamp:%H:%M}"
"""
)


def test_schedules_fire(start: Start, tmp_path: Path) -> None:
    """One of ours by the test clock, one of `beat_schedule`, one of RedBeat's own."""
    (tmp_path / "app.py").write_text(SCHEDULED)
    dev = start("--ephemeral")
    dev.expect("ready in")
    assert any("beat" in line and "1 schedule" in line and "next at" in line for line in dev.lines)
    dev.expect("greet", "✓", "GREETING STATIC")
    server = state.read(tmp_path)
    assert server is not None
    elsewhere = Celery("elsewhere", broker="memory://", set_as_current=False)
    elsewhere.conf.update(
        redbeat_redis_url=server.redis_url,
        redbeat_redis_options={},
        redbeat_key_prefix=keys.key(keys.scope("default", "dev"), "celery", ""),
    )
    own = RedBeatSchedulerEntry("own", "greet", 3600, args=["OWN"], app=elsewhere)
    own.last_run_at = datetime(2020, 1, 1, tzinfo=UTC)
    own.save()
    get_redis(elsewhere).close()
    dev.expect("greet", "✓", "GREETING OWN")
    with redis.Redis.from_url(server.redis_url) as client:
        client.incrby(keys.key(keys.scope("default", "dev"), "clock"), 60_000)
    seen = dev.expect("nightly", "✓", '→ "at ')
    (tmp_path / "app.py").write_text(SCHEDULED.replace("STATIC", "CHANGED"))
    seen = dev.expect("worker restarted in", after=seen)
    dev.expect("greet", "✓", "GREETING CHANGED", after=seen)  # the beat before has let go
    assert dev.end() == 0


def test_broken_code_is_shown_and_the_worker_goes_on(start: Start, tmp_path: Path) -> None:
    dev = start("--ephemeral")
    seen = dev.expect("ready in")
    (tmp_path / "app.py").write_text(APP + "\nx = nix\n")
    line = len((APP + "\nx = nix\n").splitlines())
    seen = dev.expect(f"failed at app.py:{line}", after=seen)
    seen = dev.expect("NameError: name 'nix' is not defined", after=seen)
    dev.expect("the worker with the code before goes on", after=seen)
    server = state.read(tmp_path)
    assert server is not None
    (tmp_path / "elsewhere").mkdir()
    by_address = ["greet", "1", "--wait", "--redis-url", server.redis_url]
    assert dev.trigger(*by_address, folder=tmp_path / "elsewhere").stdout == "GREETING 1\n"
    (tmp_path / "app.py").write_text(APP.replace("GREETING", "AGAIN"))
    dev.expect("worker restarted in", after=seen)
    assert dev.trigger("greet", "1", "--wait").stdout == "AGAIN 1\n"
    assert dev.end(signal.SIGTERM) == 0


def test_code_that_is_broken_at_first(start: Start, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP + "def (")
    dev = start("app.py")
    seen = dev.expect("SyntaxError")
    seen = dev.expect("no worker runs; save the file to try again", after=seen - 1)
    (tmp_path / "app.py").write_text(APP)
    dev.expect("ready in", after=seen)
    assert dev.end() == 0


def test_a_run_whose_task_comes_later(start: Start, tmp_path: Path) -> None:
    dev = start("--ephemeral")
    dev.expect("ready in")
    dev.trigger("leave", "1")
    seen = dev.expect("leave", "parked", "no such task")
    (tmp_path / "app.py").write_text(APP + '\n@task(id="leave")\ndef leave(payload): ...\n')
    seen = dev.expect("leave", "queued", after=seen)
    seen = dev.expect("leave", "started", after=seen)
    dev.expect("leave", "✓", after=seen)
    assert dev.end() == 0


def test_a_second_session_in_one_folder_is_refused(start: Start, tmp_path: Path) -> None:
    dev = start()
    dev.expect("ready in")
    assert start().process.wait(30) == 2
    assert "perhaps that of a `trigger-celery dev`" in (tmp_path / "stderr").read_text()
    assert dev.end() == 0


def test_a_run_under_way_ends_with_the_code_it_began_with(start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = APP.replace(
        'return f"GREETING',
        f"""import asyncio, pathlib
    while payload == "slow" and not pathlib.Path({str(gate)!r}).exists():
        await asyncio.sleep(0.01)
    return f"GREETING""",
    )
    (tmp_path / "app.py").write_text(waits)
    dev = start("--ephemeral")
    dev.expect("ready in")
    dev.trigger("greet", '"slow"')
    seen = dev.expect("greet", "started")
    (tmp_path / "app.py").write_text(APP.replace("GREETING", "WELCOME"))
    seen = dev.expect("worker restarted in", "1 run under way with the code before", after=seen)
    assert dev.trigger("greet", "1", "--wait").stdout == "WELCOME 1\n"
    gate.touch()
    dev.expect('→ "GREETING slow"', after=seen)
    assert dev.end() == 0


def test_json(start: Start) -> None:
    dev = start("--json", "--ephemeral")
    dev.expect('"event": "ready"')
    dev.trigger("greet", "1")
    dev.expect('"what": "completed"')
    events = [json.loads(line) for line in dev.lines]
    runs = [event for event in events if event["event"] == "run"]
    assert [event["what"] for event in runs] == ["queued", "started", "completed"]
    assert runs[-1]["output"] == "GREETING 1"
    assert dev.end() == 0


def test_everything_ends_when_dev_is_killed(start: Start, tmp_path: Path) -> None:
    dev = start()
    dev.expect("ready in")
    result = subprocess.run(
        ["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in result.splitlines()[1:]]
    children = [pid for pid, parent in pairs if parent == dev.process.pid]
    assert len(children) == 3  # the worker, the server, and the watchdog of the server
    dev.process.kill()
    dev.process.wait()
    wait_until(lambda: all(map(ended, children)), "all children have ended", timeout=20)
    assert state.read(tmp_path) is None


def test_configured_and_unreachable_is_an_error(start: Start) -> None:
    dev = start(env={"TRIGGER_REDIS_URL": "redis://localhost:1"})
    assert dev.process.wait(30) == 69
    said = (dev.folder / "stderr").read_text()
    assert "redis://localhost:1 cannot serve" in said
    assert "--embedded" in said
    assert not (dev.folder / state.FOLDER).exists()


def test_embedded_on_demand(start: Start) -> None:
    dev = start("--embedded", "--ephemeral", env={"TRIGGER_REDIS_URL": "redis://localhost:1"})
    dev.expect("embedded")
    dev.expect("ready in")
    assert dev.end() == 0


def test_configured_and_reachable_is_used(start: Start, server: EmbeddedServer) -> None:
    env = {"TRIGGER_REDIS_URL": server.url}
    dev = start(env=env)
    dev.expect("as configured")
    dev.expect("ready in")
    assert dev.trigger("greet", "1", "--wait").stdout == "GREETING 1\n"
    assert dev.end() == 0
    assert server.is_running
    assert not (dev.folder / state.FOLDER).exists()


def test_no_app(start: Start, tmp_path: Path) -> None:
    (tmp_path / "app.py").unlink()
    dev = start()
    assert dev.process.wait(30) == 2
    assert "no Celery app was found" in (tmp_path / "stderr").read_text()
