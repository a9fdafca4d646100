"""Tasks of a worker that Sentry watches. What it would send is written to a file."""

from __future__ import annotations

import json
import os
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

_FILE = os.open(os.environ["TEST_SENTRY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


class ToFile(Transport):
    """Writes a line for each error and transaction."""

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            if item.type in ("event", "transaction") and item.payload.json is not None:
                os.write(_FILE, (json.dumps(_of(item.type, item.payload.json)) + "\n").encode())


def _of(kind: str, event: dict[str, Any]) -> dict[str, Any]:
    values = event.get("exception", {}).get("values", [])
    job = event.get("extra", {}).get("celery-job", {})
    trace = event.get("contexts", {}).get("trace", {})
    return {
        "kind": kind,
        "transaction": event.get("transaction"),
        "errors": [value["value"] for value in values],
        "types": [value["type"] for value in values],
        "task": job.get("task_name"),
        "id": event.get("tags", {}).get("celery_task_id"),
        "status": trace.get("status"),
    }


sentry_sdk.init(
    dsn="https://key@sentry.invalid/1",
    transport=ToFile,
    integrations=[CeleryIntegration()],
    traces_sample_rate=1.0,
)

from tests.worker.app_tasks import app  # noqa: E402 - Sentry is told first, as its guide says

__all__ = ["app"]


@app.task(name="plain-fail")
def plain_fail() -> None:
    raise ValueError("plain luck")
