"""No private name of Celery's is used without a check that says what we rely on.

The checks are here and in `test_celery_internals.py`. Who uses another name adds its check, and the
name to `CHECKED`.
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, canvas, states
from celery.app import base as celery_base
from celery.app import trace as celery_trace
from celery.app.base import Celery as CeleryClass
from celery.app.task import Context, Task
from celery.backends.base import Backend, DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.fixups.django import DjangoFixup
from celery.result import AsyncResult, GroupResult, ResultBase, result_from_tuple
from celery.schedules import crontab
from celery.utils.functional import maybe_list
from celery.utils.nodenames import gethostname
from celery.utils.saferepr import saferepr
from celery.utils.serialization import create_exception_cls
from celery.utils.threads import get_ident
from celery.worker import control
from kombu import serialization
from kombu.utils.json import dumps, loads
from kombu.utils.uuid import uuid
from redbeat.decoder import RedBeatJSONEncoder, to_timestamp
from redbeat.schedulers import get_redis

from tests.worker import celery_uses, test_celery_internals

CHECKED = {
    "billiard.einfo:ExceptionInfo": "test_cause_unwraps_what_pools_wrap",
    "billiard.pool:ApplyResult": "test_a_pool_keeps_what_its_process_has_got",
    "billiard.process:current_process": "test_names_of_processes_and_nodes",
    "billiard:common": "test_the_flag_of_a_terminated_process",
    "celery.app.task:Context": "test_a_context_is_made_of_what_a_message_says",
    "celery.app:base": "test_what_a_spawned_process_executes_with",
    "celery.app:trace": "test_tracer",
    "celery.backends.base:Backend": "test_a_result_backend_is_told_of_an_end",
    "celery.backends.base:DisabledBackend": "test_an_app_without_a_result_backend",
    "celery.backends.rpc:RPCBackend": "test_a_reply_is_prepared_before_the_call",
    "celery.bin.base:CLIContext": "test_commands_take_their_app_from_the_context",
    "celery.bin.base:CeleryOption": "test_commands_take_their_app_from_the_context",
    "celery.bin.base:CommaSeparatedList": "test_commands_take_their_app_from_the_context",
    "celery.bin.beat:beat": "test_commands_take_their_app_from_the_context",
    "celery.bin.worker:worker": "test_commands_take_their_app_from_the_context",
    "celery.concurrency.base:BasePool": "test_base_pool_has_what_ours_overrides",
    "celery.concurrency.base:apply_target": "test_apply_target_calls_back",
    "celery.fixups.django:DjangoFixup": "test_fixups_of_an_app",
    "celery.result:ResultBase": "test_results_as_tuples",
    "celery.result:result_from_tuple": "test_results_as_tuples",
    "celery.utils.functional:maybe_list": "test_commands_of_remote_control",
    "celery.utils.nodenames:gethostname": "test_names_of_processes_and_nodes",
    "celery.utils.saferepr:saferepr": "test_texts_of_values",
    "celery.utils.serialization:create_exception_cls": "test_texts_of_values",
    "celery.utils.threads:get_ident": "test_names_of_processes_and_nodes",
    "celery.worker.request:Request": "test_a_request_goes_through_the_sets_of_the_worker",
    "celery.worker:control": "test_commands_of_remote_control",
    "celery.worker:state": "test_a_request_goes_through_the_sets_of_the_worker",
    "celery:_state": "test_ident_functions_of_the_stacks_can_be_replaced",
    "celery:canvas": "test_a_canvas_takes_ids_from_its_module",
    "kombu.utils.json:dumps": "test_texts_of_values",
    "kombu.utils.json:loads": "test_texts_of_values",
    "kombu.utils.uuid:uuid": "test_a_canvas_takes_ids_from_its_module",
    "redbeat.decoder:RedBeatJSONEncoder": "test_redbeat",
    "redbeat.decoder:to_timestamp": "test_redbeat",
    "redbeat.schedulers:get_redis": "test_redbeat",
    "__header__": "test_an_errback_is_called_by_its_header",
    "__ident_func__": "test_ident_functions_of_the_stacks_can_be_replaced",
    "__trace__": "test_tracer",
    "_cache": "test_a_pool_forgets_a_job",
    "_is_alive": "test_a_pool_keeps_what_its_process_has_got",
    "_write_to": "test_a_pool_keeps_what_its_process_has_got",
    "_fixups": "test_fixups_of_an_app",
    "_get_current_object": "test_what_a_spawned_process_executes_with",
    "_job": "test_a_pool_forgets_a_job",
    "_localized": "test_what_a_spawned_process_executes_with",
    "_maybe_set_cache": "test_an_async_result_takes_what_a_backend_found",
    "_orig_": "test_a_crontab_keeps_what_it_was_made_of",
    "_orig_day_of_month": "test_a_crontab_keeps_what_it_was_made_of",
    "_orig_day_of_week": "test_a_crontab_keeps_what_it_was_made_of",
    "_orig_hour": "test_a_crontab_keeps_what_it_was_made_of",
    "_orig_minute": "test_a_crontab_keeps_what_it_was_made_of",
    "_orig_month_of_year": "test_a_crontab_keeps_what_it_was_made_of",
    "_orig_run": "test_autoretry_keeps_the_function",
    "_should_have_exited": "test_the_flag_of_a_terminated_process",
    "_task_from_fun": "test_a_task_is_made_of_a_function_once_the_app_is_final",
    "_task_stack": "test_ident_functions_of_the_stacks_can_be_replaced",
    "_tasks": "test_tasks_are_known_before_the_app_is_final",
}


def test_every_private_name_that_is_used_has_its_check() -> None:
    used: dict[str, str] = {}
    for module, tree in celery_uses.trees():
        for name in celery_uses.imported(tree) | celery_uses.touched(tree):
            used.setdefault(name, module)
    missing = {name: module for name, module in used.items() if name not in CHECKED}
    assert not missing, "names without a check: write one, and name it in CHECKED"
    assert not set(CHECKED) - set(used), "names that are not used any more"
    here = {**vars(test_celery_internals), **globals()}
    assert [test for test in CHECKED.values() if test not in here] == []


def test_what_the_scan_finds() -> None:
    code = """
