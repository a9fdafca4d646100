"""The import contracts of pyproject.toml hold."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.architecture.source import PACKAGE, ROOT


def missing_layers() -> list[str]:
    """Return the layers that the contract requires and that have no code yet."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    names = [name for layer in layers for name in re.split(r"\s*[|:]\s*", layer)]
    required = [name for name in names if not name.startswith("(")]
    return [
        name
        for name in required
        if not (PACKAGE / f"{name}.py").exists() and not (PACKAGE / name / "__init__.py").exists()
    ]


def test_layers_and_third_parties() -> None:
    if missing := missing_layers():
        pytest.skip(f"no code yet in {', '.join(missing)}")
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
