"""Names that say nothing are not used, and nothing is put off in a comment."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.architecture.source import ROOT, files, package_files, relative, tree

EMPTY_WORDS = re.compile(r"manager|helper|utils?(?![a-z])|mixin|common(?![a-z])")
PUT_OFF = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
TEXTS = (".py", ".lua", ".md", ".toml", ".yml", ".yaml", "Makefile", "Dockerfile", "run")


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def test_modules() -> None:
    found = [
        relative(path)
        for path in package_files()
        if EMPTY_WORDS.search(relative(path).removeprefix("trigger_celery/"))
    ]
    assert not found, f"name them by what they do: {', '.join(found)}"


def test_classes() -> None:
    found = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in package_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and EMPTY_WORDS.search(snake(node.name))
    ]
    assert not found, f"name them by what they are: {', '.join(found)}"


def test_nothing_is_put_off() -> None:
    def lines(path: Path) -> list[str]:
        return path.read_text("utf-8", errors="replace").splitlines()

    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for suffix in TEXTS
        for path in files(ROOT, suffix)
        for number, line in enumerate(lines(path), 1)
        if PUT_OFF.search(line)
    ]
    assert not found, "\n".join(found)
