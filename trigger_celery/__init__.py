"""Trigger.dev's runs, queues and retries for the Celery app you already have."""

from importlib.metadata import PackageNotFoundError, version

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.context import Context
from trigger_celery.bridge.registry import Queue
from trigger_celery.engine.querying import QueueState, RunPage
from trigger_celery.errors import *  # noqa: F403 - the whole tree is public
from trigger_celery.model.retry import Retry
from trigger_celery.model.run import Attempt, Run, RunError, RunStatus
from trigger_celery.sdk import queues, runs, tasks
from trigger_celery.sdk.alias import install_as_trigger
from trigger_celery.sdk.batch_items import BatchItem
from trigger_celery.sdk.config import Config, define_config
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.logger import logger
from trigger_celery.sdk.task import Task, queue, schema_task, task
from trigger_celery.store.op import Op

try:
    __version__ = version("trigger-celery")
except PackageNotFoundError:
    __version__ = "0.0.0"

__all__ = [
    "AbortTaskRunError", "Attempt", "BatchHandle", "BatchItem", "BatchTooLargeError",
    "CannotCancelError", "Config", "ConfigurationError", "Context", "DefinitionError",
    "DuplicateTaskIdError", "InputError", "InvalidDurationError", "InvalidOptionError",
    "InvalidQueueError", "InvalidTagsError", "MetadataTooLargeError", "NotBoundError", "Op",
    "OutputError", "PayloadNotSerializableError", "PayloadTooLargeError",
    "PayloadValidationError", "PollTimeoutError", "Queue", "QueueState", "Retry", "Run",
    "RunError", "RunFailedError", "RunHandle", "RunLeaseLostError", "RunNotFoundError", "RunPage", "RunStatus",
    "ServerUnfitError", "SettingsError", "StateError", "StoreAuthenticationError", "StoreError",
    "StoreUnavailableError", "SyncInAsyncError", "Task", "TriggerCelery", "TriggerError",
    "UnknownOptionError", "UnknownTaskOptionError", "define_config", "install_as_trigger",
    "logger", "queue", "queues", "runs", "schema_task", "task", "tasks",
]  # fmt: skip
