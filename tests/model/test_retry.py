import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import DefinitionError
from trigger_celery.model.retry import MAX_ATTEMPTS, REQUEUE_FROM_MS, Retry, decide, effective

policies = st.builds(
    lambda attempts, factor, low, extra, randomize: Retry(
        attempts, factor, low, low + extra, randomize
    ),
    st.integers(1, MAX_ATTEMPTS),
    st.floats(0.001, 1e300),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.booleans(),
)
randoms = st.floats(0, 1, exclude_max=True)


def test_the_defaults_are_those_of_trigger_dev():
    assert Retry() == Retry(3, 2.0, 1000, 60_000, True)
    assert (MAX_ATTEMPTS, REQUEUE_FROM_MS) == (250, 30_000)


def test_delays_grow_by_the_factor_up_to_the_cap():
    policy = Retry(10, 1.8, 500, 30_000, False)
    delays = [policy.delay_ms(attempt, lambda: 0.9) for attempt in range(1, 10)]
    assert delays == [500, 900, 1620, 2916, 5249, 9448, 17006, 30_000, 30_000]


def test_jitter_is_from_one_to_two_and_the_cap_comes_after_it():
    policy = Retry(min_timeout_in_ms=1000, max_timeout_in_ms=1500)
    assert policy.delay_ms(1, lambda: 0.0) == 1000
    assert policy.delay_ms(1, lambda: 0.25) == 1250
    assert policy.delay_ms(1, lambda: 0.99) == 1500


@given(policies, st.integers(1, MAX_ATTEMPTS), randoms)
def test_a_delay_is_between_nothing_and_the_cap(policy, attempt, random):
    delay = policy.delay_ms(attempt, lambda: random)
    assert 0 <= delay <= policy.max_timeout_in_ms
    if policy.factor >= 1:
        assert delay >= policy.min_timeout_in_ms


@given(policies, randoms)
def test_a_factor_of_one_or_more_never_shortens_the_delays(policy, random):
    delays = [policy.delay_ms(attempt, lambda: random) for attempt in range(1, 30)]
    if policy.factor >= 1:
        assert delays == sorted(delays)
    else:
        assert delays == sorted(delays, reverse=True)


def test_a_minimum_of_zero_stays_zero_however_large_the_factor():
    assert Retry(250, 1e300, 0, 1000).delay_ms(249, lambda: 0.5) == 0
    assert Retry(250, 1e300, 1, 1000).delay_ms(249, lambda: 0.5) == 1000


@pytest.mark.parametrize(
    "bad",
    [
        {"max_attempts": 0},
        {"max_attempts": 251},
        {"max_attempts": 2.0},
        {"max_attempts": True},
        {"max_attempts": None},
        {"factor": 0},
        {"factor": -1},
        {"factor": float("nan")},
        {"factor": float("inf")},
        {"factor": True},
        {"factor": "2"},
        {"min_timeout_in_ms": -1},
        {"min_timeout_in_ms": 1.5},
        {"max_timeout_in_ms": -1},
        {"max_timeout_in_ms": True},
        {"min_timeout_in_ms": 2, "max_timeout_in_ms": 1},
        {"randomize": 1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_its_place(bad):
    with pytest.raises(DefinitionError, match=next(iter(bad))):
        Retry(**bad)
    with pytest.raises(DefinitionError, match=r"^task 'a': "):
        Retry.of(bad, where="task 'a'")


def test_a_mapping_is_laid_over_the_defaults():
    assert Retry.of({"max_attempts": 5}, where="x") == Retry(max_attempts=5)
    assert Retry.of({}, where="x") == Retry()
    assert Retry.of(None, where="x") is None
    policy = Retry(7)
    assert Retry.of(policy, where="x") is policy


def test_an_unknown_option_is_refused_with_the_nearest_known_one():
    with pytest.raises(DefinitionError, match=r"task 'a'.*Did you mean 'max_attempts'"):
        Retry.of({"maxAttempts": 3}, where="task 'a'")
    with pytest.raises(DefinitionError, match="int"):
        Retry.of(3, where="task 'a'")


def test_the_task_wins_over_the_default_and_the_two_are_not_merged():
    task, default = Retry(factor=3), Retry(max_attempts=9)
    assert effective(task, default, None) is task
    assert effective(None, default, None) is default
    assert effective(None, None, None) is None


def test_max_attempts_of_a_run_overrides_the_number_only_and_makes_no_policy():
    task = Retry(3, factor=3)
    assert effective(task, None, 7) == Retry(7, factor=3)
    assert effective(task, None, 0).max_attempts == 1
    assert effective(task, None, 999).max_attempts == 250
    assert effective(None, None, 7) is None
    assert task.max_attempts == 3


def test_the_decision_is_final_without_policy_attempts_or_permission():
    policy = Retry(3, randomize=False)
    rng = lambda: 0.0  # noqa: E731
    assert decide(policy, 1, retryable=True, rng=rng) == 1000
    assert decide(policy, 2, retryable=True, rng=rng) == 2000
    assert decide(policy, 3, retryable=True, rng=rng) is None
    assert decide(policy, 1, retryable=False, rng=rng) is None
    assert decide(None, 1, retryable=True, rng=rng) is None
    assert decide(Retry(2, min_timeout_in_ms=0), 1, retryable=True, rng=rng) == 0


@given(policies, randoms)
def test_a_run_that_always_fails_has_exactly_its_number_of_attempts(policy, random):
    attempt = 1
    while decide(policy, attempt, retryable=True, rng=lambda: random) is not None:
        attempt += 1
    assert attempt == policy.max_attempts
