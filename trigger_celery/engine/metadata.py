"""Metadata of runs: sends changes, reads documents, and folds changes into them.

Changes are appended to a list beside the document, atomically and from anywhere: an attempt's to its
own run and to those above it. Readers make them in order; whoever appends the 32nd folds them in.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from trigger_celery.engine import keys
from trigger_celery.engine.querying import not_found
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import StateError
from trigger_celery.model.ids import op_id
from trigger_celery.model.metadata import Document, Folded
from trigger_celery.store.op import Call, Flow, command

logger = logging.getLogger("trigger_celery.metadata")

FOLD_AT: Final = 32
FOLD_BYTES: Final = 262_144


@dataclass(frozen=True, slots=True)
class Stored:
    """The metadata of a run, and what its attempt began with."""

    folds: str
    changes: int
    changes_bytes: int
    now: Folded
    start: Document


def _stored(reply: Any) -> Stored | None:
    if not reply:
        return None
    folds, text, entries, *start = reply
    changes = [entry.decode() for entry in entries]
    now = Folded(text.decode(), changes)
    began = now.document
    if start:
        # The changes are one array of arrays; each was sent as a whole.
        earlier = _entries(start[1].decode())
        began = Folded(start[0].decode(), earlier).document
    return Stored(folds.decode(), len(changes), sum(map(len, entries)), now, began)


def _entries(text: str) -> list[str]:
    return [json.dumps(entry, ensure_ascii=False) for entry in json.loads(text)]


def read_metadata(scope: str, run_id: str) -> Flow[Stored | None]:
    """Return the metadata of a run, or None when there is no such run."""
    reply = yield SCRIPTS.read_metadata(scope, run_id=run_id)
    return _stored(reply)


def read_seed(scope: str, run_id: str) -> Flow[str]:
    """Return the metadata that the run was triggered with, JSON, or an empty text: for a replay."""
    # In this order: a document that changes in between has its seed by then.
    text, seed = yield [
        command("GET", keys.key(scope, "metadata", run_id)),
        command("HGET", keys.key(scope, "metadata_before", run_id), "seed"),
    ]
    found: bytes = (text if seed is None else seed) or b""
    return found.decode()


def fold_metadata(scope: str, run_id: str) -> Flow[None]:
    """Fold the changes of a run's metadata in, if nobody else does at the same time."""
    stored = yield from read_metadata(scope, run_id)
    if stored is None or not stored.changes:
        return
    answer = yield SCRIPTS.fold_metadata(
        scope,
        run_id=run_id,
        folds=stored.folds,
        count=stored.changes,
        bytes=stored.changes_bytes,
        document=stored.now.to_text(),
    )
    if answer == b"ok" and stored.now.refused:
        refused(run_id, stored.now.refused, "it would be larger than 256 KB")


def refused(run_id: str, count: int, why: str) -> None:
    """Log that changes were not made."""
    logger.warning(
        "%d changes of the metadata of run %s were refused: %s",
        count,
        run_id,
        why,
        extra={"action": "metadata_refused", "run_id": run_id, "count": count},
    )


@dataclass(slots=True)
class Batch:
    """Changes that are sent together: pairs of a run and a JSON array. Sent again, it counts once."""

    items: Sequence[tuple[str, str, int]]
    """Run, changes, how many they are."""
    op: str = field(default_factory=op_id)

    def call(self, scope: str, run_id: str, epoch: str) -> Call:
        """Return the call that appends the changes; *run_id* is empty from outside of a run."""
        return SCRIPTS.change_metadata(
            scope,
            [part for item in self.items for part in item[:2]],
            None,
            op_id=self.op,
            run_id=run_id,
            epoch=epoch,
        )


def settle(scope: str, batch: Batch, reply: Sequence[Any]) -> Flow[str]:
    """Do what follows from the reply to a batch; returns ok, stale, or again when it is to be sent again."""
    word = reply[0].decode()
    if word == "full":
        yield from fold_metadata(scope, reply[1].decode())
        return "again"
    if word != "ok":
        return "stale" if word == "stale" else "ok"
    for (run_id, _, count), answer, changes, size in zip(
        batch.items, reply[1::3], reply[2::3], reply[3::3], strict=True
    ):
        if answer == b"gone":
            refused(run_id, count, "there is no such run")
        elif answer == b"late":
            refused(run_id, count, "it ended more than an hour ago")
        elif int(changes) >= FOLD_AT or int(size) >= FOLD_BYTES:
            yield from fold_metadata(scope, run_id)
    return "ok"


def mirror_metadata(scope: str, run_id: str, text: str) -> Call:
    """Return the call that replaces the metadata of a run; of one that is not there, nothing."""
    return Batch([(run_id, f'[["replace",{text}]]', 1)]).call(scope, "", "")


def is_mirrored(reply: Sequence[Any]) -> bool:
    """Say whether `mirror_metadata` did it: not before what has gathered is folded in."""
    return bool(reply[0] != b"full")


def has_gathered(reply: Sequence[Any]) -> bool:
    """Say whether there is so much now that it is to be folded in."""
    full = not is_mirrored(reply)
    return full or (len(reply) > 1 and (int(reply[2]) >= FOLD_AT or int(reply[3]) >= FOLD_BYTES))


def replace_metadata(scope: str, run_id: str, text: str) -> Flow[Document]:
    """Replace the metadata of a run from outside of it and return it.

    Raises RunNotFoundError, and StateError for a run that ended more than an hour ago.
    """
    batch = Batch([(run_id, f'[["replace",{text}]]', 1)])
    while True:
        reply = yield batch.call(scope, "", "")
        if reply[0] != b"full":
            break
        yield from fold_metadata(scope, run_id)
    answer = reply[1] if len(reply) > 1 else b"ok"
    if answer == b"gone":
        raise not_found(run_id)
    if answer == b"late":
        raise StateError(
            f"run {run_id} ended more than an hour ago: its metadata cannot be changed any more"
        )
    if has_gathered(reply):
        yield from fold_metadata(scope, run_id)
    stored = yield from read_metadata(scope, run_id)
    if stored is None:
        raise not_found(run_id)
    return stored.now.document
