"""Taking Celery tasks over and giving them back, seen by their callers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu import Exchange, Queue
from kombu.exceptions import EncodeError

from tests.deploying import deploy
from tests.driving import Engine
from trigger_celery import (
    DefinitionError,
    SettingsError,
    TriggerCelery,
    UnknownTaskOptionError,
    queue,
    runs,
)
from trigger_celery.bridge.registry import REGISTRY


@pytest.fixture
def managed(trigger: TriggerCelery, app: Celery) -> Iterator[TriggerCelery]:
    """The binding with tasks of `shop` taken over."""
    app.conf.broker_url = "memory://"
    trigger.configure(**{**trigger.keywords, "manage": ["shop.*"]})
    app.finalize()
    yield trigger
    trigger.taken_over.give_back()


def make(app: Any, name: str, **options: Any) -> Any:
    @app.task(name=name, shared=False, **options)
    def add(x: int, y: int = 1) -> int:
        """Add."""
        return x + y

    return add


def paid(result: AsyncResult[Any]) -> Any:
    return runs.retrieve(result.id).sync()


def made() -> list[Any]:
    """Return the runs that are no records of messages."""
    return [run for run in runs.list().sync().runs if not run.recorded]


def test_a_call_makes_a_run(managed: TriggerCelery, app: Celery) -> None:
    add = make(app, "shop.add")
    managed.taken_over.look()
    deploy(managed)
    run = paid(add.apply_async((1,), {"y": 2}, countdown=60, concurrency_key="k"))
    assert (run.status, run.payload) == ("DELAYED", {"args": [1], "kwargs": {"y": 2}})
    assert run.concurrency_key == "k"
    assert add(1, 2) == 3  # a direct call is a call


def test_a_name_that_does_not_fit_stays_celerys(managed: TriggerCelery, app: Celery) -> None:
    other = make(app, "mail.add")
    other.delay(1)
    assert made() == []


def test_giving_back(managed: TriggerCelery, app: Celery) -> None:
    add = make(app, "shop.add")
    before = add.run
    add.delay(1)
    assert add.run is not before
    managed.taken_over.give_back()
    managed.configure(**{**managed.keywords, "manage": []})
    assert add.run is before
    assert "apply_async" not in vars(add)
    add.delay(1)
    assert len(made()) == 1


def test_unbinding_takes_everything_back(registry: None, app: Any) -> None:
    plain = app.send_task, app.AsyncResult
    app.finalize()
    add = make(app, "shop.add")
    attributes = dict(vars(add))
    bound = TriggerCelery(app, redis_url="redis://localhost:1", manage=["shop.*"])
    app.finalize()
    bound.taken_over.look()
    assert vars(add) != attributes
    bound.unbind()
    assert vars(add) == attributes
    assert (app.send_task, app.AsyncResult) == plain


def test_a_task_may_say_it_itself(trigger: TriggerCelery, app: Celery) -> None:
    shared = queue(name="shared", concurrency_limit=2)
    add = make(app, "any.add", trigger={"queue": shared, "ttl": "10m", "tags": ["x"]})
    run = paid(add.delay(1))
    assert (run.queue, run.ttl, run.tags) == ("shared", "10m", ("x",))
    never = make(app, "any.never", trigger=False)
    assert not trigger.taken_over.takes(never.name)
    trigger.taken_over.give_back()


def test_a_rate_limit_is_the_queues(managed: TriggerCelery, app: Celery) -> None:
    make(app, "shop.add", rate_limit="10/m")
    app.finalize()
    assert managed.taken_over.takes("shop.add")
    assert REGISTRY.tasks["shop.add"].queue.rate_limit == "10/m"


@pytest.mark.parametrize(("broker", "seconds"), [("amqp://x", 300.0), ("redis://x", -300.0)])
def test_priorities(managed: TriggerCelery, app: Celery, broker: str, seconds: float) -> None:
    app.conf.broker_url = broker
    assert paid(make(app, "shop.add").apply_async((1,), priority=5)).priority == seconds


def test_a_queue_is_the_worker_queue(managed: TriggerCelery, app: Celery, engine: Engine) -> None:
    add = make(app, "shop.add")
    app.conf.task_create_missing_queues = True
    engine.register(tasks=("shop.add",), worker_queues=("slow",))
    add.apply_async((1,), queue="slow")
    assert engine.take_one(worker_queues=("slow",)).task == "shop.add"


def test_an_exchange_and_a_routing_key_say_the_queue_too(
    managed: TriggerCelery, app: Celery, engine: Engine
) -> None:
    """As they do where there is a message: also beside the default queue, which Celery adds."""
    media, plain = Exchange("media", type="topic"), Exchange("celery")
    app.conf.task_queues = (
        Queue("celery", plain, routing_key="celery"),
        Queue("reports", plain, routing_key="monthly"),
        Queue("video", media, routing_key="media.video.#"),
        Queue("image", media, routing_key="*.image"),
        Queue("all", Exchange("news", type="fanout")),
    )
    add = make(app, "shop.add")
    engine.register(tasks=("shop.add",), worker_queues=tuple(app.amqp.queues))
    for options, queue_name in (
        ({"routing_key": "monthly"}, "reports"),
        ({"exchange": "media", "routing_key": "media.video.long.ones"}, "video"),
        ({"exchange": "media", "routing_key": "media.video"}, "video"),
        ({"exchange": media, "routing_key": "media.image"}, "image"),
        ({"exchange": "news"}, "all"),
        ({"queue": "video", "routing_key": "media.image"}, "image"),
        ({"queue": "video", "routing_key": "nobody.knows"}, "video"),
        ({"exchange": "nowhere", "routing_key": "x"}, "celery"),
    ):
        add.apply_async((1,), **options)
        assert engine.take(worker_queues=(queue_name,)), options


def test_times_of_all_kinds(managed: TriggerCelery, app: Celery) -> None:
    add = make(app, "shop.add")
    managed.taken_over.look()
    deploy(managed)
    for time in (timedelta(minutes=1), "1m"):
        assert paid(add.apply_async((1,), countdown=time)).status == "DELAYED"


def test_the_queue_of_a_call_counts_where_the_task_is_not_known(
    managed: TriggerCelery, app: Celery, engine: Engine
) -> None:
    """Its workers declared another one, which is for calls that name none."""
    app.conf.task_routes = {"shop.routed": {"queue": "by-route"}}
    app.conf.task_queues = [
        *(Queue(name) for name in ("celery", "named", "by-route", "normal")),
        Queue("keyed", Exchange("shop"), routing_key="shop.key"),
    ]
    tasks = ("shop.elsewhere", "shop.routed")
    engine.register(tasks=tasks, worker_queues=("normal",))
    calls: list[tuple[str, dict[str, Any], str]] = [
        ("shop.elsewhere", {}, "normal"),
        ("shop.elsewhere", {"queue": "named"}, "named"),
        ("shop.elsewhere", {"exchange": "shop", "routing_key": "shop.key"}, "keyed"),
        ("shop.routed", {}, "by-route"),
        ("shop.routed", {"queue": "named"}, "named"),
    ]
    for name, options, where in calls:
        result = app.send_task(name, (1,), **options)
        assert engine.take_one(worker_queues=(where,)).id == paid(result).id


@dataclass
class Point:
    x: int


class Color(Enum):
    RED = 1


class Name(str):
    pass


@pytest.mark.parametrize("value", [Celery, Point(1), [Point(1)], {1: 2}, Color.RED, Path("a")])
def test_arguments_that_no_run_can_carry_go_through_the_broker(
    managed: TriggerCelery, app: Celery, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Also those that would come back as a dict, or as text: the task is called with what it was."""
    add = make(app, "shop.add", serializer="pickle")
    add.delay(value)
    assert "is sent through the broker" in caplog.text
    assert made() == []


