import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.model.run_error import INTERNAL_ERROR, RunError


def caught(raiser):
    try:
        raiser()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def raised(exc):
    def raiser():
        raise exc

    return caught(raiser)


def test_an_error_has_name_message_and_a_stack_trace_that_ends_in_the_raise():
    error = RunError.of(raised(ValueError("no label")))
    assert (error.name, error.message) == ("ValueError", "no label")
    assert error.type == error.kind == "BUILT_IN_ERROR"
    assert error.stack_trace.startswith("Traceback (most recent call last):")
    assert error.stack_trace.endswith("ValueError: no label")
    assert "raise exc" in error.stack_trace


def test_an_error_that_was_never_raised_has_no_frames():
    assert RunError.of(ValueError("x")).stack_trace == "ValueError: x"


def test_causes_and_groups_are_part_of_the_stack_trace():
    def raiser():
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")]) from OSError("three")

    error = RunError.of(caught(raiser))
    assert error.message == "several (2 sub-exceptions)"
    for part in ("ValueError: one", "KeyError: 'two'", "OSError: three", "direct cause"):
        assert part in error.stack_trace


def test_local_variables_are_not_kept():
    def raiser():
        password = "-".join(["hunter", "2"])
        raise ValueError(len(password))

    assert "hunter-2" not in RunError.of(caught(raiser)).stack_trace


class BrokenStr(Exception):
    def __str__(self):
        raise RuntimeError("broken")

    __repr__ = __str__


class NotText(Exception):
    def __str__(self):
        return 5


class Dying(Exception):
    def __str__(self):
        raise GeneratorExit


@pytest.mark.parametrize("kind", [BrokenStr, NotText, Dying])
def test_an_exception_whose_str_fails_is_still_described(kind):
    error = RunError.of(raised(kind()))
    assert error.name == kind.__name__
    assert "failed" in error.message
    assert kind.__name__ in error.stack_trace


def test_an_interrupt_while_describing_is_not_swallowed():
    class Interrupted(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RunError.of(Interrupted())


def test_a_name_or_a_trace_that_cannot_be_read_does_no_harm(monkeypatch):
    class Nameless(type):
        @property
        def __name__(cls):
            raise RuntimeError

    class Odd(Exception, metaclass=Nameless):
        pass

    error = RunError.of(Odd("text"))
    assert (error.name, error.message) == ("Exception", "text")
    monkeypatch.setattr("trigger_celery.model.run_error._bounded", None)
    assert RunError.of(ValueError("x")) == RunError("ValueError", "x", None)


def test_a_huge_message_is_cut():
    error = RunError.of(raised(ValueError("x" * 10_000_000)))
    assert error.message == "x" * 1000
    assert max(map(len, error.stack_trace.splitlines())) == 1024


def test_a_message_of_very_many_lines_is_cut_in_the_middle():
    error = RunError.of(raised(ValueError("\n" * 100_000 + "end")))
    lines = error.stack_trace.split("\n")
    assert len(lines) == 401
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "end"
    assert "lines left out" in lines[200]


def test_a_deep_stack_keeps_the_outermost_45_and_the_innermost_5_frames():
    def odd(n):
        return even(n - 1) if n else 1 / 0

    def even(n):
        return odd(n - 1) if n else 1 / 0

    error = RunError.of(caught(lambda: odd(300)))
    frames = [line for line in error.stack_trace.split("\n") if line.startswith('  File "')]
    assert len(frames) == 51
    assert "frames left out" in frames[45]
    assert "1 / 0" in error.stack_trace.split("\n")[-3:][0] + error.stack_trace.split("\n")[-2]


def test_a_recursion_error_is_described():
    def endless():
        endless()

    error = RunError.of(caught(endless))
    assert error.name == "RecursionError"
    assert len(error.stack_trace) < 20_000


@given(st.text(st.characters()) | st.just("a\0b\ud800c"))
def test_the_message_can_be_stored_as_utf8_without_nul(text):
    error = RunError.of(ValueError(text))
    for part in (error.message, error.stack_trace):
        assert "\0" not in part
        part.encode()


def test_errors_come_back_from_their_dict():
    for error in (
        RunError.of(raised(ValueError("x"))),
        RunError.internal("TASK_RUN_STALLED", "no heartbeat"),
        RunError(None, ""),
    ):
        assert RunError.from_dict(json.loads(json.dumps(error.to_dict()))) == error
    assert RunError.from_dict({"unknown": 1}) == RunError(None, "")


def test_an_internal_error_has_a_code():
    error = RunError.internal("MAX_DURATION_EXCEEDED", "over 60s")
    assert error.to_dict() == {
        "type": INTERNAL_ERROR,
        "message": "over 60s",
        "code": "MAX_DURATION_EXCEEDED",
    }
