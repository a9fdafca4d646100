"""Every order of the steps of workers, callers and services, for small casts of them.

Each order is played from a new store; then everybody reacts until nothing happens any more. By then
no run may sleep on, no ending may count twice, and the store must be in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from tests import police
from tests.driving import HOUR, Engine, origin
from tests.engine.simulated import Ask, Join, Make, Send, Step, World, gather, wait
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.triggering import NewRun
from trigger_celery.model.idempotency import scoped_key
from trigger_celery.model.ids import batch_id

Actors = Sequence[Sequence[Step]]
Cast = Callable[[World], Actors]


def orders(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield every order in which actors can do so many steps each, each in its own order."""
    if not any(lengths):
        yield []
    for actor, left in enumerate(lengths):
        if left:
            less = [*lengths[:actor], left - 1, *lengths[actor + 1 :]]
            for rest in orders(less):
                yield [actor, *rest]


def begun(world: World, program: Sequence[object], queue: str = "q") -> str:
    """Return a run that w1 has begun to execute."""
    run = world.create(tuple(program), queue=queue)  # type: ignore[arg-type]
    assert world.processes["w1"].take(1)
    return run


def steps(world: World, run: str, count: int, session: str = "w1") -> list[Step]:
    """Return steps of the process that executes the run."""
    return [lambda: world.processes[session].step(run)] * count


def take_and_end(world: World) -> None:
    """The other process begins a run, if there is one, and ends it."""
    w2 = world.processes["w2"]
    w2.take(1)
    for run in list(w2.memory):
        w2.step(run)


def competitor(world: World) -> list[Step]:
    """Return the steps of another run of the same queue: it begins when there is a slot, and ends."""
    world.create(queue="q")
    w2 = world.processes["w2"]
    return [lambda: w2.take(1), lambda: [w2.step(run) for run in list(w2.memory)]]


def the_token_is_completed_times_out_and_its_run_is_cancelled(world: World) -> Actors:
    token = world.engine.token(HOUR)
    run = begun(world, wait(token))

    def time_out() -> None:
        world.engine.clock.advance(HOUR + 1)
        for session in ("w1", "w2"):
            world.engine.renew(session)
        world.engine.fire()

    return [
        steps(world, run, 2),
        [lambda: world.complete(token)] * 2,
        [time_out],
        [lambda: world.engine.cancel(run)],
    ]


def the_run_is_evicted_while_its_token_is_completed_and_its_slot_is_taken(world: World) -> Actors:
    token = world.engine.token()
    run = begun(world, wait(token))
    return [
        steps(world, run, 2),
        [lambda: world.complete(token)],
        [lambda: world.processes["w1"].evict(run)],
        competitor(world),
    ]


def the_worker_is_lost_while_the_token_is_completed(world: World) -> Actors:
    token = world.engine.token()
    run = begun(world, wait(token))
    w2 = world.processes["w2"]
    return [
        steps(world, run, 2),
        [lambda: world.complete(token)],
        [lambda: world.lapse("w1")],
        [lambda: w2.take(1)],
    ]


def the_worker_dies_while_the_token_is_completed_and_its_slot_is_taken(world: World) -> Actors:
    token = world.engine.token()
    run = begun(world, wait(token))

    def die() -> None:
        world.processes["w1"].alive = False

    return [
        steps(world, run, 1),
        [lambda: world.complete(token)],
        [die, lambda: world.lapse("w1")],
        competitor(world),
    ]


def the_worker_closes_while_the_token_is_completed_and_its_slot_is_taken(world: World) -> Actors:
    token = world.engine.token()
    run = begun(world, wait(token))

    def close() -> None:
        world.processes["w1"].alive = False
        world.engine.close("w1")

    return [steps(world, run, 1), [lambda: world.complete(token)], [close], competitor(world)]


