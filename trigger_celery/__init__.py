"""Trigger.dev's runs, queues and retries for the Celery app you already have."""

from importlib.metadata import PackageNotFoundError, version

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.context import Context
from trigger_celery.bridge.registry import Queue
from trigger_celery.bridge.signal import RunSignal
from trigger_celery.engine.querying import QueueState, RunPage
from trigger_celery.errors import *  # noqa: F403 - the whole tree is public
from trigger_celery.model.batch import Batch, BatchItemError, BatchStatus
from trigger_celery.model.retry import Retry
from trigger_celery.model.run import Attempt, Run, RunError, RunStatus
from trigger_celery.model.wait import WaitInfo
from trigger_celery.model.waitpoint import Token, TokenStatus
from trigger_celery.sdk import batch, idempotency_keys, queues, runs, step, tasks, wait
from trigger_celery.sdk.alias import install_as_trigger
from trigger_celery.sdk.batch_items import BatchItem
from trigger_celery.sdk.config import Config, define_config
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.logger import logger
from trigger_celery.sdk.results import BatchResult, ResultOp, TaskResult, TokenResult
from trigger_celery.sdk.subscriptions import RunSubscription
from trigger_celery.sdk.task import Task, queue, schema_task, task
from trigger_celery.store.op import Op

try:
    __version__ = version("trigger-celery")
except PackageNotFoundError:
    __version__ = "0.0.0"

__all__ = [
    "AbortTaskRunError", "Attempt", "Batch", "BatchHandle", "BatchItem", "BatchItemError",
    "BatchNotFoundError", "BatchResult", "BatchStatus", "BatchTooLargeError",
    "BatchTriggerError", "Config", "ConfigurationError", "Context", "DateInPastError",
    "DefinitionError", "DuplicateTaskIdError", "InputError", "InvalidDurationError",
    "InvalidOptionError", "InvalidQueueError", "InvalidTagsError", "MaxDurationExceededError",
    "MetadataTooLargeError", "NotBoundError", "Op", "OutputError", "OutputTooLargeError",
    "OutsideRunError", "PayloadNotSerializableError", "PayloadTooLargeError",
    "PayloadValidationError", "PollTimeoutError", "Queue", "QueueState", "ReplayMismatchError",
    "ResultOp", "ResultTypeError", "Retry", "Run", "RunCanceledError", "RunError",
    "RunEvictedError", "RunFailedError", "RunHandle", "RunLeaseLostError", "RunNotFoundError",
    "RunPage", "RunSignal", "RunStatus", "RunSubscription", "ServerUnfitError", "SettingsError",
    "StateError", "StoreAuthenticationError", "StoreError", "StoreUnavailableError",
    "SubtaskUnwrapError", "SyncInAsyncError", "Task", "TaskResult", "Token",
    "TokenNotFoundError", "TokenResult", "TokenStatus", "TooManyCallsError", "TriggerCelery",
    "TriggerError", "UnknownOptionError", "UnknownTaskOptionError", "WaitCycleError", "WaitInfo",
    "WaitpointTimeoutError", "batch", "define_config", "idempotency_keys", "install_as_trigger",
    "logger", "queue", "queues", "runs", "schema_task", "step", "task", "tasks", "wait",
]  # fmt: skip
