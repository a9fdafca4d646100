"""Runs that are triggered at the commit of a transaction."""

from __future__ import annotations

import gc
import logging
import unittest
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis
from django.db import models, transaction
from django.test import TestCase

import tests.contrib.here  # noqa: F401 - sets Django up
from tests.conftest import Environment
from tests.deploying import deploy
from trigger_celery import (
    BatchItem,
    BatchNotFoundError,
    BatchTriggerError,
    InputError,
    PayloadNotSerializableError,
    RunNotFoundError,
    StoreUnavailableError,
    SyncInAsyncError,
    TriggerCelery,
    batch,
    runs,
    task,
    tasks,
    wait,
)
from trigger_celery.contrib.django import trigger_on_commit
from trigger_celery.testing import trigger_inline


class RolledBack(Exception):
    pass


@contextmanager
def rolled_back() -> Iterator[None]:
    with suppress(RolledBack), transaction.atomic():
        yield
        raise RolledBack


class Customer(models.Model):
    name = models.CharField(max_length=10)

    class Meta:
        app_label = "trigger_celery"


@pytest.fixture
def greet(trigger: TriggerCelery):
    @task(id="greet")
    def greet(payload):
        return payload

    deploy(trigger)
    return greet


def is_there(run: str) -> bool:
    try:
        runs.retrieve(run).sync()
    except RunNotFoundError:
        return False
    return True


def test_the_id_is_known_at_once_and_the_run_is_made_at_the_commit(greet):
    payload = {"order": 1}
    with transaction.atomic():
        handle = trigger_on_commit(greet, payload, tags=["a"], delay="1h")
        payload["order"] = 2
        assert not handle.is_created
        assert not is_there(handle.id)
    assert handle.is_created
    run = runs.retrieve(handle).sync()
    assert (run.payload, run.tags, run.status) == ({"order": 1}, ("a",), "DELAYED")


def test_nothing_is_made_of_what_is_rolled_back(greet):
    with rolled_back():
        handle = trigger_on_commit(greet, 1)
    assert not handle.is_created
    assert not is_there(handle.id)


def test_a_savepoint_that_is_rolled_back_takes_only_its_own_along(greet):
    with transaction.atomic():
        first = trigger_on_commit(greet, 1)
        with rolled_back():
            second = trigger_on_commit(greet, 2)
        with transaction.atomic():
            third = trigger_on_commit(greet, 3)
        assert not is_there(third.id)
    assert [is_there(one.id) for one in (first, second, third)] == [True, False, True]


def test_outside_of_a_transaction_the_run_is_made_at_once(greet):
    handle = trigger_on_commit("greet", 1)
    assert handle.is_created
    assert is_there(handle.id)


def test_the_transaction_of_the_named_database_counts(greet):
    with transaction.atomic():
        at_once = trigger_on_commit(greet, 1, using="other")
        assert is_there(at_once.id)
    with transaction.atomic(using="other"):
        later = trigger_on_commit(greet, 2, using="other")
        assert not is_there(later.id)
    assert is_there(later.id)


def test_bad_input_is_refused_in_the_transaction(greet):
    with transaction.atomic():
        with pytest.raises(InputError, match="delay"):
            trigger_on_commit(greet, 1, delay="soon")
        with pytest.raises(InputError, match="no option 'dely'"):
            trigger_on_commit(greet, 1, dely="1m")
        with pytest.raises(InputError, match="takes a task or its id"):
            trigger_on_commit(greet.trigger, 1)


def of_ids(greet):
    return tasks.batch_trigger(
        "greet", [{"payload": 1}, {"payload": 2, "options": {"tags": ["b"]}}]
    )


def of_the_task(greet):
    return greet.batch_trigger([{"payload": 1}, BatchItem(2, {"tags": ["b"]})])


def of_several(greet):
    second = {"id": "greet", "payload": 2, "options": {"tags": ["b"]}}
    return batch.trigger([{"id": "greet", "payload": 1}, second])


def of_tasks(greet):
    second = {"task": greet, "payload": 2, "options": {"tags": ["b"]}}
    return batch.trigger_by_task([{"task": greet, "payload": 1}, second])


@pytest.mark.parametrize("operation", [of_ids, of_the_task, of_several, of_tasks])
def test_a_batch_is_made_at_the_commit(greet, operation):
    with transaction.atomic():
        handle = trigger_on_commit(operation(greet))
        assert (handle.is_created, handle.run_count) == (False, 2)
        assert not any(is_there(run.id) for run in handle.runs)
        with pytest.raises(BatchNotFoundError):
            batch.retrieve(handle).sync()
    assert handle.is_created
    found = batch.retrieve(handle).sync()
    assert found.runs == tuple(run.id for run in handle.runs)
    second = runs.retrieve(handle.runs[1]).sync()
    assert (second.payload, second.tags, second.batch_id) == (2, ("b",), handle.id)


def test_the_trigger_of_a_task_is_an_operation_too(greet):
    with transaction.atomic():
        first = trigger_on_commit(greet.trigger(1, tags=["a"]))
        second = trigger_on_commit(tasks.trigger("greet", 2))
        assert not is_there(first.id)
    assert [runs.retrieve(one).sync().payload for one in (first, second)] == [1, 2]
    assert trigger_on_commit(greet.trigger(3)).is_created


