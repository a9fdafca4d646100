"""`runs list` with every filter, `runs replay` and `runs bulk`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from tests.cli.conftest import Command
from tests.driving import RETENTION, Engine
from trigger_celery import TriggerCelery, runs
from trigger_celery.engine.services.bulk_actions import BulkActions


@contextmanager
def working(trigger: TriggerCelery) -> Iterator[None]:
    """Let the service of a worker run beside the command."""
    stop = Event()
    service = BulkActions(trigger.scope, RETENTION, lambda task: trigger.placement(None, task))

    def work() -> None:
        while not stop.wait(0.02):
            trigger.store.run_blocking(service.tick())

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def made(command: Command, *arguments: str) -> str:
    return command("trigger", *arguments).stdout.strip()


def listed(command: Command, *arguments: str) -> list[str]:
    result = command("runs", "list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [run["id"] for run in json.loads(result.stdout)["runs"]]


def test_every_filter(command: Command) -> None:
    plain = made(command, "t")
    special = made(
        command, "t", "--version", "v7", "--machine", "micro", "--test", "--tag", "a", "--tag", "b"
    )
    for arguments in (
        ["--version", "v7"], ["--machine", "micro"], ["--test"], ["--tag", "a", "--tag", "x"],
        ["--tag", "a", "--tag", "b", "--all-tags"],
    ):  # fmt: skip
        assert listed(command, *arguments) == [special], arguments
    assert listed(command, "--no-test") == [plain]
    assert listed(command, "--tag", "a", "--tag", "x", "--all-tags") == []
    assert listed(command, "--to", "2020-01-01") == []
    assert set(listed(command, "--from", "2020-01-01T12:00Z", "--task", "t")) == {plain, special}
    wrong = command("runs", "list", "--from", "yesterday")
    assert wrong.exit_code == 2
    assert "is no date" in wrong.stderr
    assert listed(command, "--parent", "a-task-id-of-celery") == []


def test_pages_and_all_of_them(command: Command) -> None:
    ids = [made(command, "t") for _ in range(5)]
    first = json.loads(command("runs", "list", "--limit", "2", "--json").stdout)
    second = json.loads(
        command("runs", "list", "--limit", "2", "--json", "--after", first["next_cursor"]).stdout
    )
    assert listed(command, "--limit", "2", "--before", second["previous_cursor"]) == [
        run["id"] for run in first["runs"]
    ]
    lines = command("runs", "list", "--limit", "2", "--all", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == sorted(ids, reverse=True)
    assert len(command("runs", "list", "--limit", "2", "--all").stdout.splitlines()) == 6
    assert "more: --after" in command("runs", "list", "--limit", "2").stderr


def test_replay(command: Command) -> None:
    first = made(command, "t", '{"n": 1}', "--tag", "x")
    same = command("runs", "replay", first).stdout.strip()
    assert runs.retrieve(same).sync().payload == {"n": 1}
    other = json.loads(
        command("runs", "replay", first, "--payload", '{"n": 2}', "--tag", "y", "--json").stdout
    )
    assert other["replayed_from"] == first
    copy = runs.retrieve(other["id"]).sync()
    assert (copy.payload, copy.tags) == ({"n": 2}, ("y",))
    assert f"replay of  {first}\n" in command("runs", "get", same).stdout
    null = command("runs", "replay", first, "--payload", "null").stdout.strip()
    assert runs.retrieve(null).sync().payload is None
    assert command("runs", "replay", first, "--payload", "{").exit_code == 2
    assert command("runs", "replay", "run_00000000000000000000000000").exit_code == 1


def test_bulk_cancel_and_replay(trigger: TriggerCelery, command: Command, engine: Engine) -> None:
    engine.register(tasks=["t"])
    for n in range(3):
        made(command, "t", str(n), "--tag", "x")
    kept = made(command, "t")
    with working(trigger):
        done = command("runs", "bulk", "cancel", "--tag", "x", "--yes", "--name", "oops", "--json")
        assert done.exit_code == 0, done.output
        action = json.loads(done.stdout)
        assert (action["status"], action["total"], action["success_count"]) == ("COMPLETED", 3, 3)
        again = command("runs", "bulk", "replay", "--bulk-action", action["id"], "--yes")
        assert again.stdout == "3 replayed, of 3\n"
        mixed = command("runs", "bulk", "cancel", kept, action["id"].replace("bulk", "run"), "-y")
        assert mixed.stdout == "1 cancelled, 1 failed, of 2\n"
    table = command("runs", "bulk", "list").stdout.splitlines()
    assert [line.split()[1] for line in table] == ["TYPE", "CANCEL", "REPLAY", "CANCEL"]
    assert table[-1].endswith("oops")
    shown = command("runs", "bulk", "get", action["id"])
    assert shown.stdout == f"{action['id']}  COMPLETED  3 cancelled, of 3\n"
    listing = json.loads(command("runs", "bulk", "list", "--json", "--limit", "1").stdout)
    assert len(listing["bulk_actions"]) == 1


def test_an_action_without_a_worker_waits_and_can_be_aborted(command: Command) -> None:
    made(command, "t")
    action = command("runs", "bulk", "cancel", "--task", "t", "--yes", "--detach", "--json")
    action_id = json.loads(action.stdout)["id"]
    assert (
        command("runs", "bulk", "abort", action_id).stdout == f"{action_id}  ABORTED  0 cancelled\n"
    )
    missing = command("runs", "bulk", "get", "bulk_1")
    assert missing.exit_code == 1
    assert "no bulk action 'bulk_1'" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--yes"], "say which runs"),
        (["run_1", "--tag", "x", "--yes"], "not both"),
        (["--tag", "x"], "add --yes"),
        (["--status", "over", "--yes"], "no status"),
    ],
)
def test_what_is_asked_back(command: Command, arguments: list[str], said: str) -> None:
    for act in ("cancel", "replay"):
        result = command("runs", "bulk", act, *arguments)
        assert result.exit_code == 2
        assert said in result.stderr
    assert command("runs", "bulk", "list").stdout == ""


def test_a_person_is_asked(
    trigger: TriggerCelery, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        made(command, "t")
    monkeypatch.setattr("trigger_celery.cli.bulk.is_interactive", lambda: True)
    with working(trigger):
        refused = command("runs", "bulk", "cancel", "--task", "t", input="n\n")
        assert refused.exit_code == 1
        assert "Cancel 2 runs?" in refused.stderr
        assert len(runs.list(status="CANCELED").sync()) == 0
        agreed = command("runs", "bulk", "cancel", "--task", "t", input="y\n")
        assert agreed.stdout == "2 cancelled, of 2\n"


def test_interrupted_watching_leaves_the_action(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    made(command, "t")
    monkeypatch.setattr(runs.bulk, "poll", interrupted)
    result = command("runs", "bulk", "cancel", "--task", "t", "--yes")
    assert result.exit_code == 1
    assert "goes on\n  stop it  trigger-celery runs bulk abort bulk_" in result.stderr
    assert "no worker is running" in result.stderr
    assert [action.status for action in runs.bulk.list().sync()] == ["PENDING"]
