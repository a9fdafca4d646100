"""Runs that are out of memory: how that is found out, and what follows.

Code says so itself, by `MemoryError` or `OutOfMemoryError`; or the kernel kills its process. Other
processes are killed with the same signal: only the kernel's own count tells the two apart.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge import precedence
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.admission import labels_of
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.engine.codec import dump_error
from trigger_celery.errors import OutOfMemoryError
from trigger_celery.model.machine import has_more_memory
from trigger_celery.model.retry import Retry, decide
from trigger_celery.model.run import RunError
from trigger_celery.worker.celery_internals import cause, was_killed
from trigger_celery.worker.job import lost
from trigger_celery.worker.time_limits import timed_out

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery
    from trigger_celery.settings import Settings

OUT_OF_MEMORY = (MemoryError, OutOfMemoryError)
"""What code raises that is out of memory."""

CODE = "TASK_PROCESS_OOM_KILLED"

WINDOW = 10.0

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def larger_machine(policy: Retry | None, grant: Grant, settings: Settings) -> str | None:
    """Return the preset on which a run goes on; None: the policy has none, or none with more memory."""
    machine = None if policy is None else policy.larger_machine
    present = labels_of(grant.options)["machine"] or settings.default_machine
    return machine if machine is not None and has_more_memory(machine, present) else None


def delay_of_move(policy: Retry | None, grant: Grant, settings: Settings) -> int | None:
    """Return the ms until a run that is out of memory goes on elsewhere; None: it fails."""
    retryable = larger_machine(policy, grant, settings) is not None
    return decide(policy, grant.attempt, retryable=retryable, rng=random.random)


def moved(grant: Grant, delay: int, machine: str, error: str) -> Ending:
    """Return the ending of an attempt after which the run goes on on another machine."""
    return Ending(grant.id, grant.epoch, "move", f"{delay} {machine}", error)


def process_died(trigger: TriggerCelery, grant: Grant, problem: Any, kernel: KernelKills) -> Ending:
    """Return the ending of an attempt whose process died, or was killed for its time limit."""
    settings = trigger.settings
    policy = precedence.retry_of(grant.max_attempts, REGISTRY.tasks[grant.task], settings)
    exception = cause(problem)
    over = timed_out(trigger.app.tasks[grant.task], grant, exception)
    if over is not None:
        return over
    message = f"{type(exception).__name__}: {exception}"
    if not (was_killed(exception) and kernel.take_one()):
        return lost(grant, policy, grant.attempt, message)
    text = f"The kernel killed the process of this attempt for its memory. {message}"
    error = dump_error(RunError.internal(CODE, text))
    delay, machine = delay_of_move(policy, grant, settings), larger_machine(policy, grant, settings)
    if delay is None or machine is None:
        return Ending(grant.id, grant.epoch, "lost", "", error)
    return moved(grant, delay, machine, error)


class KernelKills:
    """What the kernel kills around this worker for want of memory, by its count of such kills.

    Only kills of the last moments count, *window* to twice as many seconds: Celery needs some of
    them to find a process dead. Where there is no count, none is known.
    """

    def __init__(self, files: list[Path] | None = None, window: float = WINDOW) -> None:
        self._file = next(_readable(counter_files() if files is None else files), None)
        self._window = window
        self._looked = time.monotonic()
        self._before = self._last = self._count()

    def _count(self) -> int | None:
        return None if self._file is None else _read(self._file)

    def look(self) -> None:
        """Forget kills of long ago; to be called every few seconds."""
        if time.monotonic() - self._looked < self._window:
            return
        self._looked = time.monotonic()
        self._before, self._last = self._last, self._count()

    def take_one(self) -> bool:
        """Whether there was a kill a moment ago that no dead process explains yet."""
        now = self._count()
        if now is None or self._before is None or now <= self._before:
            return False
        self._before += 1
        self._last = max(self._before, self._last or 0)
        return True


def counter_files() -> list[Path]:
    """Return where the kernel counts, the closest first: the control group, then the machine."""
    files: list[Path] = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                files.append(Path(f"/sys/fs/cgroup{path}/memory.events"))
            elif "memory" in controllers.split(","):
                files.append(Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control"))
    # In a container its own group may be mounted as the root.
    files += [
        Path("/sys/fs/cgroup/memory.events"),
        Path("/sys/fs/cgroup/memory/memory.oom_control"),
    ]
    return [*files, Path("/proc/vmstat")]


def _readable(files: list[Path]) -> Iterator[Path]:
    return (file for file in files if _read(file) is not None)


def _read(file: Path) -> int | None:
    with suppress(OSError):
        found = _COUNT.search(file.read_text())
        return int(found[1]) if found is not None else None
    return None
