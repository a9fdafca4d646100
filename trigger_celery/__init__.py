"""Trigger.dev's runs, queues and retries for the Celery app you already have."""

from importlib.metadata import PackageNotFoundError, version

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.context import Context
from trigger_celery.bridge.hooks import TaskHooks
from trigger_celery.bridge.piping import PipedStream
from trigger_celery.bridge.registry import Queue
from trigger_celery.bridge.run_promise import RunPromise
from trigger_celery.bridge.signal import RunSignal
from trigger_celery.engine.listing import RunPage
from trigger_celery.engine.queueing import Concurrency, EnvironmentState, QueueState
from trigger_celery.errors import *  # noqa: F403 - the whole tree is public
from trigger_celery.model.attempt_outcome import AttemptOutcome, CatchErrorResult
from trigger_celery.model.batch import Batch, BatchItemError, BatchStatus
from trigger_celery.model.bulk import BulkAction, BulkStatus, BulkType
from trigger_celery.model.idempotency import IdempotencyKey
from trigger_celery.model.log_line import LogLine
from trigger_celery.model.retry import Retry
from trigger_celery.model.run import Attempt, RelatedRuns, Run, RunError, RunStatus
from trigger_celery.model.schedule import CronOptions, Schedule, SchedulePayload, ScheduleType
from trigger_celery.model.trigger_options import DebounceOptions
from trigger_celery.model.wait import WaitInfo
from trigger_celery.model.waitpoint import Token, TokenStatus

# isort: off
from trigger_celery.sdk import batch, context, heartbeats, idempotency_keys, queues, retry, runs
from trigger_celery.sdk import schedules, step, streams, tags, tasks, usage, wait

# isort: on
from trigger_celery.sdk import locals as locals  # not in __all__: it would hide the builtin
from trigger_celery.sdk import locals as run_locals
from trigger_celery.sdk.alias import install_as_trigger
from trigger_celery.sdk.background import wait_until
from trigger_celery.sdk.batch_items import BatchItem
from trigger_celery.sdk.config import Config, define_config
from trigger_celery.sdk.context import ctx
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.locals import Local
from trigger_celery.sdk.log_lines import LogLines
from trigger_celery.sdk.logger import logger
from trigger_celery.sdk.metadata import metadata
from trigger_celery.sdk.queues import QueuePage
from trigger_celery.sdk.results import BatchResult, ResultOp, TaskResult, TokenResult
from trigger_celery.sdk.run_filters import RunFilters
from trigger_celery.sdk.run_list import RunList
from trigger_celery.sdk.schedules import SchedulePage, scheduled_task
from trigger_celery.sdk.spans import Span
from trigger_celery.sdk.streams import Pipe, StreamWriter
from trigger_celery.sdk.subscriptions import RunSubscription, Subscription
from trigger_celery.sdk.task import Task, queue, schema_task, task
from trigger_celery.sdk.usage import Measured, Usage
from trigger_celery.store.op import Op

try:
    __version__ = version("trigger-celery")
except PackageNotFoundError:
    __version__ = "0.0.0"

__all__ = [
    "AbortTaskRunError", "Attempt", "AttemptOutcome", "Batch", "BatchHandle", "BatchItem", "BatchItemError", "BatchNotFoundError",
    "BatchResult", "BatchStatus", "BatchTooLargeError", "BatchTriggerError", "BulkAction", "BulkActionNotFoundError", "BulkStatus",
    "BulkType", "CatchErrorResult", "CompleteTaskWithOutput", "Concurrency", "Config", "ConfigurationError", "Context", "CronOptions",
    "DateInPastError", "DebounceOptions", "DeclarativeScheduleError", "DefinitionError", "DuplicateTaskIdError", "EnvironmentState",
    "IdempotencyKey", "IdempotencyKeyNotFoundError", "InputError", "InvalidCronError", "InvalidDurationError", "InvalidOptionError",
    "InvalidQueueError", "InvalidTagsError", "Local", "LogLine", "LogLines", "MaxDurationExceededError", "Measured",
    "MetadataTooLargeError", "MiddlewareError", "NotBoundError", "Op", "OutOfMemoryError", "OutputError", "OutputTooLargeError",
    "OutsideRunError", "PayloadLostError", "PayloadNotSerializableError", "PayloadStoreError", "PayloadTooLargeError",
    "PayloadValidationError", "Pipe", "PipedStream", "PollTimeoutError", "Queue", "QueueFullError", "QueueNotFoundError", "QueuePage",
    "QueueState", "RelatedRuns", "ReplayMismatchError", "ResultOp", "ResultTypeError", "Retry", "Run", "RunCanceledError", "RunError",
    "RunEvictedError", "RunFailedError", "RunFilters", "RunHandle", "RunLeaseLostError", "RunList", "RunNotFoundError", "RunPage",
    "RunPromise", "RunSignal", "RunStatus", "RunSubscription", "Schedule", "ScheduleNotFoundError", "SchedulePage", "SchedulePayload",
    "ScheduleType", "ServerUnfitError", "SettingsError", "Span", "StateError", "StoreAuthenticationError", "StoreError",
    "StoreUnavailableError", "StreamWriter", "Subscription", "SubtaskUnwrapError", "SyncInAsyncError", "Task", "TaskHooks", "TaskResult",
    "Token", "TokenNotFoundError", "TokenResult", "TokenStatus", "TooManyCallsError", "TriggerCelery", "TriggerError", "UnknownOptionError",
    "UnknownTaskError", "UnknownTaskOptionError", "Usage", "WaitCycleError", "WaitInfo", "WaitpointTimeoutError", "batch", "context", "ctx",
    "define_config", "heartbeats", "idempotency_keys", "install_as_trigger", "logger", "metadata", "queue", "queues", "retry", "run_locals",
    "runs", "scheduled_task", "schedules", "schema_task", "step", "streams", "tags", "task", "tasks", "usage", "wait", "wait_until",
]  # fmt: skip
