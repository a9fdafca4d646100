"""Only `settings.py` reads the environment."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source import PACKAGE, package_files, relative, tree

READERS = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def environment_reads(path: Path) -> Iterator[int]:
    for node in ast.walk(tree(path)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in READERS:
                yield node.lineno
            case ast.ImportFrom(module="os", names=names) if READERS & {n.name for n in names}:
                yield node.lineno


def test_only_settings_reads_the_environment() -> None:
    found = [
        f"{relative(path)}:{line}"
        for path in package_files()
        if path != PACKAGE / "settings.py"
        for line in environment_reads(path)
    ]
    assert not found, "the environment is read outside settings.py: " + ", ".join(found)
