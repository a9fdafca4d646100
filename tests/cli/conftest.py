"""Runs commands: in this process against a bound app, or as the program it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests import forking
from tests.architecture.source import ROOT
from tests.deploying import deploy
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.cli.main import cli
from trigger_celery.cli.project import Project

Command = Callable[..., Result]
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(trigger: TriggerCelery) -> Command:
    """Run a command on the bound app of the test. Workers had these tasks once."""
    deploy(trigger, "mail", tasks=("t", "send", "count", "other"))

    def run(*arguments: str, **more: Any) -> Result:
        project = Project(given_app=trigger.app)
        return CliRunner().invoke(cli, arguments, obj=project, catch_exceptions=False, **more)

    return run


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """The environment of a program: nothing about us or Celery in it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRIGGER_", "CELERY_", "DJANGO_", "FLASK_")) and name != "APP"
    }
    return {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


@pytest.fixture
def program(tmp_path: Path, bare_environment: dict[str, str]) -> Program:
    """Run `trigger-celery` in the test's folder. With *interpreter* in a new one."""

    def run(
        *arguments: str,
        env: dict[str, str] | None = None,
        timeout: float = 30,
        interpreter: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trigger_celery.cli", *arguments]
        environment = {**bare_environment, **(env or {})}
        start = forking.start_interpreter if interpreter else forking.start
        return forking.run(command, env=environment, cwd=tmp_path, timeout=timeout, start=start)

    return run
