import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.model.run import RunStatus
from trigger_celery.model.transitions import FINAL, TRANSITIONS, allowed, mermaid

S = RunStatus


def reachable_from(start):
    seen, pending = set(), [start]
    while pending:
        for after in TRANSITIONS[pending.pop()] - seen:
            seen.add(after)
            pending.append(after)
    return seen


def test_the_table_speaks_of_every_status():
    assert set(TRANSITIONS) == {None, *RunStatus}


def test_a_final_status_has_no_exit_and_only_final_ones_have_none():
    assert {status for status, afters in TRANSITIONS.items() if not afters} == FINAL
    assert {
        S.COMPLETED,
        S.CANCELED,
        S.FAILED,
        S.CRASHED,
        S.SYSTEM_FAILURE,
        S.EXPIRED,
        S.TIMED_OUT,
    } == FINAL


def test_every_status_is_reachable_from_creation():
    assert reachable_from(None) == set(RunStatus)


@pytest.mark.parametrize("status", sorted(set(RunStatus) - FINAL))
def test_every_unfinished_run_can_be_cancelled_and_can_complete(status):
    assert allowed(status, S.CANCELED)
    assert S.COMPLETED in reachable_from(status)


@pytest.mark.parametrize("status", RunStatus)
def test_staying_is_no_transition(status):
    assert not allowed(status, status)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, S.QUEUED),
        (S.QUEUED, S.PENDING_VERSION),
        (S.DEQUEUED, S.PENDING_VERSION),
        (S.DEQUEUED, S.QUEUED),
        (S.EXECUTING, S.QUEUED),
        (S.EXECUTING, S.CRASHED),
        (S.WAITING, S.QUEUED),
        (S.WAITING, S.EXECUTING),
    ],
)
def test_what_the_life_of_a_run_needs_is_allowed(before, after):
    assert allowed(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, S.EXECUTING),
        (S.QUEUED, S.EXECUTING),
        (S.EXECUTING, S.EXPIRED),
        (S.WAITING, S.EXPIRED),
        (S.WAITING, S.COMPLETED),
        (S.DELAYED, S.EXPIRED),
        (S.COMPLETED, S.FAILED),
        (S.CANCELED, S.QUEUED),
    ],
)
def test_what_would_break_a_promise_is_not_allowed(before, after):
    assert not allowed(before, after)


@given(st.data())
def test_any_walk_ends_in_at_most_one_final_status(data):
    status, finals = None, 0
    for _ in range(30):
        afters = sorted(TRANSITIONS[status])
        if not afters:
            break
        status = data.draw(st.sampled_from(afters))
        finals += status.is_final
    assert finals == status.is_final


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        TRANSITIONS[None] = frozenset()


def test_the_drawing_shows_exactly_the_table():
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    arrows = [re.fullmatch(r" {4}(\S+) --> (\S+)", line).groups() for line in lines[1:]]
    ends = {before for before, after in arrows if after == "[*]"}
    assert ends == {status.value for status in FINAL}
    drawn = {
        (None if before == "[*]" else S(before), S(after))
        for before, after in arrows
        if after != "[*]"
    }
    assert drawn == {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
