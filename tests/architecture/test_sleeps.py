"""Tests wait for something to become true (`tests/waiting.py`), not for time to pass: a ratchet."""

from __future__ import annotations

import ast

from tests.architecture.source import ROOT, files, relative, tree

# The number of `sleep(…)` calls below tests/ at present. It may only fall.
SLEEPS = 1


def sleeps() -> list[str]:
    """Return where the tests sleep. `sleep(0)` only lets others run and is not counted."""
    return [
        f"{relative(path)}:{node.lineno}"
        for path in files(ROOT / "tests", ".py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] == "sleep"
        and [ast.unparse(argument) for argument in node.args] != ["0"]
    ]


def test_sleeps_only_fall() -> None:
    found = sleeps()
    listing = "\n  ".join(found)
    assert len(found) <= SLEEPS, (
        f"{len(found)} sleeps, {SLEEPS} are allowed. Use wait_until(…):\n  {listing}"
    )
    assert len(found) == SLEEPS, f"only {len(found)} sleeps are left: lower SLEEPS to it"