import celery.worker.loops
from celery import Celery, signals, _state, canvas
from celery.result import AsyncResult, GroupResult
class Own:
    __slots__ = ("_known",)
    def look(self, app):
        self._own = app._preconf["_text"], getattr(app, "_named"), app.__autoset
        return _state, app.conf, __name__, self.__class__
"""
    tree = celery_uses.ast.parse(code)
    assert celery_uses.imported(tree) == {
        "celery.worker.loops", "celery:_state", "celery:canvas", "celery.result:GroupResult",
    }  # fmt: skip
    assert celery_uses.touched(tree) == {"_preconf", "_text", "_named", "__autoset"}


def test_what_is_overridden_is_called_as_before() -> None:
    seen = set()
    for one, name, ours, theirs in celery_uses.overridden():
        seen.add((one.__name__, name))
        parameters = [*inspect.signature(theirs).parameters.values()]
        if name == "__init__" or any(p.kind is p.VAR_POSITIONAL for p in parameters):
            continue
        given = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        positional = [None for p in given if p.default is p.empty]
        named = {p.name: None for p in given if p.default is not p.empty}
        try:
            inspect.signature(ours).bind(*positional, **named)
        except TypeError as problem:
            pytest.fail(f"{one.__name__}.{name}: {problem}")
    for expected in (("TaskPool", "terminate_job"), ("RunRequest", "cancel")):
        assert expected in seen


# What the private names do


def test_public_names_without_a_page_in_the_manual(app: Celery) -> None:
    """They are used by name; whatever they do is checked by the tests of behaviours."""
    for owner, names in (
        (app, "steps user_options current_worker_task thread_oid producer_or_acquire on_after_finalize"),
        (app.amqp, "router queues"),
        (app.amqp.queues, "consume_from select"),
        (serialization.registry, "type_to_name"),  # type: ignore[attr-defined]
        (Task, "request_stack add_trail shadow_name"),
        (Backend, "exception_safe_to_retry mark_as_done mark_as_failure get_task_meta on_task_call"),
        (AsyncResult("1", app=app), "on_ready as_tuple ignored"),
    ):  # fmt: skip
        assert [name for name in names.split() if not hasattr(owner, name)] == []


def test_tasks_are_known_before_the_app_is_final(app: Celery) -> None:
    made = Celery("unready", set_as_current=False, broker="memory://")
    known: Any = made
    assert "celery.chord" not in known._tasks
    assert not known.finalized
    made.finalize()
    assert known._tasks is made.tasks
    assert "celery.chord" in known._tasks


def test_every_call_of_a_task_goes_through_send_task(app: Celery) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    patched: Any = app
    patched.send_task = lambda name, *args, **options: seen.append((name, options))

    @app.task(name="called", shared=False, ignore_result=True, serializer="yaml")
    def called(value: int) -> None: ...

    app.finalize()
    app.tasks["called"].delay(1)
    app.tasks["called"].s(1).apply_async(countdown=5)
    assert [name for name, _ in seen] == ["called", "called"]
    assert seen[0][1]["task_type"] is app.tasks["called"]
    assert (seen[0][1]["ignore_result"], seen[0][1]["serializer"]) == (True, "yaml")
    assert seen[1][1]["countdown"] == 5
    assert callable(type(app).send_task)
    assert list(inspect.signature(CeleryClass.send_task).parameters)[1:4] == ["name", "args", "kwargs"]  # fmt: skip


def test_autoretry_keeps_the_function(app: Celery) -> None:
    @app.task(name="again", shared=False, autoretry_for=(OSError,))
    def again() -> int:
        return 5

    app.finalize()
    task: Any = app.tasks["again"]
    assert task.run is not task._orig_run
    assert task._orig_run() == 5
    assert inspect.unwrap(task._orig_run).__code__.co_name == "again"


def test_an_errback_is_called_by_its_header(app: Celery) -> None:
    asked: list[Any] = []

    @app.task(name="errback", shared=False)
    def errback(value: Any = None) -> None:
        asked.append(value)

    app.finalize()
    task: Any = app.tasks["errback"]
    task.__header__ = lambda payload=None: None
    backend = Backend(app)
    request = Context({"id": "failed-1", "errbacks": [task.s()], "delivery_info": {}})
    app.conf.task_always_eager = True
    backend._call_task_errbacks(request, ValueError("no"), None)
    assert asked == ["failed-1"]


def test_a_context_is_made_of_what_a_message_says() -> None:
    made: Any = Context({"id": "1", "root_id": "0", "chain": [1], "stamps": {}, "own": "x"})
    assert (made.id, made.root_id, made.chain, made.own) == ("1", "0", [1], "x")
    assert (made.children, made.called_directly, made.ignore_result) == ([], True, False)
    made.update({"chain": None})
    assert made.chain is None
    options = Context({"id": "1", "callbacks": [1], "group": "g"}).as_execution_options()
    assert (options["task_id"], options["link"], options["group_id"]) == ("1", [1], "g")


def test_a_result_backend_is_told_of_an_end(app: Celery) -> None:
    done = inspect.signature(Backend.mark_as_done).parameters
    assert list(done)[1:5] == ["task_id", "result", "request", "store_result"]
    failed = set(inspect.signature(Backend.mark_as_failure).parameters)
    assert {"traceback", "request", "store_result", "call_errbacks", "state"} <= failed
    backend = Backend(app)
    assert backend.exception_safe_to_retry(ValueError("no")) is False
    assert states.REVOKED in states.EXCEPTION_STATES
    assert states.REVOKED in states.PROPAGATE_STATES


def test_an_app_without_a_result_backend(app: Celery) -> None:
    assert isinstance(app.backend, DisabledBackend)
    kept = Celery("kept", backend="cache+memory://", set_as_current=False)
    assert not isinstance(kept.backend, DisabledBackend)


def test_a_reply_is_prepared_before_the_call(app: Celery) -> None:
    backend = RPCBackend(app)
    assert backend.binding.routing_key == app.thread_oid
    request = Context({"id": "1", "reply_to": "queue", "correlation_id": None})
    assert backend.destination_for("1", request) == ("queue", "1")
    assert list(inspect.signature(backend.on_task_call).parameters) == ["producer", "task_id"]


def test_results_as_tuples(app: Celery) -> None:
    single = AsyncResult("1", app=app)
    many = GroupResult("g", [single])
    for made in (single, many):
        assert isinstance(made, ResultBase)
        assert result_from_tuple(made.as_tuple(), app=app) == made


def test_a_canvas_takes_ids_from_its_module(monkeypatch: pytest.MonkeyPatch, app: Celery) -> None:
    numbers = iter(range(100))
    module: Any = canvas
    assert len(uuid()) == 36
    monkeypatch.setattr(module, "uuid", lambda: f"id-{next(numbers)}")
    made = canvas.chain(
        canvas.signature("a", app=app), canvas.signature("b", app=app), app=app
    ).freeze()
    assert str(made.id).startswith("id-")


def test_commands_take_their_app_from_the_context(app: Celery) -> None:
    from celery.bin import base, beat, worker

    context = base.CLIContext(app=app, no_color=True, workdir=None, quiet=True)
    assert context.app is app
    for command in (worker.worker, beat.beat):
        assert callable(command.main)
        assert isinstance(command.params, list)
    option = base.CeleryOption(("--own",), type=base.CommaSeparatedList(), help_group="Ours")
    assert option.name == "own"
    assert option.type.convert("a,b", option, None) == ["a", "b"]
    assert isinstance(app.user_options["worker"], set)


def test_fixups_of_an_app(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "there.is.none")
    made: Any = Celery("fixed", set_as_current=False)
    assert any(isinstance(one, DjangoFixup) for one in made._fixups)


def test_names_of_processes_and_nodes() -> None:
    from billiard.process import current_process

    assert current_process().name == "MainProcess"
    assert isinstance(gethostname(), str)
    assert get_ident() == get_ident()


def test_texts_of_values() -> None:
    assert saferepr(("a", 1)) == "('a', 1)"
    made = create_exception_cls("Lost", "some.where")
    assert issubclass(made, Exception)
    assert (made.__name__, made.__module__, str(made("gone"))) == ("Lost", "some.where", "gone")
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert loads(dumps({"at": moment}, separators=(",", ":"))) == {"at": moment}
    written = SimpleNamespace(__json__=lambda: [1])
    assert loads(dumps(written)) == [1]


def test_commands_of_remote_control() -> None:
    assert {"revoke", "terminate"} <= set(vars(control.Panel)["data"])
    names = list(inspect.signature(control.revoke).parameters)
    assert names[:3] == ["state", "task_id", "terminate"]
    assert list(inspect.signature(control.terminate).parameters)[:3] == ["state", "signal", "task_id"]  # fmt: skip
    assert (maybe_list("1"), maybe_list(["1", "2"]), maybe_list(None)) == (["1"], ["1", "2"], None)


def test_what_a_spawned_process_executes_with(app: Celery) -> None:
    from celery import current_app

    assert isinstance(current_app._get_current_object(), CeleryClass)
    trace: Any = celery_trace
    assert list(inspect.signature(trace.setup_worker_optimizations).parameters)[:2] == [
        "app", "hostname",
    ]  # fmt: skip
    assert isinstance(trace._localized, list)
    assert not celery_base.USING_EXECV  # as long as this process is not spawned by a pool
    assert not celery_base.USING_EXECV  # this one was not spawned


def test_a_crontab_keeps_what_it_was_made_of() -> None:
    made: Any = crontab(
        minute="*/5", hour="1", day_of_month="2", month_of_year="3", day_of_week="mon"
    )
    named = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    assert [str(getattr(made, f"_orig_{name}")) for name in named] == ["*/5", "1", "2", "3", "mon"]


def test_redbeat(app: Celery) -> None:
    import json

    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert to_timestamp(at) == at.timestamp()
    written = json.loads(json.dumps({"at": at}, cls=RedBeatJSONEncoder))
    assert written["at"]["__type__"] == "datetime"
    assert list(inspect.signature(get_redis).parameters) == ["app"]
