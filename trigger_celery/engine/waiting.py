"""What a run does to wait, and the record that lets it be executed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import TooManyCallsError
from trigger_celery.model.ids import op_id
from trigger_celery.model.packet import Packet, dump_json
from trigger_celery.store.op import Arg, Call, Flow


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script said: a word, and what belongs to it (a former call, a chain, targets)."""

    word: str
    more: tuple[str, ...] = ()


class Rest(NamedTuple):
    """Side effects of one task of a run since its last durable call; of none since it began."""

    last: str
    said: int
    done: int

    @classmethod
    def from_text(cls, text: str) -> Rest:
        """Return what `to_text` made."""
        last, said, done = text.split("\x1f")
        return cls(last, int(said), int(done))

    def to_text(self) -> str:
        """Return it as the store keeps it."""
        return f"{self.last}\x1f{self.said}\x1f{self.done}"


def home_of(path: str) -> str:
    """Return the part of a position that names the task which made the call: empty for the first."""
    named = path.rfind(":")
    return "" if named < 0 else path[: path.index("/", named) + 1]


@dataclass(slots=True)
class Record:
    """Durable calls of an attempt by position, results of steps by name, and what followed calls."""

    calls: Mapping[str, str] = field(default_factory=dict)
    steps: dict[str, Packet] = field(default_factory=dict)
    rests: Mapping[str, Rest] = field(default_factory=dict)
    """By task: what it did after its last call before the run parked, if it did not wait itself."""
    _counts: Counter[str] | None = None

    def calls_of(self, home: str) -> int:
        """Return how many of the calls one task of the run made."""
        if self._counts is None:
            self._counts = Counter(map(home_of, self.calls))
        return self._counts[home]


def _answer(reply: Any) -> Answer:
    word, *more = (part.decode() for part in reply)
    return Answer(word, tuple(more))


def wait_for(
    scope: str,
    run_id: str,
    epoch: str,
    path: str,
    call: str,
    target: str = "",
    post_to: str = "",
    park: bool = False,
    rests: Mapping[str, Rest] | None = None,
) -> Call:
    """Return the call that notes a durable call at *path* and, with a *target*, begins a wait.

    *rests* are noted if that parks the run.
    Answers ready, waiting, parked, stale, unknown, full, mismatch (with the call noted before) or
    cycle (with the chain of runs). Repeatable: the same call at the same path answers the same.
    """
    return SCRIPTS.wait_for(
        scope,
        (),
        _answer,
        run_id=run_id,
        epoch=epoch,
        path=path,
        call=call,
        target=target,
        post_to=post_to,
        park="1" if park else "0",
        rests=_text_of(rests),
    )


def park_run(
    scope: str,
    run_id: str,
    epoch: str,
    targets: Sequence[str],
    rests: Mapping[str, Rest] | None = None,
) -> Flow[Answer]:
    """Give the slot back, unless one of the *targets* is done: then ready, and which are.

    *rests* are noted if it is given back.
    """
    answer: Answer = yield SCRIPTS.park_run(
        scope, targets, _answer, run_id=run_id, epoch=epoch, rests=_text_of(rests)
    )
    return answer


def _text_of(rests: Mapping[str, Rest] | None) -> str:
    if not rests:
        return ""
    return dump_json([part for home, rest in rests.items() for part in (home, rest.to_text())])


def resume_run(scope: str, run_id: str, epoch: str, given_up: Sequence[str] = ()) -> Flow[str]:
    """Let a waiting run go on although nothing it waits for is done.

    Answers told when it has its slot and its mailbox will say so, queued when it waits for its slot,
    ok when it executes already, or stale.

    It does not wait for what is *given_up* any more.
    """
    answer: bytes = yield SCRIPTS.resume_run(
        scope, given_up, None, op_id=op_id(), run_id=run_id, epoch=epoch
    )
    return answer.decode()


MAX_EVICTIONS = 200
"""Runs given up by one call."""


def evict_runs(
    scope: str, runs: Sequence[tuple[str, str]], *, if_needed: bool = False
) -> Flow[list[str]]:
    """Give up the memory of waiting runs (id, epoch); answers evicted, granted or stale for each.

    granted: the run was told to go on meanwhile, so its memory is needed. With *if_needed* only
    where other runs wait for a process; else the answer is kept.
    """
    answers: list[str] = []
    for start in range(0, len(runs), MAX_EVICTIONS):
        pairs: list[Arg] = [part for run in runs[start : start + MAX_EVICTIONS] for part in run]
        reply = yield SCRIPTS.evict_runs(scope, pairs, None, if_needed="1" if if_needed else "0")
        answers += (answer.decode() for answer in reply)
    return answers


def record_step(
    scope: str, run_id: str, epoch: str, path: str, call: str, name: str, result: Packet
) -> Flow[Packet | None]:
    """Keep the result of a step and return the one that counts, the first; None: not our run.

    Raises TooManyCallsError over 10,000 steps of a run.
    """
    word, *rest = yield SCRIPTS.record_step(
        scope,
        run_id=run_id,
        epoch=epoch,
        path=path,
        call=call,
        name=name,
        ptype=result.type,
        data=result.data,
    )
    if word == b"stale":
        return None
    if word == b"full":
        raise TooManyCallsError(
            f"run {run_id} has 10,000 steps, the limit: split it into child runs"
        )
    return Packet(rest[1].decode(), rest[0].decode())


def read_record(scope: str, run_id: str) -> Flow[Record]:
    """Return what the run's attempt did before it lost its memory."""
    calls, steps, rests = yield SCRIPTS.read_record(scope, run_id=run_id)
    texts = [item.decode() for item in calls]
    after = [item.decode() for item in rests]
    results: dict[str, Packet] = {}
    for name, stored in zip(steps[::2], steps[1::2], strict=True):
        kind, _, data = stored.decode().partition("\x1f")
        results[name.decode()] = Packet(data, kind)
    return Record(
        dict(zip(texts[::2], texts[1::2], strict=True)),
        results,
        dict(zip(after[::2], map(Rest.from_text, after[1::2]), strict=True)),
    )
