"""Runs are listed newest first, by filters, in pages without gaps or duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.driving import RETENTION, Engine
from trigger_celery.engine import listing, triggering
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.codec import dump_links
from trigger_celery.engine.listing import RunFilter, RunPage
from trigger_celery.engine.triggering import NOWHERE, NewRun, Origin
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.idempotency import scoped_key
from trigger_celery.model.ids import batch_id
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.store.op import Flow


def page(engine: Engine, limit: int = 100, cursor: str | None = None, **filters: Any) -> RunPage:
    return engine.run(listing.list_runs(engine.scope, RunFilter(**filters), limit, cursor))


def pages(engine: Engine, limit: int = 100, **filters: Any) -> Iterator[list[Run]]:
    cursor = None
    while True:
        found = page(engine, limit, cursor, **filters)
        yield list(found.runs)
        cursor = found.next_cursor
        if cursor is None:
            return


def listed(engine: Engine, limit: int = 100, **filters: Any) -> list[str]:
    return [run.id for part in pages(engine, limit, **filters) for run in part]


def test_newest_first(engine: Engine) -> None:
    runs = []
    for _ in range(5):
        runs.append(engine.create())
        engine.clock.advance(1)
    assert listed(engine) == runs[::-1]


def test_an_empty_environment_has_an_empty_page(engine: Engine) -> None:
    found = page(engine)
    assert (list(found.runs), found.next_cursor) == ([], None)


def test_by_status(engine: Engine) -> None:
    engine.register()
    done, executing, queued = engine.create_many(3)
    engine.end(engine.take_one())
    engine.take_one()
    delayed = engine.create(delay=1000)
    for status, wanted in (
        ("COMPLETED", done), ("EXECUTING", executing), ("QUEUED", queued), ("DELAYED", delayed)
    ):  # fmt: skip
        assert listed(engine, statuses=(RunStatus(status),)) == [wanted]
    both = (RunStatus.COMPLETED, RunStatus.QUEUED)
    assert set(listed(engine, statuses=both)) == {done, queued}


def test_by_task_tag_and_queue(engine: Engine) -> None:
    a = engine.create("a", tags=("x", "y"))
    b = engine.create("b", tags=("y",), queue="q")
    assert listed(engine, tasks=("a",)) == [a]
    assert set(listed(engine, tasks=("a", "b"))) == {a, b}
    assert listed(engine, tags=("x",)) == [a]
    assert set(listed(engine, tags=("x", "y"))) == {a, b}
    assert listed(engine, queues=("q",)) == [b]
    assert listed(engine, queues=("task/a",)) == [a]
    assert listed(engine, queues=("task/b",)) == []
    assert listed(engine, tasks=("b",), tags=("x",)) == []
    assert listed(engine, tasks=("b",), tags=("y",), queues=("q",)) == [b]
    assert listed(engine, tags=("nobody",)) == []


def test_by_time_both_ends_included(engine: Engine) -> None:
    runs = []
    for _ in range(4):
        runs.append(engine.create())
        engine.clock.advance(10_000)
    at = [engine.read(run).created_at for run in runs]
    assert listed(engine, created_from=at[1], created_to=at[2]) == [runs[2], runs[1]]
    assert listed(engine, created_from=at[2]) == [runs[3], runs[2]]
    assert listed(engine, created_to=at[0]) == [runs[0]]
    assert listed(engine, created_to=datetime(2020, 1, 1, tzinfo=UTC)) == []


def test_1000_runs_of_the_same_millisecond_come_once_each(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggering, "MAX_RUNS_PER_CALL", 1000)
    new = [engine.deployed(engine.new_run(tags=("xyz"[n % 7 % 3],))) for n in range(1000)]
    runs = engine.run(triggering.create_runs(engine.scope, new, RETENTION))
    assert len({engine.client.zscore(engine.key("index_status", "QUEUED"), r) for r in runs}) == 1
    for run in runs[::50]:
        engine.cancel(run)
    wanted = sorted(runs, reverse=True)
    for limit in (100, 37, 7):
        assert listed(engine, limit) == wanted
        assert listed(engine, limit, tags=("z", "y", "x")) == wanted
        rare = listed(engine, limit, tags=("z", "y", "x"), statuses=(RunStatus.CANCELED,))
        assert rare == sorted(runs[::50], reverse=True)
    sizes = [len(part) for part in pages(engine, 100)]
    assert sizes[:10] == [100] * 10
    assert sum(sizes) == 1000


def test_new_runs_do_not_disturb_somebody_who_pages(engine: Engine) -> None:
    runs = engine.create_many(30)
    found, cursor = [], None
    while True:
        part = page(engine, 7, cursor)
        found += [run.id for run in part.runs]
        cursor = part.next_cursor
        engine.clock.advance(1)
        engine.create()
        if cursor is None:
            break
    assert found == sorted(runs, reverse=True)


def test_a_run_that_changes_its_status_meanwhile_is_neither_lost_nor_doubled(
    engine: Engine,
) -> None:
    engine.register()
    runs = engine.create_many(60)
    found, cursor = [], None
    while True:
        part = page(engine, 10, cursor)
        found += [run.id for run in part.runs]
        cursor = part.next_cursor
        for grant in engine.take(want=8):
            engine.end(grant)
        if cursor is None:
            break
    assert found == sorted(runs, reverse=True)


def test_a_page_may_start_behind_a_run_that_is_gone(engine: Engine) -> None:
    runs = engine.create_many(10)
    first = page(engine, 4)
    engine.cancel(first.runs[-1].id)
    engine.clock.advance(8 * 86_400_000)
    engine.prune()
    rest = page(engine, 100, first.next_cursor)
    assert [run.id for run in rest.runs] == sorted(runs, reverse=True)[4:]


def test_a_rare_run_is_found_behind_many_others(engine: Engine) -> None:
    rare = engine.create("t", queue="rare")
    engine.create_many(400, "t", queue="often")
    assert listed(engine, 5, tasks=("t",), queues=("rare",)) == [rare]


@pytest.mark.parametrize("limit", [0, -1, 101, 1.0, True, "5", None])
def test_a_page_has_1_to_100_runs(engine: Engine, limit: Any) -> None:
    with pytest.raises(InvalidOptionError, match="a page has 1 to 100 runs"):
        page(engine, limit)


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "cnVu", "\u00e9", "MSBydW4=", "bmFuIHg="])
def test_a_cursor_is_passed_on_as_it_is(engine: Engine, cursor: str) -> None:
    with pytest.raises(InvalidOptionError, match="pass `next_cursor` of the page before"):
        page(engine, 5, cursor)


@dataclass(frozen=True)
class Spec:
    task: str
    queue: str
    tags: frozenset[str]
    version: str
    test: bool
    machine: str
    parent: int | None
    step: int
    cancelled: bool


some_runs = st.lists(
    st.builds(
        Spec,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["task/a", "task/b", "q"]),
        st.frozensets(st.sampled_from(["x", "y", "z"])),
        st.sampled_from(["", "1", "2"]),
        st.booleans(),
        st.sampled_from(["", "micro"]),
        st.none() | st.integers(0, 5),
        st.sampled_from([0, 0, 1]),
        st.booleans(),
    ),
    max_size=25,
)


def subset(values: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=3).map(tuple)


chosen_filters = st.fixed_dictionaries(
    {},
    optional={
        "tasks": subset(["a", "b"]),
        "queues": subset(["q", "task/a", "task/b"]),
        "tags": subset(["x", "y", "z", "nobody"]),
        "all_tags": st.booleans(),
        "statuses": subset([RunStatus.PENDING_VERSION, RunStatus.CANCELED]),
        "versions": subset(["1", "2", "3"]),
        "machines": subset(["micro", "small-1x"]),
        "is_test": st.none() | st.booleans(),
    },
)


def below(parent: Run) -> Origin:
    links = dump_links(parent.id, parent.root_id or parent.id, parent.depth + 1)
    return Origin(parent.id, links)


def create(engine: Engine, spec: Spec, known: Sequence[Run]) -> Run:
    engine.clock.advance(spec.step * 10)
    parent = known[spec.parent] if spec.parent is not None and spec.parent < len(known) else None
    extras = Extras(machine=spec.machine, version=spec.version, test=spec.test)
    new = engine.new_run(spec.task, queue=spec.queue, tags=sorted(spec.tags), extras=extras)
    links = below(parent) if parent else NOWHERE
    run = engine.trigger(new, links).id
    if spec.cancelled:
        engine.cancel(run)
    return engine.read(run)


def fits(run: Run, wanted: RunFilter) -> bool:
    tags = [tag in run.tags for tag in wanted.tags]
    assert run.created_at is not None
    return (
        run.status in (wanted.statuses or (run.status,))
        and run.task_identifier in (wanted.tasks or (run.task_identifier,))
        and run.queue in (wanted.queues or (run.queue,))
        and (not tags or (all(tags) if wanted.all_tags else any(tags)))
        and run.version in (wanted.versions or (run.version,))
        and run.machine in (wanted.machines or (run.machine,))
        and wanted.is_test in (None, run.is_test)
        and wanted.parent in ("", run.parent_id)
        and wanted.root in ("", run.root_id)
        and (wanted.created_from is None or run.created_at >= wanted.created_from)
        and (wanted.created_to is None or run.created_at <= wanted.created_to)
    )


def one_of_them(data: st.DataObject, label: str, values: Sequence[Any]) -> Any:
    index = data.draw(st.none() | st.integers(0, 30), label=label)
    return values[index % len(values)] if values and index is not None else None


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), specs=some_runs, filters=chosen_filters)
def test_any_filter_in_any_page_size_finds_what_fits(
    engine: Engine, data: st.DataObject, specs: list[Spec], filters: dict[str, Any]
) -> None:
    engine.client.flushall()
    known: list[Run] = []
    for spec in specs:
        known.append(create(engine, spec, known))
    known = [engine.read(run.id) for run in known]
    wanted = RunFilter(
        **filters,
        parent=one_of_them(data, "parent", [run.id for run in known]) or "",
        root=one_of_them(data, "root", [run.id for run in known]) or "",
        created_from=one_of_them(data, "from", [run.created_at for run in known]),
        created_to=one_of_them(data, "to", [run.created_at for run in known]),
    )
    expected = [
        run.id
        for run in sorted(known, key=lambda run: (run.created_at, run.id), reverse=True)
        if fits(run, wanted)
    ]
    limit = data.draw(st.integers(1, 10), label="limit")
    cut = [page_of(engine, limit, wanted)]
    while cut[-1].next_cursor is not None:
        cut.append(page_of(engine, limit, wanted, after=cut[-1].next_cursor))
    assert [run.id for part in cut for run in part] == expected
    assert all(len(part) == limit for part in cut[:-1])
    # And the same way back.
    full = [part for part in cut if len(part)]
    for newer, older in zip(full[-2::-1], full[:0:-1], strict=True):
        back = page_of(engine, limit, wanted, before=older.previous_cursor)
        assert [run.id for run in back] == [run.id for run in newer]
    engine.fire()  # children of cancelled runs


def page_of(engine: Engine, limit: int, wanted: RunFilter, **cursor: str | None) -> RunPage:
    return engine.run(listing.list_runs(engine.scope, wanted, limit, **cursor))


def test_the_runs_of_a_batch(engine: Engine) -> None:
    engine.create()
    new = [engine.new_run(tags=["even"] if n % 2 == 0 else []) for n in range(20)]
    batch = engine.batch(new)
    wanted = sorted((run.id for run in new), reverse=True)
    assert listed(engine, 7, batch=batch) == wanted
    assert listed(engine, 3, batch=batch, tags=("even",)) == [
        run.id for run in reversed(new) if run.tags
    ]
    assert listed(engine, batch=batch_id()) == []


def test_a_family_of_thousands_is_found_by_its_root(engine: Engine) -> None:
    root = engine.create("root")
    engine.clock.advance(1)
    runs = [engine.new_run("child") for _ in range(1200)]
    engine.run(triggering.create_runs(engine.scope, runs, RETENTION, below(engine.read(root))))
    engine.clock.advance(1)
    engine.create_many(300, "other")
    wanted = sorted((run.id for run in runs), reverse=True)
    assert listed(engine, 100, root=root) == wanted
    assert listed(engine, 100, parent=root) == wanted


def test_each_call_does_a_bounded_piece_of_work(engine: Engine) -> None:
    """What two large kinds of runs have in common is looked for piece by piece."""
    both = engine.create(tags=("a", "b"))
    tags = ("a", "a", "a", "b")
    engine.run(
        triggering.create_runs(
            engine.scope, [engine.new_run(tags=tags[n % 4 :][:1]) for n in range(6000)], RETENTION
        )
    )
    pieces = []

    def flow() -> Flow[RunPage]:
        wanted = RunFilter(tags=("a", "b"), all_tags=True)
        steps = listing.list_runs(engine.scope, wanted, 10)
        reply = None
        while True:
            try:
                call = steps.send(reply)
            except StopIteration as stop:
                return stop.value
            reply = yield call
            pieces.append(reply)

    assert [run.id for run in engine.run(flow())] == [both]
    assert 1 < len(pieces) < 6


def test_a_page_of_everything_ends_with_the_last_run(engine: Engine) -> None:
    """No empty page follows when it is known that nothing is left."""
    engine.create_many(20)
    assert page(engine, 20).next_cursor is None
    assert page(engine, 19).next_cursor is not None


def test_pages_go_one_way(engine: Engine) -> None:
    engine.create_many(3)
    cursor = page(engine, 1).next_cursor
    with pytest.raises(InvalidOptionError, match="not both"):
        engine.run(listing.list_runs(engine.scope, RunFilter(), 1, cursor, cursor))


def test_a_run_that_stands_twice_in_a_batch_is_listed_once(engine: Engine) -> None:
    def keyed() -> NewRun:
        return engine.new_run(extras=Extras(key=scoped_key(["k"], "global")))

    batch = engine.batch([keyed(), engine.new_run(), keyed()])
    first, second, again = engine.read_batch(batch).runs
    assert again == first
    wanted = RunFilter(batch=batch)
    assert {run.id for run in page_of(engine, 10, wanted)} == {first, second}
    newer = page_of(engine, 1, wanted)
    older = page_of(engine, 1, wanted, after=newer.next_cursor)
    assert {run.id for part in (newer, older) for run in part} == {first, second}
    assert older.next_cursor is None
