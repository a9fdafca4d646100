"""Django's own tasks as runs: what is enqueued, refused, and told without a worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from django_tasks import TaskResultStatus, task, task_backends
from django_tasks.base import TaskError
from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist
from django_tasks.signals import task_enqueued

import tests.contrib.here  # noqa: F401 - sets Django up
from tests.contrib import django_functions as functions
from tests.deploying import deploy
from trigger_celery import TriggerCelery, runs, tasks
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.contrib.django import backend
from trigger_celery.contrib.django.task_results import class_path
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
    with pytest.raises(InvalidTaskError, match=message):
        deployed(function, **options)


def test_a_time_without_a_zone_is_refused(deployed):
    with pytest.raises(InvalidTaskError, match="aware"):
        deployed(functions.add).using(run_after=datetime(2030, 1, 1))  # noqa: DTZ001


def test_two_functions_of_one_path_are_refused(deployed):
    tasks_of_ours = [one for one in REGISTRY.tasks if one == ADD]
    assert not tasks_of_ours

    from trigger_celery import task as our_task

    our_task(id=ADD)(functions.add_later)
    with pytest.raises(InvalidTaskError, match="defined twice"):
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


def test_who_listens_is_told(deployed):
    seen: list[Any] = []

    def listen(sender: type, task_result: Any, **_: Any) -> None:
        seen.append((sender, task_result.id, task_result.enqueued_at is not None))

    task_enqueued.connect(listen)
    try:
        result = deployed(functions.add).enqueue(1)
    finally:
        task_enqueued.disconnect(listen)
    assert seen == [(backend.TriggerBackend, result.id, True)]


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
    where = {"BACKEND": "trigger_celery.contrib.django.backport.TriggerBackend"}
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
