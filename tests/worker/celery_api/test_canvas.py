"""Canvas of our tasks, of plain ones, and of both: chains, groups, chords, callbacks."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chain, chord, group

from tests.waiting import wait_until
from tests.worker.celery_api.calling import PATIENCE, Api
from trigger_celery import runs
from trigger_celery.model.ids import run_id_of

pytestmark = pytest.mark.processes


def test_a_chain_of_ours(api: Api) -> None:
    result = chain(api.ours.double.s(3), api.ours.add_ten.s(), api.ours.double.s())()
    assert result.get(timeout=PATIENCE) == 32
    assert result.parent.get(timeout=PATIENCE) == 16
    assert result.parent.parent.result == 6
    run, before = (runs.retrieve(run_id_of(one.id)).sync() for one in (result, result.parent))
    assert run.parent_id == before.id
    assert run.root_id == run_id_of(result.parent.parent.id)


@pytest.mark.parametrize("first", ["ours", "plain"])
def test_a_chain_of_both(api: Api, first: str) -> None:
    parts = [api.ours.double.s(3), api.plain.add.s(4), api.ours.add_ten.s(), api.plain.add.s(1)]
    if first == "plain":
        parts = [api.plain.add.s(2, 4), *parts[2:], api.ours.double.s()]
    assert chain(*parts)().get(timeout=PATIENCE) == (21 if first == "ours" else 34)


def test_a_chain_across_waits_and_retries(api: Api) -> None:
    result = chain(
        api.ours.rough.s(1), api.plain.add.s(10), api.ours.rough.s(), api.ours.notes.s()
    )()
    assert result.get(timeout=PATIENCE) == 13
    assert [one.more["payload"] for one in api.deployment.ledger(event="noted")][-1] == 13


def test_a_group_of_both(api: Api) -> None:
    result = group(api.ours.double.s(1), api.plain.add.s(2), api.ours.rough.s(5))()
    assert result.get(timeout=PATIENCE) == [2, 3, 6]
    first_plain = group(api.plain.add.s(2), api.ours.double.s(1))()
    assert first_plain.get(timeout=PATIENCE) == [3, 2]


@pytest.mark.parametrize("body", ["ours", "plain"])
def test_a_chord(api: Api, body: str) -> None:
    header = [api.ours.double.s(1), api.ours.rough.s(2), api.plain.add.s(3), api.taken.add.s(4)]
    total = api.ours.total.s() if body == "ours" else api.plain.total.s()
    assert chord(header)(total).get(timeout=PATIENCE) == 14


def test_a_chain_with_a_group_inside(api: Api) -> None:
    inside = group(api.ours.add_ten.s(), api.plain.add.s())
    assert chain(api.ours.double.s(2), inside, api.ours.total.s())().get(timeout=PATIENCE) == 19


def test_a_chord_whose_part_fails(api: Api) -> None:
    result = chord([api.ours.double.s(1), api.ours.fails.s("luck")])(api.ours.total.s())
    with pytest.raises(Exception, match="no luck"):
        result.get(timeout=PATIENCE)


def test_a_chain_whose_step_fails(api: Api) -> None:
    result = chain(api.ours.fails.s("way"), api.ours.double.s(), api.plain.add.s())()
    with pytest.raises(Exception, match="no way"):
        result.get(timeout=PATIENCE)
    wait_until(lambda: result.parent.state == "FAILURE", "the next step is told")


def test_link_and_link_error(api: Api) -> None:
    good = api.ours.double.apply_async((21,), link=[api.ours.notes.s(), api.plain.add.s(1000)])
    noted = lambda: [one.more["payload"] for one in api.deployment.ledger(event="noted")]  # noqa: E731
    wait_until(lambda: 42 in noted(), "the callback of ours")
    added = lambda: [one.more["values"] for one in api.deployment.ledger(event="plain-add")]  # noqa: E731
    wait_until(lambda: [42, 1000] in added(), "the plain callback")
    assert good.get(timeout=PATIENCE) == 42
    bad = api.ours.fails.apply_async(
        ("hope",),
        link_error=[api.plain.errback.s(), api.plain.errback_by_id.s(), api.ours.notes.s()],
    )

    def told(event: str) -> list[dict[str, Any]]:
        found = [one.more for one in api.deployment.ledger(event=event)]
        return [one for one in found if bad.id in (one.get("task"), one.get("payload"))]

    for event in ("errback", "errback-by-id", "noted"):
        wait_until(lambda event=event: len(told(event)) == 1, f"{event} is told")
    assert told("errback")[0]["problem"] == "no hope"


def test_map_starmap_and_chunks(api: Api) -> None:
    assert api.ours.double.map([1, 2, 3])().get(timeout=PATIENCE) == [2, 4, 6]
    assert api.ours.double.starmap([(4,), (5,)])().get(timeout=PATIENCE) == [8, 10]
    chunks = api.ours.double.chunks([(1,), (2,), (3,)], 2)
    assert chunks().get(timeout=PATIENCE) == [[2, 4], [6]]
    assert chain(api.ours.double.map([1, 2]), api.plain.total.s())().get(timeout=PATIENCE) == 6


def test_runs_of_a_group_obey_their_queue(api: Api) -> None:
    before = len(api.deployment.ledger(event="leave"))
    result = group(api.ours.one_at_a_time.s(number) for number in range(5))()
    assert result.get(timeout=PATIENCE) == [0, 1, 2, 3, 4]
    marks = [one for one in api.deployment.ledger() if one.event in ("enter", "leave")]
    marks = sorted(marks, key=lambda one: one.at)[2 * before :]
    assert [one.event for one in marks] == ["enter", "leave"] * 5


def test_replace(api: Api) -> None:
    assert api.ours.replaces.delay(3).get(timeout=PATIENCE) == 16
    result = chain(api.ours.replaces.s(3), api.plain.add.s(1), api.ours.double.s())()
    assert result.get(timeout=PATIENCE) == 34
