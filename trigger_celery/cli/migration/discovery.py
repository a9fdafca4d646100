"""Finds the files of a tree that may be about Celery, within bounds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trigger_celery.cli.migration import checks_deployment
from trigger_celery.cli.migration.findings import Skipped

MAX_BYTES: Final = 1_000_000
MAX_FILES: Final = 50_000
_NOT_OURS: Final = frozenset(
    {
        "__pycache__", "build", "dist", "env", "node_modules", "site-packages", "venv", "virtualenv",
        "htmlcov",
    }
)  # fmt: skip
_ABOUT_CELERY: Final = re.compile(
    rb"celery|CELERY|apply_async|\.delay\b|shared_task|PeriodicTask|broker_url|beat_schedule"
).search


@dataclass(slots=True)
class Tree:
    """What was found below some paths."""

    looked_at: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    cut: bool = False
    """There are more files than are looked at."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file that is worth reading."""

    path: str
    data: bytes
    is_python: bool


def sources(paths: list[Path], tree: Tree, max_files: int = MAX_FILES) -> Iterator[Source]:
    """Yield the files that mention Celery; what cannot be read is noted in *tree*."""
    seen: set[tuple[int, int]] = set()
    for root in paths:
        for path in [root] if root.is_file() else _files(root, seen):
            is_python = path.suffix in (".py", ".pyw")
            if not (is_python or checks_deployment.NAMES(path.name)):
                continue
            if tree.looked_at >= max_files:
                tree.cut = True
                return
            tree.looked_at += 1
            data = _read(path, tree)
            worth = _ABOUT_CELERY if is_python else checks_deployment.WORTH_READING
            if data is not None and worth(data):
                yield Source(path.as_posix(), data, is_python)


def _files(root: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the files below a folder, in order; each folder once, whatever links lead to it."""
    for directory, names, entries in os.walk(root, followlinks=True, onerror=lambda _: None):
        try:
            known = os.stat(directory)  # noqa: PTH116 - a plain string, thousands of times
        except OSError:
            names.clear()
            continue
        if (known.st_dev, known.st_ino) in seen:
            names.clear()
            continue
        seen.add((known.st_dev, known.st_ino))
        names[:] = sorted(name for name in names if _is_ours(directory, name))
        yield from (Path(directory, entry) for entry in sorted(entries))


def _is_ours(directory: str, name: str) -> bool:
    if name.startswith(".") or name in _NOT_OURS or name.endswith(".egg-info"):
        return False
    return not Path(directory, name, "pyvenv.cfg").exists()


def _read(path: Path, tree: Tree) -> bytes | None:
    try:
        if not path.is_file():
            return None  # a socket, or a link that leads nowhere
        size = path.stat().st_size
        if size > MAX_BYTES:
            tree.skipped.append(Skipped(path.as_posix(), f"larger than {MAX_BYTES:,} bytes"))
            return None
        return path.read_bytes()
    except OSError as problem:
        tree.skipped.append(Skipped(path.as_posix(), problem.strerror or str(problem)))
        return None
