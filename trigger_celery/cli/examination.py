"""What `doctor` finds out: settings, server, workers, runs that nobody takes."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from typing import Any

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.project_app import import_tasks
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.beats import read_beat, read_waiting
from trigger_celery.engine.offloading import try_out
from trigger_celery.engine.querying import (
    UnservedRuns,
    WorkerState,
    list_unserved,
    list_workers,
    server_version,
)
from trigger_celery.engine.queueing import QueueState
from trigger_celery.engine.recording import Unrecorded, read_unrecorded
from trigger_celery.errors import PayloadStoreError, TriggerError, closest
from trigger_celery.model.duration import format_duration
from trigger_celery.model.instant import iso
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.sdk import queues, runs
from trigger_celery.settings import SETTINGS, Settings
from trigger_celery.store.checks import Finding, check_server
from trigger_celery.store.connection import mask
from trigger_celery.store.op import ask, command

ROUND_TRIPS = 20


@dataclass(frozen=True, slots=True)
class SettingShown:
    """A setting as `doctor` prints it."""

    name: str
    value: str
    unit: str
    source: str


@dataclass
class Examination:
    """Everything `doctor` knows."""

    settings: list[SettingShown] = field(default_factory=list)
    server: dict[str, Any] = field(default_factory=dict)
    workers: list[WorkerState] = field(default_factory=list)
    unserved: list[UnservedRuns] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unreachable: bool = False

    @property
    def is_fine(self) -> bool:
        """Whether there is no error among the findings."""
        return not any(finding.level == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the examination as JSON-ready values."""
        return {
            "ok": self.is_fine,
            "settings": [asdict(setting) for setting in self.settings],
            "server": self.server,
            "workers": [_worker(worker) for worker in self.workers],
            "unserved": [asdict(unserved) for unserved in self.unserved],
            "findings": [asdict(finding) for finding in self.findings],
        }


def examine(trigger: TriggerCelery, settings: Settings) -> Examination:
    """Look at everything; what cannot be looked at becomes a finding."""
    found = Examination(settings=shown_settings(settings))
    found.findings.append(_tasks(trigger))
    found.findings += trigger.store.run_unchecked(check_server(trigger.store))
    if any(finding.name == "connection" for finding in found.findings):
        found.unreachable = True
        return found
    try:
        _server(trigger, found)
        _workers(trigger, found)
        found.findings += _schedules(trigger)
        found.findings += _payload_store(trigger)
    except TriggerError as problem:
        found.findings.append(Finding("error", "commands", str(problem)))
    return found


def shown_settings(settings: Settings) -> list[SettingShown]:
    """Return every setting with its source; passwords are masked."""
    return [
        SettingShown(
            setting.name,
            _value(setting.name, getattr(settings, setting.name)),
            setting.unit,
            settings.sources.get(setting.name, "default"),
        )
        for setting in SETTINGS
    ]


