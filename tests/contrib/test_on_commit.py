"""Runs that are triggered at the commit of a transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import redis
from django.db import models, transaction

import tests.contrib.here  # noqa: F401 - sets Django up
from tests.conftest import Environment
from tests.deploying import deploy
from trigger_celery import (
    InputError,
    PayloadNotSerializableError,
    RunNotFoundError,
    StoreUnavailableError,
    SyncInAsyncError,
    TriggerCelery,
    runs,
    task,
)
from trigger_celery.contrib.django import trigger_on_commit


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
def test_a_store_that_is_away_at_the_commit(
    greet, trigger: TriggerCelery, robust: bool, caplog: pytest.LogCaptureFixture
):
    ran: list[str] = []

    def save() -> None:
        with transaction.atomic():
            trigger_on_commit(greet, 1, robust=robust)
            transaction.on_commit(lambda: ran.append("the next"))
            url = trigger.settings.redis_url
            trigger.configure(redis_url="unix:///nowhere/at/all.sock", store_retry=0.05)
            ran.append(url)

    with caplog.at_level(logging.ERROR, "trigger_celery.django"):
        if robust:
            save()
        else:
            with pytest.raises(StoreUnavailableError):
                save()
    [record] = [one for one in caplog.records if one.name == "trigger_celery.django"]
    assert record.action == "commit_trigger_failed"
    assert record.run_id in record.getMessage()
    assert ran[1:] == (["the next"] if robust else [])
    trigger.configure(redis_url=ran[0])


async def test_a_coroutine_has_no_transaction(greet):
    with pytest.raises(SyncInAsyncError, match="sync_to_async"):
        trigger_on_commit(greet, 1)


def test_a_run_at_the_commit_obeys_what_all_obey(
    greet, client: redis.Redis, environment: Environment
):
    with transaction.atomic():
        handles = [trigger_on_commit(greet, number) for number in range(3)]
        assert len({handle.id for handle in handles}) == 3
    assert {run.id for run in runs.list(task="greet").sync()} == {one.id for one in handles}
