"""Goes on from final runs as Celery goes on from a task: callbacks, the rest of a chain, chords.

Not from the attempt, as Celery's tracer does: what an attempt says does not count until the store
has it, and many runs end without one. A worker claims the runs that wait for this, goes on, and
strikes them off. Where a broker or a result backend is away, it notes what it has sent. One that dies
in between leaves them to the next, which sends the same task ids again: of a run there is one, an
old task may be executed twice.
"""

from __future__ import annotations

import builtins
import logging
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

from celery import chain, chord, group, signature, states
from celery.app.task import Context
from celery.exceptions import TaskRevokedError
from celery.result import result_from_tuple
from celery.utils.serialization import create_exception_cls
from kombu.exceptions import OperationalError

from trigger_celery.bridge.celery_side import Side, dump_side, load_side
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.taking_over.results import keeps_results
from trigger_celery.bridge.task_ids import ids_named
from trigger_celery.engine.continuing import claim, continued, note_progress
from trigger_celery.engine.querying import read_run
from trigger_celery.errors import RunNotFoundError, StoreError
from trigger_celery.model.ids import derived_uuid
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.worker.celery_internals import acting_as

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.calls")

BATCH: Final = 20
LOOK_EVERY: Final = 1.0
"""Seconds between looks. Runs that end in this worker are seen to at once."""
PAUSE: Final = 3.0
LAST_MOMENT: Final = 2.0

PROGRESS: Final = "sent"
"""Where it is kept what of the callbacks, the errbacks and the chain has been sent."""

_REVOKED: Final = (RunStatus.CANCELED, RunStatus.EXPIRED)


class Continuing:
    """Goes on from final runs, in a thread of its own: brokers and result backends may be slow."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger
        self._wake = threading.Event()
        self._stopping = False
        self._told = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="trigger-continuing", daemon=True).start()

    def poke(self) -> None:
        """Look now: a run has ended."""
        self._told = True
        self._wake.set()

    def stop(self) -> None:
        """Begin with no other run; what is left, another worker does."""
        self._stopping = True
        self._wake.set()

    def finish(self) -> None:
        """The worker's last runs are recorded: go on from them, for a moment at most."""
        if not self._told:
            return
        deadline = time.monotonic() + LAST_MOMENT
        with suppress(StoreError):
            while self._tick(deadline) == 0.0 and time.monotonic() < deadline:
                pass

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            pause = PAUSE
            try:
                pause = self._tick()
            except StoreError as problem:
                logger.warning(
                    "chains and callbacks of runs wait: %s",
                    problem,
                    extra={"action": "continuing_delayed"},
                )
            except Exception:
                logger.exception("chains of runs", extra={"action": "continuing_failed"})
            self._wake.wait(pause)

    def _tick(self, deadline: float = 0.0) -> float:
        store, scope = self._trigger.store, self._trigger.scope
        self._told = False
        lease = self._trigger.settings.lease_ms()
        found = store.run_blocking(claim(scope, BATCH, lease))
        latest = time.monotonic() + lease / 2000  # then they may soon be another worker's
        for run_id, text in found:
            now = time.monotonic()
            if now > latest or (self._stopping and now > deadline):
                break
            if self._is_done(run_id, text):
                store.run_blocking(continued(scope, [run_id]))
        return 0.0 if found else LOOK_EVERY

    def _is_done(self, run_id: str, text: str) -> bool:
        """Go on from one run; False: later, when broker and result backend are there again."""
        store, app = self._trigger.store, self._trigger.app
        backend: Any = app.backend
        side = load_side(text)
        going: _Continuation | None = None
        try:
            run = store.run_blocking(read_run(store.scope, run_id))
            task = app.tasks.get(run.task_identifier)
            backend = backend if task is None else task.backend
            going = _Continuation(app, backend, run, side)
            with ids_named(run_id, "end"):
                going.go_on()
        except RunNotFoundError:
            return True
        except Exception as problem:
            if _may_pass(problem, backend):
                if going is not None and going.sent:
                    progress = {**side, PROGRESS: going.sent}
                    note = note_progress(store.scope, run_id, dump_side(progress, text[0]))
                    store.run_blocking(note)
                logger.warning(
                    "what follows run %s waits: %s",
                    run_id,
                    problem,
                    extra={"action": "continuing_delayed", "run_id": run_id},
                )
                return False
            logger.exception(
                "what follows run %s is lost",
                run_id,
                extra={"action": "continuation_lost", "run_id": run_id},
            )
        return True


def _may_pass(problem: Exception, backend: Any) -> bool:
    """Whether it may go another time: somebody is away."""
    if isinstance(problem, OperationalError | StoreError | OSError):
        return True
    return bool(backend.exception_safe_to_retry(problem))


