"""`TriggerCelery`: binds a Celery app. The composition root: settings, store, registry, tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from trigger_celery import telemetry
from trigger_celery.bridge import celery_task, context, precedence
from trigger_celery.bridge.celery_calls import CeleryCalls
from trigger_celery.bridge.listening import leave, listen
from trigger_celery.bridge.recording.recorder import Recorder
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.run_log import LogSender
from trigger_celery.bridge.spawned_processes import SpawnedProcess
from trigger_celery.bridge.taking_over.taken_over import TakenOver
from trigger_celery.bridge.task_ids import leave_parts_of_canvas, name_parts_of_canvas
from trigger_celery.bridge.worker_options import add_worker_options, remove_worker_options
from trigger_celery.engine import keys
from trigger_celery.engine.triggering import Placement
from trigger_celery.errors import ConfigurationError, NotBoundError
from trigger_celery.model.task_options import check_task_id
from trigger_celery.settings import Settings, load_settings, read_managed
from trigger_celery.store.op import Flow, Op
from trigger_celery.store.payloads import PayloadStore
from trigger_celery.store.store import Store

if TYPE_CHECKING:
    from celery import Celery

    from trigger_celery.telemetry.recorder import Telemetry

T = TypeVar("T")

WORKER_STEP = "trigger_celery.worker.bootsteps:RunWorker"
SCHEDULER = "trigger_celery.scheduler:TriggerScheduler"
_CELERYS_SCHEDULER = "celery.beat:PersistentScheduler"


class TriggerCelery:
    """Binds a Celery app: its workers execute runs, and `@task` functions are its tasks.

    Cheap and lazy: nothing is read or connected before the first use. Binding the same app
    twice raises ConfigurationError; `unbind()` takes everything back.

    Args:
        app: the Celery app. Without one, `init_app(app)` binds it later.
        settings: any of `trigger_celery.settings.SETTINGS` by name, for example
            `redis_url`, `project`, `env`, `worker_lease` (seconds), `run_retention`.

    Example:
        ```python
        app = Celery("shop", broker="redis://localhost:6379/0")
        TriggerCelery(app, worker_lease=30)
        ```
    """

    def __init__(self, app: Celery | None = None, **settings: Any) -> None:
        self._keywords = settings
        self._settings: Settings | None = None
        self._store: Store | None = None
        self._logs: LogSender | None = None
        self._telemetry: Telemetry | None = None
        self._placements: dict[str, Placement] = {}
        self._app: Celery | None = None
        self._registrar: celery_task.TaskRegistrar | None = None
        self.calls = CeleryCalls(self)
        """Calls by Celery's own API."""
        self.taken_over = TakenOver(self, self.calls)
        """Celery tasks whose calls make runs."""
        self._recorder = Recorder(self)
        self._spawned = SpawnedProcess(self)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Celery) -> None:
        """Bind *app*; the same as passing it to the constructor."""
        if binding_of(app) is not None:
            raise ConfigurationError(
                f"the Celery app {app.main!r} is already bound: call TriggerCelery(app) once"
            )
        self._app = app
        self._registrar = celery_task.TaskRegistrar(app)
        app.steps["worker"].add(WORKER_STEP)
        add_worker_options(app)
        _use_scheduler(app)
        context.bind(self)
        REGISTRY.on_task(self._register)
        self.calls.install()
        name_parts_of_canvas()
        self._recorder.connect()
        self._spawned.connect()
        listen(app.on_after_finalize, self._look)
        if getattr(app, "finalized", False):
            self._look()

    @property
    def app(self) -> Celery:
        """The bound Celery app. Raises NotBoundError before `init_app`."""
        if self._app is None:
            raise NotBoundError("this TriggerCelery has no app yet: call .init_app(app)")
        return self._app

    def unbind(self) -> None:
        """Take the binding back: the app is a plain Celery app again, its tasks stay registered."""
        self._recorder.disconnect()
        self._spawned.disconnect()
        context.unbind(self)
        self.calls.uninstall()
        if not context.bound():
            leave_parts_of_canvas()
        leave(self.app.on_after_finalize, self._look)
        self.taken_over.give_back()
        REGISTRY.off_task(self._register)
        self.app.steps["worker"].discard(WORKER_STEP)
        remove_worker_options(self.app)
        _leave_scheduler(self.app)
        if self._store is not None:
            self._store.close()

    def _look(self, **_: Any) -> None:
        """The app's tasks are known, or more of them."""
        self.taken_over.look()

    def _register(self, definition: TaskDefinition) -> None:
        self._placements.pop(definition.id, None)
        self._recorder.forget(definition.id)
        if self._registrar is not None:
            self._registrar.register(definition)

    @property
    def keywords(self) -> dict[str, Any]:
        """The settings passed as keywords."""
        return dict(self._keywords)

    def configure(self, **settings: Any) -> None:
        """Replace keyword settings; for use before the first operation."""
        self._keywords = {**self._keywords, **settings}
        self._settings = None
        self._placements.clear()
        self.taken_over.forget()
        self._logs = None
        self._telemetry = None
        if self._store is not None:
            self._store.close()
            self._store = None

    def exchange(self, other: TriggerCelery) -> None:
        """Exchange settings, connections and all else that was made of them with *other*; for tests.

        Both keep their apps. Exchanging again takes it back.
        """
        names = vars(self).keys() - _OWN
        mine = {name: getattr(self, name) for name in names}
        for name in names:
            setattr(self, name, getattr(other, name))
        vars(other).update(mine)
        for one in (self, other):  # tasks may have been declared anew meanwhile
            one._placements.clear()

    @property
    def managed(self) -> Mapping[str, Mapping[str, Any]]:
        """The setting `manage`, without the others: read when the app's tasks are known."""
        conf: Any = self.app.conf
        return read_managed(self._keywords, lambda name: conf.get(name), REGISTRY.config)

    @property
    def settings(self) -> Settings:
        """The settings, read and validated at first use. Raises SettingsError."""
        if self._settings is None:
            conf: Any = self.app.conf
            self._settings = load_settings(
                self._keywords,
                lambda name: conf.get(name),
                REGISTRY.config,
                conf.get("broker_write_url") or conf.get("broker_url"),
            )
        return self._settings

    @property
    def store(self) -> Store:
        """The store; connects at the first call."""
        if self._store is None:
            settings = self.settings
            self._store = Store(
                settings.redis_url,
                keys.scope(settings.project, settings.env),
                timeout=settings.store_timeout,
                retry_for=settings.store_retry,
                checked=True,
                payloads=payload_store(settings),
            )
        return self._store

    @property
    def logs(self) -> LogSender:
        """What sends the log lines of runs; made when the first run of this process says something."""
        if self._logs is None:
            self._logs = LogSender(self)
        return self._logs

    @property
    def unrecorded(self) -> int:
        """How many facts of Celery tasks this process could not record: the store was away too long."""
        return self._recorder.sender.dropped

    def flush_recorded(self) -> None:
        """Wait until what this process sent and executed so far is recorded, 2 seconds at most.

        Does not wait while the store is away.
        """
        self._recorder.sender.flush()

    @property
    def telemetry(self) -> Telemetry | None:
        """What records traces and metrics, or None while nobody listens.

        Looked for at each use: a pool's process may get its provider after its start.
        """
        if self._telemetry is None:
            self._telemetry = telemetry.active(self.settings.telemetry)
        return self._telemetry

    @property
    def scope(self) -> str:
        """The prefix of every key of this environment."""
        return self.store.scope

    def op(self, flow: Flow[T], name: str) -> Op[T]:
        """Return the operation that runs *flow* on this store."""
        return Op(self.store, flow, name)

    def placement(self, definition: TaskDefinition | None, task_id: str) -> Placement:
        """Return where runs of a task go: its queue, and the worker queue by `task_routes`."""
        place = self._placements.get(task_id)
        if place is None or place.declared is not (definition is not None):
            place = Placement(
                task=check_task_id(task_id) if definition is None else task_id,
                declared=definition is not None,
                worker_queue=self.worker_queue(definition, task_id),
                queue=precedence.queue_of(None, definition),
                ttl_ms=precedence.ttl_of(None, definition, self.settings),
                machine=precedence.machine_of(None, definition, self.settings),
                preset=precedence.preset_of(None, definition),
                size_limit=self.settings.queue_size_limit,
            )
            self._placements[task_id] = place
        return place

    def worker_queue(self, definition: TaskDefinition | None, task_id: str) -> str:
        """Return the Celery queue whose workers execute the task."""
        if definition is not None and definition.worker_queue:
            return definition.worker_queue
        return celery_task.routed_queue(self.app, task_id)


