"""Every example runs on a bare machine and prints what its docstring says.

The module's docstring ends with the section `Output:`. Each line in it must appear in what the program
prints, in this order, other lines between them allowed. `re:` in front makes the line a regular expression.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import forking
from tests.architecture.source import PACKAGE, ROOT, relative, tree

TIME_LIMIT = 100
EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))

every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)


def expected(path: Path) -> list[str]:
    """Return the lines of the docstring's last section, `Output:`."""
    docstring = inspect.cleandoc(ast.get_docstring(tree(path)) or "")
    _, found, listing = docstring.partition("\nOutput:\n")
    assert found, f"{relative(path)}: its docstring must end with the section `Output:`"
    lines = [line.strip() for line in listing.splitlines() if line.strip()]
    assert lines, f"{relative(path)}: list at least one line of its output"
    return lines


def missing(wanted: list[str], printed: str) -> Iterator[str]:
    """Yield the wanted lines that the program did not print, in order."""
    lines: Iterator[str] = iter([line.strip() for line in printed.splitlines()])
    for want in wanted:
        pattern = want.removeprefix("re:").strip() if want.startswith("re:") else re.escape(want)
        if not any(re.fullmatch(pattern, line) for line in lines):
            yield want
            return


@every_example
def test_example(path: Path, tmp_path: Path) -> None:
    wanted = expected(path)
    if not (PACKAGE / "__init__.py").exists():
        pytest.skip("trigger_celery/__init__.py is not written yet")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRIGGER_", "CELERY_"))
    } | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "120"}
    command = [sys.executable, str(path)]
    result = forking.run(command, env=environment, cwd=tmp_path, timeout=TIME_LIMIT)
    assert result.returncode == 0, result.stdout + result.stderr
    absent = list(missing(wanted, result.stdout))
    assert not absent, f"not printed, or not in this order: {absent[0]}\n\n{result.stdout}"


def test_lines_are_compared_in_order() -> None:
    printed = "one\nnoise\ntwo 22\nthree\n"
    assert not list(missing(["one", r"re: two \d+", "three"], printed))
    assert list(missing(["three", "one"], printed)) == ["one"]
    assert list(missing(["on"], printed)) == ["on"]
