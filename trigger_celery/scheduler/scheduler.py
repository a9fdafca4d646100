"""`TriggerScheduler`: a RedBeat scheduler that also fires our schedules, and that no error ends."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import redis
from celery.signals import beat_embedded_init
from kombu.exceptions import OperationalError
from redbeat.decoder import to_timestamp
from redbeat.schedulers import RedBeatScheduler, RedBeatSchedulerEntry, get_redis

from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.beats import SIGN_TTL, note_beat
from trigger_celery.errors import TriggerError
from trigger_celery.scheduler.firing import Firing
from trigger_celery.scheduler.lock import BeatLock
from trigger_celery.scheduler.redbeat_side import bound_for_beat, entries_elsewhere
from trigger_celery.scheduler.statics import MemoryEntries, is_storable

logger = logging.getLogger("trigger_celery.beat")

LOCK_TIMEOUT = 30.0
"""Seconds after which another beat sends RedBeat's entries in the place of one that is silent."""
LOOK_EVERY = 5.0
"""The most seconds between looks for new schedules, whatever `beat_max_loop_interval` says."""
PAUSE = 1.0
"""Seconds until the next try after an error."""
SIGN_EVERY = SIGN_TTL / 6
LOADED_AT_ONCE = 500


class TriggerScheduler(RedBeatScheduler):  # type: ignore[misc] # RedBeat ships no types
    """Fires our schedules beside RedBeat's own entries and those of `beat_schedule`.

    Run as many beats as you like. RedBeat's entries are sent by the one that holds RedBeat's lock;
    the others stand by, and take over `redbeat_lock_timeout` (30 s) after it fell silent. Of our
    schedules an occurrence becomes one run whoever fires it: a beat that stands by does so when
    the others are two seconds late. A store that is away is waited for.

    Needs an app that `TriggerCelery` binds. Raises ConfigurationError without.
    """

    max_interval = 1.0

    def __init__(
        self,
        app: Any,
        lock_key: str | None = None,
        lock_timeout: float | None = None,
        lazy: bool = False,
        **options: Any,
    ) -> None:
        self._trigger = bound_for_beat(app)
        self._in_memory = MemoryEntries()
        self._parent: int | None = None
        self._unreadable: set[str] = set()
        self._signed = -SIGN_EVERY
        self._is_set_up = False
        self._led = False
        self._broker_is_away = False
        super().__init__(app, lazy=True, **options)
        self.lock_timeout = (
            lock_timeout
            or app.redbeat_conf.lock_timeout
            or max(LOCK_TIMEOUT, 5 * self.max_interval)
        )
        key = lock_key or app.redbeat_conf.lock_key
        self._lock = BeatLock(lambda: get_redis(app), key, self.lock_timeout)
        self._firing = Firing(self._trigger)
        # RedBeat would wait for the lock before the first tick, and end when it is lost.
        self.lock_key = None
        if not lazy:
            self._set_up()
            self._warn_of_entries_elsewhere()

    # RedBeat's entries

    def _set_up(self) -> None:
        """Store what `beat_schedule` says; a store that is away is asked again with each tick."""
        try:
            self.setup_schedule()
            self._is_set_up = True
        except (redis.RedisError, OSError) as problem:
            logger.error(
                "beat_schedule is not stored yet: %s", problem, extra={"action": "beat_delayed"}
            )

    def _warn_of_entries_elsewhere(self) -> None:
        if count := entries_elsewhere(self.app):
            logger.warning(
                "%d entries of RedBeat at the broker are not sent, as the app configures nothing of "
                "RedBeat's: set redbeat_redis_url to the broker's address",
                count,
                extra={"action": "entries_elsewhere", "count": count},
            )

    def update_from_dict(self, entries: Mapping[str, Any]) -> None:
        """Store entries of `beat_schedule`; what RedBeat cannot store stays in memory."""
        for name, entry in entries.items():
            fields = dict(entry)
            if is_storable(fields):
                super().update_from_dict({name: entry})
                continue
            with get_redis(self.app).pipeline() as pipe:
                key = self.Entry.generate_key(self.app, name)
                pipe.zrem(self.app.redbeat_conf.schedule_key, key)
                pipe.delete(key)
                pipe.execute()
            self._in_memory.put(name, fields, self.app)

    @property
    def schedule(self) -> dict[str, Any]:
        """Entries that are due, and the next one, read in two round trips."""
        now = to_timestamp(self.app.now())
        due = self.app.redbeat_conf.schedule_key
        client = get_redis(self.app)
        with client.pipeline(transaction=False) as pipe:
            pipe.zrangebyscore(due, 0, now)
            # the next one, so that the sleep until then is not too long
            pipe.zrangebyscore(due, f"({now}", now + self.max_interval, start=0, num=1)
            keys = [key for found in pipe.execute() for key in found]
        entries = {}
        for start in range(0, len(keys), LOADED_AT_ONCE):
            for entry in self._load(client, keys[start : start + LOADED_AT_ONCE]):
                entries[entry.name] = entry
        return entries

    def _load(self, client: Any, keys: list[str]) -> Iterator[Any]:
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, "definition", "meta")
            stored = pipe.execute()
        for key, (definition, meta) in zip(keys, stored, strict=True):
            if not definition:
                logger.warning("the entry %s is gone: no longer scheduled", key)
                client.zrem(self.app.redbeat_conf.schedule_key, key)
                continue
            try:
                found = self.Entry.decode_meta(meta)
                fields = {**self.Entry.decode_definition(definition), **found}
                entry = self.Entry(app=self.app, **fields)
                entry.last_run_at = found["last_run_at"]
            except Exception:
                self._note_unreadable(key)
                continue
            yield entry

    def _note_unreadable(self, name: str) -> None:
        """One entry that nobody can read must not keep the others from being sent."""
        if name not in self._unreadable:
            self._unreadable.add(name)
            logger.exception(
                "the entry %s cannot be read and is left out",
                name,
                extra={"action": "entry_left_out"},
            )

    def maybe_due(self, entry: RedBeatSchedulerEntry, **options: Any) -> float | None:
        """Send an entry if it is due and the lock is still ours; renews the lock in between."""
        if not self._lock.keep():
            return None
        seconds: float | None
        try:
            due, seconds = entry.is_due()
            if due and self._can_send(entry):
                seconds = super().maybe_due(entry, **self._producer_for(entry))
        except Exception:
            self._note_unreadable(entry.name)
            return None
        return seconds

    @property
    def _maybe_due_kwargs(self) -> dict[str, Any]:
        return {}  # RedBeat would wait for the broker before it looks at an entry

    def _producer_for(self, entry: Any) -> dict[str, Any]:
        return {} if entry.task in REGISTRY.tasks else {"producer": self.producer}

    def _can_send(self, entry: Any) -> bool:
        """Whether the broker is there, for an entry that needs it: a run does not.

        Celery's beat waits for its broker. Here that would keep our schedules from being fired.
        """
        if entry.task in REGISTRY.tasks or "producer" in vars(self):
            return True
        if self._broker_is_away:
            return False
        try:
            return self.producer is not None
        except (OperationalError, OSError) as problem:
            self._broker_is_away = True
            self._failed("the broker", problem)
            return False

    def _ensure_connected(self) -> Any:
        return self.connection.ensure_connection(max_retries=1, interval_start=0)

    # The tick

    def tick(self, **options: Any) -> float:
        """Do what is due and return the seconds until the next tick. Errors are logged."""
        self._end_with_parent()
        waits = [self.max_interval, LOOK_EVERY]
        for work, what in (
            (self._hold, "the lock"),
            (self._fire, "schedules"),
            (self._send_entries, "RedBeat's entries"),
        ):
            try:
                waits += [seconds for seconds in work() if seconds is not None]
            except Exception as problem:
                waits.append(self._failed(what, problem))
        return min(waits)

    def _hold(self) -> Iterable[float]:
        leads, led = self._lock.hold(), self._led
        self._led = leads
        if leads and not led:
            logger.info("RedBeat's entries are sent here", extra={"action": "beat_leads"})
        elif led and not leads:
            logger.warning(
                "another beat has the lock and sends RedBeat's entries",
                extra={"action": "beat_stands_by"},
            )
        return ()

    def _fire(self) -> Iterable[float | None]:
        seconds = self._firing.tick(self._lock.is_held, self._keep_lock)
        self._sign()
        return (seconds,)

    def _send_entries(self) -> Iterable[float | None]:
        if not self._is_set_up:
            self._set_up()
        self._broker_is_away = False
        leads = self._lock.is_held
        yield self._in_memory.tick(self._send if leads else None, self._note_unreadable)
        if leads:
            yield super().tick()

    def _send(self, entry: Any) -> bool:
        if not self._can_send(entry):
            return False
        self.apply_entry(entry, **self._producer_for(entry))
        return True

    def _keep_lock(self) -> None:
        """Between batches of our schedules: whose the lock is does not matter to them."""
        try:
            self._lock.keep()
        except redis.RedisError as problem:
            logger.debug("the lock could not be renewed: %s", problem)

    def _failed(self, what: str, problem: Exception) -> float:
        expected = isinstance(problem, TriggerError | redis.RedisError | OSError | OperationalError)
        logger.error(
            "%s could not be looked at: %s. Trying again in %g s",
            what,
            problem,
            PAUSE,
            exc_info=None if expected else problem,
            extra={"action": "beat_delayed"},
        )
        return PAUSE

    def _sign(self) -> None:
        now = time.monotonic()
        if now - self._signed < SIGN_EVERY:
            return
        flow = note_beat(self._trigger.scope, socket.gethostname(), os.getpid(), self.max_interval)
        self._trigger.store.run_blocking(flow)
        self._signed = now

    # The process

    def follow_parent(self) -> None:
        """End with the worker that this process is embedded in, however it ends."""
        self._parent = os.getppid()
        signal.signal(signal.SIGTERM, _leave)

    def _end_with_parent(self) -> None:
        if self._parent is not None and os.getppid() != self._parent:
            logger.warning("the worker is gone: its beat ends", extra={"action": "beat_orphaned"})
            raise SystemExit

    def close(self) -> None:
        """Let another beat go on at once."""
        try:
            self._lock.release()
        except (redis.RedisError, OSError) as problem:
            logger.warning("the lock could not be given back: %s", problem)
        super().close()

    @property
    def info(self) -> str:
        """What beat's banner says of where it looks."""
        store = f"       . store -> {self._trigger.store.address.shown} ({self._trigger.scope})"
        return "\n".join([store, super().info, f"       . lock -> {self._lock}"])


def _leave(*_: Any) -> None:
    raise SystemExit


@beat_embedded_init.connect
def _follow_parent(sender: Any, **_: Any) -> None:
    if isinstance(sender.scheduler, TriggerScheduler):
        sender.scheduler.follow_parent()