def _use_scheduler(app: Any) -> None:
    """Make our scheduler the one of the app's beat, unless its configuration names one."""
    app.on_after_configure.connect(_configure_scheduler, weak=False)
    if app.configured:
        _configure_scheduler(app)


def _configure_scheduler(sender: Any, **_: Any) -> None:
    conf = sender.conf
    # The first alone does not see a setting with a namespace, before Celery 5.7.
    if not conf.value_set_for("beat_scheduler") and conf.beat_scheduler == _CELERYS_SCHEDULER:
        conf.beat_scheduler = SCHEDULER


def _leave_scheduler(app: Any) -> None:
    app.on_after_configure.disconnect(_configure_scheduler)
    if app.configured and app.conf.beat_scheduler == SCHEDULER:
        app.conf.pop("beat_scheduler", None)


_OWN = frozenset({"_app", "_registrar", "_recorder", "_spawned", "calls", "taken_over"})
"""What belongs to a binding whatever its settings are."""


def payload_store(settings: Settings) -> PayloadStore | None:
    """Return where large payloads are kept; None: in Redis."""
    if settings.payload_store is None:
        return None
    folder = f"{settings.project}/{settings.env}"
    return PayloadStore(settings.payload_store, folder, retry_for=settings.store_retry)


def binding_of(app: Celery) -> TriggerCelery | None:
    """Return the binding of an app, or None."""
    return next((trigger for trigger in context.bound() if trigger.app is app), None)
