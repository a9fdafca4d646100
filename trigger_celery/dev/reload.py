"""Tells when the project's Python files change."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterable
from pathlib import Path

from trigger_celery.dev.worker_process import Inbox

_NOT_THE_PROJECT = ("venv", "env", "site-packages", "build", "dist")


def can_watch() -> bool:
    """Tell whether watchfiles is installed."""
    return importlib.util.find_spec("watchfiles") is not None


def watch(folders: Iterable[Path], inbox: Inbox, stop: threading.Event) -> None:
    """Put ("changed", None, names) into the inbox for every save, until *stop* is set."""
    from watchfiles import PythonFilter
    from watchfiles import watch as changes

    wanted = PythonFilter(extra_extensions=())
    wanted.ignore_dirs = (*wanted.ignore_dirs, *_NOT_THE_PROJECT)
    roots = _outermost(folders)
    found = changes(
        *roots, watch_filter=wanted, stop_event=stop, debounce=400, step=50, raise_interrupt=False
    )
    for batch in found:
        names = sorted({_shown(Path(path)) for _, path in batch})
        inbox.put(("changed", None, names))


def _outermost(folders: Iterable[Path]) -> list[Path]:
    resolved = sorted({folder.resolve() for folder in folders})
    return [
        one
        for one in resolved
        if not any(other != one and one.is_relative_to(other) for other in resolved)
    ]


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
