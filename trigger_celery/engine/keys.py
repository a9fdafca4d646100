"""Every key of the store: its name, type, content, and who removes it.

The only place where key names are made. Scripts get the same names as functions `key_<name>(…)`,
which the script loader puts in front of the scripts that use them. `docs/internals/keys.md` is
generated from this table.
"""

from __future__ import annotations

from dataclasses import dataclass

from trigger_celery.errors import ConfigurationError
from trigger_celery.model.packet import MAX_INLINE as MAX_INLINE
from trigger_celery.model.retry import MAX_LOSSES, REQUEUE_FROM_MS
from trigger_celery.model.transitions import TRANSITIONS


@dataclass(frozen=True, slots=True)
class Key:
    """One kind of key. `parts` are the arguments that follow its name."""

    name: str
    parts: tuple[str, ...]
    type: str
    holds: str
    removed: str
    spelled: str = ""
    """How it stands in the key, where that is not ours to choose."""

    @property
    def start(self) -> str:
        """What follows the scope in the key."""
        return self.spelled or self.name


KEYS: tuple[Key, ...] = (
    Key("env", (), "hash", "environment limit, its override, burst factor and pause, default machine preset once a worker declared presets, virtual clocks of the worker queues, sweep times", "permanent: one per environment"),
    Key("clock", (), "string", "offset of the test clock in ms", "permanent: tests only"),
    Key("run", ("id",), "hash", "status, epoch, owner, attempt, task, queue, times, limits; a payload or output up to 64 bytes; of a recorded run its facts, about 1,000", "TTL run_retention + 7 days once final; the pruner at run_retention"),
    Key("payload", ("id",), "string", "payload over 64 bytes", "with its run"),
    Key("output", ("id",), "string", "output over 64 bytes", "with its run"),
    Key("error", ("id",), "string", "final error, JSON", "with its run"),
    Key("metadata", ("id",), "string", "metadata, JSON", "with its run"),
    Key("metadata_changes", ("id",), "list", "changes of the metadata that are not folded in yet, JSON; at most 1,000 and 4 MB", "with its run"),
    Key("metadata_before", ("id",), "hash", "metadata as it was triggered, and as it was when the attempt that changes it began", "with its run"),
    Key("streams", ("id",), "hash", "streams of the run: token to name; at most 100", "with its run"),
    Key("stream", ("stream", "id"), "stream", "chunks of one stream of the run, JSON; the last 10,000 and 64 MB", "with its run"),
    Key("stream_state", ("stream", "id"), "hash", "chunks so far, bytes kept, open pipes, the last calls", "with its run"),
    Key("attempts", ("id",), "list", "failed attempts, JSON, at most 250", "with its run"),
    Key("reasons", ("id",), "hash", "errors of the attempts of a recorded run", "with its run"),
    Key("message", ("id",), "string", "body of a recorded run's message, where its payload does not say all of it; at most 1.4 MB", "with its run"),
    Key("watch", ("id",), "set", "channels of the processes that wait for the run", "TTL 1 hour after the last watcher came"),
    Key("children", ("id",), "zset", "runs that the run made; score = created", "with its run"),
    Key("calls", ("id",), "hash", "durable calls of the attempt: position to what was asked for; at most 10,000", "the end of the attempt"),
    Key("rests", ("id",), "hash", "tasks of the run that did not wait themselves when it parked: their last durable call and how many side effects followed it; at most 10,000", "the end of the attempt"),
    Key("steps", ("id",), "hash", "steps by name to packet type and result", "the end of the run"),
    Key("waiting", ("id",), "set", "waitpoints, runs and batches that the run waits for", "vanishes when empty"),
    Key("waiters", ("target",), "set", "runs that wait for a waitpoint, a run or a batch", "vanishes when empty"),
    Key("keepers", ("target",), "set", "runs besides the first that waited for it; it is kept until they have ended", "the pruner, with its target"),
    Key("waitpoint", ("waitpoint",), "hash", "type, status, times, idempotency key, tags; an output up to 64 bytes", "TTL run_retention + 7 days once ended, which a timer sees to; the pruner at run_retention"),
    Key("waitpoint_output", ("waitpoint",), "string", "output over 64 bytes", "TTL run_retention + 7 days; the pruner at run_retention"),
    Key("wait_key", ("key",), "string", "idempotency key of a wait or token to its waitpoint", "TTL idempotency_key_ttl"),
    Key("idem", ("key",), "string", "idempotency key of a task to the run that has it", "TTL idempotency_key_ttl; the pruner, with its run"),
    Key("debounce", ("key",), "string", "debounce key of a task to the run that is put off", "TTL until the run starts + 1 day; the pruner, with its run"),
    Key("tokens", (), "zset", "tokens; score = created", "the pruner, with each token"),
    Key("batch", ("batch",), "hash", "status, times, number of runs, items that could not be triggered", "TTL run_retention + 7 days once ended, which a timer sees to if nobody seals it; the pruner at run_retention"),
    Key("batch_key", ("key",), "string", "idempotency key of a batch and its tasks to the batch", "TTL idempotency_key_ttl; the pruner, with its batch"),
    Key("batch_runs", ("batch",), "list", "runs in the order of the items", "with its batch"),
    Key("batch_left", ("batch",), "set", "runs that are not final", "vanishes when empty; with its batch"),
    Key("counted", ("id",), "set", "batches besides its own that count the run", "the end of the run"),
    Key("resuming", ("queue", "key"), "zset", "runs that may go on and wait for a slot; score = queued time - priority", "vanishes when empty"),
    Key("resuming_groups", (), "zset", "queues and keys with such runs; score = when they were looked at", "vanishes when empty"),
    Key("resuming_keys", ("queue",), "zset", "concurrency keys of one queue with such runs; score = when they were looked at", "vanishes when empty"),
    Key("queue", ("queue",), "hash", "name, limit and its override, other bounds, paused, worker queues that serve it", "none once a worker declared it; else TTL run_retention + 7 days after its last use"),
    Key("queues", (), "hash", "queue token to queue name", "the pruner, when the queue's record is gone"),
    Key("lane", ("lane",), "zset", "pending runs of one worker queue, queue and concurrency key; score = queued time - priority", "vanishes when empty"),
    Key("lanes", ("queue",), "set", "lanes of the queue that have pending runs", "vanishes when empty"),
    Key("ready", ("worker_queue",), "zset", "lanes with pending runs and a free slot, by virtual time", "vanishes when empty"),
    Key("gated", ("worker_queue", "queue"), "zset", "the same for one queue that is bounded as a whole; it stands itself among the ready lanes", "vanishes when empty"),
    Key("rate", ("queue",), "string", "until when (µs) the rate of the queue is used up", "TTL until then"),
    Key("key_rate", ("queue", "key"), "string", "until when (µs) the rate of one concurrency key is used up", "TTL until then"),
    Key("slots", (), "zset", "runs that hold a slot of the environment; score = since", "vanishes when empty"),
    Key("queue_slots", ("queue",), "zset", "runs that hold a slot of the queue", "vanishes when empty"),
    Key("key_slots", ("queue", "key"), "zset", "runs that hold a slot of one concurrency key", "vanishes when empty"),
    Key("timers", (), "zset", "what becomes due: delays and retries of runs, waitpoint:<id>, drain:<target>, cancel:<run>, batch:<id>, expire:<run>, lane:<lane>, gate:<queue>, look:<queue>:<cursor>, release:<task|queue>:<token>; score = due ms", "vanishes when empty"),
    Key("parked", ("task",), "zset", "runs whose task no live worker knows", "vanishes when empty"),
    Key("parked_queue", ("queue",), "zset", "runs in a queue that no worker declared", "vanishes when empty"),
    Key("workers", (), "zset", "worker sessions; score = lease deadline", "vanishes when empty"),
    Key("worker", ("session",), "hash", "what the session said of itself; its last dequeue", "the session's end or the sweeper; TTL 1 day after the last renewal"),
    Key("owned", ("session",), "set", "runs the session owns", "vanishes when empty; the sweeper"),
    Key("mailbox", ("session",), "list", "wake-ups of a session, or of one run's process: runs handed over, waits that are done, cancels", "TTL 1 minute after the last message"),
    Key("idle", ("worker_queue",), "zset", "sessions that wait for work; score = since", "vanishes when empty; the sweeper"),
    Key("worker_queues", (), "set", "worker queues ever served", "permanent: as many as the deployment has"),
    Key("tasks", (), "hash", "task id to its definition, as workers declared it", "permanent: as many as the code has"),
    Key("index_status", ("status",), "zset", "runs of one status; score = created", "the pruner, with each run"),
    Key("index_task", ("task",), "zset", "runs of one task; score = created", "the pruner, with each run"),
    Key("index_queue", ("queue",), "zset", "runs in a queue other than their task's own; score = created", "the pruner, with each run"),
    Key("index_tag", ("tag",), "zset", "runs with one tag; score = created", "the pruner, with each run"),
    Key("index_label", ("label",), "zset", "test runs (test), runs of one version (version-<token>), bulk action or schedule (its id); score = created", "the pruner, with each run"),
    Key("bulk", ("bulk",), "hash", "bulk action: type, status, filter, how far it is, counts", "TTL run_retention + 7 days once ended; the pruner at run_retention"),
    Key("bulk_runs", ("bulk",), "list", "runs that the bulk action does next, at most 500", "the end of the bulk action"),
    Key("bulks", (), "zset", "bulk actions; score = created", "the pruner, with each bulk action"),
    Key("bulks_open", (), "zset", "bulk actions that are not done; score = until when a worker has it", "vanishes when empty"),
    Key("recorded", (), "zset", "recorded runs that execute or are delayed; score = when they are presumed lost, or are due", "vanishes when empty; the pruner, with each run"),
    Key("retention", (), "zset", "final and recorded runs, ended waitpoints, batches and bulk actions; score = when to prune", "vanishes when empty"),
    Key("objects", (), "zset", "runs and tokens that have objects in the payload store; score = when to look whether they are still there; at most 1,000,000", "the pruner of workers that have the payload store, with each object"),
    Key("redbeat", ("schedule",), "hash", "one schedule: task, cron, time zone, keys, times, counts; `definition` and `meta`, by which RedBeat's tools know it as an entry", "who deletes it; TTL 1 day once the code declares it no more"),
    Key("redbeat_due", (), "zset", "keys of the active schedules; score = when the next occurrence is due, in seconds", "vanishes when empty", "redbeat::schedule"),
    Key("celery", ("entry",), "hash", "an entry of Celery's `beat_schedule`, as RedBeat stores it; this and the next three only if the app configures no `redbeat_…`", "a beat, when `beat_schedule` has it no more"),
    Key("celery_due", (), "zset", "such entries; score = when they are due, in seconds", "vanishes when empty", "celery::schedule"),
    Key("celery_statics", (), "set", "names of such entries", "vanishes when empty", "celery::statics"),
    Key("celery_lock", (), "string", "RedBeat's lock: who sends such entries", "TTL redbeat_lock_timeout", "celery::lock"),
    Key("schedules", (), "zset", "schedules; score = created", "vanishes when empty"),
    Key("schedule_keys", (), "hash", "deduplication key, as a token, to its schedule", "vanishes when empty"),
    Key("index_schedule", ("label",), "zset", "schedules of one task (its token), or that one app declares in code (by-<token>); score = created", "vanishes when empty"),
    Key("logs", ("id",), "stream", "what the run said, one JSON line an entry; 10,000 lines and 4 MB at most", "with its run"),
    Key("log_facts", ("id",), "hash", "bytes of the run's log, lines taken out of it, the last calls that added to it", "with its run"),
    Key("canvas", ("id",), "string", "what Celery says of the run: its task id, callbacks, chain, chord, headers; JSON behind a letter, see engine/continuing.py", "with its run"),
    Key("continuing", (), "zset", "final runs whose callbacks, chains and chords go on; score = when a worker sees to it", "vanishes when empty"),
    Key("beat", (), "string", "the beat that ticked last: host and process, JSON", "TTL 1 minute after the tick, or three of its longest intervals"),
    Key("changes", (), "stream", "every change of a run: run, status, change number; about 10,000 entries", "permanent: trimmed at every write"),
)  # fmt: skip