def _value(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name in ("redis_url", "payload_store"):
        return mask(value)
    if name == "run_retention":
        return format_duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _worker(worker: WorkerState) -> dict[str, Any]:
    return {**asdict(worker), "since": iso(worker.since)}


def _server(trigger: TriggerCelery, found: Examination) -> None:
    store = trigger.store
    version = store.run_sync(server_version())
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        store.run_sync(ask(command("PING")))
        times.append((time.perf_counter() - began) * 1000)
    found.server = {
        "address": store.address.shown,
        "version": version,
        "scope": trigger.scope,
        "round_trip_ms": round(statistics.median(times), 3),
        "slowest_round_trip_ms": round(max(times), 3),
    }


def _workers(trigger: TriggerCelery, found: Examination) -> None:
    store, scope = trigger.store, trigger.scope
    found.workers = store.run_sync(list_workers(scope))
    found.unserved = store.run_sync(list_unserved(scope))
    alive = [worker for worker in found.workers if worker.alive]
    if not alive:
        found.findings.append(
            Finding(
                "warning",
                "workers",
                "no worker is alive: runs wait until one starts",
                "trigger-celery worker, or celery -A … worker",
            )
        )
    for worker in found.workers:
        if not worker.alive:
            found.findings.append(_lapsed(worker))
    found.findings += [_unserved(unserved, bool(alive)) for unserved in found.unserved]
    known = _queues()
    found.findings += _stopped(known)
    parked = runs.list(status=RunStatus.PENDING_VERSION, limit=100).sync().runs
    declared = {queue.name for queue in known if queue.declared}
    found.findings += _unrecorded(store.run_sync(read_unrecorded(scope)))
    found.findings += _parked(parked, {task for worker in alive for task in worker.tasks}, declared)


def _tasks(trigger: TriggerCelery) -> Finding:
    """Import the modules with tasks, as a worker would: that shows ids and options that do not fit."""
    try:
        with redirect_stdout(sys.stderr):
            import_tasks(trigger.app)
            trigger.app.finalize()
    except TriggerError as problem:
        fix = "a worker with these modules does not start: mend the declaration"
        return Finding("error", "tasks", str(problem), fix)
    ours = sum(definition.plain is None for definition in REGISTRY.tasks.values())
    taken = len(REGISTRY.tasks) - ours
    others = [name for name in trigger.app.tasks if not name.startswith("celery.")]
    said = f"{ours} task(s) are declared here"
    if len(others) > ours:
        said += f", and {len(others) - ours} of Celery's, of which {taken} are taken over"
    return Finding("ok", "tasks", said)


def _payload_store(trigger: TriggerCelery) -> list[Finding]:
    """Say whether objects can be written to the payload store, and read again."""
    try:
        where = trigger.store.run_sync(try_out())
    except PayloadStoreError as problem:
        fix = "see that this process may read, write and delete there; runs over 128 KB need it"
        return [Finding("error", "payload store", str(problem), fix)]
    if not where:
        return []
    return [Finding("ok", "payload store", f"{where} can be written, read and deleted from")]


def _schedules(trigger: TriggerCelery) -> list[Finding]:
    """Say whether anything fires the schedules that there are."""
    waiting = trigger.store.run_sync(read_waiting(trigger.scope))
    beat = trigger.store.run_sync(read_beat(trigger.scope))
    if not waiting.count:
        return []
    if beat is not None:
        said = f"{waiting.count} schedule(s), fired by a beat on {beat.host} (process {beat.pid})"
        return [Finding("ok", "beat", said)]
    return [
        Finding(
            "warning",
            "beat",
            f"{waiting.count} schedule(s) are active, but no beat has ticked for a minute: nothing "
            "fires them",
            "trigger-celery beat, or celery -A … beat; or start one worker with --beat",
        )
    ]


def _unrecorded(unrecorded: Unrecorded) -> list[Finding]:
    if not unrecorded.count or unrecorded.at is None:
        return []
    message = (
        f"{unrecorded.count} fact(s) of Celery tasks were not recorded, the last by "
        f"{iso(unrecorded.at)}: the store was away or slow for a process"
    )
    fix = "look for facts_dropped in the logs of producers and workers; the tasks themselves ran"
    return [Finding("warning", "recording", message, fix)]


def _queues() -> list[QueueState]:
    page = queues.list().sync()
    known = list(page)
    for number in range(2, page.pages + 1):
        known += queues.list(page=number).sync()
    return known


def _stopped(known: list[QueueState]) -> list[Finding]:
    """Say where nothing starts because somebody wanted it so."""
    findings = []
    if queues.retrieve_environment().sync().paused:
        findings.append(
            Finding(
                "warning",
                "queues",
                "the environment is paused: nothing starts in any queue",
                "trigger-celery queues resume --environment",
            )
        )
    for queue in known:
        if not queue.queued:
            continue
        wait = f"{queue.queued} run(s) wait in queue {queue.name!r}, "
        if queue.paused:
            fix = f"trigger-celery queues resume {queue.name}"
            findings.append(Finding("warning", "queues", f"{wait}which is paused", fix))
        elif queue.concurrency.current == 0:
            fix = "raise it in the code, or: trigger-celery queues reset " + queue.name
            findings.append(Finding("warning", "queues", f"{wait}whose limit is 0", fix))
    return findings


def _lapsed(worker: WorkerState) -> Finding:
    return Finding(
        "warning",
        "workers",
        f"{worker.hostname or worker.session} does not renew its lease; its {worker.busy} run(s) "
        "are taken over by a live worker",
        "look at its log; if it is gone, nothing is to be done",
    )


def _unserved(unserved: UnservedRuns, others: bool) -> Finding:
    where = f"worker queue {unserved.worker_queue!r}" if unserved.worker_queue else "a worker queue"
    fix = f"start a worker with -Q {unserved.worker_queue or '<queue>'}"
    if unserved.machine is not None:
        where = f"machine {unserved.machine!r} of {where}"
        return Finding(
            "error" if others else "warning",
            "routing",
            f"{unserved.runs} run(s) in queue {unserved.queue!r} (such as {unserved.task!r}) wait "
            f"for {where}, which no live worker declares",
            f"{fix} --machines {unserved.machine}",
        )
    return Finding(
        "error" if others else "warning",
        "routing",
        f"{unserved.runs} run(s) in queue {unserved.queue!r} (such as {unserved.task!r}) wait for "
        f"{where}, which no live worker serves",
        f"{fix}, or correct task_routes" if others else fix,
    )


def _parked(parked: list[Run], known: set[str], declared: set[str]) -> list[Finding]:
    """Say what runs wait for: their task, or a queue that nobody declared."""
    tasks: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for run in parked:
        if run.task_identifier in known and run.queue not in declared:
            others[run.queue] += 1
        else:
            tasks[run.task_identifier] += 1
    more = " or more" if len(parked) == 100 else ""
    return [
        *(
            Finding(
                "warning",
                "tasks",
                f"{count}{more} run(s) of {task!r} wait for a worker that has this task."
                f"{closest(task, known)}",
                "import the module that defines it in the worker, or cancel the runs",
            )
            for task, count in sorted(tasks.items())
        ),
        *(
            Finding(
                "warning",
                "queues",
                f"{count}{more} run(s) wait for a worker that declares the queue {name!r}."
                f"{closest(name, declared)}",
                f"queue(name={name!r}) in a module that the worker imports, or cancel the runs",
            )
            for name, count in sorted(others.items())
        ),
    ]
