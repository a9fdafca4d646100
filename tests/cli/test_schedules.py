"""`schedules list|get|create|update|pause|resume|delete|next`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Command, Program
from tests.driving import RETENTION, Engine
from tests.driving_schedules import place_of
from trigger_celery import TriggerCelery, scheduled_task, task
from trigger_celery.engine.declared_schedules import sync_declared
from trigger_celery.engine.scheduling import fire_due
from trigger_celery.model.ids import declared_schedule_id
from trigger_celery.worker.declared_schedules import declared_schedules


@pytest.fixture
def reminders(trigger: object) -> None:
    """A scheduled task, one that its own cron starts, and one that takes no schedules."""

    @scheduled_task(id="remind")
    def remind(payload: Any) -> None: ...

    @task(id="plain")
    def plain(payload: Any) -> None: ...


@pytest.fixture
def declared(trigger: TriggerCelery) -> str:
    """A schedule that the code declares; a worker has started since."""

    @scheduled_task(id="nightly", cron="0 3 * * *")
    def nightly(payload: Any) -> None: ...

    wanted = declared_schedules(trigger.settings.env)
    trigger.store.run_sync(sync_declared(trigger.scope, "shop", wanted))
    return declared_schedule_id("nightly")


def shown(command: Command, *arguments: str) -> dict[str, Any]:
    result = command("schedules", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def created(command: Command, key: str, *more: str) -> str:
    made = ["create", "--task", "remind", "--cron", "0 8 * * *", "--deduplication-key", key, *more]
    result = command("schedules", *made)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_made_changed_paused_and_deleted(command: Command, reminders: None) -> None:
    made = created(command, "ada", "--timezone", "Europe/Berlin", "--external-id", "user_1")
    first = shown(command, "get", made)
    assert (first["cron"], first["timezone"], first["active"]) == (
        "0 8 * * *",
        "Europe/Berlin",
        True,
    )
    assert created(command, "ada", "--external-id", "user_2") == made
    assert shown(command, "get", made)["timezone"] == "UTC"  # replaced: all of it

    changed = shown(command, "update", made, "--cron", "@weekly", "--catch-up", "all")
    assert (changed["cron"], changed["external_id"], changed["catch_up"]) == (
        "@weekly",
        "user_2",
        "all",
    )
    assert shown(command, "update", made, "--external-id", "")["external_id"] is None

    assert shown(command, "pause", made)["active"] is False
    paused = command("schedules", "get", made).stdout
    assert "state              paused\n" in paused
    assert "catch up           all, at most 100\n" in paused
    assert "in words           At 00:00 on Sunday\n" in paused
    assert shown(command, "pause", made)["next_run"] is None
    assert shown(command, "resume", made)["active"] is True

    assert shown(command, "delete", made) == {"id": made, "deleted": True}
    gone = command("schedules", "get", made)
    assert gone.exit_code == 1
    assert f"no schedule '{made}'" in gone.stderr


def test_listed_in_pages_and_by_task(command: Command, reminders: None) -> None:
    assert "no schedules" in command("schedules", "list").stderr
    ids = [created(command, f"user {n}", "--external-id", f"u{n}") for n in range(3)]
    page = shown(command, "list", "--per-page", "2", "--task", "remind")
    assert (page["page"], page["pages"], page["count"]) == (1, 2, 3)
    rest = shown(command, "list", "--per-page", "2", "--page", "2", "--task", "remind")
    listed = [one["id"] for one in (*page["schedules"], *rest["schedules"])]
    assert sorted(listed) == sorted(ids)
    command("schedules", "pause", ids[1])
    table = command("schedules", "list", "--per-page", "3")
    header, *rows = table.stdout.splitlines()
    assert header.split() == ["ID", "TASK", "CRON", "TIMEZONE", "NEXT", "RUN", "EXTERNAL", "ID"]
    assert [("paused" in row, row.startswith(ids[1])) for row in rows].count((True, True)) == 1
    assert "page 1 of 2: --page 2" in command("schedules", "list", "--per-page", "2").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["create", "--task", "remind", "--deduplication-key", "k"], 2, "Missing option '--cron'"),
        (["create", "--task", "remind", "--cron", "@daily"], 2, "--deduplication-key"),
        (
            ["create", "--task", "remind", "--cron", "0 0 8 * * *", "--deduplication-key", "k"],
            2,
            "seconds are not allowed. Leave out the first: '0 8 * * *'",
        ),
        (
            ["create", "--task", "remnid", "--cron", "@daily", "--deduplication-key", "k"],
            2,
            "Did you mean 'remind'?",
        ),
        (
            ["create", "--task", "plain", "--cron", "@daily", "--deduplication-key", "k"],
            2,
            "is not a scheduled task",
        ),
        (
            ["create", "--task", "remind", "--cron", "@daily", "--deduplication-key", "k" * 129],
            2,
            "128",
        ),
        (["update", "sched_1"], 2, "Name what to change"),
        (["update", "sched_1", "--cron", "@daily"], 1, "no schedule 'sched_1'"),
        (["pause", "sched_1"], 1, "no schedule 'sched_1'"),
        (["delete", "sched_1"], 1, "no schedule 'sched_1'"),
        (["next", "sched_1"], 1, "no schedule 'sched_1'"),
        (["next"], 2, "Name one schedule, or pass --cron"),
        (["next", "--cron", "0 25 * * *"], 2, "hour field, '25'"),
        (["next", "--cron", "@daily", "--timezone", "Berlin"], 2, "Did you mean 'Europe/Berlin'?"),
        (["next", "--cron", "@daily", "--after", "soon"], 2, "--after 'soon' is no date"),
        (["next", "--cron", "@daily", "--after", "9999-12-31"], 2, "years 1 to 9999"),
        (["list", "--page", "0"], 2, "page=0"),
    ],
)
def test_what_is_wrong_is_said(
    command: Command, reminders: None, arguments: list[str], code: int, said: str
) -> None:
    result = command("schedules", *arguments)
    assert said in result.stderr
    assert result.exit_code == code


def test_a_declared_schedule_stays_as_the_code_says(command: Command, declared: str) -> None:
    listed = shown(command, "list")["schedules"]
    assert [(one["id"], one["type"]) for one in listed] == [(declared, "DECLARATIVE")]
    assert "declared  in code\n" in command("schedules", "get", declared).stdout
    for arguments in (["pause"], ["resume"], ["delete"], ["update", "--cron", "@daily"]):
        refused = command("schedules", arguments[0], declared, *arguments[1:])
        assert refused.exit_code == 1
        assert "@scheduled_task(id='nightly')" in refused.stderr


def test_the_runs_of_a_schedule(command: Command, reminders: None, engine: Engine) -> None:
    made, other = created(command, "ada"), created(command, "grace", "--cron", "0 0 29 2 *")
    engine.clock.advance(2 * 86_400_000)
    engine.run(fire_due(engine.scope, place_of, RETENTION))
    found = json.loads(command("runs", "list", "--schedule", made, "--json").stdout)["runs"]
    assert [run["task_identifier"] for run in found] == ["remind"]
    assert "no runs" in command("runs", "list", "--schedule", other).stderr
    wrong = command("runs", "list", "--schedule", "run_1")
    assert wrong.exit_code == 2
    assert "schedule" in wrong.stderr


def test_the_next_times_of_a_schedule(command: Command, reminders: None) -> None:
    made = created(command, "ada", "--timezone", "America/New_York")
    found = shown(command, "next", made, "--count", "2", "--after", "2026-10-31T12:00")
    assert found == {
        "cron": "0 8 * * *",
        "timezone": "America/New_York",
        "description": "At 08:00 every day",
        "upcoming": ["2026-11-01T13:00:00Z", "2026-11-02T13:00:00Z"],
    }
    command("schedules", "pause", made)
    assert "the schedule is paused" in command("schedules", "next", made).stderr


def test_the_next_times_of_a_pattern_need_no_server(program: Program) -> None:
    arguments = ["--cron", "30 2 * * *", "--timezone", "America/New_York", "--after", "2026-03-07"]
    result = program("schedules", "next", *arguments, "--count", "2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "LOCAL                     UTC",
        "Sat 2026-03-07 02:30 EST  2026-03-07T07:30:00Z",
        "Sun 2026-03-08 03:00 EDT  2026-03-08T07:00:00Z",
    ]
    assert "At 02:30 every day (America/New_York)" in result.stderr
