"""A contract for every private symbol of Celery that the library uses: what it relies on."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from billiard import common as billiard_common
from billiard.pool import ApplyResult, ThreadPool
from celery import Celery, states
from celery.app.task import Context
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.solo import TaskPool as SoloTaskPool
from celery.concurrency.thread import TaskPool as ThreadTaskPool
from celery.exceptions import WorkerLostError
from celery.result import AsyncResult
from celery.worker import state
from celery.worker.autoscale import Autoscaler
from celery.worker.consumer import Consumer
from kombu.asynchronous import Hub

from tests.waiting import wait_until
from trigger_celery.bridge import celery_task
from trigger_celery.engine.attempts import Grant
from trigger_celery.worker import celery_internals as internals
from trigger_celery.worker.request import RunRequest, make_request

GRANT = Grant("run_1", "1", 1, True, "plain", "q", "", 0, 0, 0, None, (), "application/json", "1")


@pytest.fixture
def plain(app: Celery) -> Any:
    @app.task(name="plain", ignore_result=True, shared=False)
    def plain(value: Any) -> Any:
        if isinstance(value, BaseException):
            raise value
        return value

    app.finalize()
    return app.tasks["plain"]


class Events:
    enabled = True

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append(kind)


@pytest.fixture
def request_(app: Celery, plain: Any) -> Iterator[Any]:
    worker = SimpleNamespace(hostname="w@h", app=app)
    made = make_request(worker, Events(), plain, GRANT, 1)  # type: ignore[arg-type]
    yield made
    internals.task_ready(made)


# celery._state and the request stacks


def test_ident_functions_of_the_stacks_can_be_replaced(plain: Any) -> None:
    from celery import _state

    before = _state._task_stack.__ident_func__
    try:
        internals.follow_job(plain)
        for stack in (_state._task_stack, plain.request_stack):
            token = internals.current_job.set("one")
            stack.push("of one")
            internals.current_job.set("two")
            assert stack.top is None
            internals.current_job.set("one")
            assert stack.top == "of one"
            stack.pop()
            internals.current_job.reset(token)
    finally:
        _state._task_stack.__ident_func__ = before


def test_a_task_can_be_acted_for(app: Celery, plain: Any) -> None:
    request = Context({"id": "acted"})
    with internals.acting_as(plain, request):
        assert app.current_worker_task is plain
        assert plain.request.id == "acted"
    assert app.current_worker_task is None
    assert plain.request.id is None


# celery.app.trace


@pytest.mark.parametrize(("value", "failed"), [(5, 0), (ValueError("no"), 1)])
def test_tracer(plain: Any, value: Any, failed: int) -> None:
    plain.__trace__ = None
    request = {"id": "run_1", "args": (value,), "kwargs": {}, "hostname": "h", "is_eager": False}
    outcome = internals.trace(plain, (value,), {}, request)
    assert outcome[0] == failed
    assert isinstance(outcome[2], float | None)
    assert plain.__trace__ is not None
    if failed:
        assert isinstance(outcome[1], internals.ExceptionInfo)
        assert internals.cause(outcome[1]) is value
    else:
        assert outcome[1] in (5, "5")


def test_tracers_are_built_by_what_instrumentation_put_there(
    plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery.app import trace as celery_trace

    built: list[str] = []
    before: Any = celery_trace.build_tracer

    def instrumented(name: str, *args: Any, **kwargs: Any) -> Any:
        built.append(name)
        return before(name, *args, **kwargs)

    monkeypatch.setattr(celery_trace, "build_tracer", instrumented)
    plain.__trace__ = None
    request = {"id": "run_1", "args": (5,), "kwargs": {}, "hostname": "h", "is_eager": False}
    internals.trace(plain, (5,), {}, request)
    assert built == [plain.name]


def test_tracer_lets_retry_and_ignore_through(plain: Any) -> None:
    request = {"id": "run_1", "args": (), "kwargs": {}, "hostname": "h", "is_eager": False}
    for problem in (internals.Retry(exc=ValueError("no"), when=1.0), internals.Ignore()):
        failed, value, _ = internals.trace(plain, (problem,), {}, request)
        assert (failed, type(internals.cause(value))) == (1, type(problem))


# celery.concurrency.base


def test_apply_target_calls_back() -> None:
    seen: list[Any] = []
    internals.apply_target(
        lambda x: x + 1, (1,), {}, seen.append, lambda pid, at: seen.append((pid, at))
    )
    (pid, at), value = seen
    assert isinstance(pid, int)
    assert at <= time.monotonic()
    assert value == 2


def test_apply_target_reports_what_is_no_exception_and_raises_the_others() -> None:
    seen: list[Any] = []

    def leave() -> None:
        raise SystemExit(1)

    internals.apply_target(leave, (), {}, seen.append)
    assert isinstance(internals.cause(seen[0]), WorkerLostError)
    with pytest.raises(ZeroDivisionError):
        internals.apply_target(lambda: 1 / 0, (), {}, seen.append)


def test_base_pool_has_what_ours_overrides() -> None:
    for name in ("on_start", "on_stop", "on_terminate", "on_apply", "terminate_job", "_get_info"):  # fmt: skip
        assert callable(getattr(internals.BasePool, name))
    made = internals.BasePool(limit=3)
    assert made.num_processes == 3


# celery.worker.state and request


def test_a_request_goes_through_the_sets_of_the_worker(request_: Any) -> None:
    assert request_ in state.reserved_requests
    assert request_ not in internals.active_requests
    request_.on_accepted(7, time.monotonic())
    assert request_ in internals.active_requests
    assert request_.worker_pid == 7
    assert request_.info()["id"] == "run_1"
    request_.on_success((0, "1", 0.1))
    assert request_ not in internals.active_requests
    assert state.requests.get("run_1") is None
    assert request_._eventer.sent == ["task-received", "task-started", "task-succeeded"]


def test_a_pool_that_cannot_stop_a_task_is_no_error(request_: Any) -> None:
    """On solo it would come up in the code of the task, on threads end the worker in the middle."""
    request_.on_accepted(7, time.monotonic())
    for pool in (ThreadTaskPool(1), SoloTaskPool(1)):
        with pytest.raises(NotImplementedError):
            pool.terminate_job(7, "TERM")
        request_.cancel(pool)
    assert request_.cancelled


def test_a_failure_and_a_retry_of_a_request(request_: Any) -> None:
    for problem, event in ((ValueError("no"), "task-failed"),
                           (internals.Retry(exc=ValueError("no"), when=1.0), "task-retried")):  # fmt: skip
        internals.task_reserved(request_)
        request_.on_accepted(7, time.monotonic())
        try:
            raise problem
        except Exception:
            info = internals.ExceptionInfo()
        request_.on_success((1, info, 0.1))
        assert request_ not in internals.active_requests
        assert request_._eventer.sent[-1] == event


def test_cancelling_and_terminating_a_request(
    request_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("trigger_celery.worker.request.revoke_run", asked.append)
    stopped: list[tuple[int, Any]] = []
    pool = SimpleNamespace(terminate_job=lambda pid, signal: stopped.append((pid, signal)))
    request_.on_accepted(7, time.monotonic())
    assert isinstance(request_, RunRequest)
    request_.terminate(pool)  # as `control revoke` does: the run is cancelled, its process stays
    wait_until(lambda: asked == [request_.id], "the run is cancelled")
    assert (request_.cancelled, stopped) == (False, [])
    request_.cancel(pool)
    assert request_.cancelled
    assert [pid for pid, _ in stopped] == [7]
    assert "emit_retry" in inspect.signature(Consumer.cancel_active_requests).parameters or (
        "request.cancel(" in inspect.getsource(Consumer.cancel_active_requests)
    )


def test_the_request_dict_carries_arguments_and_survives_a_pipe(request_: Any) -> None:
    import pickle

    carried = pickle.loads(pickle.dumps(request_.request_dict))  # noqa: S301
    assert (carried["args"], carried["kwargs"], carried["id"]) == ((1,), {}, "run_1")


def test_should_terminate_is_unset_until_a_cold_shutdown(monkeypatch: Any) -> None:
    assert not internals.shutting_down_cold()
    for value in (True, 0, 1):
        monkeypatch.setattr(state, "should_terminate", value)
        assert internals.shutting_down_cold()


def test_consumed_queues(app: Celery) -> None:
    app.amqp.queues.select(["one", "two"])
    worker = SimpleNamespace(app=app)
    assert sorted(internals.consumed_queues(worker)) == ["one", "two"]


def test_the_autoscaler_can_be_asked() -> None:
    assert list(inspect.signature(Autoscaler.maybe_scale).parameters)[1:] == ["req"]
    asked: list[int] = []
    autoscaler = SimpleNamespace(maybe_scale=lambda: asked.append(1))
    growing, fixed = SimpleNamespace(grow=len, num_processes=1), SimpleNamespace(num_processes=2)
    internals.scale(SimpleNamespace(autoscaler=autoscaler, pool=growing))
    internals.scale(SimpleNamespace(autoscaler=None, pool=growing))
    assert asked == [1]
    threads = SimpleNamespace(autoscaler=autoscaler, pool=fixed, max_concurrency=6)
    internals.scale(threads)
    assert asked == [1]
    assert internals.most_at_once(threads) == 2
    assert internals.most_at_once(SimpleNamespace(pool=growing, max_concurrency=6)) == 6
    assert {pool: hasattr(pool, "grow") for pool in (ThreadTaskPool, SoloTaskPool)} == {
        ThreadTaskPool: False, SoloTaskPool: False,
    }  # fmt: skip


# billiard


def test_the_flag_of_a_terminated_process(monkeypatch: Any) -> None:
    assert billiard_common._should_have_exited == [False]
    assert not internals.being_terminated()
    monkeypatch.setattr(billiard_common, "_should_have_exited", [True])
    assert internals.being_terminated()


def test_a_pool_forgets_a_job() -> None:
    cache: dict[int, Any] = {}
    result = ApplyResult(cache, None)
    assert not internals.dropped(result)
    result.discard()
    assert internals.dropped(result)
    assert not internals.dropped(None)
    with ThreadPoolExecutor(1) as threads:
        assert not internals.dropped(threads.submit(int))
    assert issubclass(ThreadPool, object)


@pytest.mark.processes
def test_a_pool_keeps_what_its_process_has_got() -> None:
    """The flush comes before the process has said that it has begun."""
    hub = Hub()
    pool = AsynPool(processes=1, threads=False, synack=False)
    try:
        pool.register_with_event_loop(hub)
        loop, ends = hub.create_loop(), []
        wait_until(lambda: next(loop) or pool._fileno_to_inq, "its process is up")
        result = pool.apply_async(abs, (-7,), callback=ends.append)
        internals.keep_once_sent(result)
        waiting = pool.apply_async(abs, (-8,))  # the process has its hands full
        internals.keep_once_sent(waiting)
        wait_until(lambda: result._write_to or next(loop), "it is sent")
        assert not result.accepted()
        pool.flush()
        assert (internals.dropped(result), internals.dropped(waiting)) == (False, True)
        wait_until(lambda: next(loop) or ends, "its end is told")
        assert ends == [7]
    finally:
        pool.terminate()
        pool.join()
        hub.close()


def test_cause_unwraps_what_pools_wrap() -> None:
    problem = ValueError("no")
    try:
        raise problem
    except ValueError:
        info = internals.ExceptionInfo()
    assert internals.cause(info) is problem
    assert internals.as_failure(info) is info
    assert internals.cause(internals.as_failure(problem)) is problem
    assert isinstance(internals.cause("text"), RuntimeError)


# kombu's hub


def test_the_hub_is_woken_from_another_thread() -> None:
    hub, called = Hub(), threading.Event()
    loop = hub.create_loop()
    try:
        threading.Timer(0.05, hub.call_soon, (called.set,)).start()
        deadline = time.monotonic() + 5
        while not called.is_set() and time.monotonic() < deadline:
            next(loop)
        assert called.is_set()
    finally:
        hub.close()


# What the client side uses: bridge/celery_task.py and bridge/result.py


def test_a_task_is_made_of_a_function_once_the_app_is_final(app: Celery) -> None:
    made: list[str] = []
    assert not app.finalized
    app.on_after_finalize.connect(lambda **_: made.append("final"), weak=False)
    app.finalize()
    assert made == ["final"]

    def function(value: int) -> int:
        return value + 1

    class Base(app.Task):  # type: ignore[misc, name-defined]
        abstract = True

    task = app._task_from_fun(function, name="made", base=Base, typing=False, rate_limit=None)
    assert app.tasks["made"].run(1) == 2
    assert isinstance(app.tasks["made"], Base)
    assert task.name == "made"


def test_the_request_tells_how_a_task_was_called(app: Celery) -> None:
    seen: list[tuple[bool, bool]] = []

    @app.task(name="called", bind=True, shared=False)
    def called(self: Any) -> None:
        seen.append((bool(self.request.called_directly), bool(self.request.is_eager)))

    app.finalize()
    app.tasks["called"]()
    app.tasks["called"].apply()
    assert seen == [(True, False), (False, True)]


def test_routes(app: Celery) -> None:
    app.conf.task_routes = {"a.*": {"queue": "special"}}
    assert celery_task.routed_queue(app, "a.b") == "special"
    assert celery_task.routed_queue(app, "b") == app.conf.task_default_queue
    app.conf.task_create_missing_queues = False
    del app.amqp
    assert celery_task.routed_queue(app, "a.b") == app.conf.task_default_queue


def test_an_async_result_takes_what_a_backend_found(app: Celery) -> None:
    result = AsyncResult("id", app=app)
    result._maybe_set_cache({"status": states.SUCCESS, "result": 5, "task_id": "id"})
    assert (result.state, result.maybe_throw(propagate=True)) == (states.SUCCESS, 5)


# celery.worker.worker


def test_a_soft_shutdown_can_be_preceded() -> None:
    from celery.worker import WorkController

    order: list[str] = []

    class Worker(WorkController):  # its own __init__ would make a whole worker
        def __init__(self) -> None:
            pass

        def wait_for_soft_shutdown(self) -> None:
            order.append("waits")

    assert callable(WorkController.wait_for_soft_shutdown)
    worker = Worker()
    internals.before_soft_shutdown(worker, lambda: order.append("called"))
    worker.wait_for_soft_shutdown()
    assert order == ["called", "waits"]


# celery.concurrency.gevent


def test_a_greenlet_that_was_told_to_end() -> None:
    pytest.importorskip("gevent")
    from celery.concurrency.gevent import TaskPool
    from greenlet import GreenletExit

    def target() -> None:
        try:
            raise GreenletExit
        except GreenletExit:
            assert internals.being_terminated()
            raise

    assert not internals.being_terminated()
    assert internals.was_ended(TaskPool._make_killable_target(target)())
    assert not internals.was_ended((0, None, 0.1, None))
