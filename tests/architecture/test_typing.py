"""Type checkers see the types of tasks, operations and runs as `tests/typing/api.py` says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.source import ROOT

FILE = "tests/typing/api.py"


@pytest.mark.timeout(300)
def test_the_public_api_has_the_types_it_promises() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", FILE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
