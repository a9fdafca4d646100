"""`TriggerEnv`: what the fixture `trigger_env` gives a test. A real store, a worker in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine import listing, querying, scheduling, sessions, waitpoints
from trigger_celery.engine.triggering import Placement
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.ids import is_run_id
from trigger_celery.model.packet import encode
from trigger_celery.model.run import Run
from trigger_celery.model.waitpoint import Token, TokenStatus
from trigger_celery.sdk.handle import id_of
from trigger_celery.store.op import Flow
from trigger_celery.testing.clock import Clock
from trigger_celery.testing.outlook import Outlook
from trigger_celery.testing.recorded import RecordedRuns, SomeRun
from trigger_celery.testing.worker import CONCURRENCY, InProcessWorker

TIMEOUT = 10.0
_TIMERS = 200
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.02


T = TypeVar("T")


class TriggerEnv(RecordedRuns):
    """An empty environment, and a worker in this process that executes what is triggered.

    Its methods block, for as long as the work takes, in sync tests as in async ones: the worker has
    an event loop of its own in a thread. When a task needs the loop of the test, call them in a thread:
    `await asyncio.to_thread(trigger_env.drain)`.
    """

    def __init__(
        self,
        trigger: TriggerCelery,
        *,
        timeout: float | None = TIMEOUT,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.trigger = trigger
        """The binding whose runs are executed."""
        self._timeout = timeout
        self._concurrency = concurrency
        self._store = trigger.store
        self._clock = Clock(self._store)
        self._outlook = Outlook(self._store)
        self._worker: InProcessWorker | None = None
        self._skips = 0

    def start_worker(self) -> None:
        """Start the worker; for tests with `@pytest.mark.trigger_env(worker=False)`."""
        if self._worker is None:
            self._worker = InProcessWorker(self.trigger, self._concurrency)
            self._worker.start()

    def stop_worker(self) -> None:
        """Stop the worker: runs under way get two seconds, and are given back."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    # Runs

    @property
    def runs(self) -> list[Run]:
        """Every run, those made by tasks included, in the order in which they were triggered."""
        ids: list[str] = []
        after: str | None = None
        while True:
            page = self._run(
                listing.list_runs(self._store.scope, listing.RunFilter(), listing.MAX_PAGE, after)
            )
            ids += (run.id for run in page)
            after = page.next_cursor
            if after is None:
                break
        ids.reverse()
        found: dict[str, Run] = {}
        for start in range(0, len(ids), listing.MAX_PAGE):
            some = ids[start : start + listing.MAX_PAGE]
            found |= self._run(querying.read_runs(self._store.scope, some))
        return [found[run_id] for run_id in ids if run_id in found]

    def run(self, run: SomeRun) -> Run:
        """Return the run as it is now. Raises RunNotFoundError."""
        return self._run(querying.read_run(self._store.scope, id_of(run)))

    def ended(self, run: SomeRun) -> Run:
        """Return the run once it is final: the same as `wait_for`."""
        return self.wait_for(run)

    def wait_for(self, run: SomeRun, *, timeout: float | None = None, skip: bool = True) -> Run:
        """Return the run once it is final, whatever its status.

        Time passes meanwhile as it has to: delays, retries and waits for time are over at once, and
        only they. Unless *skip*, no time passes. Raises AssertionError, which says why, when nothing
        will end the run, or when it takes longer than *timeout* (10 seconds of real time).
        """
        __tracebackhide__ = True
        found = self.run(run)
        deadline = self._deadline(timeout)
        run_id = found.id
        while not found.is_completed:
            self._settle(deadline, lambda: self.run(run_id).is_completed)
            found = self.run(found)
            if found.is_completed:
                break
            if not (skip and self._go_to_next(None)):
                raise AssertionError(
                    f"run {found.id} of {found.task_identifier!r} does not end by itself: it is "
                    f"{found.status}, and {self._outlook.why(found, self._held())}\n"
                    f"Open runs:\n{self._outlook.listing(self._held())}"
                )
        return found

    def drain(self, *, timeout: float | None = None, skip: bool = True) -> list[Run]:
        """Execute everything that is left to do, and return the runs that are open all the same.

        Those wait for a token, or in a queue that is paused; usually there are none. Time passes as in
        `wait_for`. Raises AssertionError, which says what hangs, after *timeout* (10 seconds of real
        time).
        """
        __tracebackhide__ = True
        deadline = self._deadline(timeout)
        self._settle(deadline)
        while skip and self._go_to_next(None):
            self._settle(deadline)
        return self._outlook.open_runs()

    # Time

    def skip(self, duration: str | float | timedelta, *, timeout: float | None = None) -> None:
        """Let time pass, from one thing that is due to the next, and let what follows happen.

        A duration such as "2d", or seconds. Delays, retries, waits, schedules, TTLs, timeouts of tokens and
        the ends of idempotency keys: all that is due within it happens, in its order. Returns when nothing
        executes any more. It is real time that tasks take; code that calls `datetime.now()` or
        `time.sleep()` is not fooled.
        """
        __tracebackhide__ = True
        ms = parse_duration(duration)
        deadline = self._deadline(timeout)
        self._settle(deadline)
        end = self._clock.now() + ms  # what executed just now may wait for as long as that
        while self._go_to_next(end):
            self._settle(deadline)
        self._advance(end - self._clock.now())
        self._settle(deadline)

    def advance(self, duration: str | float | timedelta) -> None:
        """Let time pass in one jump: what is due within it becomes due now, all of it.

        Unlike `skip`, it does not wait for what executes: for tests of a task that is busy meanwhile.
        """
        self._advance(parse_duration(duration))

    def _go_to_next(self, end: int | None) -> bool:
        """Let time pass until the next thing is due; without an *end*, one that lets a run go on."""
        due = self._outlook.next_due(ends=end is not None)
        times = [*self._held().values(), *(() if due is None else (due,))]
        if not times or (end is not None and min(times) > end):
            return False
        self._skips += 1
        self._advance(min(times) - self._clock.now())
        return True

    def _advance(self, ms: int) -> None:
        self._clock.advance(ms)
        if self._worker is not None:
            self._worker.catch_up()
        retention = self.trigger.settings.run_retention
        while self._run(sessions.fire_timers(self._store.scope, _TIMERS, retention))[0] == _TIMERS:
            pass
        more = True
        while more:
            done = self._run(scheduling.fire_due(self._store.scope, self._place_of, retention))
            more = done.more and any(one.counted for one in done.fired)

    def _place_of(self, task: str) -> Placement:
        return self.trigger.placement(REGISTRY.tasks.get(task), task)

    # Tokens

    @property
    def tokens(self) -> list[Token]:
        """The tokens that nobody has completed, newest first; at most a hundred."""
        wanted = waitpoints.TokenFilter(statuses=(TokenStatus.WAITING,))
        return self._run(waitpoints.list_tokens(self._store.scope, wanted, 100, None))[0]

    def token_of(self, run: SomeRun, *, timeout: float | None = None) -> Token:
        """Return the token that a run waits for, once it does. Raises AssertionError if it does not."""
        __tracebackhide__ = True
        run_id = id_of(run)
        deadline = self._deadline(timeout)
        while True:
            self._settle(deadline, lambda: bool(self._outlook.tokens_of(run_id)))
            found = self._outlook.tokens_of(run_id)
            if len(found) == 1:
                return self._run(waitpoints.read_token(self._store.scope, found[0]))
            if found:
                raise AssertionError(
                    f"run {run_id} waits for {len(found)} tokens, {', '.join(found)}: complete each by id"
                )
            now = self.run(run_id)
            if now.is_completed or not self._go_to_next(None):
                why = "it has ended" if now.is_completed else self._outlook.why(now, self._held())
                raise AssertionError(
                    f"run {run_id} of {now.task_identifier!r} waits for no token: it is {now.status}, "
                    f"{why}"
                )

    def complete_token(self, token: Token | SomeRun, data: Any = None) -> None:
        """Complete a token: given as it is, by its id, or as the run that waits for it.

        Raises AssertionError when it was completed before, or has timed out.
        """
        __tracebackhide__ = True
        token_id = str(getattr(token, "id", token))
        if is_run_id(token_id):
            token_id = self.token_of(token_id).id
        retention = self.trigger.settings.run_retention
        flow = waitpoints.complete_token(self._store.scope, token_id, encode(data), retention)
        if not self._run(flow):
            found = self._run(waitpoints.read_token(self._store.scope, token_id))
            raise AssertionError(f"token {token_id} is {found.status} already: {found.output!r}")

    # Waiting for the worker

    def _settle(self, deadline: float | None, enough: Callable[[], bool] = lambda: False) -> None:
        """Return when nothing executes and nothing can begin, or when it is *enough*."""
        __tracebackhide__ = True
        if self._worker is None:
            return
        pause = _FIRST_LOOK
        while not self._is_quiet() and not enough():
            if deadline is not None and time.monotonic() > deadline:
                skipped = f" Time was skipped {self._skips} times." if self._skips else ""
                raise AssertionError(
                    f"the runs did not come to rest in time.{skipped} Open runs:\n"
                    f"{self._outlook.listing(self._held())}\n"
                    "Give it more time with timeout=…, or the ini option trigger_timeout; a task that "
                    "triggers itself again and again never comes to rest."
                )
            time.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)

    def _is_quiet(self) -> bool:
        due = self._outlook.next_due(ends=True)
        if due is not None and due <= self._clock.now():  # as a worker and a beat would do it
            self._advance(0)
            return False
        worker = self._worker
        if worker is None:
            return True
        return self._outlook.is_quiet(worker.queues, worker.held)

    def _held(self) -> dict[str, int]:
        return {} if self._worker is None else self._worker.held

    def _deadline(self, timeout: float | None) -> float | None:
        seconds = self._timeout if timeout is None else timeout
        return None if seconds is None else time.monotonic() + seconds

    def _run(self, flow: Flow[T]) -> T:
        return self._store.run_blocking(flow)
