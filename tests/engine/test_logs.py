"""How lines get into the log of a run, and what is kept of them."""

from __future__ import annotations

import json

import pytest

from tests.driving import Engine
from tests.waiting import wait_until
from trigger_celery.engine import keys
from trigger_celery.engine.logs import LogReader, append_lines
from trigger_celery.errors import RunNotFoundError
from trigger_celery.model.ids import op_id, run_id
from trigger_celery.model.log_line import LogLine
from trigger_celery.store.op import ask


def stored(number: int, level: str = "info", text: str = "") -> str:
    return json.dumps({"t": 1.5, "l": level, "m": text or f"line {number}", "a": 1})


def append(engine: Engine, run: str, *lines: str, op: str = "", dropped: int = 0) -> str:
    call = append_lines(engine.scope, op or op_id(), run, lines, dropped)
    return engine.run(ask(call)).decode()


def read(engine: Engine, run: str, **options: object) -> tuple[list[LogLine], int]:
    reader = LogReader(engine.scope, run, **{"follow": False, "level": "debug", **options})
    lines = []
    while (line := engine.run(reader.next())) is not None:
        lines.append(line)
    return lines, reader.dropped


def messages(engine: Engine, run: str, **options: object) -> list[str]:
    return [line.message for line in read(engine, run, **options)[0]]


@pytest.fixture
def run(engine: Engine) -> str:
    engine.register()
    return engine.create()


def test_lines_are_read_in_the_order_they_came(engine: Engine, run: str) -> None:
    assert append(engine, run, stored(1), stored(2)) == "ok"
    assert append(engine, run, stored(3)) == "ok"
    assert messages(engine, run) == ["line 1", "line 2", "line 3"]


def test_a_repeated_call_adds_nothing_twice_also_when_others_came_between(
    engine: Engine, run: str
) -> None:
    append(engine, run, stored(1), op="a" * 16, dropped=3)
    for number in range(2, 17):
        append(engine, run, stored(number))
    assert append(engine, run, stored(1), op="a" * 16, dropped=3) == "ok"
    lines, dropped = read(engine, run)
    assert (len(lines), dropped) == (16, 3)


def test_lines_of_an_unknown_run_are_refused(engine: Engine) -> None:
    assert append(engine, run_id(), stored(1)) == "gone"
    with pytest.raises(RunNotFoundError):
        read(engine, run_id())


def test_a_log_keeps_its_newest_lines(engine: Engine, run: str) -> None:
    for start in range(0, keys.MAX_LOG_LINES + 250, 500):
        append(engine, run, *(stored(number) for number in range(start, start + 500)))
    lines, dropped = read(engine, run)
    assert len(lines) == keys.MAX_LOG_LINES
    assert dropped == 500
    assert (lines[0].message, lines[-1].message) == ("line 500", "line 10499")


def test_a_log_keeps_four_megabytes(engine: Engine, run: str) -> None:
    long = "x" * 60_000
    for number in range(20):
        append(engine, run, *(stored(number, text=long) for _ in range(4)))
    lines, dropped = read(engine, run)
    assert len(lines) + dropped == 80
    assert 4 * 1024 * 1024 - 61_000 < sum(len(line.message) for line in lines) < 4 * 1024 * 1024
    facts = keys.key(engine.scope, "log_facts", run)
    size = sum(len(e[1][b"l"]) for e in engine.client.xrange(keys.key(engine.scope, "logs", run)))
    assert int(engine.client.hget(facts, "bytes")) == size


def test_a_run_without_lines_has_no_keys(engine: Engine, run: str) -> None:
    engine.end(engine.take_one())
    assert read(engine, run) == ([], 0)
    assert not [name for name in engine.client.scan_iter() if b"log" in name]


@pytest.mark.parametrize("after_the_end", [False, True])
def test_a_log_lives_as_long_as_its_run(engine: Engine, run: str, after_the_end: bool) -> None:
    grant = engine.take_one()
    if not after_the_end:
        append(engine, run, stored(1))
    engine.end(grant)
    append(engine, run, stored(2))
    names = [keys.key(engine.scope, kind, run) for kind in ("run", "logs", "log_facts")]
    left = [engine.client.pttl(name) for name in names]
    assert max(left) - min(left) < 1000
    assert min(left) > 0  # and after the test, pruning leaves nothing of it


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_however_the_run_ends(engine: Engine, run: str, end: str) -> None:
    grant = engine.take_one()
    append(engine, run, stored(1))
    engine.cancel(run) if end == "cancel" else engine.fail(grant)
    assert engine.client.pttl(keys.key(engine.scope, "logs", run)) > 0
    append(engine, run, stored(2))  # what it says while it is stopped
    assert messages(engine, run) == ["line 1", "line 2"]


def test_only_lines_from_a_level_on(engine: Engine, run: str) -> None:
    levels = ["debug", "info", "warn", "error"]
    append(engine, run, *(stored(n, level) for n, level in enumerate(levels)))
    for number, level in enumerate(levels):
        assert [line.level for line in read(engine, run, level=level)[0]] == levels[number:]


def test_many_pages_are_read(engine: Engine, run: str) -> None:
    for start in range(0, 1200, 400):
        append(engine, run, *(stored(number) for number in range(start, start + 400)))
    assert messages(engine, run) == [f"line {number}" for number in range(1200)]


def test_who_follows_sees_all_until_the_end(engine: Engine, run: str) -> None:
    import threading

    seen: list[str] = []
    append(engine, run, stored(1))
    follower = threading.Thread(
        target=lambda: seen.extend(messages(engine, run, follow=True)), daemon=True
    )
    follower.start()
    grant = engine.take_one()
    append(engine, run, stored(2))
    wait_until(lambda: follower.is_alive(), "it follows")
    append(engine, run, stored(3))
    engine.end(grant)
    follower.join(10)
    assert seen == ["line 1", "line 2", "line 3"]
