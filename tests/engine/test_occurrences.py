"""What fires of a schedule that is due, against counting all of its occurrences."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from trigger_celery.engine.occurrences import MOST_AT_ONCE, DueSchedule, plan
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.schedule import CatchUp

MINUTE = 60_000
START = int(datetime(2030, 3, 9, tzinfo=UTC).timestamp() * 1000)  # New York's clock changes at 7:00


@settings(max_examples=150, deadline=None)
@given(
    pattern=st.sampled_from(
        ["* * * * *", "*/7 * * * *", "30 * * * *", "0 2 * * *", "30 1,2 * * *"]
    ),
    zone=st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"]),
    begin=st.integers(0, 3 * 1440),
    late=st.integers(0, 3 * 1440 * MINUTE),
    policy=st.sampled_from(["none", "latest", "all"]),
    limit=st.integers(1, 300),
)
def test_the_plan_is_what_counting_gives(
    pattern: str, zone: str, begin: int, late: int, policy: CatchUp, limit: int
) -> None:
    cron = parse_cron(pattern, zone)
    nominal = cron.next_after(START + begin * MINUTE)
    now = nominal + late
    due = DueSchedule(
        "s", "t", pattern, zone, "IMPERATIVE", None, "1", nominal, None, 0, policy, limit
    )
    firing = plan(due, now)

    every = [nominal, *cron.between(nominal, now, 10_000)]
    following = cron.next_after(every[-1])
    missed = now - every[-1] > min(MINUTE, (following - every[-1]) // 4)
    wanted = {"none": [] if missed else every[-1:], "latest": every[-1:], "all": every[-limit:]}
    fired = wanted[policy][:MOST_AT_ONCE]
    assert list(firing.nominals) == fired
    assert firing.following == (cron.next_after(fired[-1]) if fired else following)
    passed = [at for at in every if at not in wanted[policy]]
    assert firing.missed == ((passed[0], passed[-1]) if passed else None)
    # All that was missed and is made up for comes in pieces, without a gap and without a repeat.
    if len(wanted[policy]) > MOST_AT_ONCE:
        assert firing.following == wanted[policy][MOST_AT_ONCE]