def a_parent_and_its_child_share_one_slot(world: World) -> Actors:
    child = world.engine.new_run(queue="q")
    parent = begun(world, (Make(child), *wait(child.id)))
    w2 = world.processes["w2"]
    return [
        steps(world, parent, 3),
        [lambda: w2.take(1), lambda: w2.step(child.id)],
        [lambda: world.engine.cancel(parent)],
        [lambda: world.processes["w1"].evict(parent)],
    ]


def parent_and_child_of_one_worker_that_is_lost(world: World) -> Actors:
    child = world.engine.new_run(queue="q", max_attempts=1)
    parent = begun(world, (Make(child), *wait(child.id)))
    w1 = world.processes["w1"]
    return [
        steps(world, parent, 2),
        [lambda: w1.take(1), lambda: w1.step(child.id)],
        [lambda: world.lapse("w1")],
        [lambda: world.engine.cancel(child.id) if world.engine.status(child.id) else None],
    ]


def two_waits_at_once(world: World) -> Actors:
    first, second = world.engine.token(), world.engine.token()
    run = begun(world, gather(first, second))
    return [
        steps(world, run, 4),
        [lambda: world.complete(first)],
        [lambda: world.complete(second)],
        [lambda: world.processes["w1"].evict(run)],
    ]


def one_of_two_waits_is_enough_and_the_slot_is_taken(world: World) -> Actors:
    first, second = world.engine.token(), world.engine.token()
    run = begun(world, (Ask(first, park=False), Ask(second, park=False), Join((first,))))
    return [
        steps(world, run, 3),
        [lambda: world.complete(first)],
        [lambda: world.complete(second)],
        competitor(world),
    ]


def a_wait_is_given_up_by_its_own_code(world: World) -> Actors:
    token = world.engine.token()
    run = begun(world, wait(token))
    w1 = world.processes["w1"]

    def give_up() -> None:
        memory = w1.memory.get(run)
        if memory is not None and memory.parked:
            world.engine.resume(memory.grant)

    return [steps(world, run, 2), [give_up], [lambda: world.complete(token)], competitor(world)]


def a_batch_is_made_while_its_runs_end_and_its_parent_is_cancelled(world: World) -> Actors:
    new = tuple(world.engine.new_run(queue="q") for _ in range(2))
    batch = batch_id()
    parent = begun(world, [*(Send(batch, new, call) for call in range(3)), *wait(batch)], "other")
    w2 = world.processes["w2"]

    def take_and_end() -> None:
        w2.take(1)
        for run in list(w2.memory):
            w2.step(run)

    return [
        steps(world, parent, 5),
        [take_and_end] * 2,
        [lambda: world.engine.cancel(parent)],
    ]


def two_runs_want_to_wait_for_each_other(world: World) -> Actors:
    first = begun(world, (), "a")
    second = begun(world, wait(first), "b")
    world.processes["w1"].memory[first].program = wait(second)
    world.programs[first] = wait(second)
    return [
        steps(world, first, 2),
        steps(world, second, 2),
        [lambda: world.processes["w1"].evict(first)],
    ]


def replies_are_lost_and_calls_sent_again(world: World) -> Actors:
    token = world.engine.token()
    run = begun(world, wait(token))
    w1 = world.processes["w1"]

    def again() -> None:
        memory = w1.memory.get(run)
        if memory is not None and memory.at == 1 and memory.parked:
            word = world.engine.wait(memory.grant, token, path="0", call=token)
            assert word in ("parked", "ready")
            if word == "ready":
                assert world.engine.status(run) == "EXECUTING", "it goes on without a slot"

    return [
        steps(world, run, 2),
        [again],
        [lambda: world.complete(token)],
        competitor(world),
    ]


def two_parents_ask_for_one_child_by_its_key(world: World) -> Actors:
    key = Extras(key=scoped_key(["k"], "global"))
    first, second = (world.engine.new_run(queue="q", extras=key) for _ in range(2))
    parents = [begun(world, (), queue) for queue in ("a", "b")]
    w1 = world.processes["w1"]

    def ask(parent: str, new: NewRun) -> list[Step]:
        def make() -> None:
            memory = w1.memory.get(parent)
            if memory is not None:
                found = world.engine.trigger(new, origin(memory.grant, "make", "make")).id
                memory.program = world.programs[parent] = wait(found)

        return [make, *steps(world, parent, 1)]

    return [
        ask(parents[0], first),
        ask(parents[1], second),
        [lambda: take_and_end(world)],
        [
            lambda: [
                world.engine.cancel(run.id)
                for run in (first, second)
                if world.engine.status(run.id)
            ]
        ],
    ]


