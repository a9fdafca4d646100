"""Django's own tasks as runs: what is enqueued, refused, and told without a worker."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import django
import pytest
from django.db import transaction
from django.test import override_settings

import tests.contrib.here  # noqa: F401 - sets Django up
from tests.contrib import django_functions as functions
from tests.contrib.package import (
    NAME,
    InvalidTask,
    Task,
    TaskError,
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
    task,
    task_backends,
    task_enqueued,
)
from tests.deploying import deploy
from trigger_celery import TriggerCelery, runs, tasks
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.contrib.django import backend
from trigger_celery.contrib.django.task_results import class_path, status_of
from trigger_celery.model.run import RunError, RunStatus

ADD = "tests.contrib.django_functions.add"


@pytest.fixture
def deployed(trigger: TriggerCelery) -> Callable[..., Any]:
    """Return what makes a task, and lets it be as if workers knew it."""

    def make(function: Callable[..., Any], **options: Any) -> Any:
        made = task(**options)(function)
        deploy(trigger)
        return made

    task_backends["default"].__init__("default", task_backends.settings["default"])
    return make


def test_what_is_enqueued_is_a_run(deployed):
    add = deployed(functions.add, queue_name="mail", priority=3)
    result = add.enqueue(1, other=2)
    run = runs.retrieve(result.id).sync()
    assert (run.task_identifier, run.queue, run.status) == (ADD, "mail", "QUEUED")
    assert (result.status, result.args, result.kwargs) == ("READY", [1], {"other": 2})
    assert (result.backend, result.attempts, result.errors) == ("default", 0, [])
    assert abs(result.enqueued_at - run.created_at) < timedelta(seconds=10)
    assert REGISTRY.queues["mail"].concurrency_limit == 2

    found = add.get_result(result.id)
    assert found.task == add
    assert (found.id, found.enqueued_at) == (run.id, run.created_at)
    assert (found.started_at, found.last_attempted_at, found.finished_at) == (None, None, None)
    assert not found.is_finished
    with pytest.raises(ValueError, match="not finished"):
        _ = found.return_value


async def test_async_code_enqueues_and_looks(deployed, trigger: TriggerCelery):
    add = deployed(functions.add_later)
    result = await add.aenqueue(1)
    found = await add.aget_result(result.id)
    assert found.args == [1]
    await result.arefresh()
    assert result.status is TaskResultStatus.READY
    await trigger.store.aclose()


def test_a_task_runs_after_a_time(deployed):
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    result = deployed(functions.add).using(run_after=at).enqueue(1)
    run = runs.retrieve(result.id).sync()
    assert (run.status, run.delayed_until) == ("DELAYED", at)
    found = deployed(functions.add).get_result(result.id)
    assert (found.status, found.task.run_after) == ("READY", at)


def test_a_higher_priority_comes_first(deployed, engine):
    add = deployed(functions.add)
    ids = {level: add.using(priority=level).enqueue(level).id for level in (0, -100, 100, 1, -1)}
    times = {
        level: run.queued_at.timestamp() - run.priority
        for level, one in ids.items()
        if (run := runs.retrieve(one).sync())
    }
    assert sorted(times, key=lambda level: times[level]) == [100, 1, 0, -1, -100]
    assert add.get_result(ids[-100]).task.priority == -100


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda: None, {}, "defined at a module level"),
        (functions.add, {"queue_name": "post"}, "Queue 'post' is not valid"),
        (functions.add, {"priority": 101}, "whole number between"),
        (functions.context_last, {"takes_context": True}, "first argument of 'context'"),
    ],
)
def test_a_task_that_cannot_be_executed_is_refused(deployed, function, options, message):
    if function.__name__ == "<lambda>":
        function.__qualname__ = "test.<locals>.<lambda>"
    with pytest.raises(InvalidTask, match=message):
        deployed(function, **options)


def test_a_time_without_a_zone_is_refused(deployed):
    with pytest.raises(InvalidTask, match="aware"):
        deployed(functions.add).using(run_after=datetime(2030, 1, 1))  # noqa: DTZ001


def test_two_functions_of_one_path_are_refused(deployed):
    tasks_of_ours = [one for one in REGISTRY.tasks if one == ADD]
    assert not tasks_of_ours

    from trigger_celery import task as our_task

    our_task(id=ADD)(functions.add_later)
    with pytest.raises(InvalidTask, match="defined twice"):
        deployed(functions.add)


def test_times_are_naive_without_time_zones(deployed):
    add = deployed(functions.add)
    at = datetime(2099, 7, 1, 12, 30)  # noqa: DTZ001
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        found = add.get_result(add.using(run_after=at).enqueue(1).id)
        assert found.enqueued_at.tzinfo is None
        assert found.task.run_after == at


def test_arguments_are_json(deployed, trigger: TriggerCelery):
    add = deployed(functions.add)
    with pytest.raises(TypeError, match="Unsupported type"):
        add.enqueue(object())
    assert not runs.list(task=ADD).sync().runs
    assert add.enqueue((1, 2), other=b"x").args == [[1, 2]]


def test_results_that_there_are_not(deployed):
    add = deployed(functions.add)
    ours = tasks.trigger(ADD, {"args": [1]}).sync()
    for unknown in ("no-id", "run_" + "0" * 26, ours.id):
        with pytest.raises(TaskResultDoesNotExist):
            add.get_result(unknown)


@contextmanager
def listening() -> Iterator[list[Any]]:
    """Yield what `task_enqueued` tells."""
    seen: list[Any] = []

    def listen(sender: type, task_result: Any, **_: Any) -> None:
        seen.append((sender, task_result.id, task_result.enqueued_at is not None))

    task_enqueued.connect(listen)
    try:
        yield seen
    finally:
        task_enqueued.disconnect(listen)


def test_who_listens_is_told(deployed):
    with listening() as seen:
        result = deployed(functions.add).enqueue(1)
    assert seen == [(backend.TriggerBackend, result.id, True)]


def test_the_backend_can_all_that_there_is(deployed):
    made = deployed(functions.add).get_backend()
    flags = {name for name in dir(type(made)) if name.startswith("supports_")}
    assert flags == {
        "supports_defer", "supports_async_task", "supports_get_result", "supports_priority",
    }  # fmt: skip
    assert all(getattr(made, flag) is True for flag in flags)
    assert isinstance(deployed(functions.add), Task)


def test_a_result_of_another_task_is_a_mismatch(deployed):
    add, later = deployed(functions.add), deployed(functions.add_later)
    result = add.enqueue(1)
    with pytest.raises(TaskResultMismatch):
        later.get_result(result.id)


def test_statuses_are_those_of_django():
    told = {status: status_of(status) for status in RunStatus}
    assert {one for one, name in told.items() if name == "SUCCESSFUL"} == {RunStatus.COMPLETED}
    assert {one for one, name in told.items() if name == "RUNNING"} == {RunStatus.EXECUTING}
    ready = {"PENDING_VERSION", "DELAYED", "QUEUED", "DEQUEUED", "WAITING"}
    assert {str(one) for one, name in told.items() if name == "READY"} == ready
    assert all(one.is_failed or one.is_cancelled for one, name in told.items() if name == "FAILED")


def test_a_task_has_options_of_runs(deployed):
    add = deployed(functions.add).using(
        tags=["a", "b"], concurrency_key="ann", max_duration="1m", priority=2
    )
    result = add.enqueue(1)
    run = runs.retrieve(result.id).sync()
    assert (run.tags, run.concurrency_key) == (("a", "b"), "ann")
    found = add.get_result(result.id).task
    assert (found.tags, found.concurrency_key, found.priority) == (("a", "b"), "ann", 2)
    assert hash(add) != hash(deployed(functions.add))
    with pytest.raises(InvalidTask, match="tag 7 is of type int"):
        add.using(tags=[7])
    with pytest.raises(InvalidTask, match="minimum of 5 seconds"):
        add.using(max_duration=1)
    with pytest.raises(TypeError, match="decorator"):
        add.using(retry={"max_attempts": 2})
    with pytest.raises(TypeError, match="dely"):
        add.using(dely="1m")


@pytest.mark.skipif(
    (6, 0) <= django.VERSION < (6, 1), reason="the decorator of Django 6.0 takes no more options"
)
def test_the_decorator_takes_options_of_runs(deployed):
    add = deployed(functions.add, retry={"max_attempts": 4}, tags="one", idempotency_key=["a", 1])
    assert REGISTRY.tasks[ADD].retry.max_attempts == 4
    run = runs.retrieve(add.enqueue(1).id).sync()
    assert (run.tags, run.idempotency_key) == (("one",), "a-1")
    with pytest.raises(InvalidTask, match="max_attempts"):
        deployed(functions.add_later, retry={"max_attempts": "many"})


@pytest.mark.skipif(django.VERSION < (6, 1), reason="tasks are pickled since Django 6.1")
def test_a_task_is_pickled(deployed, monkeypatch: pytest.MonkeyPatch):
    add = deployed(functions.add, tags=["a"])
    monkeypatch.setattr(functions, "add", add)
    assert pickle.loads(pickle.dumps(add.using(priority=1))) == add.using(priority=1)  # noqa: S301


def test_a_key_leads_to_the_result_of_before(deployed):
    add = deployed(functions.add).using(idempotency_key="once")
    first = add.using(priority=5).enqueue(1)
    with listening() as seen:
        again = add.enqueue(2)
    assert (again.id, again.args, again.task.priority) == (first.id, [1], 5)
    assert not seen
    keyed = deployed(functions.add_later, backend="committed").using(idempotency_key="once")
    before = tasks.trigger(keyed.module_path, {"args": [1]}, idempotency_key="once").sync()
    assert keyed.enqueue(1).id == before.id  # nobody enqueued it, but it has the key
    with transaction.atomic():
        at_commit = keyed.enqueue(1)
        assert at_commit.id != before.id
    assert at_commit.id == before.id


async def test_a_key_leads_to_the_result_of_before_in_async_code(deployed, trigger: TriggerCelery):
    add = deployed(functions.add_later).using(idempotency_key="once")
    first = await add.aenqueue(1)
    assert (await add.aenqueue(2)).id == first.id
    assert (await add.aget_result(first.id)).args == [1]
    await trigger.store.aclose()


@pytest.mark.skipif(NAME == "django_tasks", reason="the backport is what all tests here are about")
@pytest.mark.skipif(find_spec("django_tasks") is None, reason="the backport is not installed")
def test_the_backport_is_served_beside_djangos_own(deployed):
    import django_tasks

    add = django_tasks.task(backend="backport", tags=["a"])(functions.add)
    result = add.enqueue(1)
    found = add.get_result(result.id)
    assert isinstance(found, django_tasks.TaskResult)
    assert (found.status, found.args, found.task.tags) == ("READY", [1], ("a",))
    with pytest.raises(django_tasks.exceptions.TaskResultDoesNotExist):
        add.get_result("run_nothing")


def test_a_backend_may_wait_for_the_commit(deployed):
    deployed(functions.add)
    committed = deployed(functions.add, backend="committed")
    with transaction.atomic():
        result = committed.enqueue(1)
        with pytest.raises(TaskResultDoesNotExist):
            committed.get_result(result.id)
    assert committed.get_result(result.id).backend == "committed"
    with pytest.raises(TaskResultDoesNotExist):
        deployed(functions.add).get_result(result.id)


def test_settings_of_a_backend_are_checked():
    where = {"BACKEND": "trigger_celery.contrib.django.backend.TriggerBackend"}
    unfit = {"QUEUES": ["mail"], "OPTIONS": {"retries": 3, "queues": {"mails": {}}}}
    with override_settings(TASKS={"default": {**where, **unfit}}):
        told = [str(one.msg) for one in task_backends["default"].check()]
    assert [one.split(".")[0] for one in told] == [
        "TASKS['default']: OPTIONS has no 'retries'",
        "TASKS['default']: OPTIONS[\"queues\"] has 'mails', which is not in QUEUES",
    ]
    assert "Did you mean 'retry'?" in told[0]
    with override_settings(TASKS={"default": {**where, "OPTIONS": []}}):
        [told] = task_backends["default"].check()
    assert "should be a dict" in str(told.msg)


@pytest.mark.parametrize(
    ("name", "trace", "status", "path"),
    [
        ("ValueError", "Traceback (most recent call last):\n  f\nValueError: no", "FAILED", "builtins.ValueError"),
        ("NoStock", "Traceback (most recent call last):\n  f\nshop.errors.NoStock: a.NoStock: b", "FAILED", "shop.errors.NoStock"),
        ("NoStock", "Traceback (most recent call last):\n  f\nshop.A.NoStock", "FAILED", "shop.A.NoStock"),
        ("B", "Traceback (most recent call last):\n  f\nx.A: B: y\n\nDuring …\n\nTraceback (most recent call last):\n  f\nz.B: x", "FAILED", "z.B"),
        (None, None, "CANCELED", "trigger_celery.errors.RunCanceledError"),
        (None, None, "TIMED_OUT", "trigger_celery.errors.MaxDurationExceededError"),
        (None, None, "CRASHED", "trigger_celery.errors.RunFailedError"),
    ],
)  # fmt: skip
def test_the_class_of_an_error(name, trace, status, path):
    found = class_path(RunError(name, "message", trace), RunStatus(status))
    assert found == path
    if "trigger_celery" in path or "builtins" in path:
        error = TaskError(exception_class_path=found, traceback="")
        assert issubclass(error.exception_class, BaseException)
