"""The test modules of docs/how-to/testing.md pass as a reader would write them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.pages import blocks
from tests.architecture.source import ROOT

PAGE = ROOT / "docs" / "how-to" / "testing.md"
SHOP = """
from celery import Celery
from trigger_celery import TriggerCelery, task, wait

app = Celery("shop")
trigger = TriggerCelery(app)

@task(id="fulfil")
async def fulfil(payload):
    return f"order {payload['id']}"

@task(id="approve")
async def approve(payload):
    decision = await wait.for_token(await wait.create_token(timeout="2d"))
    return f"approved by {decision.data['by']}" if decision.ok else "nobody approved"

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
        "conftest.py", "test_inline.py", "test_orders.py", "test_whole_way.py",
    }  # fmt: skip
    unset = ("TRIGGER_", "CELERY_", "PYTEST_")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "pytest_trigger_celery",
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
    assert "5 passed" in result.stdout
