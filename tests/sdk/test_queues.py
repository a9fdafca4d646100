"""Queues in the SDK: by name, by object, by task; bad input is refused at the call."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest

from tests.driving import Engine
from trigger_celery import (
    InvalidOptionError,
    InvalidQueueError,
    QueueFullError,
    QueueNotFoundError,
    TriggerCelery,
    TriggerError,
    UnknownTaskOptionError,
    queue,
    queues,
    runs,
    task,
)
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.worker.session import declare_queue


@pytest.fixture
def engine(trigger: TriggerCelery, client: Any) -> Engine:
    return Engine(trigger.store, client)


def nothing() -> None: ...


def test_a_queue_by_name_object_and_task(trigger: TriggerCelery, engine: Engine) -> None:
    mail = queue(name="mail", concurrency_limit=2)
    send = task(id="send", queue=mail)(nothing)
    engine.register(tasks=["send"], queues={"mail": 2, "task/send": None})
    for named in ("mail", mail, send):
        assert queues.pause(named).sync().paused
        assert queues.retrieve(named).sync().name == "mail"
        assert not queues.resume(named).sync().paused
    own = queues.retrieve(task="send").sync()
    assert (own.name, own.type) == ("task/send", "task")


async def test_in_async_code(trigger: TriggerCelery, engine: Engine) -> None:
    await asyncio.to_thread(engine.register, queues={"mail": 2})
    state = await queues.override_concurrency_limit("mail", 7, by="me")
    assert state.concurrency.overridden_by == "me"
    assert (await queues.reset_concurrency_limit("mail")).concurrency_limit == 2
    assert (await queues.pause_environment()).paused
    assert not (await queues.resume_environment()).paused
    assert (await queues.override_environment_limit(3)).concurrency_limit == 3
    assert (await queues.reset_environment_limit()).concurrency_limit is None
    assert (await queues.retrieve_environment()).burst_factor == 1
    await trigger.store.aclose()


def test_pages(trigger: TriggerCelery, engine: Engine) -> None:
    engine.register(queues={f"q{number:02}": None for number in range(25)})
    page = queues.list(page=3, per_page=10).sync()
    assert [state.name for state in page] == [f"q{number}" for number in range(20, 25)]
    assert (page.page, page.pages, page.count, len(page)) == (3, 3, 25, 5)
    assert queues.list(page=4, per_page=10).sync().queues == []


def test_an_unknown_queue(trigger: TriggerCelery) -> None:
    with pytest.raises(QueueNotFoundError, match="no queue 'nothing'"):
        queues.pause("nothing").sync()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: queues.pause(), InvalidOptionError, "one of them"),
        (lambda: queues.pause("a", task="b"), InvalidOptionError, "one of them"),
        (lambda: queues.pause("a b"), InvalidQueueError, "character"),
        (lambda: queues.pause(7), InvalidQueueError, "must be text"),
        (lambda: queues.pause(task=""), TriggerError, "empty"),
        (lambda: queues.override_concurrency_limit("a"), InvalidOptionError, "missing"),
        (lambda: queues.override_concurrency_limit("a", -1), InvalidQueueError, "from 0 to"),
        (lambda: queues.override_concurrency_limit("a", True), InvalidQueueError, "from 0 to"),
        (lambda: queues.override_concurrency_limit("a", 1, by="x" * 129), InvalidOptionError, "by="),
        (lambda: queues.override_environment_limit("3"), InvalidQueueError, "from 0 to"),
        (lambda: queues.list(page=0), InvalidOptionError, "counted from 1"),
        (lambda: queues.list(per_page=101), InvalidOptionError, "1 to 100"),
        (lambda: queue(name="a", total_concurrency_limit=-1), InvalidQueueError, "total_concurrency"),
        (lambda: queue(name="a", rate_limit="soon"), InvalidQueueError, "rate_limit='100/m'"),
        (lambda: queue(name="a", rate_limit_per_key="1/y"), InvalidQueueError, "rate_limit_per_key="),
        (lambda: queue(name="a", size_limit=0), InvalidQueueError, "size_limit=0 is not a size"),
        (lambda: queue(name="a", rate_limt="1/s"), UnknownTaskOptionError, "Did you mean 'rate_limit'"),
    ],
)  # fmt: skip
def test_bad_input(trigger: TriggerCelery, call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_everything_that_a_queue_declares_reaches_the_workers(
    trigger: TriggerCelery, engine: Engine
) -> None:
    declared = queue(
        name="mail",
        concurrency_limit=2,
        total_concurrency_limit=9,
        rate_limit=100,
        rate_limit_per_key="5/m",
        size_limit=50,
    )
    engine.register(queues={"mail": declare_queue(declared)})
    state = queues.retrieve("mail").sync()
    assert (state.total_concurrency_limit, state.size_limit) == (9, 50)
    assert (state.rate_limit, state.rate_limit_per_key) == ("100/s", "5/m")
    engine.register(queues={"mail": QueueDeclaration("mail")})
    state = queues.retrieve("mail").sync()
    assert state.rate_limit is state.size_limit is state.concurrency_limit is None


def test_two_declarations_that_differ_in_a_rate_warn() -> None:
    first = queue(name="q", rate_limit="1/s")
    with pytest.warns(UserWarning, match="rate_limit=2/s .before: 1/s.: the first counts"):
        assert queue(name="q", rate_limit="2/s") is first


def test_two_declarations_that_differ_in_several_options_warn_once() -> None:
    queue(name="twice", concurrency_limit=2, size_limit=50)
    with pytest.warns(UserWarning, match="concurrency_limit=3 .+, size_limit=None") as warned:
        queue(name="twice", concurrency_limit=3)
    assert len(warned) == 1


def test_the_old_form_at_a_trigger(trigger: TriggerCelery, engine: Engine) -> None:
    engine.register(tasks=["t"], queues={"known": 4})
    mine = task(id="t")(nothing)
    with pytest.warns(DeprecationWarning, match="queue='made' when triggering") as caught:
        made = mine.trigger(None, queue={"name": "made", "concurrency_limit": 1}).sync()
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="earlier versions"):
        known = mine.trigger(None, queue={"name": "known", "concurrency_limit": 1}).sync()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unknown = mine.trigger(None, queue="nobodys").sync()
    statuses = [runs.retrieve(handle.id).sync().status for handle in (made, known, unknown)]
    assert statuses == ["queued", "queued", "pending_version"]
    assert queues.retrieve("made").sync().concurrency_limit == 1
    assert queues.retrieve("known").sync().concurrency_limit == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"concurrency_limit": 1}, "must be text"),
        ({"name": "a", "limit": 1}, "not 'limit'"),
        ({"name": "a", "concurrency_limit": -1}, "from 0 to"),
        ({}, "must be text"),
    ],
)
def test_bad_old_forms_at_a_trigger(
    trigger: TriggerCelery, given: dict[str, Any], message: str
) -> None:
    mine = task(id="t")(nothing)
    with pytest.raises(InvalidQueueError, match=message):
        mine.trigger(None, queue=given)


def test_a_full_queue_refuses_the_trigger(trigger: TriggerCelery, engine: Engine) -> None:
    trigger.configure(queue_size_limit=1)
    mine = task(id="t")(nothing)
    mine.trigger().sync()
    with pytest.raises(QueueFullError, match="Nothing was triggered"):
        mine.trigger().sync()
    batch = mine.batch_trigger([{"payload": None}]).sync()
    assert runs.retrieve(batch.runs[0].id).sync().status == "system_failure"
