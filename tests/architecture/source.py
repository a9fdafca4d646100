"""The repository as the architecture tests read it: files and their syntax trees."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "trigger_celery"
LUA = PACKAGE / "engine" / "lua"

_NOT_OURS = {"__pycache__", "build", "dist", "node_modules", "site"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def files(folder: Path, suffix: str) -> list[Path]:
    """Return the files of ours below *folder*, in order."""
    found: list[Path] = []
    for directory, names, entries in os.walk(folder):
        names[:] = [name for name in names if _is_ours(Path(directory, name))]
        found += [Path(directory, entry) for entry in entries if entry.endswith(suffix)]
    return sorted(found)


def _is_ours(folder: Path) -> bool:
    hidden = folder.name.startswith(".") and folder.name != ".ci"
    return not hidden and folder.name not in _NOT_OURS and not (folder / "pyvenv.cfg").exists()


def package_files() -> list[Path]:
    """Return every Python module of the package."""
    return files(PACKAGE, ".py")


def scripts() -> list[Path]:
    """Return the Lua scripts, without what they include."""
    return sorted(LUA.glob("*.lua"))


def relative(path: Path) -> str:
    """Return the path as one would write it in a message."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def docstring_of(node: Documented) -> ast.Expr | None:
    """Return the statement that is the docstring of a module, class or function."""
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return first if isinstance(first.value.value, str) else None
    return None


def functions(path: Path) -> Iterator[tuple[str, Function]]:
    """Yield each function of a module with its dotted name."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, Function | ast.ClassDef):
                name = f"{prefix}{child.name}."
                if not isinstance(child, ast.ClassDef):
                    yield name[:-1], child
            yield from walk(child, name)

    yield from walk(tree(path), "")


def strings(path: Path) -> Iterator[ast.Constant]:
    """Yield each string literal of a module that is not a docstring."""
    module = tree(path)
    docstrings = {
        id(statement.value)
        for node in ast.walk(module)
        if isinstance(node, Documented) and (statement := docstring_of(node)) is not None
    }
    for node in ast.walk(module):
        match node:
            case ast.Constant(value=str()) if id(node) not in docstrings:
                yield node
