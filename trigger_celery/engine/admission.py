"""What a run is triggered with besides payload and place, and how it is sent and stored.

Runs that use none of it are created without it: they pay nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.duration import Delay, format_duration
from trigger_celery.model.idempotency import DEFAULT_TTL_MS, IdempotencyKey, key_digest
from trigger_celery.model.ids import op_id, token
from trigger_celery.model.run import Run
from trigger_celery.model.trigger_options import Debounce
from trigger_celery.store.op import Flow

SHOWN: Final = ("argsrepr", "kwargsrepr")
"""What Celery's events and logs show in the place of arguments, which may hold secrets."""


@dataclass(slots=True)
class Extras:
    """Further options of a new run. *own* names those that the trigger itself gave."""

    ttl_ms: int = 0
    machine: str = ""
    version: str = ""
    test: bool = False
    key: IdempotencyKey | None = None
    key_ttl_ms: int = DEFAULT_TTL_MS
    debounce: Debounce | None = None
    own: frozenset[str] = frozenset()
    replay_of: str = ""
    """The run that this one repeats."""
    bulk: str = ""
    """The bulk action that makes it."""
    schedule: str = ""
    """The schedule that makes it."""
    task_id: str = ""
    """Celery's id of it, where that is another than the run's."""
    celery: str = ""
    """What Celery says of it: see `continuing`."""
    shown: Mapping[str, str] | None = None
    """What is shown in the place of its arguments: by the names of SHOWN."""

    @property
    def may_find(self) -> bool:
        """Whether a run that is there already may be the answer."""
        return self.key is not None or self.debounce is not None

    @property
    def may_replace(self) -> bool:
        """Whether its payload may become that of a run which is there already."""
        return self.debounce is not None and self.debounce.trailing


def _stored(extras: Extras) -> dict[str, Any]:
    """Return the options as the run's record keeps them, for readers and workers."""
    stored: dict[str, Any] = {}
    if extras.ttl_ms:
        stored["ttl"] = format_duration(max(0, extras.ttl_ms))
    elif "ttl" in extras.own:
        stored["no_ttl"] = True  # the task is not asked, should its default be known only later
    if extras.machine:
        stored["machine"] = extras.machine
    if extras.version:
        stored["version"] = extras.version
    if extras.test:
        stored["test"] = True
    if extras.replay_of:
        stored["replay"] = extras.replay_of
    if extras.task_id:
        stored["task_id"] = extras.task_id
    if extras.shown:
        stored.update(extras.shown)
    if extras.schedule:
        stored["schedule"] = extras.schedule
    if extras.key is not None:
        # Half a surrogate pair is no text to the scripts, which read these options.
        stored["key"] = extras.key.text.encode("utf-8", "replace").decode()
        stored["scope"] = extras.key.scope
    return stored


def version_label(version: str) -> str:
    """Return the label of the runs of one version."""
    return f"version-{token(version)}"


TEST_LABEL = "test"
"""The label of test runs."""


def index_labels(extras: Extras) -> list[str]:
    """Return what a run is found by besides its task, queue and tags: `index_label` keys."""
    labels = [TEST_LABEL] if extras.test else []
    if extras.version:
        labels.append(version_label(extras.version))
    if extras.bulk:
        labels.append(extras.bulk)
    if extras.schedule:
        labels.append(extras.schedule)
    return labels


def pack(extras: Extras, task: str, index: int | None) -> str:
    """Return the options as `include/admit.lua` reads them. *index*: the place in a batch."""
    packed: dict[str, Any] = {}
    if stored := _stored(extras):
        packed["opts"] = json.dumps(stored, separators=(",", ":"))
    if labels := index_labels(extras):
        packed["labels"] = "\x1f".join(labels)
    if extras.ttl_ms:
        packed["ttl"] = extras.ttl_ms
    if extras.own:
        packed["own"] = " ".join(sorted(extras.own & {"ttl", "machine"}))
    if extras.key is not None:
        packed["idem"] = key_digest(task, extras.key)
        packed["keep"] = extras.key_ttl_ms
    if extras.task_id:
        packed["tid"] = extras.task_id
    if extras.celery:
        packed["celery"] = extras.celery
    if extras.debounce is not None:
        packed.update(_debounced(extras, extras.debounce, task))
    if index is not None and extras.may_find:
        packed["at"] = index
    return json.dumps(packed, separators=(",", ":"))


_REPLACED = {
    "tags": "tags",
    "metadata": "metadata",
    "max_attempts": "max",
    "max_duration": "maxdur",
}


def _debounced(extras: Extras, debounce: Debounce, task: str) -> dict[str, Any]:
    packed: dict[str, Any] = {
        "deb": key_digest(task, debounce.key),
        "every": debounce.delay_ms,
    }
    if debounce.max_delay_ms is not None:
        packed["most"] = debounce.max_delay_ms
    if debounce.trailing:
        packed["last"] = 1
        packed.update({short: 1 for name, short in _REPLACED.items() if name in extras.own})
        if extras.machine and "machine" in extras.own:
            packed["machine"] = extras.machine
    return packed


def labels_of(text: str) -> dict[str, Any]:
    """Return the options of a run's record, by the names that runs and contexts give them."""
    stored = json.loads(text) if text else {}
    found = {name: stored.get(key) for name, key in _STORED.items()}
    found["is_test"] = bool(found["is_test"])
    return found


_STORED = {
    "ttl": "ttl", "machine": "machine", "version": "version", "is_test": "test",
    "idempotency_key": "key", "idempotency_key_scope": "scope", "replayed_from": "replay",
    "schedule_id": "schedule",
}  # fmt: skip
"""Names of runs and contexts, and those of the record."""


def shown_of(text: str) -> dict[str, str]:
    """Return what the options of a run's record say that is shown of its arguments."""
    if 'repr":' not in text:
        return {}
    stored = json.loads(text)
    return {name: stored[name] for name in SHOWN if name in stored}


def options_of(run: Run) -> str:
    """Return the options of a run that was read, as its record has them."""
    found = {stored: getattr(run, name) for name, stored in _STORED.items()}
    return json.dumps({name: value for name, value in found.items() if value})


def reset_key(scope: str, task: str, key: IdempotencyKey) -> Flow[bool]:
    """Take a key from its run; False: no run has it."""
    answer = yield SCRIPTS.reset_key(scope, op_id=op_id(), key=key_digest(task, key))
    return bool(answer == b"ok")


def reschedule_run(scope: str, run_id: str, delay: Delay) -> Flow[str]:
    """Move the start of a delayed run; answers ok, gone, or the status that does not allow it."""
    after = delay.after_ms
    answer: bytes = yield SCRIPTS.reschedule_run(
        scope,
        op_id=op_id(),
        run_id=run_id,
        mode="at" if after is None else "in",
        amount=(delay.at_ms or 0) if after is None else after,
    )
    return answer.decode()
