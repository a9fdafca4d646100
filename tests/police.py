"""What must be true of the store whenever nobody is in the middle of a script."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import redis

from tests import police_schedules, police_waits
from tests.keyspace import Keyspace, keyspace
from trigger_celery.engine import keys, sessions
from trigger_celery.engine.machines import preset_queue
from trigger_celery.model.ids import token
from trigger_celery.model.run import RunStatus
from trigger_celery.model.transitions import FINAL, allowed, allowed_recorded
from trigger_celery.store.store import Store

KINDS = {kind.name: kind for kind in keys.KEYS}
HOLDING = {"DEQUEUED", "EXECUTING"}
_ID = re.compile(r"(?:run|waitpoint|batch)_[0-9a-v]{26}")
# The feed is bounded by its length, the last dequeue of a session by the session's life, mailboxes
# and idempotency keys by their TTL, the runs of a batch by the batch. Objects of the payload store
# go after who they belong to.
_MAY_NAME_THE_PAST = {
    "changes",
    "worker",
    "mailbox",
    "wait_key",
    "batch_runs",
    "bulk_runs",
    "objects",
    "redbeat",  # a schedule knows its last run
}
# A child, or a batch, may outlive who made it.
_LINKS = {"links", "batch", "parent", "keeper", "opts", "at_id"}
# What a recorded run has from the beginning.
_OF_RECORDED = {"run", "payload", "output", "error", "reasons", "message"}
# Two steps that one call takes: a dequeue that starts at once, and giving up a run that was.
_AT_ONCE = {
    ("QUEUED", "EXECUTING"): "DEQUEUED",
    ("EXECUTING", "PENDING_VERSION"): "QUEUED",
}


def inspect(client: redis.Redis, scope: str) -> Keyspace:
    """Fail with every rule that the store breaks. Returns what is stored."""
    space = keyspace(client, scope)
    complaints = list(problems(space))
    assert not complaints, "the store is out of order:\n  " + "\n  ".join(complaints)
    return space


def problems(space: Keyspace) -> Iterator[str]:
    """Yield what is wrong."""
    yield from _names_types_ttls(space)
    yield from _slots(space)
    yield from _places(space)
    yield from police_waits.problems(space)
    yield from police_schedules.problems(space)
    yield from _bulks(space)
    yield from _lanes(space)
    yield from _indexes(space)
    yield from _feed(space)
    yield from _recorded(space)


def _names_types_ttls(space: Keyspace) -> Iterator[str]:
    final = {run for run, f in space.runs.items() if f.get("status") in FINAL}
    for name in space.values:
        if not name.startswith(space.scope + ":"):
            yield f"{name} is outside the environment"
            continue
        kind = KINDS.get(space.kind(name))
        if kind is None:
            yield f"{name} is of no kind in the table"
            continue
        if space.types[name] != kind.type:
            yield f"{name} is a {space.types[name]}, the table says {kind.type}"
        expires = space.ttls[name] != -1
        if kind.name == "run" or kind.removed == "with its run":
            run = name.rsplit(":", 1)[1]
            if run not in space.runs:
                # The children of a task that Celery's broker carries may come before its record.
                if not (kind.name == "children" and expires):
                    yield f"{name} belongs to no run"
            elif "rec" in space.runs[run]:
                if not expires and kind.name in _OF_RECORDED:
                    yield f"{name} lacks a TTL, and nobody may ever say how its run ended"
            elif expires is not (run in final):
                yield f"{name} {'has' if expires else 'lacks'} a TTL, its run is {space.runs[run]}"
        elif kind.name in police_waits.KINDS or kind.name in ("bulk", "redbeat"):
            continue
        elif kind.name == "queue":
            if expires is ("declared" in space.values[name]):
                yield f"{name}: a TTL exactly when no code declares it: {space.values[name]}"
        elif "TTL" in kind.removed:
            if not expires:
                yield f"{name} lacks a TTL"
        elif expires:
            yield f"{name} has a TTL, the table says {kind.removed!r}"


def _lane_of(fields: dict[str, str]) -> tuple[str, str, str]:
    worker_queue, queue, key = fields["lane"].split(":")
    return worker_queue, queue, key


def _slots(space: Keyspace) -> Iterator[str]:
    environment, queues, own_keys, owned = set(), *(defaultdict(set) for _ in range(3))
    sessions_known = set(space.one("workers", {}))
    for run, f in space.runs.items():
        if "rec" in f:
            if {"lane", "owner", "epoch"} & set(f):
                yield f"{run} is recorded, and the engine has done something with it: {f}"
            continue
        worker_queue, queue, key = _lane_of(f)
        if queue != token(f["queue"]) or key != (token(f["ckey"]) if "ckey" in f else ""):
            yield f"{run}: the lane {f['lane']} does not fit queue and key: {f}"
        if "base" in f and worker_queue != preset_queue(
            f["base"], json.loads(f.get("opts", "{}")).get("machine", "")
        ):
            yield f"{run}: the lane {f['lane']} does not fit the machine: {f}"
        if f["status"] not in HOLDING and f["status"] not in FINAL and "owner" in f:
            if f["status"] != "WAITING" and "resuming" not in f:
                yield f"{run} is {f['status']} and has the owner {f['owner']}"
            owned[f["owner"]].add(run)
            if f["owner"] not in sessions_known:
                yield f"{run} waits and its owner {f['owner']} is no session"
        if f["status"] not in HOLDING:
            continue
        environment.add(run)
        queues[queue].add(run)
        own_keys[f"{queue}:{key}"].add(run)
        owned[f.get("owner", "nobody")].add(run)
        if f.get("owner") not in sessions_known:
            yield f"{run} is {f['status']} and its owner {f.get('owner')} is no session"
        if int(f.get("epoch", 0)) <= 0:
            yield f"{run} is {f['status']} without an epoch"
    for kind, wanted in (("queue_slots", queues), ("key_slots", own_keys), ("owned", owned)):
        stored = {name: set(value) for name, value in space.of(kind).items()}
        if stored != wanted:
            yield f"{kind}: stored {stored}, by the runs {dict(wanted)}"
    if set(space.one("slots", {})) != environment:
        yield f"slots: stored {set(space.one('slots', {}))}, by the runs {environment}"


def _places(space: Keyspace) -> Iterator[str]:
    lanes: dict[str, list[str]] = defaultdict(list)
    for lane, members in space.of("lane").items():
        for run in members:
            lanes[run].append(lane)
    parked = {
        run: (kind, place)
        for kind in ("parked", "parked_queue")
        for place, members in space.of(kind).items()
        for run in members
    }
    timers = {name for name in space.one("timers", {}) if ":" not in name}
    retention = {name for name in space.one("retention", {}) if name.startswith("run_")}
    resuming = {run for members in space.of("resuming").values() for run in members}
    runs = space.runs
    for what, members in (
        ("a lane", lanes), ("timers", timers), ("parked", parked), ("retention", retention),
        ("resuming", resuming),
    ):  # fmt: skip
        for run in set(members) - set(runs):
            yield f"{run} is in {what} and does not exist"
    for run, f in runs.items():
        status = f["status"]
        wanted = {
            "QUEUED": {"resuming"} if "resuming" in f else {"lane", "timers"},
            "DELAYED": {"timers"},
            "PENDING_VERSION": {"parked"},
        }.get(status, {"retention"} if status in FINAL else set())
        if "rec" in f:
            wanted = {"retention"}
        found = ["lane"] * len(lanes.get(run, ())) + [
            name
            for name, members in (
                ("timers", timers),
                ("parked", parked),
                ("retention", retention),
                ("resuming", resuming),
            )
            if run in members
        ]
        if not (set(found) <= wanted and len(found) == (1 if wanted else 0)):
            yield f"{run} is {status} and in {found}; it belongs in {sorted(wanted) or 'none'}"
        if run in lanes and lanes[run] != [f.get("lane")]:
            yield f"{run} is in the lanes {lanes[run]}, its record says {f['lane']}"
        places = ("parked", token(f["task"])), ("parked_queue", token(f["queue"]))
        if run in parked and parked[run] not in places:
            yield f"{run} is parked at {parked[run]}, its task and queue are {f['task']}, {f['queue']}"


def _lanes(space: Keyspace) -> Iterator[str]:
    lanes = space.of("lane")
    by_queue: dict[str, set[str]] = defaultdict(set)
    for lane in lanes:
        by_queue[lane.split(":")[1]].add(lane)
    if space.of("lanes") != by_queue:
        yield f"lanes: stored {space.of('lanes')}, by the lanes {dict(by_queue)}"
    ready = {(wq, name) for wq, members in space.of("ready").items() for name in members}
    gated = {
        (*place.split(":"), lane)
        for place, members in space.of("gated").items()
        for lane in members
    }
    rooms = _Rooms(space)
    for lane in lanes:
        worker_queue, queue, key = lane.split(":")
        free = rooms.of_key(queue, key)
        whole = rooms.is_whole(queue)
        offered = (worker_queue, queue, lane) in gated if whole else (worker_queue, lane) in ready
        if rooms.is_held_back(f"lane:{lane}"):
            continue
        if offered is (free > 0):
            continue
        # A lane that filled up through another worker queue is taken out when it is looked at.
        if free > 0 or not rooms.is_served_twice(queue):
            yield f"lane {lane}: room for {free}, offered: {offered}"
    for worker_queue, queue in {(wq, queue) for wq, queue, _ in gated}:
        # One that is full is taken out when it is looked at.
        held = rooms.is_held_back(f"gate:{queue}")
        if rooms.of_queue(queue) > 0 and not held and (worker_queue, queue) not in ready:
            yield f"queue {queue} has room and lanes, and is not ready in {worker_queue}"
    for worker_queue, queue, lane in gated:
        if lane not in lanes or lane.split(":")[:2] != [worker_queue, queue]:
            yield f"lane {lane} is offered in {queue}, {worker_queue} and has no runs there"
    for worker_queue, name in ready:
        if ":" not in name:
            if not any(place[:2] == (worker_queue, name) for place in gated):
                yield f"queue {name} is ready in {worker_queue} and has no lanes there"
        elif name not in lanes or name.split(":")[0] != worker_queue:
            yield f"lane {name} is ready in {worker_queue} and has no runs there"


class _Rooms:
    """Free slots, by the records of queues and environment."""

    def __init__(self, space: Keyspace) -> None:
        self._records = space.of("queue")
        self._held = space.of("key_slots")
        self._held_by_queue = space.of("queue_slots")
        self._cap = space.one("env", {}).get("cap")
        self._timers = space.one("timers", {})

    def of_key(self, queue: str, key: str) -> float:
        record = self._records.get(queue, {})
        if "paused" in record:
            return 0
        if "limit" not in record:
            return float("inf")
        return int(record["limit"]) - len(self._held.get(f"{queue}:{key}", ()))

    def of_queue(self, queue: str) -> float:
        record = self._records.get(queue, {})
        if "paused" in record:
            return 0
        total = record.get("gates", ":").split(":")[0]
        bounds = [int(bound) for bound in (total, self._cap) if bound]
        return min(bounds, default=float("inf")) - len(self._held_by_queue.get(queue, ()))

    def is_whole(self, queue: str) -> bool:
        total, every, *_ = self._records.get(queue, {}).get("gates", "::").split(":")
        return bool(total or every or self._cap)

    def is_held_back(self, timer: str) -> bool:
        return timer in self._timers

    def is_served_twice(self, queue: str) -> bool:
        return len(self._records.get(queue, {}).get("served", "").split()) > 1


def _indexes(space: Keyspace) -> Iterator[str]:
    wanted: dict[str, dict[str, dict[str, float]]] = {
        kind: defaultdict(dict)
        for kind in ("index_status", "index_task", "index_queue", "index_tag", "index_label")
    }
    for run, f in space.runs.items():
        created = float(f["created"])
        wanted["index_status"][f["status"]][run] = created
        wanted["index_task"][token(f["task"])][run] = created
        if f["queue"] != f"task/{f['task']}":
            wanted["index_queue"][token(f["queue"])][run] = created
        for tag in filter(None, f.get("tags", "").split("\x1f")):
            wanted["index_tag"][token(tag)][run] = created
        for label in filter(None, f.get("labels", "").split("\x1f")):
            wanted["index_label"][label][run] = created
    for kind, entries in wanted.items():
        if (stored := space.of(kind)) != entries:
            yield f"{kind}: stored {stored}, by the runs {dict(entries)}"


def _bulks(space: Keyspace) -> Iterator[str]:
    actions, retention = space.of("bulk"), space.one("retention", {})
    pending = {name for name, f in actions.items() if f["status"] == "PENDING"}
    if set(space.one("bulks", {})) != set(actions):
        yield f"bulk actions: listed {space.one('bulks', {})}, stored {set(actions)}"
    if set(space.one("bulks_open", {})) != pending:
        yield f"bulk actions: open {space.one('bulks_open', {})}, pending {pending}"
    if not set(space.of("bulk_runs")) <= pending:
        yield f"bulk actions that are over have runs to do: {set(space.of('bulk_runs'))}"
    for name in actions:
        ended = name not in pending
        if (name in retention) is not ended:
            yield f"{name} is {actions[name]['status']}, retention: {name in retention}"
        if (space.ttls[f"{space.scope}:bulk:{name}"] != -1) is not ended:
            yield f"{name} is {actions[name]['status']}; a TTL exactly when it has ended"


def _is_legal(before: str | None, after: str) -> bool:
    between = _AT_ONCE.get((before, after))
    if between is not None:
        return _is_legal(before, between) and _is_legal(between, after)
    return allowed(before and RunStatus(before), RunStatus(after))


def _is_legal_for(f: dict[str, str] | None, before: str | None, after: str) -> bool:
    """Say whether a run may change so; of one that is pruned it is not known which kind it was."""
    recorded = allowed_recorded(before and RunStatus(before), RunStatus(after))
    if f is None:
        return recorded or _is_legal(before, after)
    return recorded if "rec" in f else _is_legal(before, after)


def _recorded(space: Keyspace) -> Iterator[str]:
    """Recorded runs are looked at when they go silent, or are due; each has its facts."""
    runs = {run: f for run, f in space.runs.items() if "rec" in f}
    watched = {run for run, f in runs.items() if f["status"] in ("EXECUTING", "DELAYED")}
    if set(space.one("recorded", {})) != watched:
        yield f"recorded: stored {space.one('recorded', {})}, by the runs {watched}"
    if not set(space.of("reasons")) <= set(runs):
        yield f"reasons of {set(space.of('reasons'))}, recorded are {set(runs)}"
    for run, f in runs.items():
        if f["status"] in FINAL and not {"finished", "win"} <= set(f):
            yield f"{run} is {f['status']} and does not say when and why: {f}"
        if (f["status"] in FINAL - {"COMPLETED"}) is not (run in space.of("error")):
            yield f"{run} is {f['status']}, error: {run in space.of('error')}"


def _feed(space: Keyspace) -> Iterator[str]:
    """Every change is in the feed once, in order, and legal."""
    feed = space.one("changes", [])
    if len(feed) >= 9900:  # the head may be trimmed
        return
    last: dict[str, tuple[int, str | None]] = defaultdict(lambda: (0, None))
    for _, entry in feed:
        run, status, n = entry["run"], entry["status"], int(entry["n"])
        before_n, before = last[run]
        if n != before_n + 1:
            yield f"{run}: change {n} follows change {before_n}"
        if before != status and not _is_legal_for(space.runs.get(run), before, status):
            yield f"{run}: {before} -> {status} is no transition"
        last[run] = (n, status)
    for run, f in space.runs.items():
        if last[run] != (int(f["n"]), f["status"]):
            yield f"{run}: the feed ends with {last[run]}, the record says {f['n']} {f['status']}"


def leave_nothing(client: redis.Redis, store: Store) -> None:
    """Let the retention of all that has ended pass, prune, and look whether anything names it.

    What a run that goes on made or waited for stays. A timer that is due goes when it fires.
    """
    scope = store.scope
    retention = keys.key(scope, "retention")
    final = {item.decode() for item in client.zrange(retention, 0, -1)}
    if not final:
        return
    _, last = client.zrange(retention, -1, -1, withscores=True)[0]
    client.incrby(keys.key(scope, "clock"), max(0, int(last) - client.time()[0] * 1000) + 1000)
    while store.run_sync(sessions.prune(scope, 100)) == 100:
        pass
    space = keyspace(client, scope)
    pruned = final - set(space.one("retention", {}))
    if timers := space.one("timers", {}):
        now = client.time()[0] * 1000 + int(space.one("clock", 0) or 0)
        space.values[keys.key(scope, "timers")] = {
            timer: due for timer, due in timers.items() if due > now
        }
    left = [
        f"{name} still names {found}"
        for name, value in space.values.items()
        if space.kind(name) not in _MAY_NAME_THE_PAST
        and (found := pruned & set(_ID.findall(f"{name} {_without_links(value)}")))
    ]
    assert not left, "what was pruned left something behind:\n  " + "\n  ".join(left)


def _without_links(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: item for name, item in value.items() if name not in _LINKS}
