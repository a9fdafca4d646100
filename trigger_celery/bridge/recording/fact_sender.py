"""Facts of recorded runs, on their way to the store.

A publish or a task adds to a bounded buffer, which takes microseconds. One thread per process sends what
is in it: at once when a message was published or a task has ended, but at most every tenth of a second, and
then all together. So neither a slow store nor one that is down delays a task or breaks it: what does not
fit is dropped, counted and logged.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trigger_celery.engine import metadata, recording
from trigger_celery.engine.recording import Fact
from trigger_celery.errors import StoreUnavailableError, TriggerError
from trigger_celery.model.recorded import position
from trigger_celery.store.op import Call
from trigger_celery.store.store import Store

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.recording")

INTERVAL = 0.1
"""Seconds in which facts are collected: what a killed process had not sent yet is lost."""
MAX_FACTS, MAX_BYTES = 10_000, 16 * 1024 * 1024
"""What a process keeps while the store is away; more is dropped."""
LONGEST_PAUSE = 5.0
"""Seconds between two tries while the store is away."""
PATIENCE, SHORT_PATIENCE = 2.0, 0.2
"""Seconds that the end of a process waits for its facts; the shorter one when the store is away."""
TELL_EVERY = 30.0
"""Seconds between two log records about facts that were dropped."""


class OpenExecution:
    """A task that this process executes."""

    __slots__ = ("fact", "said", "since")

    def __init__(self, fact: Fact) -> None:
        self.fact = fact
        self.since = fact.at
        self.said = False
        """How it ended was told."""


def execution_key(task_id: str, message: Mapping[str, Any]) -> str:
    """Return the name of an execution: a retry may begin before the one that asked for it is over."""
    return f"{task_id} {position(message.get('replaced_task_nesting'), message.get('retries'))}"


class FactSender:
    """Sends the facts of this process, for one binding. `dropped`: how many could not be kept."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger
        self._store: Store | None = None
        self._settings: object = None
        self.dropped = 0
        self.open: dict[str, OpenExecution] = {}
        self._begin(os.getpid())

    def _begin(self, pid: int) -> None:
        """Start empty in a process: what the parent collected is the parent's to send."""
        # A signal handler may add a fact while its thread is adding one.
        self._lock = threading.RLock()
        self._facts: list[Fact] = []
        self._shown: dict[str, str] = {}
        self._flushes: list[threading.Event] = []
        self._bytes = 0
        self._untold = 0
        self._told_at = 0.0
        self._away = self._soon = False
        self._sent_at = 0.0
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._idle = threading.Event()
        self._thread: threading.Thread | None = None
        self._ending = False
        self.open.clear()
        self._pid = pid  # last: another thread of the child must not take the parent's lock

    def follow_fork(self) -> None:
        """A forked child has not the thread, and a lock may be held for ever."""
        if self._pid != os.getpid():
            self._begin(os.getpid())

    def add(self, fact: Fact) -> None:
        """Keep a fact until it is sent, if there is room."""
        self.follow_fork()
        size = fact.size
        with self._lock:
            if len(self._facts) >= MAX_FACTS or self._bytes + size > MAX_BYTES:
                fact.taken = True
                self._drop(1, "the store is away or slow")
                return
            self._facts.append(fact)
            self._bytes += size
            if fact.kinds != "s":
                self._quicken()
            self._rouse()

    def _quicken(self) -> None:
        """Let what is there be sent at once, if nothing was lately. A start waits for its end."""
        if time.monotonic() - self._sent_at >= INTERVAL and not (
            self._away or self._hurry.is_set()
        ):
            self._soon = True
            self._hurry.set()

    def _rouse(self) -> None:
        if not self._wake.is_set():
            self._idle.clear()
            self._wake.set()
        if self._thread is None:
            self._start()

    def show(self, execution: OpenExecution, document: str) -> None:
        """Keep what is to be shown as the metadata of a run; of several the last is sent."""
        if self._pid != os.getpid():
            return
        run_id = execution.fact.run_id
        with self._lock:
            size = len(document) - len(self._shown.get(run_id, ""))
            if self._bytes + size > MAX_BYTES:
                self._drop(1, "the store is away or slow")
                return
            self._shown[run_id] = document
            self._bytes += size
            self._rouse()

    def end(self, execution: OpenExecution, detail: str, body: str) -> None:
        """Tell how an execution ended, with its start if that is not on its way yet."""
        if self._pid != os.getpid():
            return  # forked by the task itself: it ends in the parent
        execution.said = True
        fact, now = execution.fact, time.monotonic()
        with self._lock:
            room = self._bytes + len(body) <= MAX_BYTES
            if not fact.taken and room:
                recording.ended(fact, now, detail, body)
                self._bytes += len(body)
                self._quicken()
                return
        later = Fact(
            fact.run_id, "e", fact.position, now,
            execution=fact.execution, detail=detail, body=body,
        )  # fmt: skip
        self.add(later)

    def miss(self) -> None:
        """Count something of which no fact could be made."""
        self.follow_fork()
        with self._lock:
            self.dropped += 1
            self._untold += 1

    def _drop(self, count: int, why: object) -> None:
        self.dropped += count
        self._untold += count
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY or not self._told_at:
            self._told_at = now
            logger.warning(
                "what happens to Celery tasks is not recorded, %d fact(s) so far: %s. The tasks "
                "themselves go on as ever",
                self.dropped,
                why,
                extra={"action": "facts_dropped", "count": self.dropped},
            )

    def _start(self) -> None:
        self._ending = False
        thread = threading.Thread(target=self._send_for_ever, name="trigger-facts", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter shuts down: nothing more is sent
            return
        self._thread = thread
        atexit.register(self.close)

    def flush(self, patience: float = PATIENCE) -> None:
        """Send now what is there, and wait for that; not if the store is away."""
        if self._thread is None or self._pid != os.getpid() or self._away:
            return
        sent = threading.Event()
        with self._lock:
            self._flushes.append(sent)
            self._rouse()
        self._hurry.set()
        self._wake.set()
        if not sent.wait(patience):
            with self._lock:
                self._flushes = [one for one in self._flushes if one is not sent]
        self._hurry.clear()

    def close(self, patience: float | None = None) -> None:
        """Send what is left, but do not wait long: the process ends."""
        if self._thread is None or self._pid != os.getpid():
            return
        with self._lock:
            if self._facts or self._shown:
                self._idle.clear()
        self._hurry.set()
        self._wake.set()
        if patience is None:
            patience = SHORT_PATIENCE if self._away else PATIENCE
        self._idle.wait(patience)
        with self._lock:
            left = len(self._facts) + len(self._shown)
            self._facts = []
            self._shown.clear()
            self._bytes = 0
            if left:
                self._drop(left, "the process ends")
        self._hurry.clear()

    def stop(self) -> None:
        """Send what is left, and end the thread: nothing is recorded any more."""
        self.close()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            atexit.unregister(self.close)
            self._ending = True
            self._hurry.set()
            self._wake.set()

    def _send_for_ever(self) -> None:
        pause, renewed = INTERVAL, time.monotonic()
        while not self._ending:
            every = self._lease() / 3
            self._wake.wait(every if self.open else None)
            self._hurry.wait(pause)
            self._wake.clear()
            with self._lock:
                if self._soon:
                    self._soon = False
                    self._hurry.clear()
            self._sent_at = time.monotonic()
            due = self._sent_at - renewed >= every
            try:
                self._send(due)
                pause = INTERVAL
            except StoreUnavailableError as problem:
                self._wait_for_store(problem)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            except Exception as problem:
                self._give_up(problem)
            if due:
                renewed = time.monotonic()
            with self._lock:
                if not self._facts and not self._shown:
                    self._idle.set()
        if self._store is not None:
            self._store.close()

    def _lease(self) -> float:
        try:
            return self._trigger.settings.worker_lease
        except TriggerError:
            return 30.0

    def _send(self, renew: bool) -> None:
        """Send all facts, and say what is under way if it is time; one round trip."""
        settings = self._trigger.settings
        lease, retention = settings.lease_ms(), settings.run_retention
        with self._lock:
            facts = self._facts[:]
            shown = dict(self._shown)
            flushes = self._flushes[:]
            dropped = self._untold
            for fact in facts:
                fact.taken = True
        scope = self._trigger.scope
        now = time.monotonic()
        calls = recording.record_calls(scope, facts, now, lease, retention, dropped)
        if renew:
            long = [
                (one.fact.run_id, one.fact.position, one.fact.execution)
                for one in list(self.open.values())
                if now - one.since > lease / 4000
            ]
            if long:
                calls.append(recording.renew_call(scope, long, lease, retention))
        if shown:
            self._send_shown(calls, shown, {fact.run_id for fact in facts if fact.about})
        elif calls:
            self._own_store().send(*calls)
        self._done(facts, dropped)
        with self._lock:
            self._flushes = [one for one in self._flushes if one not in flushes]
        for sent in flushes:
            sent.set()

    def _send_shown(self, calls: list[Call], shown: dict[str, str], begun: set[str]) -> None:
        """Send metadata as well, then fold in what has gathered."""
        # After what makes the run, and before how it ends, so that whoever watches sees it.
        order = sorted(shown, key=begun.__contains__)
        first = sum(run_id not in begun for run_id in order)
        mirrors = [metadata.mirror_metadata(self._trigger.scope, one, shown[one]) for one in order]
        store = self._own_store()
        replies = store.send(*mirrors[:first], *calls, *mirrors[first:])
        del replies[first : first + len(calls)]
        for run_id, answer in zip(order, replies, strict=True):
            with self._lock:
                if metadata.is_mirrored(answer) and self._shown.get(run_id) is shown[run_id]:
                    del self._shown[run_id]
            if metadata.has_gathered(answer):
                store.run_unchecked(metadata.fold_metadata(self._trigger.scope, run_id))

    def _size(self) -> int:
        return sum(fact.size for fact in self._facts) + sum(map(len, self._shown.values()))

    def _done(self, facts: list[Fact], told: int) -> None:
        with self._lock:
            del self._facts[: len(facts)]
            self._bytes = self._size()
            self._untold -= told
        if self._away:
            self._away = False
            logger.info("tasks are recorded again", extra={"action": "recording_resumed"})

    def _own_store(self) -> Store:
        """Return connections that do not try again: facts of now are told apart from old ones."""
        settings = self._trigger.settings
        if self._store is None or self._settings is not settings:
            self._settings = settings
            self._store = Store(
                settings.redis_url,
                self._trigger.scope,
                timeout=min(2.0, settings.store_timeout),
                retry_for=0.0,
            )
        return self._store

    def _wait_for_store(self, problem: Exception) -> None:
        self._wake.set()  # there is something to send
        if self._hurry.is_set():  # the process ends, and does not wait for a store that is away
            self._idle.set()
        self._hurry.clear()
        if self._away:
            return
        self._away = True
        logger.warning(
            "what happens to Celery tasks waits to be recorded, the tasks do not: %s",
            problem,
            extra={"action": "facts_wait"},
        )

    def _give_up(self, problem: Exception) -> None:
        """These facts cannot be recorded, whenever they are sent; those after them perhaps."""
        with self._lock:
            lost = [fact for fact in self._facts if fact.taken]
            self._facts = [fact for fact in self._facts if not fact.taken]
            self._shown.clear()
            self._bytes = self._size()
            if lost:
                self._drop(len(lost), problem)
