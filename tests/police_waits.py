"""What must be true of waits: edges, waitpoints, batches, timers and who queues for a slot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.keyspace import Keyspace
from trigger_celery.engine.keys import TIMERS
from trigger_celery.model.transitions import FINAL

# These kinds have a TTL exactly when what they belong to has ended, or never: looked at here.
KINDS = {
    "waitpoint", "waitpoint_output", "batch", "batch_runs", "batch_left", "calls", "rests", "steps",
}  # fmt: skip
_WITH_CALLS = {"EXECUTING", "WAITING"}


def problems(space: Keyspace) -> Iterator[str]:
    """Yield what is wrong."""
    yield from _edges(space)
    yield from _waiting_runs(space)
    yield from _resuming(space)
    yield from _waitpoints(space)
    yield from _batches(space)
    yield from _timers(space)
    yield from _keepers(space)
    yield from _children(space)
    yield from _records(space)
    yield from _keys_of_triggers(space)


def is_done(space: Keyspace, target: str) -> bool:
    """Say whether nobody needs to wait for *target* any more: it ended, or is not there."""
    kind = target.split("_")[0]
    f = space.of(kind).get(target, {})
    status = f.get("status", "COMPLETED")
    return status not in ("WAITING", "PROCESSING") if kind != "run" else status in FINAL


def _edges(space: Keyspace) -> Iterator[str]:
    from_targets = {(run, target) for target, runs in space.of("waiters").items() for run in runs}
    from_runs = {
        (run, target) for run, targets in space.of("waiting").items() for target in targets
    }
    for run, target in from_targets ^ from_runs:
        side = "the target" if (run, target) in from_targets else "the run"
        yield f"only {side} knows that {run} waits for {target}"
    timers = space.one("timers", {})
    for run, target in from_runs:
        f = space.runs.get(run)
        if f is None or f["status"] in FINAL:
            yield f"{run} waits for {target} and is {f and f['status']}"
        elif "waits" not in f:
            yield f"{run} waits for {target}, its record does not know"
        if is_done(space, target) and f"drain:{target}" not in timers:
            yield f"{run} sleeps on: {target} is done"


def _waiting_runs(space: Keyspace) -> Iterator[str]:
    for run, f in space.runs.items():
        if f["status"] == "WAITING" and not space.of("waiting").get(run):
            yield f"{run} is WAITING, for nothing"
        if f["status"] in FINAL and {"resuming", "resume"} & set(f):
            yield f"{run} is {f['status']} and may go on: {f}"
        if f["status"] == "WAITING" and {"resuming", "resume"} & set(f):
            yield f"{run} is WAITING and may go on: {f}"


def _resuming(space: Keyspace) -> Iterator[str]:
    groups = space.of("resuming")
    if set(space.one("resuming_groups", {})) != set(groups):
        yield f"resuming_groups: {space.one('resuming_groups', {})}, by the runs {set(groups)}"
    by_queue = {
        f"{queue}:{key}" for queue, keys in space.of("resuming_keys").items() for key in keys
    }
    if by_queue != set(groups):
        yield f"resuming_keys: {by_queue}, by the runs {set(groups)}"
    limit = space.one("env", {}).get("limit")
    held = len(space.one("slots", {}))
    for group, members in groups.items():
        queue, key = group.split(":")
        for run in members:
            f = space.runs.get(run, {})
            if (f.get("status"), "resuming" in f, "owner" in f) != ("QUEUED", True, True):
                yield f"{run} waits for a slot to go on and is {f}"
            elif f["lane"].split(":")[1:] != [queue, key]:
                yield f"{run} waits for a slot of {group}, its lane is {f['lane']}"
        record = space.of("queue").get(queue, {})
        free = int(record.get("limit", 10**9)) - len(space.of("key_slots").get(group, ()))
        if free > 0 and "paused" not in record and (limit is None or int(limit) > held):
            yield f"slots of {group} are idle and {set(members)} wait for one to go on"
    for run, f in space.runs.items():
        if "resuming" in f and not any(run in members for members in groups.values()):
            yield f"{run} says it waits for a slot to go on, and does not"


def _ttl(space: Keyspace, kind: str, rest: str) -> bool | None:
    """Return whether a key has a TTL; None when there is no such key."""
    name = f"{space.scope}:{kind}:{rest}"
    return space.ttls[name] != -1 if name in space.values else None


def _waitpoints(space: Keyspace) -> Iterator[str]:
    timers, retention = space.one("timers", {}), space.one("retention", {})
    waitpoints = space.of("waitpoint")
    for name, f in waitpoints.items():
        ended = f["status"] != "WAITING"
        if (f"waitpoint:{name}" in timers) is ended:
            yield f"{name} is {f['status']}, timer: {f'waitpoint:{name}' in timers}"
        elif not ended and timers[f"waitpoint:{name}"] != float(f["due"]):
            yield f"{name}: its timer is not that of {f['due']}"
        if (name in retention) is not ended or _ttl(space, "waitpoint", name) is not ended:
            yield f"{name} is {f['status']}, retention: {name in retention}"
        if "completed" in f and not ended:
            yield f"{name} is {f['status']} and completed"
    for name in space.of("waitpoint_output"):
        if not _ttl(space, "waitpoint_output", name) or name not in waitpoints:
            yield f"the output of {name} stays for ever"
    tokens = {name: float(f["created"]) for name, f in waitpoints.items() if f["type"] == "TOKEN"}
    if space.one("tokens", {}) != tokens:
        yield f"tokens: stored {space.one('tokens', {})}, by the waitpoints {tokens}"


def _batches(space: Keyspace) -> Iterator[str]:
    timers, retention = space.one("timers", {}), space.one("retention", {})
    for name, f in space.of("batch").items():
        runs = space.of("batch_runs").get(name, [])
        left = space.of("batch_left").get(name, set())
        ended = f["status"] != "PROCESSING"
        if int(f["count"]) != len(runs):
            yield f"{name} counts {f['count']} runs and has {len(runs)}"
        if (f"batch:{name}" in timers) is (ended or "sealed" in f):
            yield f"{name} is {f}, timer: {f'batch:{name}' in timers}"
        if (name in retention) is not ended:
            yield f"{name} is {f['status']}, retention: {name in retention}"
        for kind in ("batch", "batch_runs", "batch_left"):
            if _ttl(space, kind, name) is (not ended):
                yield f"{kind} of {name}: TTL {not ended}, it is {f['status']}"
        if f["status"] in ("COMPLETED", "PARTIAL_FAILED"):
            if left or (f["status"] == "PARTIAL_FAILED") is not ("errors" in f):
                yield f"{name} is {f} with {left} left"
        elif not ended:
            yield from _left(space, name, runs, left)
    for kind in ("batch_runs", "batch_left"):
        for name in set(space.of(kind)) - set(space.of("batch")):
            yield f"{kind} of {name}, which is not there"


def _left(space: Keyspace, name: str, runs: list[str], left: set[str]) -> Iterator[str]:
    final = {run for run in runs if space.runs.get(run, {}).get("status") in FINAL}
    alive = {run for run in runs if run in space.runs} - final
    if not left <= set(runs) or left & final or not alive <= left:
        yield f"{name}: {left} are left, its runs are {runs}, of which final: {final}"
    if not left and "sealed" in space.of("batch")[name]:
        yield f"{name} is PROCESSING, all its runs are final"


def _timers(space: Keyspace) -> Iterator[str]:
    for timer in space.one("timers", {}):
        kind, _, name = timer.partition(":") if ":" in timer else ("", "", timer)
        if kind == "waitpoint" and name not in space.of("waitpoint"):
            yield f"{timer}: there is no such waitpoint"
        elif kind == "drain" and not is_done(space, name):
            yield f"{timer}: it is not done"
        elif kind == "cancel" and name not in space.runs:
            yield f"{timer}: there is no such run"
        elif kind == "batch" and name not in space.of("batch"):
            yield f"{timer}: there is no such batch"
        elif kind == "expire" and not _may_expire(space.runs.get(name, {})):
            yield f"{timer}: the run is {space.runs.get(name)}"
        elif kind not in ("", *TIMERS):
            yield f"{timer} is no timer we know"


def _may_expire(f: dict[str, str]) -> bool:
    return f.get("status") == "QUEUED" and "ttl" in f and int(f.get("attempt", 0)) == 0


def _keys_of_triggers(space: Keyspace) -> Iterator[str]:
    timers = space.one("timers", {})
    for kind in ("idem", "debounce"):
        for name, run in space.of(kind).items():
            if not run.startswith("-") and run not in space.runs:
                yield f"{kind} key {name} names {run}, which is not there"
    for run, f in space.runs.items():
        if "idem" in f and space.of("idem").get(f["idem"]) != run:
            yield f"{run} believes that it has the key {f['idem']}"
        if f["status"] == "DELAYED" and "deb" in f and f["deb"] not in space.of("debounce"):
            yield f"{run} is put off by a key that is not there: {f['deb']}"
        if _may_expire(f) and "epoch" not in f and f"expire:{run}" not in timers:
            yield f"{run} has a TTL and no timer"
        counted = space.of("counted").get(run, set())
        if counted and (f["status"] in FINAL or f.get("waited") != "batch"):
            yield f"{run} is counted by {counted} and {f}"
    for run in set(space.of("counted")) - set(space.runs):
        yield f"{run} is counted and is not there"


def _keepers(space: Keyspace) -> Iterator[str]:
    targets = set(space.runs) | set(space.of("waitpoint")) | set(space.of("batch"))
    for target in set(space.of("keepers")) - targets:
        yield f"{target} is kept for runs and not there"


def _children(space: Keyspace) -> Iterator[str]:
    by_links: dict[str, set[str]] = defaultdict(set)
    for run, f in space.runs.items():
        parent = f.get("links", "").split("\x1e")[0]
        if parent in space.runs:
            by_links[parent].add(run)
    stored = space.of("children")
    for parent in set(by_links) | (set(stored) & set(space.runs)):
        known = {run for run in stored.get(parent, ()) if run in space.runs}
        if known != by_links[parent]:
            yield f"children of {parent}: stored {known}, by their links {by_links[parent]}"


def _records(space: Keyspace) -> Iterator[str]:
    for kind in ("calls", "rests", "steps"):
        for run in space.of(kind):
            f = space.runs.get(run, {"status": "gone"})
            if f["status"] in FINAL or f["status"] == "gone" or _ttl(space, kind, run):
                yield f"{kind} of {run}, which is {f['status']}"
            elif kind in ("calls", "rests"):
                if "waits" not in f:
                    yield f"{run} has {kind}, its record does not know"
                if f["status"] not in _WITH_CALLS and not {"resume", "resuming"} & set(f):
                    yield f"{run} is {f['status']} and has {kind} of an attempt that is over"
