"""Deployments with real beats. Time passes for their schedules by the test clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.driving import Clock
from tests.waiting import wait_until
from tests.worker.workers import START_TIMEOUT, Deployment, WorkerProcess
from trigger_celery.engine import keys, schedules
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.ids import schedule_id, token
from trigger_celery.model.schedule import Schedule
from trigger_celery.store.op import Flow

MODULE = "tests.scheduler.beat_app"
SCHEDULER = "trigger_celery.scheduler:TriggerScheduler"
MINUTE = 60_000
QUICK = {"beat_max_loop_interval": 0.02, "redbeat_lock_timeout": 1.0, "beat_schedule": {}}
"""A beat that looks all the time, and whose lock another takes after a second of silence."""


class Beats(Deployment):
    """A deployment whose processes are beats. `clock` moves its time."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.clock = Clock(self.client, self.scope)

    def start_beat(
        self,
        *arguments: str,
        conf: dict[str, Any] | None = None,
        kill: str = "",
        program: str = "celery",
        wait: bool = True,
    ) -> WorkerProcess:
        """Start the beat of a program; *kill*: what `TEST_KILL` says."""
        environment = self.environment({**QUICK, **(conf or {})})
        if kill:
            environment["TEST_KILL"] = kill
        command = [sys.executable, "-m", program, "-A", MODULE, "beat", "-l", "INFO", *arguments]
        log = self.folder / f"beat-{len(self.workers)}.log"
        beat = WorkerProcess(command, environment, log, fork=True)
        self.workers.append(beat)
        if wait:
            self.wait_for_beat(beat)
        return beat

    def wait_for_beat(self, beat: WorkerProcess, *, word: str = "beat: Starting") -> None:
        """Wait until it says *word*."""
        wait_until(
            lambda: not beat.is_running or word in beat.log,
            f"a beat says {word!r}",
            timeout=START_TIMEOUT,
            interval=0.02,
        )
        assert beat.is_running, f"the beat ended:\n{beat.log}"

    # Schedules

    def schedule(self, task: str = "tick", **more: Any) -> Schedule:
        """Make a schedule that fires every minute."""

        def flow() -> Flow[Schedule]:
            found = yield schedules.find_call(self.scope, schedule=schedule_id())
            wanted = schedules.Wanted(
                task, parse_cron("* * * * *"), deduplication_key=f"every minute {task}", **more
            )
            return (yield from schedules.upsert(self.scope, found, wanted, found.id))

        return self.binding.store.run_sync(flow())

    def retrieve(self, schedule: Schedule) -> Schedule:
        found = self.binding.store.run_sync(_read(self.scope, schedule.id))
        return found.schedule

    def run_ids(self, task: str = "tick") -> list[str]:
        found = self.client.zrange(keys.key(self.scope, "index_task", token(task)), 0, -1)
        return [name.decode() for name in found]

    def count_runs(self, task: str = "tick") -> int:
        return int(self.client.zcard(keys.key(self.scope, "index_task", token(task))))

    def nominal_times(self, task: str = "tick") -> list[str]:
        """Return the occurrences that became runs, in order."""
        pipe = self.client.pipeline(transaction=False)
        for run in self.run_ids(task):
            pipe.get(keys.key(self.scope, "payload", run))
        return sorted(json.loads(payload)["json"]["timestamp"] for payload in pipe.execute())

    def to_the_next_minute(self, *, late: int = 0) -> None:
        self.clock.advance(MINUTE - self.clock.now() % MINUTE + late)

    def wait_for_runs(self, count: int, task: str = "tick", timeout: float = 20.0) -> None:
        wait_until(
            lambda: self.count_runs(task) >= count, f"{count} runs of {task}", timeout=timeout
        )

    def report(self, name: str, wanted: Sequence[str], task: str = "tick") -> tuple[int, int]:
        """Print how many occurrences were lost and how many fired twice, and return both."""
        times = self.nominal_times(task)
        lost = len(set(wanted) - set(times))
        twice = len(times) - len(set(times))
        print(f"\n{name}: occurrences {len(wanted)}, lost {lost}, twice {twice}")
        return lost, twice


def _read(scope: str, schedule: str) -> Flow[Any]:
    return (yield schedules.find_call(scope, schedule=schedule))
