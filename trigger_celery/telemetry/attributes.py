"""Names of spans, attributes and metrics: OpenTelemetry's for messaging, and ours under `trigger.`."""

from __future__ import annotations

from typing import Final

SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
BATCH_COUNT: Final = "messaging.batch.message_count"
ERROR_TYPE: Final = "error.type"

TASK: Final = "trigger.task.id"
RUN: Final = "trigger.run.id"
ROOT: Final = "trigger.run.root_id"
PARENT: Final = "trigger.run.parent_id"
BATCH: Final = "trigger.batch.id"
TAGS: Final = "trigger.run.tags"
KEY: Final = "trigger.run.concurrency_key"
TEST: Final = "trigger.run.is_test"
ATTEMPT: Final = "trigger.attempt.number"
REPLAYED: Final = "trigger.attempt.replayed"
OUTCOME: Final = "trigger.attempt.outcome"
RETRY_DELAY: Final = "trigger.retry.delay_ms"
WAIT_TYPE: Final = "trigger.wait.type"
WAIT_TARGET: Final = "trigger.wait.target"
WAIT_OUTCOME: Final = "trigger.wait.outcome"
HOOK: Final = "trigger.hook"
STATUS: Final = "trigger.run.status"

WE: Final = "trigger_celery"