TIMERS = (
    "waitpoint", "drain", "cancel", "batch", "expire", "lane", "gate", "look", "release",
)  # fmt: skip
"""What timers do besides queueing a run: members of `timers` are runs, or one of these and an id."""

MAX_LOG_LINES, MAX_LOG_BYTES = 10_000, 4 * 1024 * 1024
"""What is kept of a run's log: the newest lines."""

MAX_CALLS = 10_000
"""Durable calls of an attempt that are noted; it cannot wait more often."""

PERMANENT = frozenset({"env", "clock", "worker_queues", "tasks", "changes", "queues"})
"""Keys that outlive every run; there is a bounded number of them per environment."""


def scope(project: str, env: str) -> str:
    """Return the hash tag that every key of the environment starts with."""
    for name, value in (("project", project), ("env", env)):
        if not value or len(value) > 64 or not value.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(
                f"{name}={value!r} cannot name an environment: use 1 to 64 letters, digits, "
                "'-' or '_'"
            )
    return f"{{tc:{project}:{env}}}"


def key(scope: str, name: str, *parts: str) -> str:
    """Return the name of a key, as the scripts make it."""
    known = _BY_NAME[name]
    if len(parts) != len(known.parts):
        raise TypeError(f"key {name!r} takes {known.parts}, got {parts}")
    return ":".join((scope, _BY_NAME[name].start, *parts))


