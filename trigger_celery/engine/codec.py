"""Between stored hashes and model values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from trigger_celery.engine.admission import labels_of
from trigger_celery.model.metadata import Folded
from trigger_celery.model.packet import JSON, decode
from trigger_celery.model.recorded import attempts_of, notes_of
from trigger_celery.model.run import Attempt, Run, RunError, RunStatus


def dump_error(error: RunError) -> str:
    """Return the stored form of an error."""
    return json.dumps(error.to_dict(), ensure_ascii=False, separators=(",", ":"))


def fields_of(flat: Sequence[bytes]) -> dict[str, str]:
    """Turn a flat reply of fields and values into a dict."""
    texts = [item.decode() for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def instant_of(fields: dict[str, str], name: str) -> datetime | None:
    """Return the moment in a field of ms, or None when it is not there."""
    value = fields.get(name)
    return datetime.fromtimestamp(int(value) / 1000, UTC) if value else None


def dump_links(parent: str, root: str, depth: int) -> str:
    """Return the stored form of where a run comes from."""
    return f"{parent}\x1e{root}\x1e{depth}"


def with_trace(links: str, trace: str) -> str:
    """Return links that say, too, to which trace of OpenTelemetry the run belongs."""
    return f"{links or dump_links('', '', 0)}\x1e{trace}" if trace else links


def read_links(text: str) -> tuple[str | None, str | None, int, str]:
    """Return parent, root, depth and trace of a run; an empty text is a run of its own."""
    if not text:
        return None, None, 0, ""
    parent, root, depth, *trace = text.split("\x1e")
    return parent or None, root or None, int(depth), "".join(trace)


def _body(long: str, fields: dict[str, str], name: str, type_name: str) -> Any:
    """Return a payload or output: short ones are in the run's hash, even when they are empty."""
    text = long or fields.get(name)
    return None if text is None else decode(text, fields.get(type_name, JSON))


def _metadata(text: str, bodies: Sequence[Any]) -> Any:
    """Return the metadata with the changes that are not folded in yet; None when there is none."""
    changes = [entry.decode() for entry in bodies[6]] if bodies else []
    return Folded(text, changes).document if text or changes else None


def _attempt(raw: bytes) -> Attempt:
    stored = json.loads(raw)
    return Attempt(
        number=stored["number"],
        started_at=datetime.fromtimestamp(stored["started"] / 1000, UTC),
        finished_at=datetime.fromtimestamp(stored["finished"] / 1000, UTC),
        error=RunError.from_dict(stored["error"]),
    )


def _duration(fields: dict[str, str], status: RunStatus) -> int:
    if "started" not in fields:
        return 0
    end = fields.get("finished") or fields.get("updated") or fields["started"]
    return max(0, int(end) - int(fields["started"])) if status.is_final else 0


def run_of(run_id: str, flat: Sequence[bytes], bodies: Sequence[Any] = ()) -> Run:
    """Build a run from its hash and, where read, payload, output, error, metadata, attempts.

    Without the *bodies* these five are not there, however short they are.
    """
    fields = fields_of(flat)
    status = RunStatus(fields["status"])
    payload, output, error, metadata = None, None, "", ""
    attempts: tuple[Attempt, ...] = ()
    if bodies:
        long_payload, long_output, error, metadata = (item.decode() for item in bodies[:4])
        payload = _body(long_payload, fields, "payload", "ptype")
        output = _body(long_output, fields, "output", "otype")
        if "rec" in fields:
            attempts = attempts_of(fields, fields_of(bodies[4]))
        else:
            attempts = tuple(_attempt(raw) for raw in bodies[4])
        declared = bodies[5].decode()
        if declared:
            fields.setdefault("max", declared)
    parent, root, depth, _ = read_links(fields.get("links", ""))
    tags = fields.get("tags")
    return Run(
        id=run_id,
        status=status,
        task_identifier=fields["task"],
        queue=fields["queue"],
        concurrency_key=fields.get("ckey"),
        priority=int(fields.get("prio", 0)) / 1000,
        tags=tuple(tags.split("\x1f")) if tags else (),
        metadata=_metadata(metadata, bodies),
        payload=payload,
        output=output,
        error=RunError.from_dict(json.loads(error)) if error else None,
        attempt_count=int(fields.get("attempt", 0)),
        max_attempts=int(fields["max"]) if "max" in fields else None,
        created_at=instant_of(fields, "created"),
        updated_at=instant_of(fields, "updated") or instant_of(fields, "created"),
        queued_at=None if status == RunStatus.DELAYED else instant_of(fields, "queued"),
        started_at=instant_of(fields, "started"),
        finished_at=instant_of(fields, "finished"),
        delayed_until=instant_of(fields, "due"),
        duration_ms=_duration(fields, status),
        attempts=attempts,
        depth=depth,
        parent_id=parent,
        root_id=root,
        batch_id=fields.get("batch"),
        recorded="rec" in fields,
        celery_task_id=fields.get("tid"),
        notes=notes_of(fields) if bodies and "rec" in fields else (),
        expired_at=instant_of(fields, "finished") if status == RunStatus.EXPIRED else None,
        **labels_of(fields.get("opts", "")),
    )
