"""`doctor`: what it shows, what it hides, what it calls wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import Command, Program
from tests.driving import Engine
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine.beats import note_beat
from trigger_celery.engine.schedules import Wanted, find_call, upsert
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.ids import schedule_id
from trigger_celery.settings import SETTINGS
from trigger_celery.store.op import ask


def findings(command: Command) -> tuple[int, dict[str, list[str]]]:
    result = command("doctor", "--json")
    found: dict[str, list[str]] = {}
    for finding in json.loads(result.stdout)["findings"]:
        found.setdefault(finding["level"], []).append(finding["message"])
    return result.exit_code, found


def test_without_a_worker(command: Command) -> None:
    code, found = findings(command)
    assert code == 0
    assert any("no worker is alive" in message for message in found["warning"])


def test_workers_and_round_trip(command: Command, engine: Engine) -> None:
    engine.register("w1", tasks=["send"])
    shown = json.loads(command("doctor", "--json").stdout)
    assert [worker["tasks"] for worker in shown["workers"]] == [["send"]]
    assert shown["workers"][0]["alive"]
    assert 0 < shown["server"]["round_trip_ms"] <= shown["server"]["slowest_round_trip_ms"]


def test_runs_that_nobody_serves_are_an_error(command: Command, engine: Engine) -> None:
    engine.register("w1")
    engine.create("report", worker_queue="nights")
    code, found = findings(command)
    assert code == 1
    (message,) = (message for message in found["error"] if "no live worker serves" in message)
    assert "1 run(s) in queue" in message
    assert "'report'" in message


def test_runs_for_a_machine_that_no_live_worker_declares(command: Command, engine: Engine) -> None:
    engine.register("w1", machines=["large-1x"])
    engine.create(machine="large-2x")
    code, found = findings(command)
    assert code == 1
    (message,) = (message for message in found["error"] if "no live worker declares" in message)
    assert "machine 'large-2x' of worker queue 'celery'" in message


def test_where_nothing_starts_because_somebody_wanted_it_so(
    command: Command, engine: Engine
) -> None:
    engine.register("w1", tasks=["t"], queues={"mail": 4, "shut": 0, "idle": 4})
    engine.create(queue="mail")
    engine.create(queue="shut")
    for paused in ("mail", "idle"):
        command("queues", "pause", paused)
    command("queues", "pause", "--environment")
    code, found = findings(command)
    assert code == 0
    said = found["warning"]
    assert "the environment is paused: nothing starts in any queue" in said
    assert "1 run(s) wait in queue 'mail', which is paused" in said
    assert "1 run(s) wait in queue 'shut', whose limit is 0" in said
    assert not any("idle" in message for message in said)
    assert "the environment is paused" in command("queues", "list").stderr


def test_runs_in_a_queue_that_nobody_declared(command: Command, engine: Engine) -> None:
    engine.register("w1", tasks=["send"], queues={"mail": 4})
    command("trigger", "send", "--queue", "mial")
    command("trigger", "sned")
    _, found = findings(command)
    assert (
        "1 run(s) wait for a worker that declares the queue 'mial'. Did you mean 'mail'?"
        in found["warning"]
    )
    assert (
        "1 run(s) of 'sned' wait for a worker that has this task. Did you mean 'send'?"
        in found["warning"]
    )


def test_a_silent_worker(command: Command, engine: Engine) -> None:
    engine.register("w1", lease=1)
    engine.clock.advance(60_000)
    _, found = findings(command)
    assert any("does not renew its lease" in message for message in found["warning"])


def test_every_setting_with_its_source(command: Command) -> None:
    shown = json.loads(command("doctor", "--json").stdout)["settings"]
    assert [one["name"] for one in shown] == [setting.name for setting in SETTINGS]
    sources = {one["name"]: one["source"] for one in shown}
    assert sources["project"] == "keyword"
    assert sources["store_retry"] == "default"
    assert all(one["unit"] for one in shown)


def test_passwords_are_hidden(program: Program) -> None:
    url = "redis://ada:topsecret@localhost:1/0?password=hushhush"
    for arguments in (["doctor"], ["doctor", "--json"], ["runs", "list"], ["version"]):
        result = program(*arguments, env={"TRIGGER_REDIS_URL": url})
        printed = result.stdout + result.stderr
        assert "topsecret" not in printed
        assert "hushhush" not in printed
    assert program("doctor", env={"TRIGGER_REDIS_URL": url}).returncode == 69


def test_the_source_of_an_address_from_the_command_line(program: Program) -> None:
    shown = json.loads(program("doctor", "--json", "--redis-url", "redis://localhost:1").stdout)
    assert shown["settings"][0]["source"] == "--redis-url"


def test_schedules_that_nobody_fires(command: Command, engine: Engine) -> None:
    _, found = findings(command)
    assert not any("beat" in message for message in found["warning"])
    scope = engine.scope
    wanted = Wanted("t", parse_cron("@daily"), deduplication_key="a")
    nothing = engine.run(ask(find_call(scope, schedule="sched_1")))
    engine.run(upsert(scope, nothing, wanted, schedule_id()))
    _, found = findings(command)
    assert any("1 schedule(s) are active, but no beat" in text for text in found["warning"])
    engine.run(note_beat(scope, "here", 7, 1.0))
    _, found = findings(command)
    assert "1 schedule(s), fired by a beat on here (process 7)" in found["ok"]
    assert not any("beat" in message for message in found["warning"])


def test_tasks_that_no_worker_could_load(
    program: Program, server: EmbeddedServer, tmp_path: Path
) -> None:
    """Two tasks with one id, in modules that nobody imported yet."""
    declared = "from trigger_celery import task\n@task(id='mail')\ndef {name}(payload): ...\n"
    (tmp_path / "app.py").write_text(
        "from celery import Celery\nfrom trigger_celery import TriggerCelery\n"
        f"app = Celery('shop', broker={server.broker_url!r}, include=['one', 'two'])\nTriggerCelery(app)\n"
    )
    (tmp_path / "one.py").write_text(declared.format(name="first"))
    (tmp_path / "two.py").write_text("print('hello')\n")
    shown = program("doctor", "--json", "-A", "app")
    [found] = [one for one in json.loads(shown.stdout)["findings"] if one["name"] == "tasks"]
    assert (found["level"], found["message"]) == ("ok", "1 task(s) are declared here")
    (tmp_path / "two.py").write_text(declared.format(name="second"))
    shown = program("doctor", "--json", "-A", "app")
    [found] = [one for one in json.loads(shown.stdout)["findings"] if one["name"] == "tasks"]
    assert (shown.returncode, found["level"]) == (1, "error")
    assert "'mail'" in found["message"]


def test_a_payload_store_that_cannot_be_used(
    command: Command, trigger: TriggerCelery, tmp_path: Path
) -> None:
    place = tmp_path / "objects"
    trigger.configure(payload_store=f"file://{place}", store_retry=0.1)
    code, found = findings(command)
    assert code == 0
    assert any("can be written, read and deleted from" in message for message in found["ok"])
    assert not [path for path in place.rglob("*") if path.is_file()]
    shutil.rmtree(place)
    place.write_text("no folder")
    code, found = findings(command)
    assert code == 1
    assert any("could not be written in the payload store" in message for message in found["error"])
