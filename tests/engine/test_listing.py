"""Runs are listed newest first, by filters, in pages without gaps or duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.driving import RETENTION, Engine
from trigger_celery.engine import querying, triggering
from trigger_celery.engine.querying import RunFilter, RunPage
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.run import Run, RunStatus


def page(engine: Engine, limit: int = 100, cursor: str | None = None, **filters: Any) -> RunPage:
    return engine.run(querying.list_runs(engine.scope, RunFilter(**filters), limit, cursor))


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
    new = [engine.new_run(tags=("xyz"[n % 7 % 3],)) for n in range(1000)]
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
class Wanted:
    task: str
    queue: str
    tags: frozenset[str]
    step: int
    end: str


some_runs = st.lists(
    st.builds(
        Wanted,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["task/a", "task/b", "q"]),
        st.frozensets(st.sampled_from(["x", "y", "z"])),
        st.sampled_from([0, 0, 1]),
        st.sampled_from(["", "cancel"]),
    ),
    max_size=25,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), wanted=some_runs)
def test_any_filter_in_any_page_size_finds_what_fits(
    engine: Engine, data: st.DataObject, wanted: list[Wanted]
) -> None:
    engine.client.flushall()
    known: list[tuple[int, str, Wanted, str]] = []
    for spec in wanted:
        engine.clock.advance(spec.step * 10)
        run = engine.create(spec.task, queue=spec.queue, tags=sorted(spec.tags))
        status = str(engine.cancel(run)) if spec.end else "QUEUED"
        known.append((int(engine.fields(run)["created"]), run, spec, status))
    chosen = {
        name: tuple(data.draw(st.lists(st.sampled_from(values), unique=True), label=name))
        for name, values in (
            ("tasks", ["a", "b"]),
            ("queues", ["q", "task/a", "task/b"]),
            ("tags", ["x", "y", "z", "nobody"]),
            ("statuses", [RunStatus.QUEUED, RunStatus.CANCELED]),
        )
    }
    times = sorted({created for created, *_ in known}) or [0]
    ends = [data.draw(st.none() | st.integers(0, 30), label=name) for name in ("from", "to")]
    oldest, newest = (None if end is None else times[end % len(times)] for end in ends)
    fitting = sorted(
        (
            (created, run)
            for created, run, spec, status in known
            if (not chosen["tasks"] or spec.task in chosen["tasks"])
            and (not chosen["queues"] or spec.queue in chosen["queues"])
            and (not chosen["tags"] or spec.tags & set(chosen["tags"]))
            and (not chosen["statuses"] or status in chosen["statuses"])
            and (oldest is None or created >= oldest)
            and (newest is None or created <= newest)
        ),
        reverse=True,
    )
    found = listed(
        engine,
        data.draw(st.integers(1, 10), label="limit"),
        created_from=_moment(oldest),
        created_to=_moment(newest),
        **chosen,
    )
    assert found == [run for _, run in fitting]


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