@pytest.mark.parametrize("value", [(1, 2), {"a": [(1,)]}, Name("x"), frozenset({1})])
def test_what_only_pickle_gives_back_exactly(
    managed: TriggerCelery, app: Celery, value: Any
) -> None:
    make(app, "shop.add", serializer="pickle").delay(value)
    assert made() == []
    make(app, "shop.plain").delay(value)
    assert len(made()) == 1  # JSON makes lists and text of it, too


def test_an_object_that_json_does_not_know_is_refused_as_before(
    managed: TriggerCelery, app: Celery
) -> None:
    with pytest.raises(EncodeError, match="Point"):
        make(app, "shop.add").delay(Point(1))


def test_a_task_that_is_not_known_here(managed: TriggerCelery, app: Celery) -> None:
    result = app.send_task("shop.elsewhere", (1,), task_id="abc")
    assert paid(result).payload == {"args": [1], "kwargs": {}}
    assert paid(result).celery_task_id == "abc"


class Lookup:
    """A registry that knows how to find a task, and nothing else."""

    def __init__(self, tasks: Any) -> None:
        self._found = tasks

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __contains__(self, name: str) -> bool:
        return name in self._found


def test_a_registry_of_somebodys_own_finds_tasks(
    managed: TriggerCelery, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(app, "shop.add", trigger={"tags": ["known"]})
    monkeypatch.setattr(app, "_tasks", Lookup(app._tasks))
    assert not managed.taken_over.takes("other.add")
    assert paid(app.send_task("shop.add", (1,))).tags == ("known",)
    assert paid(app.send_task("shop.elsewhere", (1,))).tags == ()


def test_options_per_pattern(trigger: TriggerCelery, app: Celery) -> None:
    app.conf.broker_url = "memory://"
    options = {"shop.*": {"concurrency_key": lambda x, y=1: f"user-{x}"}}
    trigger.configure(**{**trigger.keywords, "manage": options})
    assert paid(make(app, "shop.add").delay(7)).concurrency_key == "user-7"
    trigger.taken_over.give_back()


def test_bad_options(trigger: TriggerCelery, app: Celery) -> None:
    app.finalize()
    make(app, "a.add", trigger={"concurrency_limit": 4})
    with pytest.raises(UnknownTaskOptionError, match="no option 'concurrency_limit'"):
        trigger.taken_over.takes("a.add")
    make(app, "b.add", trigger={"ttl": "soon"})
    with pytest.raises(DefinitionError, match="soon"):
        trigger.taken_over.takes("b.add")
    trigger.configure(**{**trigger.keywords, "manage": 4})
    with pytest.raises(SettingsError, match="manage"):
        trigger.taken_over.takes("c.add")
