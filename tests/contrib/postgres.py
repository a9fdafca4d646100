"""A PostgreSQL server for tests, in a folder of its own, on a socket in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import wait_until


def program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL, which Debian does not put into PATH."""
    found = shutil.which(name)
    if found is None:
        places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        found = str(places[-1]) if places else None
    return found


def missing() -> str | None:
    """Return why there cannot be a server here, or None."""
    if program("initdb") is None or program("postgres") is None:
        return "no PostgreSQL is installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL does not run as root, and there is no account postgres or nobody"
    return None


def _account() -> str | None:
    known = {one.pw_name for one in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="trigger-pg-"))
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who["user"] = _account()
        shutil.chown(folder, who["user"])
    log = folder / "log"
    try:
        subprocess.run(
            [str(program("initdb")), "-D", folder / "data", "-U", "shop", "-A", "trust",
             "--no-sync", "--no-locale", "-E", "UTF8"],
            check=True, capture_output=True, cwd=folder, **who,
        )  # fmt: skip
        with log.open("wb") as output:
            server = subprocess.Popen(
                [str(program("postgres")), "-D", folder / "data", "-k", folder, "-F",
                 "-c", "listen_addresses="],
                stdout=output, stderr=output, cwd=folder, **who,
            )  # fmt: skip
        try:
            wait_until(
                lambda: server.poll() is not None or "ready to accept" in log.read_text(),
                "PostgreSQL is ready",
                timeout=40,
            )
            assert server.poll() is None, log.read_text()
            yield f"postgresql://shop@/postgres?host={folder}"
        finally:
            server.terminate()
            server.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
