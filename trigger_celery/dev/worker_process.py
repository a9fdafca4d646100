"""The worker process that `dev` starts, and starts anew."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Inbox = queue.SimpleQueue[tuple[str, Any, Any]]
"""What happens to `dev`: ("message", worker, message), ("exit", worker, code), ("changed", …)."""

_ROOT_WARNING = "ignore:You're running the worker with superuser privileges"
"""What Celery says to root is about production."""


class WorkerProcess:
    """One worker, in a session of its own: Ctrl-C in the terminal reaches `dev` alone."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, number: int, inbox: Inbox, *, json_log: bool
    ) -> None:
        self.number = number
        self.began = time.monotonic()
        self._inbox = inbox
        child_reads, self._write_end = os.pipe()
        self._read_end, child_writes = os.pipe()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            [
                *(sys.executable, "-W", _ROOT_WARNING, "-m", "trigger_celery.cli"),
                *("--quiet", "worker"),
                *("--dev-channel", f"{child_reads},{child_writes}"),
                *arguments,
                *("--hostname", f"dev{number}@%h", "--without-gossip", "--without-mingle"),
            ],
            cwd=folder,
            pass_fds=(child_reads, child_writes),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if json_log else None,
            start_new_session=True,
        )
        os.close(child_reads)
        os.close(child_writes)
        threading.Thread(target=self._listen, name=f"dev-worker-{number}", daemon=True).start()

    def _listen(self) -> None:
        with os.fdopen(self._read_end, "r", encoding="utf-8") as lines:
            for line in lines:
                self._inbox.put(("message", self, json.loads(line)))
        self._inbox.put(("exit", self, self._process.wait()))

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.began

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def answer(self, message: Mapping[str, Any]) -> None:
        """Send the worker a message; one that is gone does not matter."""
        try:
            os.write(self._write_end, (json.dumps(message) + "\n").encode())
        except OSError:
            return

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Let it end: SIGTERM lets its runs end first, SIGQUIT gives them back."""
        if self.is_alive:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if it takes longer."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
