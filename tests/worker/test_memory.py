"""What the kernel killed for its memory, and what somebody else killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from billiard.common import human_status
from celery.exceptions import TimeLimitExceeded, WorkerLostError

from trigger_celery.engine.attempts import Grant
from trigger_celery.model.retry import Retry
from trigger_celery.settings import Settings
from trigger_celery.worker.celery_internals import was_killed
from trigger_celery.worker.memory import KernelKills, counter_files, delay_of_move, larger_machine

LARGER = Retry(min_timeout_in_ms=70, randomize=False, out_of_memory={"machine": "large-1x"})


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    file = tmp_path / "memory.events"
    file.write_text("low 0\noom 9\noom_kill 2\noom_group_kill 7\n")
    return file


def test_a_process_was_killed_for_its_memory_if_the_kernel_says_so(counter: Path) -> None:
    kills = KernelKills([counter.with_name("none"), counter])
    assert not kills.take_one()
    counter.write_text("oom_kill 4\n")
    assert [kills.take_one() for _ in range(3)] == [True, True, False]


def test_a_kill_of_long_ago_explains_no_process_of_now(counter: Path) -> None:
    kills = KernelKills([counter], window=0)
    counter.write_text("oom_kill 3\n")
    kills.look()
    kills.look()
    assert not kills.take_one()
    counter.write_text("oom_kill 4\n")
    kills.look()
    assert kills.take_one()
    kills.look()
    assert not kills.take_one()


def test_a_worker_with_a_short_lease_looks_no_more_often(counter: Path) -> None:
    kills = KernelKills([counter])
    counter.write_text("oom_kill 3\n")
    for _ in range(9):
        kills.look()
    assert kills.take_one()


@pytest.mark.parametrize("text", [None, "nothing of this kind"])
def test_where_the_kernel_does_not_count_nothing_is_known(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "memory.events"
    if text is not None:
        file.write_text(text)
    kills = KernelKills([file])
    file.write_text("oom_kill 1\n")
    kills.look()
    assert not kills.take_one()


def test_the_control_group_is_asked_before_the_machine() -> None:
    assert counter_files()[-1] == Path("/proc/vmstat")
    assert Path("/sys/fs/cgroup/memory.events") in counter_files()


def test_only_the_signal_of_the_kernel_counts() -> None:
    def died(status: int) -> WorkerLostError:
        return WorkerLostError(f"Worker exited prematurely: {human_status(status)} Job: 1.")

    assert was_killed(died(-9))
    assert not any(map(was_killed, (died(-11), died(-15), died(9), TimeLimitExceeded(9))))


@pytest.mark.parametrize(
    ("policy", "machine", "attempt", "wanted"),
    [
        (LARGER, None, 1, 70),
        (LARGER, None, 2, 140),
        (LARGER, None, 3, None),  # no attempts left
        (LARGER, "large-1x", 1, None),  # it is there already
        (LARGER, "large-2x", 1, None),
        (LARGER, "medium-2x", 1, 70),
        (Retry(), None, 1, None),
        (None, None, 1, None),
    ],
)
def test_what_follows(
    policy: Retry | None, machine: str | None, attempt: int, wanted: int | None
) -> None:
    options = f'{{"machine":"{machine}"}}' if machine else ""
    grant = Grant("run_1", "1", attempt, True, "t", "q", "", 0, 0, 0, None, (), "", "", options=options)  # fmt: skip
    assert delay_of_move(policy, grant, Settings("redis://")) == wanted
    on_large = Settings("redis://", machine="large-1x")
    assert machine or larger_machine(policy, grant, on_large) is None
