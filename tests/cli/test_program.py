"""The program as a process: exit codes, errors without tracebacks, projects of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import forking
from tests.architecture.source import ROOT
from tests.cli.conftest import Program
from trigger_celery.cli.main import cli
from trigger_celery.dev.embedded import EmbeddedServer

APP = """
from celery import Celery
from trigger import task
app = Celery("shop")
@task(id="greet")
def greet(payload):
    return "hello"
"""


def env_of(server: EmbeddedServer) -> dict[str, str]:
    return {"TRIGGER_REDIS_URL": server.url, "CELERY_BROKER_URL": server.broker_url}


def test_server_down_is_69_within_six_seconds(program: Program) -> None:
    """After its start, which takes long on a busy machine."""
    began = time.monotonic()
    assert program("--version", interpreter=True).returncode == 0
    started = time.monotonic()
    result = program("runs", "list", "--redis-url", "redis://localhost:1", interpreter=True)
    assert time.monotonic() - started < 6 + 2 * (started - began)
    assert result.returncode == 69
    assert result.stderr.startswith("error: the server at redis://localhost:1")
    assert "Traceback" not in result.stderr


def test_no_app_is_2(program: Program) -> None:
    result = program("runs", "list")
    assert result.returncode == 2
    assert result.stderr.startswith("error: no Celery app was found")


def test_two_apps_are_2(program: Program, tmp_path: Path) -> None:
    for name in ("app.py", "tasks.py"):
        (tmp_path / name).write_text(APP)
    result = program("runs", "list")
    assert result.returncode == 2
    assert "-A tasks.py" in result.stderr


@pytest.mark.parametrize(
    ("text", "place"),
    [("x = 1\ny = nix\n", "app.py:2"), ("def (\n", "app.py:1"), ("import nowhere\n", "app.py:1")],
)
def test_broken_code_is_1_and_says_where(
    program: Program, tmp_path: Path, text: str, place: str
) -> None:
    (tmp_path / "app.py").write_text(text)
    result = program("runs", "list", "-A", "app")
    assert result.returncode == 1
    assert f"failed at {place}" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in program("runs", "list", "-A", "app", "--debug").stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "there is no module 'nowhere'"),
        ("app:nothing", "there is no 'nothing' in app"),
        ("missing.py", "there is no file 'missing.py'"),
        ("plain", "there is no Celery app in plain"),
    ],
)
def test_names_that_lead_nowhere_are_2(
    program: Program, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "plain.py").write_text("x = 1\n")
    result = program("runs", "list", "-A", name)
    assert result.returncode == 2
    assert said in result.stderr


@pytest.mark.parametrize("name", [None, "app", "app:app", "app.py"])
def test_an_unbound_app_is_bound(
    program: Program, tmp_path: Path, server: EmbeddedServer, name: str | None
) -> None:
    (tmp_path / "app.py").write_text(APP)
    option = [] if name is None else ["-A", name]
    result = program("trigger", "greet", "--json", *option, env=env_of(server))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["task_identifier"] == "greet"


def test_a_project_without_an_app(program: Program, tmp_path: Path, server: EmbeddedServer) -> None:
    (tmp_path / "trigger_config.py").write_text(
        "from trigger import define_config\n"
        "config = define_config(project='configured', dirs=['trigger'], worker_concurrency=7)\n"
    )
    (tmp_path / "trigger").mkdir()
    (tmp_path / "trigger" / "mail.py").write_text(
        "from trigger import schema_task\nfrom shared import Letter\n"
        "@schema_task(id='mail', schema=Letter)\ndef mail(letter): ...\n"
    )
    (tmp_path / "trigger" / "shared.py").write_text(
        "from pydantic import BaseModel\nclass Letter(BaseModel):\n    to: str\n"
    )
    shown = program("doctor", "--json", env=env_of(server))
    found = json.loads(shown.stdout)
    assert found["app"]["found"] == "by trigger_config.py"
    assert {
        "name": "project",
        "value": "configured",
        "unit": "name",
        "source": "trigger_config.py",
    } in (found["settings"])


def test_a_config_without_config(program: Program, tmp_path: Path) -> None:
    (tmp_path / "trigger_config.py").write_text("x = 1\n")
    result = program("runs", "list")
    assert result.returncode == 2
    assert "no variable `config`" in result.stderr


def test_only_an_address_is_enough(program: Program, server: EmbeddedServer) -> None:
    result = program("runs", "list", "--json", "--redis-url", server.url)
    assert result.returncode == 0, result.stderr


def test_a_worker_needs_an_app(program: Program, server: EmbeddedServer) -> None:
    result = program("worker", env=env_of(server))
    assert result.returncode == 2
    assert "no Celery app was found" in result.stderr


def test_what_a_project_prints_is_not_output_of_a_command(
    program: Program, tmp_path: Path, server: EmbeddedServer
) -> None:
    (tmp_path / "app.py").write_text(APP + 'print("ready")\n')
    result = program("queues", "list", "--json", env=env_of(server))
    assert "queues" in json.loads(result.stdout)
    assert "ready" in result.stderr


def test_workdir(program: Program, tmp_path: Path, server: EmbeddedServer) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "app.py").write_text(APP)
    result = program("--workdir", "inner", "queues", "list", env=env_of(server))
    assert result.returncode == 0, result.stderr
    assert program("queues", "list", "--workdir", "nowhere").returncode == 2


@pytest.mark.processes
def test_inside_celery(
    tmp_path: Path, server: EmbeddedServer, bare_environment: dict[str, str]
) -> None:
    (tmp_path / "shop.py").write_text(APP.replace("from trigger ", "from trigger_celery "))
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    metadata = tmp_path / "installed" / "ours-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(
        f"[celery.commands]\ntrigger = {declared['celery.commands']['trigger']}\n"
    )
    path = f"{ROOT}:{metadata.parent}"

    environment = {**bare_environment, **env_of(server), "PYTHONPATH": path}

    def celery(*arguments: str, start: Any = forking.start) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "celery", "-A", "shop", "trigger", *arguments]
        return forking.run(command, env=environment, cwd=tmp_path, timeout=30, start=start)

    made = celery("trigger", "greet", '{"x": 1}', "-q", start=forking.start_interpreter)
    assert made.returncode == 0, made.stderr
    listed = celery("runs", "list", "--json", "--task", "greet")
    assert made.stdout.strip() in [run["id"] for run in json.loads(listed.stdout)["runs"]]
    assert celery("runs", "get", "nope").returncode == 1
    assert celery("trigger", "greet", "{").returncode == 2
    assert celery("runs", "list", "--redis-url", "redis://localhost:1").returncode == 69
    offered = celery("--help").stdout
    assert [name for name in cli.commands if f"\n  {name} " not in offered] == []
    coming = celery("schedules", "next", "--cron", "0 3 * * *", "--json")
    assert len(json.loads(coming.stdout)["upcoming"]) == 5


def test_celerys_other_commands_do_not_import_ours() -> None:
    code = "import sys, trigger_celery.cli.plugin; print('trigger_celery.cli.main' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