_BY_NAME = {kind.name: kind for kind in KEYS}


def _lua(kind: Key) -> str:
    args = ", ".join(kind.parts)
    tail = "".join(f"..':'..{part}" for part in kind.parts)
    return f"local function key_{kind.name}({args}) return KEYS[1]..':{kind.start}'{tail} end"


def preludes() -> dict[str, str]:
    """Return what scripts may use by name: key functions, the table of legal changes, bounds."""
    legal = "|".join(
        f"{before.value}>{after.value}"
        for before, afters in TRANSITIONS.items()
        if before is not None
        for after in sorted(afters, key=lambda status: status.value)
    )
    lines = {f"key_{kind.name}": _lua(kind) for kind in KEYS}
    for kind in TIMERS:
        lines[f"timer_{kind}"] = f"local function timer_{kind}(id) return '{kind}:'..id end"
    lines["LEGAL"] = f"local LEGAL = '|{legal}|'"
    lines["MAX_INLINE"] = f"local MAX_INLINE = {MAX_INLINE}"
    lines["MAX_LOG_LINES"] = f"local MAX_LOG_LINES = {MAX_LOG_LINES}"
    lines["MAX_LOG_BYTES"] = f"local MAX_LOG_BYTES = {MAX_LOG_BYTES}"
    lines["MAX_LOSSES"] = f"local MAX_LOSSES = {MAX_LOSSES}"
    lines["MAX_CALLS"] = f"local MAX_CALLS = {MAX_CALLS}"
    lines["REQUEUE_FROM_MS"] = f"local REQUEUE_FROM_MS = {REQUEUE_FROM_MS}"
    return lines