class _Continuation:
    """What follows one run."""

    def __init__(self, app: Any, backend: Any, run: Run, side: Side) -> None:
        self._app = app
        self._backend = backend
        self._run = run
        definition = REGISTRY.tasks.get(run.task_identifier)
        self._is_plain = definition is not None and definition.plain is not None
        self.sent: dict[str, Any] = dict(side.get(PROGRESS) or {})
        """What has been sent, by its place, with its result: a second try leaves it out."""
        given = {"id": run.id, "root_id": None, "delivery_info": {}, **side}
        given.pop(PROGRESS, None)
        given["root_id"] = given["root_id"] or given["id"]
        for name in ("callbacks", "errbacks"):
            signatures = given.get(name) or ()
            given[name] = [
                self._named(one, f"{name}:{index}") for index, one in enumerate(signatures)
            ]
        self._context: Any = Context(given)
        self._chain: list[Any] = list(side.get("chain") or ())
        ignored = side.get("ignore_result")
        if ignored is None:  # the caller did not know the task, perhaps
            task = app.tasks.get(run.task_identifier) if self._is_plain else None
            ignored = app.conf.task_ignore_result if task is None else task.ignore_result
        self._stores = not ignored

    def _named(self, callback: Any, place: str) -> Any:
        """Return the signature with a task id that is the same when it is sent again."""
        made = signature(callback, app=self._app).clone()
        if not isinstance(made, group | chain | chord) and not made.options.get("task_id"):
            made.set(task_id=derived_uuid(self._run.id, place))
        return made

    def go_on(self) -> None:
        """Send what follows, and tell the result backend."""
        told, outcome = self._told_before()
        status, error = self._run.status, self._run.error
        context, task_id = self._context, self._context.id
        if status is RunStatus.COMPLETED:
            output = outcome if told == states.SUCCESS else self._run.output
            self._dispatch(output)
            context.chain = None
            stores = self._stores and (not self._is_plain or keeps_results(self._backend))
            with self._acting():
                self._backend.mark_as_done(task_id, output, context, stores)
            return
        if status in _REVOKED:
            reason = "expired" if status is RunStatus.EXPIRED else "revoked"
            problem: Exception = TaskRevokedError(reason)
        elif isinstance(outcome, Exception):
            problem = outcome
        else:
            problem = _exception(self._run)
        trace = error.stack_trace if error is not None else None
        with self._acting():
            self._backend.mark_as_failure(
                task_id,
                problem,
                traceback=trace,
                request=context,
                store_result=self._stores,
                call_errbacks=False,
                state=states.REVOKED if status in _REVOKED else states.FAILURE,
            )
        if status not in _REVOKED:
            self._dispatch_errors(problem, trace)

    def _acting(self) -> AbstractContextManager[None]:
        """Let the body of a chord be the task's that completes it, as it is where Celery executes that."""
        task = self._app.tasks.get(self._run.task_identifier)
        return nullcontext() if task is None else acting_as(task, self._context)

    def _told_before(self) -> tuple[str, Any]:
        """Return what the attempt of a plain task has told: more exact than the run's record."""
        if not (self._is_plain and self._stores and keeps_results(self._backend)):
            return states.PENDING, None
        meta = self._backend.get_task_meta(self._context.id, cache=False)
        for child in meta.get("children") or ():
            self._context.children.append(result_from_tuple(child, app=self._app))
        return meta["status"], meta.get("result")

    def _dispatch(self, output: Any) -> None:
        context = self._context
        belongs = {"parent_id": context.id, "root_id": context.root_id}
        for index, callback in enumerate(context.callbacks or ()):
            self._send(str(index), callback, output, belongs, [])
        if self._chain:
            following = signature(self._chain[-1], app=self._app)
            self._send("chain", following, output, belongs, self._chain[:-1])

    def _dispatch_errors(self, problem: Exception, trace: str | None) -> None:
        """Call one errback after the other as Celery does: send its message, or execute it here."""
        context = self._context
        for index, errback in enumerate(context.errbacks or ()):
            place = f"error:{index}"
            if place in self.sent:
                continue
            alone = Context({**vars(context), "chain": None, "chord": None, "errbacks": [errback]})
            try:
                with ids_named(self._run.id, place):
                    self._backend.mark_as_failure(
                        context.id, problem, traceback=trace, request=alone, store_result=False
                    )
            except Exception as refusal:
                if _may_pass(refusal, self._backend):
                    raise
                self._log_refusal(errback.task)
            self.sent[place] = None

    def _send(
        self, place: str, made: Any, output: Any, belongs: dict[str, Any], rest: list[Any]
    ) -> None:
        if place in self.sent:
            before = self.sent[place]
            if before:
                self._context.children.append(result_from_tuple(before, app=self._app))
            return
        more = {"chain": rest} if rest else {}
        try:
            with ids_named(self._run.id, place):
                result = made.apply_async((output,), **belongs, **more)
        except Exception as problem:
            if _may_pass(problem, self._backend):
                raise
            self._log_refusal(made.task)
            self._refuse(made, rest, problem)
            self.sent[place] = None
            return
        self.sent[place] = result.as_tuple()
        self._context.children.append(result)

    def _log_refusal(self, task: str) -> None:
        logger.exception(
            "task %s cannot follow run %s",
            task,
            self._run.id,
            extra={"action": "callback_refused", "run_id": self._run.id},
        )

    def _refuse(self, made: Any, rest: list[Any], problem: Exception) -> None:
        """Whoever waits for a task that cannot be sent gets its error."""
        options = made.options
        if options.get("task_id"):
            names = {"group": "group_id", "group_index": "group_index", "chord": "chord"}
            given = {name: options.get(option) for name, option in names.items()}
            lost = Context({"id": options["task_id"], "chain": rest, "delivery_info": {}, **given})
            self._backend.mark_as_failure(lost.id, problem, request=lost)


def _exception(run: Run) -> Exception:
    """Return an exception as the task raised it, as near as its record tells."""
    error = run.error
    if error is None or not error.name:
        name, text = "RunFailedError", error.message if error is not None else str(run.status)
    else:
        name, text = error.name, error.message
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(text)
        except Exception:  # some take more than a text
            logger.debug("%s cannot be made of its text", name)
    made: Exception = create_exception_cls(name, "trigger_celery.errors")(text)
    return made
