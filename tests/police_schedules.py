"""What must be true of schedules: each is in the indexes that name it, and due exactly when it is active."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.keyspace import Keyspace
from trigger_celery.engine import keys
from trigger_celery.model.ids import token


def problems(space: Keyspace) -> Iterator[str]:
    """Yield what is wrong."""
    records = space.of("redbeat")
    live = {name: f for name, f in records.items() if "gone" not in f}
    for name in records:
        expires = space.ttls[keys.key(space.scope, "redbeat", name)] != -1
        if expires is (name in live):
            yield f"{name}: a TTL exactly when the code declares it no more: {records[name]}"
    created = {name: float(f["created"]) for name, f in live.items()}
    if space.one("schedules", {}) != created:
        yield f"schedules: stored {space.one('schedules', {})}, by the records {created}"
    due = {
        keys.key(space.scope, "redbeat", name): int(f["next"]) / 1000
        for name, f in live.items()
        if f["active"] == "1"
    }
    if space.one("redbeat_due", {}) != due:
        yield f"redbeat_due: stored {space.one('redbeat_due', {})}, by the records {due}"
    known = {token(f"schedule {f['key']}"): name for name, f in live.items() if "key" in f}
    if space.one("schedule_keys", {}) != known:
        yield f"schedule_keys: stored {space.one('schedule_keys', {})}, by the records {known}"
    labels: dict[str, dict[str, float]] = defaultdict(dict)
    for name, f in live.items():
        labels[token(f["task"])][name] = created[name]
        if "by" in f:
            labels[f["by"]][name] = created[name]
        if ("by" in f) is not (f["type"] == "DECLARATIVE") or ("key" in f) is ("by" in f):
            yield f"{name}: an app declares it, or it has a deduplication key: {f}"
        if (f["next"] == "") is (f["active"] == "1"):
            yield f"{name}: a next occurrence exactly when it is active: {f}"
    if space.of("index_schedule") != labels:
        yield f"index_schedule: stored {space.of('index_schedule')}, by the records {dict(labels)}"
