"""What a task notes at its first line, handed to the benchmark in files.

`BENCH_SERIES` says how many notes make a series, `BENCH_NOTES` where the series are written. Notes
are kept in memory until a series is complete, so that noting costs next to nothing.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any


class Notes:
    """The notes of one worker process."""

    def __init__(self) -> None:
        counts = os.environ.get("BENCH_SERIES", "")
        self._left = [int(count) for count in counts.split(",") if count]
        self._folder = Path(os.environ.get("BENCH_NOTES", "."))
        self._values: list[Any] = []
        self._written = 0
        self._lock = threading.Lock()

    def add(self, value: Any) -> None:
        """Note a value; the last one of a series writes it."""
        self._values.append(value)
        if self._left and len(self._values) >= self._left[0]:
            self._write()

    def _write(self) -> None:
        with self._lock:
            if not self._left or len(self._values) < self._left[0]:
                return
            count = self._left.pop(0)
            series, self._values = self._values[:count], self._values[count:]
            draft = self._folder / f"{self._written}.draft"
            draft.write_text(json.dumps(series))
            draft.rename(self._folder / f"{self._written}.json")
            self._written += 1


NOTES = Notes()
