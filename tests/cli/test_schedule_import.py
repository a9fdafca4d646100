"""`schedules import`: what of beat's entries becomes a schedule, and what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from celery import Celery
from celery.schedules import crontab, schedule, solar
from redbeat import RedBeatSchedulerEntry
from redbeat.schedules import rrule

from tests.cli.conftest import Command
from trigger_celery import TriggerCelery, scheduled_task, schedules, task
from trigger_celery.scheduler import CronSchedule

Shown = dict[str, Any]


class Sunset(solar):
    """A solar event, without the library that knows where the sun is."""

    def __init__(self) -> None:
        self.event, self.lat, self.lon, self.nowfun = "sunset", 52.5, 13.4, None


@pytest.fixture
def project(trigger: TriggerCelery, client: redis.Redis) -> Iterator[Celery]:
    """The app of a project with two tasks; what RedBeat stored is gone at the end."""

    @scheduled_task(id="report")
    def report(payload: Any) -> None: ...

    @task(id="plain")
    def plain(payload: Any) -> None: ...

    yield trigger.app
    if getattr(trigger.app, "redbeat_redis", None) is not None:
        trigger.app.redbeat_redis.close()
    for name in client.scan_iter("redbeat:*"):
        client.delete(name)


def imported(command: Command, *arguments: str) -> tuple[dict[str, Shown], dict[str, str]]:
    """Return what is carried over by its name, and the reasons of what is not."""
    result = command("schedules", "import", "--json", *arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    carried = {one["name"]: one for one in found["schedules"]}
    return carried, {one["name"]: one["reason"] for one in found["left"]}


def beat(app: Celery, **entries: Any) -> None:
    app.conf.beat_schedule = {
        name: {"task": "report", **(entry if isinstance(entry, dict) else {"schedule": entry})}
        for name, entry in entries.items()
    }


CRONS = [
    (crontab(minute="0", hour="7"), "0 7 * * *"),
    (crontab(), "* * * * *"),
    (crontab(minute="*/15", hour="9-17", day_of_week="mon-fri"), "*/15 9-17 * * mon-fri"),
    (crontab(minute=0, hour=0, day_of_month="1,15"), "0 0 1,15 * *"),
    (crontab(minute=0, hour=[3, 5], month_of_year="1-6/2"), "0 3,5 * 1-6/2 *"),
    (crontab(minute="0", hour="0", day_of_week="fri-mon"), "0 0 * * 0,1,5,6"),
    (crontab(minute=range(0, 60, 20), hour="0"), "0,20,40 0 * * *"),
    (crontab(minute="0", hour="0", day_of_month="*/2", day_of_week="mon"), "0 0 */2 * mon"),
    (CronSchedule("0 9 L * *", "Europe/Paris"), "0 9 L * *"),
]


@pytest.mark.parametrize(("old", "pattern"), CRONS)
def test_crontabs_become_cron_that_means_the_same(
    command: Command, project: Celery, old: Any, pattern: str
) -> None:
    project.conf.timezone = "Asia/Tokyo"
    beat(project, old=old)
    carried, left = imported(command)
    assert left == {}
    zone = "Europe/Paris" if isinstance(old, CronSchedule) else "Asia/Tokyo"
    assert (carried["old"]["cron"], carried["old"]["timezone"]) == (pattern, zone)
    assert carried["old"]["notes"] == []


@pytest.mark.parametrize(
    ("every", "pattern"),
    [
        (60, "* * * * *"),
        (300.0, "*/5 * * * *"),
        (timedelta(minutes=30), "*/30 * * * *"),
        (schedule(3600), "0 * * * *"),
        (7200, "0 */2 * * *"),
        (timedelta(days=1), "0 0 * * *"),
        (timedelta(weeks=1), "0 0 * * 0"),
    ],
)
def test_intervals_that_divide_a_day_become_cron_with_a_note(
    command: Command, project: Celery, every: Any, pattern: str
) -> None:
    project.conf.timezone = "Asia/Tokyo"
    beat(project, old=every)
    carried, left = imported(command)
    assert left == {}
    assert (carried["old"]["cron"], carried["old"]["timezone"]) == (pattern, "UTC")
    assert "counted by the clock in UTC" in carried["old"]["notes"][0]


def test_what_cannot_be_carried_over_is_listed_with_its_reason(
    command: Command, project: Celery
) -> None:
    daily = crontab(minute=0, hour=7)

    @project.task(name="shop.tasks.old", shared=False)
    def old() -> None: ...

    @project.task(name="shop.tasks.taken", shared=False, trigger=True)
    def taken() -> None: ...

    beat(
        project,
        old_task={"schedule": daily, "task": "shop.tasks.old"},
        taken_over={"schedule": daily, "task": "shop.tasks.taken"},
        friday_13=crontab(minute=0, hour=0, day_of_month="13", day_of_week="fri"),
        sun=Sunset(),
        odd=timedelta(seconds=90),
        quick=5,
        other_clock=crontab(minute=0, nowfun=project.now),
        with_args={"schedule": daily, "args": ("weekly",)},
        with_kwargs={"schedule": daily, "kwargs": {"kind": "weekly"}},
        not_scheduled={"schedule": daily, "task": "plain"},
        unknown={"schedule": daily, "task": "shop.tasks.reprot"},
        misspelt={"schedule": daily, "task": "repotr"},
        housekeeping={"schedule": daily, "task": "celery.backend_cleanup"},
        **{"n" * 122: daily},
    )
    carried, left = imported(command)
    assert carried == {}
    said = {
        "old_task": "a Celery task, which beat goes on sending as before",
        "taken_over": "a Celery task, which beat goes on sending as before",
        "friday_13": "Celery fires on days that are both, cron on days that are either",
        "sun": "its schedule is a solar event, which cron cannot say",
        "odd": "every 90 s, which cron cannot say: that does not divide an hour",
        "quick": "every 5 s, which cron cannot say: a cron fires once a minute at most",
        "other_clock": "nowfun",
        "with_args": "it has arguments, and a schedule carries none",
        "with_kwargs": "it has arguments, and a schedule carries none",
        "not_scheduled": "takes no schedules: declare it with @scheduled_task(id='plain')",
        "unknown": "'shop.tasks.reprot' is no @task of this project",
        "misspelt": "Did you mean 'report'?",
        "housekeeping": "Celery's own housekeeping",
        "n" * 122: "longer than 121 characters",
    }
    assert set(left) == set(said)
    for name, words in said.items():
        assert words in left[name], name


def test_nothing_is_made_before_it_is_applied_and_then_once(
    command: Command, project: Celery
) -> None:
    beat(project, mornings={"schedule": crontab(minute=0, hour=7), "options": {"queue": "mail"}})
    looked = command("schedules", "import")
    assert "nothing was made yet: add --apply" in looked.stderr
    assert "its options are left out: queue" in looked.stdout
    assert schedules.list().sync().count == 0

    carried, _ = imported(command, "--apply")
    made = schedules.list().sync().schedules
    assert [one.id for one in made] == [carried["mornings"]["id"]]
    assert (made[0].cron, made[0].deduplication_key) == ("0 7 * * *", "import:mornings")
    again = command("schedules", "import", "--apply")
    assert made[0].id in again.stdout
    assert "until then both fire" in again.stderr
    assert schedules.list().sync().schedules == made

    beat(project, mornings=crontab(minute=30, hour=7))
    command("schedules", "import", "--apply")
    assert [(one.id, one.cron) for one in schedules.list().sync()] == [(made[0].id, "30 7 * * *")]


def test_imported_paused_and_resumed_by_hand_stays_so(command: Command, project: Celery) -> None:
    beat(project, mornings=crontab(minute=0, hour=7))
    carried, _ = imported(command, "--apply", "--paused")
    made = carried["mornings"]["id"]
    assert not schedules.retrieve(made).sync().active
    assert not imported(command, "--apply")[0]["mornings"]["active"]
    schedules.activate(made).sync()
    assert imported(command, "--apply", "--paused")[0]["mornings"]["active"]


def test_from_redbeat_with_nothing_of_it_removed(
    command: Command, project: Celery, client: redis.Redis
) -> None:
    assert imported(command, "--from", "redbeat") == ({}, {})
    daily = crontab(minute=0, hour=7)
    for name, found, more in (
        ("mornings", daily, {}),
        ("off", schedule(300), {"enabled": False}),
        ("months", rrule("MONTHLY"), {}),
        ("with args", daily, {"args": [1]}),
    ):
        RedBeatSchedulerEntry(name, "report", found, app=project, **more).save()
    client.hset("redbeat:broken", mapping={"definition": "{", "meta": "{}"})
    client.zadd("redbeat::schedule", {"redbeat:broken": 1, "redbeat:lost": 2})
    before = {name: client.dump(name) for name in client.scan_iter("redbeat:*")}

    carried, left = imported(command, "--from", "redbeat", "--apply")
    assert {name: (one["cron"], one["active"]) for name, one in carried.items()} == {
        "mornings": ("0 7 * * *", True),
        "off": ("*/5 * * * *", False),
    }
    assert "of the kind rrule" in left["months"]
    assert "has arguments" in left["with args"]
    assert "it cannot be read" in left["broken"]
    assert set(left) == {"months", "with args", "broken"}
    assert {name: client.dump(name) for name in client.scan_iter("redbeat:*")} == before
    off = carried["off"]["id"]
    schedules.activate(off).sync()
    assert imported(command, "--from", "redbeat", "--apply")[0]["off"]["active"]


def test_nothing_to_import(command: Command, project: Celery) -> None:
    assert "nothing to import" in command("schedules", "import").stderr


def test_entries_of_beat_are_listed_as_they_are(command: Command, project: Celery) -> None:
    assert "beat_schedule is empty" in command("schedules", "list", "--beat").output
    beat(project, often=0.5, nightly=crontab(minute="30", hour="2"), sunset=Sunset())
    project.conf.beat_schedule["often"]["options"] = {"queue": "mail"}
    shown = command("schedules", "list", "--beat").output
    rows = [line.split() for line in shown.splitlines()]
    assert ["often", "report", "every", "0.5", "s", "queue"] in rows
    assert ["nightly", "report", "30", "2", "*", "*", "*"] in rows
    found = json.loads(command("schedules", "list", "--beat", "--json").stdout)["entries"]
    assert [entry["name"] for entry in found] == ["nightly", "often", "sunset"]
    assert found[2]["schedule"].startswith("solar: sunset")
    none = command("schedules", "list", "--beat", "--task", "other", "--json").stdout
    assert json.loads(none) == {"entries": []}
