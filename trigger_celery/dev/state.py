"""What `trigger-celery dev` leaves in `.trigger/` for other commands in the same folder."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = ".trigger"
_FILE = "dev.json"


@dataclass(frozen=True, slots=True)
class DevState:
    """A running dev server: its process and the addresses of its store."""

    pid: int
    redis_url: str
    broker_url: str


def read(project: Path) -> DevState | None:
    """Return the dev server that runs in the project's folder, or None."""
    try:
        stored = json.loads((project / FOLDER / _FILE).read_text("utf-8"))
        found = DevState(int(stored["pid"]), str(stored["redis_url"]), str(stored["broker_url"]))
        os.kill(found.pid, 0)
    except PermissionError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def write(project: Path, state: DevState) -> None:
    """Say that a dev server runs here."""
    folder = make_folder(project)
    temporary = folder / f"{_FILE}.{state.pid}"
    temporary.write_text(json.dumps(asdict(state), indent=2), "utf-8")
    temporary.replace(folder / _FILE)


def forget(project: Path) -> None:
    """Say that it runs no more."""
    (project / FOLDER / _FILE).unlink(missing_ok=True)


def make_folder(project: Path) -> Path:
    """Make the private folder of the dev server; version control does not see it."""
    folder = project / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        with contextlib.suppress(OSError):
            ignore.write_text("*\n", "utf-8")
    return folder