def a_batch_counts_a_run_that_is_taken_expires_or_is_cancelled(world: World) -> Actors:
    extras = Extras(key=scoped_key(["k"], "global"), ttl_ms=1000)
    child = world.engine.trigger(world.engine.new_run(queue="q", extras=extras)).id
    keyed = Extras(key=extras.key)
    new = tuple(world.engine.new_run(queue="q", extras=keyed) for _ in range(2))
    batch = batch_id()
    parent = begun(world, [*(Send(batch, new, call) for call in range(3)), *wait(batch)], "other")
    world.processes["w1"].step(parent)

    def pass_time() -> None:
        world.engine.clock.advance(1001)
        world.engine.fire()

    return [
        steps(world, parent, 3),
        [lambda: take_and_end(world)],
        [pass_time],
        [lambda: world.engine.cancel(child)],
    ]


CASTS: list[Cast] = [
    the_token_is_completed_times_out_and_its_run_is_cancelled,
    the_run_is_evicted_while_its_token_is_completed_and_its_slot_is_taken,
    the_worker_is_lost_while_the_token_is_completed,
    the_worker_dies_while_the_token_is_completed_and_its_slot_is_taken,
    the_worker_closes_while_the_token_is_completed_and_its_slot_is_taken,
    a_parent_and_its_child_share_one_slot,
    parent_and_child_of_one_worker_that_is_lost,
    two_waits_at_once,
    one_of_two_waits_is_enough_and_the_slot_is_taken,
    a_wait_is_given_up_by_its_own_code,
    a_batch_is_made_while_its_runs_end_and_its_parent_is_cancelled,
    two_runs_want_to_wait_for_each_other,
    replies_are_lost_and_calls_sent_again,
    two_parents_ask_for_one_child_by_its_key,
    a_batch_counts_a_run_that_is_taken_expires_or_is_cancelled,
]


LOSING_WORKERS = [
    the_worker_is_lost_while_the_token_is_completed,
    the_worker_dies_while_the_token_is_completed_and_its_slot_is_taken,
    the_worker_closes_while_the_token_is_completed_and_its_slot_is_taken,
    parent_and_child_of_one_worker_that_is_lost,
]


def play(engine: Engine, cast: Cast, order: Sequence[int] | None) -> list[int]:
    """Play one order of the steps and look at the end; returns how many steps the actors have."""
    engine.client.flushall()
    engine.known.clear()
    world = World(engine, {"q": 1})
    actors = cast(world)
    if order is not None:
        positions = [iter(actor) for actor in actors]
        for actor in order:
            next(positions[actor])()
        world.come_to_rest()
        world.check()
        for token in engine.members("tokens"):
            if engine.waitpoint_fields(token)["status"] == "WAITING":
                world.complete(token)
        world.come_to_rest()
        space = world.check(finally_=True)
        if cast not in LOSING_WORKERS:
            attempts = {f.get("attempt", "1") for f in space.runs.values()}
            assert attempts == {"1"}, "a replay counted as an attempt"
        assert not space.one("slots", {})
        assert not list(police.problems(space))
    return [len(actor) for actor in actors]


@pytest.mark.parametrize("cast", CASTS, ids=lambda cast: cast.__name__)
def test_in_every_order(engine: Engine, cast: Cast) -> None:
    lengths = play(engine, cast, None)
    played = 0
    for order in orders(lengths):
        try:
            play(engine, cast, order)
        except BaseException:
            print(f"in the order {order} of actors with {lengths} steps")
            raise
        played += 1
    assert played > 20
