"""The test modules of docs/how-to/test-your-tasks.md pass as a reader would write them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.pages import blocks
from tests.architecture.source import ROOT

PAGE = ROOT / "docs" / "how-to" / "test-your-tasks.md"
SHOP = """
from celery import Celery
from trigger_celery import TriggerCelery, task

app = Celery("shop")
trigger = TriggerCelery(app)

@task(id="fulfil")
async def fulfil(payload):
    return f"order {payload['id']}"

def place_order(number):
    fulfil.trigger({"id": number}, delay="1h").sync()
"""


@pytest.mark.processes
def test_the_recipes_pass(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    for block in blocks(PAGE):
        named = re.match(r"# (\w+\.py)", block.text)
        if named is not None:
            with (tmp_path / named[1]).open("a") as module:
                module.write(block.text)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "conftest.py", "test_orders.py", "test_whole_way.py",
    }  # fmt: skip
    unset = ("TRIGGER_", "CELERY_", "PYTEST_")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(unset)},
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout
