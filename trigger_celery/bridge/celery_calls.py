"""Calls by Celery's own API become runs: `.apply_async` of our tasks, and the app's `send_task`.

The app gets a `send_task` of its own while it is bound. That is where every call of a task comes
through, whoever makes it: `.delay`, a signature, a chain, beat. Calls of tasks that are neither
ours nor taken over go to Celery's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge import context
from trigger_celery.bridge.celery_options import Sorted, sort_options
from trigger_celery.bridge.celery_side import Side, dump_side, goes_on
from trigger_celery.bridge.durable import Durable, current_durable
from trigger_celery.bridge.placing import asked
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.request import build_run
from trigger_celery.bridge.result import RunResult, result_class, result_of_run
from trigger_celery.bridge.sending_once import POSITIONAL, is_sent_once, send_once
from trigger_celery.bridge.tracing import send, sent_flow
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.codec import dump_error, dump_links
from trigger_celery.engine.triggering import NOWHERE, NewRun, Origin, create_run
from trigger_celery.errors import InputError, InvalidOptionError
from trigger_celery.model.ids import run_id_of
from trigger_celery.model.run import RunError

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery


@dataclass(slots=True)
class Call:
    """One call of a task, on its way to a run."""

    definition: TaskDefinition | None
    name: str
    payload: Any
    options: Sorted
    result_stored: bool = True
    """Whether the run's end is to be told to the result backend, unless the call says otherwise."""
    worker_queue: str = ""
    """The Celery queue whose workers execute the run; empty: that of the task."""
    is_given: bool = False
    """The call names it: it counts, whatever workers say of the task."""


class CeleryCalls:
    """The calls of one bound app."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger
        self._installed: Any = None
        self._before: Any = None
        self._results: Any = None
        self._plain_results: Any = None

    # The app's send_task

    def install(self) -> None:
        """Give the app a `send_task` that makes runs of calls which are for us."""
        app: Any = self._trigger.app
        self._before = vars(app).get("send_task")
        self._installed = app.send_task = self._send_task
        if isinstance(app.AsyncResult, type):  # a method of somebody's own class of apps stays
            self._plain_results = app.AsyncResult
            self._results = app.AsyncResult = result_class(app)

    def uninstall(self) -> None:
        """Give the app back what it had, unless somebody has put something on top of ours."""
        app: Any = self._trigger.app
        if vars(app).get("send_task") is self._installed:
            if self._before is None:
                del app.send_task
            else:
                app.send_task = self._before
        if self._results is not None and vars(app).get("AsyncResult") is self._results:
            app.AsyncResult = self._plain_results

    def send(self, *given: Any, **options: Any) -> Any:
        """Send a message; from the code of a run once, also when that is executed again."""
        scope = context.current_scope.get()
        if scope is None or len(context.bound()) > 1 or not is_sent_once(scope):
            return self.send_plain(*given, **options)
        return send_once(self._trigger, scope.durable, self.send_plain, given, options)

    def send_plain(self, *given: Any, **options: Any) -> Any:
        """Send a message, as Celery does."""
        app: Any = self._trigger.app
        plain = self._before or _own_of(app)
        token = context.sending.set((self._trigger, options))
        try:
            return plain(*given, **options)
        finally:
            context.sending.reset(token)

    def _send_task(self, *given: Any, **options: Any) -> Any:
        """Make a run of the call if it is for us, else pass it on as it is."""
        name = given[0] if given else options.get("name")
        if not isinstance(name, str) or self._trigger not in context.bound():
            return self.send_plain(*given, **options)
        definition = REGISTRY.tasks.get(name)
        taken = self._trigger.taken_over
        ours = definition is not None and definition.plain is None
        if not ours and not taken.takes(name):
            return self.send(*given, **options)
        options.update(zip(POSITIONAL, given, strict=False))
        args, kwargs = options.pop("args", None), options.pop("kwargs", None)
        del options["name"]
        if definition is not None and ours:
            return self.call(definition, args, kwargs, options, warn=False)
        return taken.send(name, definition, args, kwargs, options)

    # Our tasks

    def call(
        self,
        definition: TaskDefinition,
        args: Any,
        kwargs: Any,
        options: Mapping[str, Any],
        *,
        warn: bool = True,
    ) -> RunResult:
        """Make a run of a call of a task of ours. Raises InputError for what does not fit."""
        given = sort_options(definition.id, options, warn=warn)
        try:
            payload = payload_of(definition.id, args, kwargs)
            return self.make(Call(definition, definition.id, payload, given))
        except InputError as problem:
            if not _is_continuation(given.side):
                raise
            nothing = replace(given, trigger={})
            return self.make(Call(None, definition.id, None, nothing), problem)

    def make(self, call: Call, problem: Exception | None = None) -> RunResult:
        """Make the run of a call. With a *problem* it has failed with that from the start."""
        trigger = self._trigger
        run, task_id = self._run_of(call)
        if problem is not None:
            run.failed = dump_error(RunError.of(problem))
        durable = current_durable()
        origin, before = NOWHERE, False
        if durable is not None:
            origin = self._place(durable, run, task_id)
            before = bool(task_id) and durable.knows(origin.path)
        elif run.extras is not None and run.extras.celery and "parent_id" in call.options.side:
            origin = _origin_of(call.options.side)
        if durable is not None and before:
            task_id = durable.found_at(origin.path) or task_id
        else:
            sent = send(trigger, origin, origin.path, (run,))
            made_at = origin if sent is None else sent.origin
            flow = create_run(trigger.scope, run, trigger.settings.run_retention, made_at)
            found = trigger.store.run_blocking(sent_flow(sent, flow))
            task_id = found.id if found.is_cached else task_id
        result = result_of_run(trigger, task_id or run.id, call.name)
        self._add_to_parent(call.options, result)
        return result

    def _place(self, durable: Durable, run: NewRun, task_id: str) -> Origin:
        """Take the call's place in the run that makes it. A task id that is given is kept."""
        what = asked("apply_async", run)
        path, _ = durable.begin(what)
        if not task_id:
            run.id = durable.id_of("run", path)
        elif run.extras is None or not run.extras.may_find:
            what = f"{what}\x1f{task_id}"  # a replay may give another
        return durable.origin(path, what)

    def _run_of(self, call: Call) -> tuple[NewRun, str]:
        """Return the run, and Celery's id of it if the call gives one."""
        options = call.options
        run = build_run(self._trigger, call.definition, call.name, call.payload, options.trigger)
        side = self._with_parent(options)
        task_id = str(side.get("id", ""))
        if task_id:
            run.id = run_id_of(replaced_id(task_id, side.get("replaced_task_nesting", 0)))
        if options.max_duration_ms is not None:
            run.placement = replace(run.placement, max_duration_ms=options.max_duration_ms)
        queue, place = call.worker_queue, run.placement
        if queue and (queue != place.worker_queue or (call.is_given and not place.declared)):
            run.placement = replace(place, worker_queue=queue, at_given=call.is_given)
        if not (side or options.ttl_ms is not None or options.shown):
            return run, task_id
        place = run.placement
        extras = run.extras = run.extras or Extras(place.ttl_ms, place.machine)
        if options.ttl_ms is not None:
            extras.ttl_ms = options.ttl_ms
            extras.own |= {"ttl"}
        again = context.replaying.get()
        if again is not None and again.task_id == task_id:
            extras.replay_of, extras.bulk = again.run_id, again.bulk
        if options.shown:
            extras.shown = options.shown
        if side:
            extras.task_id = "" if task_id == run.id else task_id
            extras.celery = dump_side(side, self._flag(call, side))
        return run, task_id

    def _flag(self, call: Call, side: Side) -> str:
        """Return what the end of the run means to Celery: see `engine/continuing.py`."""
        if goes_on(side):
            return "c"
        ignored = side.get("ignore_result")
        if ignored is None:
            ignored = not call.result_stored or self._trigger.app.conf.task_ignore_result
        if ignored:
            return "x"
        return "c" if call.definition is None or call.definition.plain is None else "r"

    def _with_parent(self, options: Sorted) -> Side:
        """Return what Celery says of the run, with the task that makes it as its parent.

        A run that makes it is the parent anyhow. It is named as Celery names it, if there is a side.
        """
        side = dict(options.side)
        if options.has_parent or (current_durable() is not None and not side):
            return side
        parent = self._trigger.app.current_worker_task
        if parent is not None and parent.request.id:
            side["parent_id"] = parent.request.id
            side.setdefault("root_id", parent.request.root_id or parent.request.id)
        return side

    def _add_to_parent(self, options: Sorted, result: RunResult) -> None:
        parent = self._trigger.app.current_worker_task
        if parent is not None and options.add_to_parent:
            parent.add_trail(result)


def _own_of(app: Any) -> Any:
    """Return the `send_task` of the app's class. A mock that stands there takes no `self`."""
    plain = type(app).send_task
    return plain.__get__(app) if hasattr(plain, "__get__") else plain


def _is_continuation(side: Side) -> bool:
    """Whether others wait for the task id: a call that does not fit fails its run, not its caller."""
    return "id" in side and "parent_id" in side


def _origin_of(side: Side) -> Origin:
    """Return the links to the task that Celery calls the parent."""
    parent = run_id_of(str(side["parent_id"]))
    root = run_id_of(str(side.get("root_id") or side["parent_id"]))
    return Origin(parent, dump_links(parent, root, 1))


def replaced_id(task_id: str, nesting: int) -> str:
    """Return what stands for a task id in the run's id: a task that replaces another has its id."""
    return f"{task_id}~{nesting}" if nesting else task_id


def payload_of(task_id: str, args: Any, kwargs: Any) -> Any:
    """Return the one payload of a Celery call. Raises InvalidOptionError for more than one."""
    args, kwargs = tuple(args or ()), dict(kwargs or {})
    if len(args) + len(kwargs) > 1 or (kwargs and set(kwargs) != {"payload"}):
        raise InvalidOptionError(
            f"task {task_id!r} takes one payload: .delay(payload) or "
            f".apply_async((payload,)). Got {_counted(args, kwargs)}: put them into one dict"
        )
    return args[0] if args else kwargs.get("payload")


def _counted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    named = f"the keywords {', '.join(kwargs)}" if kwargs else ""
    positional = f"{len(args)} values" if args else ""
    return " and ".join(filter(None, (positional, named)))
