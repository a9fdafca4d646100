"""Trigger options that say when a run counts, as callers and runs use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from tests.conftest import Environment
from tests.driving import DAY, HOUR, Engine
from trigger_celery import (
    BatchItem,
    DefinitionError,
    IdempotencyKeyNotFoundError,
    InputError,
    InvalidDurationError,
    RunNotFoundError,
    RunStatus,
    StateError,
    Task,
    TriggerCelery,
    batch,
    define_config,
    idempotency_keys,
    runs,
    task,
    tasks,
)
from trigger_celery.bridge import precedence
from trigger_celery.bridge.durable import Durable, current_scope
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.codec import dump_links
from trigger_celery.model.retry import Retry


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="t")
    def my_task(payload: Any = None) -> None:
        """Do nothing."""

    return my_task


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register("w1", ["t", "u"])


@contextmanager
def in_run(grant: Grant, attempt: int = 1, *, test: bool = False) -> Iterator[None]:
    """Execute code of a run: every time behind what was executed before."""
    key = (grant.id, attempt)
    durable = _DURABLES.setdefault(
        key, Durable(grant.id, grant.epoch, attempt, dump_links(grant.id, grant.id, 1), test=test)
    )
    before = current_scope.set(durable.root)
    yield
    current_scope.reset(before)


_DURABLES: dict[tuple[str, int], Durable] = {}


def handle_of(answer: Any) -> tuple[str, bool]:
    return answer.id, answer.is_cached


def test_every_way_of_triggering_takes_a_key(my_task: Task[Any, Any], engine: Engine) -> None:
    first = my_task.trigger(1, idempotency_key="k").sync()
    assert first.is_cached is False
    ways = [
        my_task.trigger(2, idempotency_key="k").sync(),
        tasks.trigger("t", 2, idempotency_key=["k"]).sync(),
        tasks.trigger("t", 2, idempotency_key=idempotency_keys.create("k").sync()).sync(),
        my_task.batch_trigger([BatchItem(2, {"idempotency_key": "k"})]).sync().runs[0],
        tasks.batch_trigger("t", [{"payload": 2, "options": {"idempotency_key": "k"}}])
        .sync()
        .runs[0],
        batch.trigger([{"id": "t", "options": {"idempotency_key": "k"}}]).sync().runs[0],
        batch.trigger_by_task([{"task": my_task, "options": {"idempotency_key": "k"}}])
        .sync()
        .runs[0],
    ]
    assert {handle_of(handle) for handle in ways} == {(first.id, True)}
    assert my_task.apply_async((2,), idempotency_key="k").id == first.id
    engine.end(engine.take_one())
    with pytest.warns(DeprecationWarning, match="runs.poll"):
        polling = tasks.trigger_and_poll("t", 2, idempotency_key="k", timeout=5)
    assert polling.sync().payload == 1
    assert runs.retrieve(first).sync().idempotency_key == "k"


def test_the_time_a_key_counts(my_task: Task[Any, Any], engine: Engine) -> None:
    first = my_task.trigger(idempotency_key="k", idempotency_key_ttl="1h").sync()
    engine.clock.advance(HOUR - 5000)
    assert my_task.trigger(idempotency_key="k").sync().id == first.id
    engine.clock.advance(5000)
    again = my_task.trigger(idempotency_key="k").sync()
    assert again.id != first.id
    engine.clock.advance(30 * DAY - 5000)
    assert my_task.trigger(idempotency_key="k").sync().id == again.id
    engine.clock.advance(5001)
    assert my_task.trigger(idempotency_key="k").sync().is_cached is False


@pytest.mark.parametrize("options", [{"tags": "x" * 129}, {"debounce": {}}, {"ttl": -1}])
def test_options_that_do_not_fit_are_refused_even_if_the_key_hits(
    my_task: Task[Any, Any], options: dict[str, Any]
) -> None:
    my_task.trigger(idempotency_key="k").sync()
    with pytest.raises(InputError):
        my_task.trigger(idempotency_key="k", **options)


@pytest.fixture
def grants(my_task: Task[Any, Any], engine: Engine) -> list[Grant]:
    return [engine.begin(), engine.begin()]


def test_in_a_run_text_counts_in_the_run(my_task: Task[Any, Any], grants: list[Grant]) -> None:
    outside = my_task.trigger(idempotency_key="k").sync()
    found = []
    for grant in grants:
        for attempt in (1, 2):
            with in_run(grant, attempt):
                found.append(my_task.trigger(idempotency_key="k").sync().id)
                everywhere = idempotency_keys.create("k", scope="global").sync()
                assert my_task.trigger(idempotency_key=everywhere).sync().id == outside.id
    assert found[0] == found[1] != found[2] == found[3]
    assert outside.id not in found
    run = runs.retrieve(found[0]).sync()
    assert (run.idempotency_key, run.idempotency_key_scope) == ("k", "run")


def test_reset(my_task: Task[Any, Any], grants: list[Grant]) -> None:
    def use(attempt: int, **scope: Any) -> bool:
        with in_run(grants[0], attempt):
            key = idempotency_keys.create(["a", 1], **scope).sync()
            return my_task.trigger(idempotency_key=key).sync().is_cached

    where = {"parent_run_id": grants[0].id}
    for scope, given in (
        ("run", where), ("attempt", {**where, "attempt_number": 2}), ("global", {}),
    ):  # fmt: skip
        assert [use(2, scope=scope), use(2, scope=scope)] == [False, True]
        idempotency_keys.reset("t", ["a", 1], scope=scope, **given).sync()  # type: ignore[arg-type]
        assert use(2, scope=scope) is False
    with in_run(grants[0], 2):
        idempotency_keys.reset(my_task, ["a", 1]).sync()
        idempotency_keys.reset(my_task, ["a", 1], scope="attempt").sync()
    made = idempotency_keys.create(["a", 1]).sync()
    idempotency_keys.reset(my_task, made).sync()
    with pytest.raises(IdempotencyKeyNotFoundError, match="'a-1' in scope global"):
        idempotency_keys.reset(my_task, made).sync()


@pytest.mark.parametrize(
    "where",
    [{"scope": "run"}, {"scope": "attempt"}, {"scope": "run", "parent_run_id": "x"},
     {"scope": "attempt", "parent_run_id": "run_" + "0" * 26},
     {"scope": "attempt", "parent_run_id": "run_" + "0" * 26, "attempt_number": 0},
     {"scope": "galaxy"}],
)  # fmt: skip
def test_reset_needs_to_know_the_run(my_task: Task[Any, Any], where: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="scope="):
        idempotency_keys.reset(my_task, "k", **where).sync()


def test_debounced_calls_are_one_run(my_task: Task[Any, Any], engine: Engine) -> None:
    def call(payload: int, **options: Any) -> Any:
        debounce = {"key": "d", "delay": "10s", "mode": "trailing", "max_delay": "1h"}
        return my_task.trigger(payload, debounce=debounce, **options).sync()

    first = call(1, tags=["a"], metadata={"n": 1}, max_attempts=2, max_duration=60, machine="micro")
    assert call(2).id == first.id
    run = runs.retrieve(first).sync()
    assert (run.status, run.payload, run.tags, run.metadata) == ("DELAYED", 2, ("a",), {"n": 1})
    assert call(3, tags=["b"], max_attempts=7, machine="large-2x", priority=9).is_cached
    run = runs.retrieve(first).sync()
    assert (run.payload, run.tags, run.max_attempts, run.machine) == (3, ("b",), 7, "large-2x")
    assert run.priority == 0
    engine.clock.advance(10_001)
    engine.fire()
    assert call(4).is_cached is False


def test_an_explicit_delay_is_the_first_of_a_debounce(my_task: Task[Any, Any]) -> None:
    at = datetime.now(UTC) + timedelta(days=2)
    handle = my_task.trigger(delay=at, debounce={"key": "d", "delay": "1s"}).sync()
    due = runs.retrieve(handle).sync().delayed_until
    assert due is not None
    assert abs(due - at) < timedelta(seconds=1)


@pytest.mark.parametrize(
    "delay",
    [
        lambda: timedelta(hours=1),
        lambda: 3600,
        lambda: "1h",
        lambda: datetime.now(UTC) + timedelta(hours=1),
        # A local time, as users write it.
        lambda: datetime.now() + timedelta(hours=1),  # noqa: DTZ005
        lambda: (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    ],
    ids=["timedelta", "seconds", "duration", "datetime", "local datetime", "ISO 8601"],
)
def test_delays(my_task: Task[Any, Any], delay: Callable[[], Any]) -> None:
    due = runs.retrieve(my_task.trigger(delay=delay()).sync()).sync().delayed_until
    assert due is not None
    assert abs(due - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=5)


def test_a_delayed_run_is_rescheduled(my_task: Task[Any, Any], engine: Engine) -> None:
    handle = my_task.trigger(delay="1d").sync()
    run = runs.reschedule(handle, delay="1h").sync()
    assert run.delayed_until is not None
    assert run.delayed_until - datetime.now(UTC) < timedelta(hours=2)
    engine.clock.advance(HOUR + 1)
    engine.fire()
    with pytest.raises(StateError, match="is QUEUED: only a run that is still DELAYED"):
        runs.reschedule(handle, delay="1h").sync()
    with pytest.raises(InvalidDurationError, match="neither an ISO date nor a duration"):
        runs.reschedule(handle, delay="soon")
    with pytest.raises(RunNotFoundError):
        runs.reschedule("run_" + "0" * 26, delay="1h").sync()


def test_labels_are_stored_and_shown(my_task: Task[Any, Any], engine: Engine) -> None:
    handle = my_task.trigger(machine="medium-2x", version="20260821.3", test=True, ttl=90).sync()
    run = runs.retrieve(handle).sync()
    assert (run.machine, run.version, run.is_test, run.ttl) == (
        "medium-2x",
        "20260821.3",
        True,
        "1m30s",
    )
    assert runs.list(task="t").sync().runs[0].to_dict()["is_test"] is True
    engine.clock.advance(90_001)
    engine.fire()
    assert runs.retrieve(handle).sync().status is RunStatus.EXPIRED


def test_children_of_a_test_are_tests(my_task: Task[Any, Any], grants: list[Grant]) -> None:
    with in_run(grants[0], test=True):
        handles = [my_task.trigger(**o).sync() for o in ({}, {"tags": "a"}, {"test": False})]
        handles += my_task.batch_trigger([BatchItem(), BatchItem(1, {"ttl": 5})]).sync().runs
    found = [runs.retrieve(handle).sync().is_test for handle in handles]
    assert found == [True, True, False, True, True]
    assert runs.retrieve(my_task.trigger().sync()).sync().is_test is False


@pytest.mark.parametrize("given", [None, 0, 1])
@pytest.mark.parametrize("own", [None, 0, 2])
@pytest.mark.parametrize("setting", [None, 0, 3])
def test_a_trigger_comes_before_its_task_before_the_settings(
    trigger: TriggerCelery, given: int | None, own: int | None, setting: int | None
) -> None:
    names = [None, "micro", "small-1x", "small-2x"]
    machines = {number: names[number] for number in (1, 2, 3)}
    wanted = next((value for value in (given, own, setting) if value is not None), 0)
    named = next((machines[value] for value in (given, own, setting) if value), None)
    trigger.configure(ttl=setting, machine=machines.get(setting or 0))

    @task(id="t", ttl=own, machine=machines.get(own or 0))  # type: ignore[arg-type]
    def declared() -> None:
        """Do nothing."""

    for made in (
        declared.trigger(ttl=given, machine=machines.get(given or 0)),
        tasks.trigger("t", ttl=given, machine=machines.get(given or 0)),
        declared.trigger(ttl=given, machine=machines.get(given or 0), tags="a", version="1"),
    ):
        run = runs.retrieve(made.sync()).sync()
        assert (run.ttl, run.machine) == (f"{wanted}s" if wanted else None, named)


RETRIES = [None, Retry(max_attempts=2), Retry(max_attempts=3)]


@pytest.mark.parametrize(
    ("given", "own", "setting", "wanted"),
    [
        (None, None, None, None),
        (None, None, 2, 2),
        (None, 1, 2, 1),
        (0, 1, 2, 0),
        (0, None, None, 0),
    ],
)
def test_durations_and_attempts(
    trigger: TriggerCelery,
    given: int | None,
    own: int | None,
    setting: int | None,
    wanted: int | None,
) -> None:
    def seconds(place: int | None) -> int | None:
        return None if place is None else 10 + place

    def retry(place: int | None) -> Retry | None:
        return None if place is None else Retry(max_attempts=10 + place)

    trigger.configure(max_duration=seconds(setting), default_retry=retry(setting))

    @task(id="t", max_duration=seconds(own), retry=retry(own))
    def declared() -> None:
        """Do nothing."""

    settings, definition = trigger.settings, declared.definition
    ms = None if given is None else 10_000
    assert precedence.max_duration_of(ms, definition, settings) == seconds(wanted)
    policy = precedence.retry_of(seconds(given), definition, settings)
    attempts = None if own is None and setting is None else seconds(wanted)
    assert (policy and policy.max_attempts) == attempts


def test_a_ttl_and_a_machine_that_a_task_cannot_have(trigger: TriggerCelery) -> None:
    for bad in ({"ttl": -1}, {"ttl": "soon"}, {"machine": "huge"}):
        with pytest.raises(DefinitionError, match=r"task\(id='bad'\)"):
            task(id="bad", **bad)  # type: ignore[call-overload]


def test_default_machine_in_the_configuration(trigger: TriggerCelery) -> None:
    with pytest.warns(DeprecationWarning, match="now called machine"):
        assert define_config(default_machine="micro").settings["machine"] == "micro"


def test_a_plain_trigger_stores_nothing_of_this(
    my_task: Task[Any, Any], engine: Engine, client: redis.Redis, environment: Environment
) -> None:
    fields = engine.fields(my_task.trigger(1).sync().id)
    assert not {"opts", "ttl", "idem", "iuntil", "deb"} & set(fields)
