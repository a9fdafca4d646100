"""Makes the `ctx` of an attempt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge.context import (
    AttemptContext,
    Context,
    EnvironmentContext,
    ProjectContext,
    QueueContext,
    RunContext,
    TaskContext,
)
from trigger_celery.engine.admission import labels_of

if TYPE_CHECKING:
    from trigger_celery.worker.executor import RunExecution


def context_of(execution: RunExecution) -> Context:
    """Return the context of an attempt, as its run was when it started."""
    grant, definition = execution.grant, execution.definition
    policy, settings = execution.policy, execution.trigger.settings
    began = datetime.fromtimestamp(execution.began, UTC)
    started = grant.started_ms
    return Context(
        task=TaskContext(definition.id, definition.file_path),
        attempt=AttemptContext(grant.attempt, began),
        run=RunContext(
            id=grant.id,
            tags=grant.tags,
            created_at=datetime.fromtimestamp(grant.created_ms / 1000, UTC),
            max_attempts=policy.max_attempts if policy is not None else 1,
            priority=grant.priority_ms / 1000,
            concurrency_key=grant.concurrency_key or None,
            parent_id=grant.parent_id,
            root_id=grant.root_id or grant.id,
            depth=grant.depth,
            batch_id=grant.batch_id,
            max_duration=execution.max_duration,
            started_at=began if started is None else datetime.fromtimestamp(started / 1000, UTC),
            **_labels(grant.options),
        ),
        queue=QueueContext(grant.queue),
        environment=EnvironmentContext(settings.env),
        project=ProjectContext(settings.project),
    )


def _labels(options: str) -> dict[str, Any]:
    """Return what the run's context says of the options of its trigger."""
    known = RunContext.__dataclass_fields__
    return {name: value for name, value in labels_of(options).items() if name in known}
