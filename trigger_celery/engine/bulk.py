"""Bulk actions: cancel or replay many runs, by a filter or by their ids.

An action is a record in the store that the workers' services carry out in pieces of 100 runs, so
its caller may go away. A piece is planned in the record first: a worker that takes an action over
does the same runs again, which changes nothing the second time, and counts them once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from trigger_celery.engine.cancelling import CANCELS_PER_CALL
from trigger_celery.engine.codec import dump_error, fields_of, instant_of
from trigger_celery.engine.listing import MAX_PAGE, START, Place, RunFilter
from trigger_celery.engine.replaying import Original, copy_of, read_originals
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.triggering import (
    NewRun,
    Placement,
    create_call,
    create_calls,
    put_payloads_away,
)
from trigger_celery.errors import BulkActionNotFoundError, PayloadLostError, StateError
from trigger_celery.model.bulk import BulkAction, BulkStatus, BulkType
from trigger_celery.model.ids import derived_id, op_id
from trigger_celery.model.packet import STORE
from trigger_celery.model.run import RunError
from trigger_celery.store.op import Call, Flow

logger = logging.getLogger("trigger_celery.bulk")

MAX_RUNS: Final = 500
"""Runs that an action may name one by one."""
MAX_OPEN: Final = {BulkType.REPLAY: 3, BulkType.CANCEL: 20}
"""Actions of a type that may be under way in an environment."""
LEASE_MS: Final = 15_000


@dataclass(frozen=True, slots=True)
class NewBulk:
    """A bulk action to announce: for the runs that a filter finds, or for those with *run_ids*."""

    id: str
    type: BulkType
    filter: RunFilter | None = None
    run_ids: tuple[str, ...] = ()
    name: str = ""
    reason: str = ""


def no_bulk(bulk_id: str) -> BulkActionNotFoundError:
    """Return the error for a bulk action that is not there."""
    return BulkActionNotFoundError(
        f"no bulk action {bulk_id!r}: it was never made in this environment, or its retention has "
        "passed"
    )


def create_bulk(scope: str, new: NewBulk) -> Flow[None]:
    """Announce a bulk action; again is no harm. Raises StateError when too many are under way."""
    oldest, newest = (new.filter or RunFilter()).bounds()
    most = MAX_OPEN[new.type]
    word, *_ = yield SCRIPTS.create_bulk(
        scope,
        new.run_ids,
        None,
        id=new.id,
        type=new.type.value,
        name=new.name,
        # A replay of this action that is made in the millisecond it was announced is not meant.
        filter="" if new.filter is None else new.filter.to_text(but=new.id, brief=True),
        oldest=oldest,
        newest=newest,
        reason=new.reason,
        most=most,
    )
    if word == b"full":
        raise StateError(
            f"{most} bulk actions of the type {new.type} are under way, which is the most at once: "
            "wait for one to end (runs.bulk.poll), or abort one"
        )


def read_bulk(scope: str, bulk_id: str) -> Flow[BulkAction]:
    """Return a bulk action. Raises BulkActionNotFoundError."""
    found = yield SCRIPTS.read_bulks(scope, id=bulk_id, skip=0, count=1)
    if not found:
        raise no_bulk(bulk_id)
    return _action(bulk_id, fields_of(found[0][1]))


def list_bulks(scope: str, limit: int, skip: int = 0) -> Flow[list[BulkAction]]:
    """Return bulk actions, newest first."""
    found = yield SCRIPTS.read_bulks(scope, id="", skip=skip, count=limit)
    return [_action(name.decode(), fields_of(flat)) for name, flat in found]


def abort_bulk(scope: str, bulk_id: str, retention: int) -> Flow[BulkAction]:
    """Stop a bulk action; one that has ended stays as it is. Raises BulkActionNotFoundError."""
    yield SCRIPTS.abort_bulk(scope, id=bulk_id, retention=retention)
    return (yield from read_bulk(scope, bulk_id))


def _action(bulk_id: str, fields: dict[str, str]) -> BulkAction:
    status = BulkStatus(fields["status"])
    success, failure = int(fields["success"]), int(fields["failure"])
    total = fields.get("total")
    if total is None and status == BulkStatus.COMPLETED:
        total = str(success + failure)
    return BulkAction(
        id=bulk_id,
        type=BulkType(fields["type"]),
        status=status,
        name=fields.get("name"),
        total=None if total is None else int(total),
        success_count=success,
        failure_count=failure,
        created_at=instant_of(fields, "created"),
        completed_at=instant_of(fields, "completed"),
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """A bulk action that this process carries out, and what is next. *epoch* fences it."""

    id: str
    epoch: int
    type: BulkType
    reason: str
    filter: str
    oldest: str
    newest: str
    place: Place
    over: bool
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What one piece of a bulk action did. *claim* is None when it is over, or somebody else's."""

    claim: Claim | None
    success: int
    failure: int
    ended: BulkStatus | None = None


def claim_bulk(scope: str, lease: int = LEASE_MS) -> Flow[Claim | None]:
    """Take a bulk action that nobody works on."""
    reply = yield SCRIPTS.claim_bulk(scope, lease=lease)
    if not reply:
        return None
    name, epoch, flat, runs = reply
    fields = fields_of(flat)
    return Claim(
        id=name.decode(),
        epoch=int(epoch),
        type=BulkType(fields["type"]),
        reason=fields.get("reason", ""),
        filter=fields["filter"],
        oldest=fields["oldest"],
        newest=fields["newest"],
        place=Place(fields["at_score"], fields["at_id"]) if "at_id" in fields else START,
        over="over" in fields,
        runs=tuple(run.decode() for run in runs),
    )