def test_a_batch_that_is_rolled_back_is_never_made(greet, client: redis.Redis):
    before = set(client.keys())
    with rolled_back():
        whole = trigger_on_commit(of_ids(greet))
    with transaction.atomic():
        with rolled_back():
            part = trigger_on_commit(of_several(greet))
        with transaction.atomic(savepoint=False):
            kept = trigger_on_commit(greet.batch_trigger([]))
        at_once = trigger_on_commit(of_tasks(greet), using="other")
    assert (whole.is_created, part.is_created) == (False, False)
    assert not any(is_there(run.id) for run in (*whole.runs, *part.runs))
    assert (kept.is_created, at_once.is_created) == (True, True)
    told = {key.decode() for key in set(client.keys()) - before}
    assert not [key for key in told if whole.id in key or part.id in key]


def test_keys_lead_to_the_batch_from_before(greet):
    before = greet.batch_trigger([{"payload": 1}], idempotency_key="k").sync()
    with transaction.atomic():
        handle = trigger_on_commit(greet.batch_trigger([{"payload": 1}], idempotency_key="k"))
        assert handle.id != before.id
    assert (handle.id, handle.runs, handle.is_cached) == (before.id, handle.runs, True)
    assert [run.id for run in handle.runs] == [run.id for run in before.runs]


def test_what_has_no_id_to_know_is_refused(greet, recwarn: pytest.WarningsRecorder):
    ran = greet.trigger(1)
    ran.sync()
    with transaction.atomic():
        with pytest.raises(InputError, match=r"makes no run.*transaction\.on_commit"):
            trigger_on_commit(wait.create_token())
        with pytest.raises(InputError, match=r"<Op runs.list .* makes no run"):
            trigger_on_commit(runs.list())
        with pytest.raises(InputError, match="has its payload and its options, and tags"):
            trigger_on_commit(greet.trigger(1), tags=["a"])
        with pytest.raises(InputError, match="and a payload: pass all of it to the operation"):
            trigger_on_commit(greet.batch_trigger([]), 7)
        with pytest.raises(RuntimeError, match="already run"):
            trigger_on_commit(ran)
    gc.collect()  # what was refused does not warn that it was never run
    assert not list(recwarn)


def test_a_test_of_django_calls_what_waits_for_the_commit(greet):
    """In a TestCase nothing is ever committed."""

    class InTestCase(TestCase):
        databases = ("default", "other")

        def runTest(self):
            with self.captureOnCommitCallbacks() as waiting:
                handles.append(trigger_on_commit(of_ids(greet)))
            assert (len(waiting), handles[0].is_created) == (1, False)
            with self.captureOnCommitCallbacks(execute=True):
                handles.append(trigger_on_commit(of_ids(greet)))
            with self.captureOnCommitCallbacks(execute=True, using="other"):
                handles.append(trigger_on_commit(greet, 1, using="other"))
            with trigger_inline() as inline, self.captureOnCommitCallbacks(execute=True):
                handles.append(trigger_on_commit(greet, "inline"))
            inline.assert_completed(handles[-1], output="inline")

    handles: list[Any] = []
    result = unittest.TestResult()
    unittest.TestSuite([InTestCase()]).run(result)
    assert result.testsRun == 1
    assert not result.errors + result.failures
    assert [one.is_created for one in handles] == [False, True, True, True]


def test_a_row_of_the_database_is_no_payload(greet):
    customer = Customer(pk=7, name="ann")
    with pytest.raises(PayloadNotSerializableError, match=r"payload\.customer: .*pass its pk"):
        trigger_on_commit(greet, {"customer": customer})
    with pytest.raises(PayloadNotSerializableError, match="values_list"):
        greet.trigger(Customer.objects.all())


def test_a_key_leads_to_the_run_from_before(greet):
    before = greet.trigger(1, idempotency_key="k").sync()
    with transaction.atomic():
        handle = trigger_on_commit(greet, 1, idempotency_key="k")
        assert handle.id != before.id
    assert (handle.id, handle.is_cached, handle.is_created) == (before.id, True, True)


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_a_store_that_is_away_at_the_commit(
    greet, trigger: TriggerCelery, robust: bool, many: bool, caplog: pytest.LogCaptureFixture
):
    ran: list[str] = []

    def save() -> None:
        with transaction.atomic():
            if many:
                trigger_on_commit(of_ids(greet), robust=robust)
            else:
                trigger_on_commit(greet, 1, robust=robust)
            transaction.on_commit(lambda: ran.append("the next"))
            url = trigger.settings.redis_url
            trigger.configure(redis_url="unix:///nowhere/at/all.sock", store_retry=0.05)
            ran.append(url)

    with caplog.at_level(logging.ERROR, "trigger_celery.django"):
        if robust:
            save()
        else:
            with pytest.raises(BatchTriggerError if many else StoreUnavailableError):
                save()
    [record] = [one for one in caplog.records if one.name == "trigger_celery.django"]
    assert record.action == "commit_trigger_failed"
    assert record.run_id in record.getMessage()
    assert ran[1:] == (["the next"] if robust else [])
    trigger.configure(redis_url=ran[0])


async def test_a_coroutine_has_no_transaction(greet):
    with pytest.raises(SyncInAsyncError, match="sync_to_async"):
        trigger_on_commit(greet, 1)
    with pytest.raises(SyncInAsyncError, match="sync_to_async"):
        trigger_on_commit(greet.trigger(1))


def test_a_run_at_the_commit_obeys_what_all_obey(
    greet, client: redis.Redis, environment: Environment
):
    with transaction.atomic():
        handles = [trigger_on_commit(greet, number) for number in range(3)]
        assert len({handle.id for handle in handles}) == 3
    assert {run.id for run in runs.list(task="greet").sync()} == {one.id for one in handles}
