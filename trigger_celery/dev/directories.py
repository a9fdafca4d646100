"""Directories for the embedded server: private, and with room for a unix socket's short path."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from trigger_celery.errors import ConfigurationError

SOCKET_NAME = "valkey.sock"
# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the closing NUL included.
LONGEST_SOCKET_PATH = 103


def socket_path_in(home: Path) -> Path:
    """Return where the server of *home* listens: in it, or in a short directory that belongs to it."""
    path = home / SOCKET_NAME
    return path if _fits(path) else _short_directory_for(home) / SOCKET_NAME


def private_directory() -> Path:
    """Make a fresh 0700 directory whose socket path fits, whatever the temporary directory is."""
    path = Path(tempfile.mkdtemp(prefix="tc-"))
    if not _fits(path / SOCKET_NAME):
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix="tc-", dir="/tmp"))
    return path


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH


def _short_directory_for(home: Path) -> Path:
    """Return a short 0700 directory that is always the same for *home*, so that addresses last."""
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    path = Path(f"/tmp/tc-{os.getuid()}-{digest}")  # noqa: S108 - owner and mode are checked below
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigurationError(
            f"{path} belongs to another user. Use a data_dir with a shorter path."
        )
    return path
