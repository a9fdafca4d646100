"""Branches of a run act once, wherever each of them was when the memory of the run was lost."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.worker.waits.test_programs import KINDS, waits
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, runs, streams, tasks, wait

pytestmark = pytest.mark.processes

Program = list[dict[str, Any]]

SEED = int(os.environ.get("TEST_SEED", "20240229"))
RUNS, KILLS = 24, 2


def tokens_of(program: Program) -> list[str]:
    """Return the tokens of a program, those of branches among them."""
    found: list[str] = []
    for op in program:
        for inner in op.get("gather", [op["spawn"]] if "spawn" in op else []):
            found += tokens_of(inner)
        if "wait" in op:
            found.append(op["wait"])
    return found


def acts_of(program: Program) -> list[str]:
    """Return what a program does."""
    found = [name for op in program if (name := op.get("act") or op.get("step"))]
    for op in program:
        for inner in op.get("gather", [op["spawn"]] if "spawn" in op else []):
            found += acts_of(inner)
    return found


def said(run: str) -> list[str]:
    return [line.message for line in runs.logs(run) if line.source == "logger"]


def acts(run: str) -> list[str]:
    return (runs.retrieve(run).sync().metadata or {}).get("acts", [])


def check(run: str, program: Program) -> None:
    """Everything was done once."""
    wanted = sorted([*acts_of(program), "end"])
    ended = runs.retrieve(run).sync()
    assert (ended.status, ended.attempt_count) == (RunStatus.COMPLETED, 1), ended.error
    assert ended.metadata is not None
    assert (sorted(ended.metadata["acts"]), ended.metadata["count"]) == (wanted, len(wanted))
    wait_until(lambda: len(said(run)) >= len(wanted), "its log is stored")
    assert sorted(said(run)) == wanted
    chunks = sorted(streams.read(run))
    assert set(chunks) <= set(wanted)
    assert len(chunks) == len(set(chunks))


def token() -> str:
    return wait.create_token().sync().id


@pytest.mark.parametrize("first", ["short", "long", "both"])
def test_one_branch_acts_while_the_other_waits(shared: Deployment, first: str) -> None:
    """Whichever goes on first, in memory or after that was given up."""
    long, short, last = token(), token(), token()
    done_before_the_kill = token()
    programs: list[Program] = [
        [{"wait": long}, {"act": "long is over"}],
        [{"act": "1"}, {"wait": done_before_the_kill}, {"act": "2"}, {"wait": short}, {"act": "3"}],
        [{"act": "a"}, {"step": "b"}, {"act": "c"}],
        [{"wait": done_before_the_kill}, {"act": "its branch is over"}],
    ]
    program: Program = [
        {"act": "root"}, {"gather": programs}, {"act": "gathered"}, {"wait": last}, {"act": "done"},
    ]  # fmt: skip
    run = shared.trigger("branches", program)
    waits(shared, run)
    wait.complete_token(done_before_the_kill).sync()
    wait_until(lambda: {"2", "its branch is over"} <= set(acts(run)), "the branch goes on")
    waits(shared, run)
    one, other = (short, long) if first == "short" else (long, short)
    wait.complete_token(one).sync()
    if first != "both":
        wait_until(lambda: {"3", "long is over"} & set(acts(run)), "a branch goes on")
        waits(shared, run)
    wait.complete_token(other).sync()
    wait_until(lambda: "gathered" in acts(run), "the branches are over")
    wait.complete_token(last).sync()
    shared.wait(run)
    check(run, program)


def test_a_run_waits_again_for_its_branches(shared: Deployment) -> None:
    """The code that went on waits for a branch that waits: the slot is given back again."""
    long, short = token(), token()
    program: Program = [{"spawn": [{"act": "a"}, {"wait": long}]}, {"wait": short}, {"act": "b"}]
    run = shared.trigger("branches", program)
    waits(shared, run)
    wait_until(lambda: said(run), "its log is stored")  # by then nobody looks after it any more
    wait.complete_token(short).sync()
    wait_until(lambda: "b" in acts(run), "it goes on")
    waits(shared, run)
    wait.complete_token(long).sync()
    shared.wait(run)
    check(run, program)


@pytest.mark.parametrize("kind", KINDS)
def test_work_beside_a_task_triggers_once(shared: Deployment, pool: str, kind: str) -> None:
    """The work goes on while the task waits, and a replay finds what it did."""
    one = token()
    run = shared.trigger(f"beside{kind}", one)
    waits(shared, run)
    wait_until(lambda: children(run), "it triggers")
    wait_until(lambda: said(run), "its log is stored")
    if pool != "asyncio" or kind:
        wait_until(lambda: not shared.is_in_memory(run), "its memory is given up")
    wait.complete_token(one).sync()
    shared.wait(run)
    assert (len(children(run)), said(run)) == (1, ["beside"])
    if kind:
        assert "cannot wait durably" in shared.wait_for("refused", run)[0].more["problem"]


def test_a_batch_with_a_key_is_waited_for_again(shared: Deployment) -> None:
    one = token()
    run = shared.trigger("keyed-batches", one)
    wait_until(lambda: (runs.retrieve(run).sync().metadata or {}).get("first"), "the batch is over")
    waits(shared, run)
    wait.complete_token(one).sync()
    assert shared.wait(run).output == [True, [0, 1, 2]]
    assert runs.retrieve(run).sync().metadata == {"first": 1}
    assert len(children(run)) == 3


def test_a_run_cannot_wait_for_its_own_batch(shared: Deployment) -> None:
    key = f"own {token()}"
    made = tasks.batch_trigger("in-own-batch", [{"payload": key}], idempotency_key=key).sync()
    assert shared.wait(made.runs[0].id).output == "refused"


def children(run: str) -> list[str]:
    return [one.id for one in runs.list(task="echo", limit=100).sync() if one.parent_id == run]


def grow(rng: random.Random) -> Program:
    """Return a random program."""
    names = itertools.count()

    def program(depth: int) -> Program:
        return [op(depth) for _ in range(rng.randrange(5))]

    def op(depth: int) -> dict[str, Any]:
        kinds = ["act", "act", "wait", "step"] + (["gather", "spawn"] if depth < 3 else [])
        match rng.choice(kinds):
            case "wait":
                return {"wait": token()}
            case "gather":
                return {"gather": [program(depth + 1) for _ in range(rng.randrange(1, 4))]}
            case "spawn":
                return {"spawn": program(depth + 1)}
            case kind:
                return {kind: f"{kind} {next(names)}"}

    return [{"gather": [program(1) for _ in range(3)]}, *program(0), {"wait": token()}]


@pytest.mark.timeout(120)
def test_random_branches(deployment: Deployment, start: Callable[..., Any]) -> None:
    """Their tokens are completed in any order, and the worker is killed while all of them wait."""
    rng = random.Random(SEED)  # noqa: S311 - the same programs every time
    planted = [grow(rng) for _ in range(RUNS)]
    left = [tokens_of(program) for program in planted]
    worker = start(concurrency=20)
    ids = deployment.batch("branches", planted)
    for _ in range(KILLS):
        for run in ids:
            wait_until(
                lambda run=run: deployment.status(run) in ("WAITING", "COMPLETED"), "it waits"
            )
        for tokens in left:
            rng.shuffle(tokens)
            for _ in range(min(len(tokens), rng.randrange(3))):
                wait.complete_token(tokens.pop()).sync()
        settle(deployment, ids)
        worker.kill()
        worker = start(concurrency=20)
    for tokens in left:
        for one in tokens:
            wait.complete_token(one).sync()
    deployment.wait_all(ids, timeout=60)
    for run, program in zip(ids, planted, strict=True):
        check(run, program)


def settle(deployment: Deployment, ids: list[str]) -> None:
    """All runs wait, or are over, and what they said is stored."""
    seen: dict[str, Any] = {}

    def still(run: str) -> bool:
        before = deployment.epoch(run), deployment.get(run).updated_at
        status, lines, done = deployment.status(run), sorted(said(run)), sorted(acts(run))
        seen[run] = before, status, {"said": lines, "did": done}
        if status not in ("WAITING", "COMPLETED") or lines != done:
            return False
        return before == (deployment.epoch(run), deployment.get(run).updated_at)

    for run in ids:
        try:
            wait_until(lambda run=run: still(run), "it stands still", timeout=30)
        except AssertionError as problem:
            raise AssertionError(f"{problem}: {run} {seen[run]}") from None
