"""The commands against a bound app, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.driving import Engine
from tests.engine.test_recorded_runs import Recording, ended, published, started
from trigger_celery import runs
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.cli.failure import Failure, failure_of
from trigger_celery.engine.admission import Extras
from trigger_celery.errors import RunNotFoundError, StoreUnavailableError
from trigger_celery.model.ids import run_id_of
from trigger_celery.model.recorded import RETRY


def triggered(command: Command, *arguments: str, **more: str) -> dict[str, object]:
    result = command("trigger", *arguments, "--json", "-q", **more)
    assert result.exit_code == 0, result.output
    return runs.retrieve(json.loads(result.stdout)["id"]).sync().to_dict()


def test_trigger_prints_the_id(command: Command) -> None:
    result = command("trigger", "send", '{"to": "ada"}')
    run = runs.retrieve(result.stdout.strip()).sync()
    assert run.payload == {"to": "ada"}
    assert run.task_identifier == "send"
    assert "no worker is running" in result.stderr


def test_trigger_options(command: Command) -> None:
    options = ["--delay", "1h", "--priority", "2.5", "--queue", "mail", "--concurrency-key", "ada"]
    options += ["--max-attempts", "3", "--tag", "a", "--tag", "b", "--metadata", '{"x": 1}']
    run = triggered(command, "send", "[1]", *options)
    assert run["status"] == "DELAYED"
    assert (run["priority"], run["queue"], run["concurrency_key"]) == (2.5, "mail", "ada")
    assert (run["max_attempts"], run["tags"], run["metadata"]) == (3, ["a", "b"], {"x": 1})


def test_options_of_triggers_that_count_once(command: Command) -> None:
    labels = ["--ttl", "600", "--machine", "micro", "--version", "20260821.1", "--test"]
    run = triggered(
        command, "send", "--idempotency-key", "k", "--idempotency-key-ttl", "1h", *labels
    )
    assert (run["idempotency_key"], run["ttl"], run["machine"]) == ("k", "10m", "micro")
    assert (run["version"], run["is_test"]) == ("20260821.1", True)
    again = command("trigger", "send", "--idempotency-key", "k", "--json", "-q")
    assert json.loads(again.stdout) == {
        "id": run["id"], "task_identifier": "send", "is_cached": True,
    }  # fmt: skip
    debounce = ["--debounce-key", "d", "--debounce-delay", "5s", "--debounce-mode", "trailing"]
    first = triggered(command, "send", "1", *debounce, "--debounce-max-delay", "1h")
    last = triggered(command, "send", "2", *debounce)
    assert (last["id"], last["payload"], last["is_test"]) == (first["id"], 2, False)


def test_payload_sources(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('"from a file"')
    assert triggered(command, "t")["payload"] is None
    assert triggered(command, "t", "--file", str(file))["payload"] == "from a file"
    assert triggered(command, "t", "-", input="[1, 2]")["payload"] == [1, 2]
    assert triggered(command, "t", "--file", "-", input="3")["payload"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["t", "{nope"], "the payload is not JSON"),
        (["t", "--metadata", "x"], "--metadata is not JSON"),
        (["t", "--metadata", "[1]"], "metadata must be a dict"),
        (["t", "1", "--file", "x"], "not both"),
        (["t", "--file", "/nowhere"], "cannot be read"),
        (["t", "--delay", "soon"], "delay='soon'"),
        (["t", "--priority", "nan"], "priority=nan"),
        (["t", "--max-attempts", "0"], "max_attempts=0"),
        (["t", "--timeout", "x"], "timeout='x'"),
        (["t", "--tag", ""], "A tag is empty"),
        (["t", "NaN"], "payload"),
        (["bad id"], "Task id"),
        ([], "Missing argument 'TASK'"),
        (["t", "--prio", "1"], "No such option"),
    ],
)
def test_bad_input_is_exit_code_2(command: Command, arguments: list[str], said: str) -> None:
    result = command("trigger", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not result.stdout
    assert len(runs.list().sync()) == 0


def test_unknown_task_names_the_closest(command: Command, engine: Engine) -> None:
    engine.register("w1", tasks=["send-mail"])
    result = command("trigger", "send-mial")
    assert result.exit_code == 0
    assert "no live worker has the task 'send-mial'" in result.stderr
    assert "Did you mean 'send-mail'?" in result.stderr


def test_list_pages_and_filters(command: Command) -> None:
    for number in range(3):
        command("trigger", "count", str(number), "--tag", f"n{number}")
    command("trigger", "other")
    listed = json.loads(command("runs", "list", "--json", "--limit", "3").stdout)
    assert [run["task_identifier"] for run in listed["runs"]] == ["other", "count", "count"]
    more = command("runs", "list", "--json", "--after", listed["next_cursor"])
    assert [run["tags"] for run in json.loads(more.stdout)["runs"]] == [["n0"]]
    only = command("runs", "list", "--tag", "n1", "--tag", "n2", "--task", "count", "--json")
    assert len(json.loads(only.stdout)["runs"]) == 2
    plain = command("runs", "list", "--status", "queued").stdout.splitlines()
    assert plain[0].split()[:3] == ["ID", "TASK", "STATUS"]
    assert len(plain) == 5
    assert command("runs", "list", "--status", "done").exit_code == 2
    assert command("runs", "list", "--limit", "0").exit_code == 2
    assert command("runs", "list", "--after", "?").exit_code == 2


def test_nothing_to_list(command: Command) -> None:
    result = command("runs", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no runs" in result.stderr
    assert json.loads(command("runs", "list", "--json").stdout) == {
        "runs": [],
        "next_cursor": None,
        "previous_cursor": None,
    }


def test_get(command: Command, engine: Engine) -> None:
    run_id = command("trigger", "t", '{"a": 1}').stdout.strip()
    shown = command("runs", "get", run_id).stdout
    assert "QUEUED" in shown
    assert '"a": 1' in shown
    assert json.loads(command("runs", "get", run_id, "--json").stdout)["payload"] == {"a": 1}
    named = Extras(task_id="order-7", celery="r{}")
    engine.create(id=run_id_of("order-7"), extras=named)
    assert "order-7" in command("runs", "get", "order-7").stdout  # by Celery's id
    missing = command("runs", "get", "run_00000000000000000000000000")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("error: no run")


def test_cancel(command: Command) -> None:
    first, second = (command("trigger", "t").stdout.strip() for _ in range(2))
    result = command("runs", "cancel", first, "nope", second)
    assert result.exit_code == 1
    assert "no run 'nope'" in result.stderr
    assert result.stdout.splitlines() == [f"{first}  CANCELED", f"{second}  CANCELED"]
    again = command("runs", "cancel", first, "--json")
    assert json.loads(again.stdout)["runs"][0]["status"] == "CANCELED"
    shown = command("runs", "get", first).stdout
    assert "error     Canceled by user" in shown


def test_waiting_ends_with_the_timeout(command: Command) -> None:
    result = command("trigger", "t", "--wait", "--timeout", "0.05")
    assert result.exit_code == 1
    assert "is still QUEUED" in result.stderr


def test_interrupted_waiting_leaves_the_run(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "poll", interrupted)
    result = command("trigger", "t", "--wait")
    assert result.exit_code == 1
    (run,) = runs.list().sync()
    assert result.stderr.endswith(f"error: no longer waiting; run {run.id} goes on\n")
    assert run.status == "queued"


def test_tokens(command: Command) -> None:
    token = command("tokens", "create", "--timeout", "2d", "--tag", "order:7").stdout.strip()
    listed = json.loads(command("tokens", "list", "--tag", "order:7", "--json").stdout)["tokens"]
    assert [(found["id"], found["status"]) for found in listed] == [(token, "WAITING")]
    assert token in command("tokens", "list", "--status", "waiting").stdout
    assert command("tokens", "complete", token, '{"ok": true}').stdout.split() == [
        token,
        "COMPLETED",
    ]
    again = command("tokens", "complete", token, "--json")
    assert json.loads(again.stdout) == {"id": token, "completed": False}
    shown = json.loads(command("tokens", "get", token, "--json").stdout)
    assert (shown["status"], shown["output"]) == ("COMPLETED", {"ok": True})
    assert "order:7" in command("tokens", "get", token).stdout


def test_a_token_that_is_not_there(command: Command) -> None:
    result = command("tokens", "complete", "waitpoint_nothing", "1")
    assert result.exit_code == 1
    assert "no token 'waitpoint_nothing'" in result.stderr


def test_queues(command: Command, engine: Engine) -> None:
    engine.register("w1", queues={"mail": 3})
    command("trigger", "t", "--queue", "mail")
    page = json.loads(command("queues", "list", "--json").stdout)
    (listed,) = page["queues"]
    assert (page["page"], page["pages"], page["count"]) == (1, 1, 1)
    assert (listed["name"], listed["type"], listed["concurrency_limit"]) == ("mail", "custom", 3)
    assert (listed["running"], listed["queued"], listed["paused"]) == (0, 1, False)
    assert command("queues", "list").stdout.splitlines()[1].split() == ["mail", "3", "0", "1"]


def test_queues_are_paused_and_limited(command: Command, engine: Engine) -> None:
    engine.register("w1", queues={"mail": 3})
    assert "paused" in command("queues", "pause", "mail").stdout
    assert json.loads(command("queues", "get", "mail", "--json").stdout)["paused"] is True
    assert "active" in command("queues", "resume", "mail").stdout
    shown = command("queues", "limit", "mail", "--to", "1", "--by", "me").stdout
    assert "1 (code: 3)" in shown
    assert "by me" in shown
    limits = json.loads(command("queues", "reset", "mail", "--json").stdout)["concurrency"]
    assert (limits["current"], limits["override"]) == (3, None)


def test_the_environment_is_paused_and_limited(command: Command, engine: Engine) -> None:
    engine.register("w1", limit=9)
    assert "paused" in command("queues", "pause", "--environment").stdout
    command("queues", "limit", "--environment", "--to", "2")
    shown = json.loads(command("queues", "get", "--environment", "--json").stdout)
    assert (shown["paused"], shown["concurrency_limit"]) == (True, 2)
    command("queues", "resume", "--environment")
    shown = json.loads(command("queues", "reset", "--environment", "--json").stdout)
    assert (shown["paused"], shown["concurrency_limit"]) == (False, 9)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (("pause",), "Name one queue, or pass --environment"),
        (("pause", "mail", "--environment"), "Name one queue, or pass --environment"),
        (("pause", "maill"), "no queue 'maill' in this environment. Did you mean 'mail'?"),
        (("limit", "mail", "--to", "-1"), "concurrency_limit=-1 is not a limit"),
        (("list", "--page", "0"), "page=0: pages are counted from 1"),
    ],
)
def test_what_is_wrong_about_queues_is_said(
    command: Command, engine: Engine, line: tuple[str, ...], problem: str
) -> None:
    engine.register("w1", queues={"mail": 3})
    result = command("queues", *line)
    assert result.exit_code != 0
    assert problem in " ".join(result.stderr.split())


def test_version(command: Command) -> None:
    found = json.loads(command("version", "--json").stdout)
    assert set(found) >= {"trigger-celery", "celery", "kombu", "redis", "python", "server"}
    assert found["server"].split()[0] in ("valkey", "redis")


def test_every_command_has_help(command: Command) -> None:
    names = ["dev", "worker", "trigger", "runs", "queues", "tokens", "doctor", "version"]
    listed = command("--help").stdout
    for name in names:
        assert name in listed
        shown = command(name, "--help")
        assert shown.exit_code == 0
        assert "--help" in shown.stdout


@pytest.mark.parametrize(
    ("problem", "code"), [(StoreUnavailableError("x"), 69), (RunNotFoundError("x"), 1)]
)
def test_exit_codes(problem: Exception, code: int) -> None:
    failure = failure_of(problem)  # type: ignore[arg-type]
    assert isinstance(failure, Failure)
    assert failure.exit_code == code


def test_debug_shows_the_traceback(command: Command, trigger: TriggerCelery) -> None:
    with pytest.raises(RunNotFoundError):
        command("runs", "get", "nope", "--debug")


def test_a_recorded_run_that_was_retried(command: Command, engine: Engine) -> None:
    """Found by Celery's id, with what its attempts say; its log is the worker's."""
    recording = Recording(engine)
    first = published(0, 1), started(0, 2), ended(0, 3, RETRY)
    recording.send("abc", *first, published(1, 4, due=5), started(1, 10), ended(1, 11, "FAILED"))
    shown = [line.split("  ", 1) for line in command("runs", "get", "abc").stdout.splitlines()]
    said = {name: text.strip() for name, text in shown}
    assert said["attempt 1"] == "ValueError: RETRY; again after 10.0 s"
    assert said["attempt 2"] == "ValueError: FAILED"
    assert "waited" not in said  # it is not known any more
    listed = command("runs", "list", "--task", "old.task").stdout
    assert " -" not in listed.replace("2026-", "").splitlines()[1]
    log = command("runs", "logs", "abc")
    assert (log.exit_code, log.stdout) == (0, "")
    assert "in its worker's log" in log.stderr


def test_a_recorded_run_is_sent_again(command: Command, trigger: TriggerCelery) -> None:
    sent = trigger.app.send_task("old.task", (1,), {"password": "x"})
    trigger.flush_recorded()
    refused = command("runs", "replay", sent.id)
    assert refused.exit_code == 1
    assert "hidden (kwargs.password" in refused.stderr
    payload = '{"args": [2], "kwargs": {"password": "y"}}'
    made = json.loads(command("runs", "replay", sent.id, "--payload", payload, "--json").stdout)
    assert (made["task_identifier"], made["replayed_from"]) == ("old.task", sent.id)
    again = json.loads(command("runs", "get", made["id"], "--json").stdout)
    assert again["payload"] == {"args": [2], "kwargs": {"password": "[redacted]"}}
    assert again["replayed_from"] == run_id_of(sent.id)
    with trigger.app.connection_for_write() as connection:
        connection.default_channel.queue_purge("celery")