SendAgain = Callable[[Sequence[Original], str], Flow[list[bool]]]
"""Sends messages of recorded runs again for a bulk action, and answers which are sent."""


def carry_on(
    scope: str,
    claim: Claim,
    place_of: Callable[[str], Placement],
    retention: int,
    send_again: SendAgain | None = None,
) -> Flow[Step]:
    """Do the runs that are planned, and plan the next. *place_of*: where runs of a task go.

    Without *send_again* recorded runs fail to be replayed.
    """
    if not claim.runs:
        done = []
    elif claim.type == BulkType.CANCEL:
        done = yield from _cancel(scope, claim, retention)
    else:
        done = yield from _replay(scope, claim, place_of, retention, send_again)
    more: list[str] = []
    place, over = claim.place, claim.over
    if not over and len(done) == len(claim.runs):
        more, place, over = yield from _find(scope, claim)
    success = sum(done)
    failure = len(done) - success
    word, status, *runs = yield SCRIPTS.advance_bulk(
        scope,
        more,
        None,
        op_id=op_id(),
        id=claim.id,
        epoch=claim.epoch,
        lease=LEASE_MS,
        retention=retention,
        done=len(done),
        success=success,
        failure=failure,
        at_score=place.score,
        at_id=place.run_id,
        over="1" if over else "",
    )
    if word == b"stale":
        return Step(None, 0, 0)
    now = BulkStatus(status.decode())
    if now != BulkStatus.PENDING:
        return Step(None, success, failure, now)
    planned = tuple(run.decode() for run in runs[0])
    return Step(replace(claim, place=place, over=over, runs=planned), success, failure)


def _find(scope: str, claim: Claim) -> Flow[tuple[list[str], Place, bool]]:
    """Return runs behind the place, and where to look on. One call: the rest comes with the next."""
    reply: Sequence[Any] = yield SCRIPTS.list_runs(
        scope,
        filter=claim.filter,
        direction="older",
        oldest=claim.oldest,
        newest=claim.newest,
        at_score=claim.place.score,
        at_id=claim.place.run_id,
        count=MAX_PAGE,
    )
    score, after = (part.decode() for part in reply[-1])
    runs = [name.decode() for name, _ in reply[:-1]]
    return (runs, Place(score, after), False) if after else (runs, START, True)


def _cancel(scope: str, claim: Claim, retention: int) -> Flow[list[bool]]:
    error = dump_error(RunError(None, claim.reason or "Canceled by user", type="STRING_ERROR"))
    replies: list[list[bytes]] = yield [
        SCRIPTS.cancel_runs(
            scope,
            claim.runs[start : start + CANCELS_PER_CALL],
            None,
            bulk=claim.id,
            error=error,
            retention=retention,
        )
        for start in range(0, len(claim.runs), CANCELS_PER_CALL)
    ]
    return [answer == b"ok" for reply in replies for answer in reply]


def _replay(
    scope: str,
    claim: Claim,
    place_of: Callable[[str], Placement],
    retention: int,
    send_again: SendAgain | None,
) -> Flow[list[bool]]:
    """Replay the planned runs, or as many as their payloads allow at a time."""
    originals = yield from read_originals(scope, claim.runs)
    copies = [_copy(original, place_of, claim.id) for original in originals]
    yield from _copy_objects(scope, copies)
    groups: dict[Placement, list[NewRun]] = {}
    for run in copies:
        if run is not None:
            groups.setdefault(run.placement, []).append(run)
    made: set[str] = set()
    crowded: list[NewRun] = []
    if groups:
        calls = [call for runs in groups.values() for call in create_calls(scope, runs, retention)]
        for runs, fits in zip(groups.values(), (yield _asking(calls)), strict=True):
            if fits:
                made.update(run.id for run in runs)
            else:  # not all of them: as many as there is place for
                crowded += runs
    if crowded:
        single = [create_call(scope, run, retention) for run in crowded]
        answers = yield _asking(single)
        made.update(run.id for run, fits in zip(crowded, answers, strict=True) if fits)
    recorded = [one for one in originals if one is not None and one.sent is not None]
    if recorded and send_again is not None:
        sent = yield from send_again(recorded, claim.id)
        made.update(one.id for one, is_sent in zip(recorded, sent, strict=True) if is_sent)
    return [
        bool((run and run.id in made) or (original and original.id in made))
        for run, original in zip(copies, originals, strict=True)
    ]


def _copy_objects(scope: str, copies: list[NewRun | None]) -> Flow[None]:
    """Give the runs their own copies of what is in the payload store; None for those that cannot."""
    for index, run in enumerate(copies):
        if run is not None and run.payload.type == STORE:
            try:
                yield from put_payloads_away(scope, (run,))
            except PayloadLostError as problem:
                copies[index] = None
                logger.warning(
                    "a run is not replayed: %s",
                    problem,
                    extra={"action": "payload_lost", "run_id": run.id},
                )


def _asking(calls: list[Call]) -> list[Call]:
    """Let the calls answer whether there was place, instead of raising QueueFullError."""
    for call in calls:
        call.decode = _is_made
    return calls


def _copy(
    original: Original | None, place_of: Callable[[str], Placement], bulk: str
) -> NewRun | None:
    if original is None or original.payload is None or original.sent is not None:
        return None
    # The same for every worker that does this piece.
    run_id = derived_id("run", bulk.replace("bulk_", "run_", 1), original.id)
    return copy_of(original, place_of(original.task), run_id, bulk)


def _is_made(reply: Any) -> bool:
    return bool(reply[0] != b"full")
