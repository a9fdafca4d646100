"""`wait`: a run waits for time or for somebody, without holding a slot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.blocking import durable_wait
from trigger_celery.bridge.durable import Durable, current_durable, require_run
from trigger_celery.bridge.old_forms import warn_of_old_form
from trigger_celery.bridge.typed_dicts import readable
from trigger_celery.engine import waitpoints
from trigger_celery.engine.waitpoints import NewWaitpoint, Noted, TokenFilter
from trigger_celery.errors import (
    DateInPastError,
    InvalidDurationError,
    InvalidOptionError,
    OutputTooLargeError,
    ResultTypeError,
    WaitpointTimeoutError,
    closest,
)
from trigger_celery.model.duration import MAX_MS, Delay, parse_delay, parse_duration
from trigger_celery.model.ids import is_token_id, waitpoint_id
from trigger_celery.model.packet import encode
from trigger_celery.model.task_options import (
    check_idempotency_key,
    check_idempotency_ttl,
    check_tags,
)
from trigger_celery.model.wait import WaitInfo
from trigger_celery.model.waitpoint import Token, TokenStatus
from trigger_celery.sdk.results import ResultOp, TokenResult
from trigger_celery.sdk.run_list import after_of
from trigger_celery.store.op import Call, Flow, Op

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

UNITS: Final = {
    "seconds": 1.0,
    "minutes": 60.0,
    "hours": 3600.0,
    "days": 86_400.0,
    "weeks": 604_800.0,
    "months": 30 * 86_400.0,
    "years": 365 * 86_400.0,
}
"""Seconds of each unit: a month is 30 days, a year 365."""


def for_duration(
    duration: str | float | timedelta | None = None,
    /,
    *,
    idempotency_key: str | None = None,
    idempotency_key_ttl: str | float | timedelta | None = None,
    **units: float,
) -> Op[None]:
    """Wait for a length of time.

    Give `seconds`, `minutes`, `hours`, `days`, `weeks`, `months` (30 days) or `years` (365 days),
    which add up and may be fractions, or one duration such as "1h30m". Zero does not wait. With an
    *idempotency_key* whoever waits with the same key waits for the same moment; the key counts
    for *idempotency_key_ttl* (30 days).

    Raises OutsideRunError, and InvalidDurationError for what is no length of time.
    """
    ms = _length(duration, units)
    info_date = datetime.now(UTC) + timedelta(milliseconds=ms)
    key = check_idempotency_key(idempotency_key)
    ttl = check_idempotency_ttl(idempotency_key_ttl, waitpoints.KEY_TTL_MS, idempotency_key)
    return _date_op("wait.for_duration", Delay(ms, None), info_date, key, ttl)


def until(
    *,
    date: datetime | str,
    throw_if_in_the_past: bool = False,
    idempotency_key: str | None = None,
    idempotency_key_ttl: str | float | timedelta | None = None,
) -> Op[None]:
    """Wait until a moment: a datetime or an ISO date. Without a zone it is local time.

    A moment in the past does not wait; with *throw_if_in_the_past* it raises DateInPastError.
    """
    delay = parse_delay(date, name="date")
    if delay.at_ms is None:
        raise InvalidDurationError(
            f"wait.until(date={date!r}): pass a datetime or an ISO date; for a length of time "
            "there is wait.for_duration"
        )
    at = datetime.fromtimestamp(delay.at_ms / 1000, UTC)
    key = check_idempotency_key(idempotency_key)
    ttl = check_idempotency_ttl(idempotency_key_ttl, waitpoints.KEY_TTL_MS, idempotency_key)
    return _date_op("wait.until", delay, at, key, ttl, refuse_past=throw_if_in_the_past)


def create_token(
    *,
    timeout: str | float | timedelta | datetime | None = None,
    idempotency_key: str | None = None,
    idempotency_key_ttl: str | float | timedelta | None = None,
    tags: str | Iterable[str] | None = None,
) -> Op[Token]:
    """Make a token that somebody completes later. In a run or outside of one.

    Args:
        timeout: a duration, seconds or a datetime, after which it times out; none is a year.
        idempotency_key: finds the token that was made with the same key (`is_cached`).
        idempotency_key_ttl: how long the key counts; 30 days unless given.
        tags: up to 10, to list tokens by.

    Raises InvalidDurationError for a timeout that does not parse.
    """
    due = Delay(waitpoints.MAX_WAIT_MS, None)
    if timeout is not None:
        due = parse_delay(timeout, name="timeout")
    key = check_idempotency_key(idempotency_key)
    ttl = check_idempotency_ttl(idempotency_key_ttl, waitpoints.KEY_TTL_MS, idempotency_key)
    checked = check_tags(tags)
    bound = context.current()

    def flow() -> Flow[Token]:
        durable = current_durable()
        if durable is None:
            new = NewWaitpoint(waitpoint_id(), "TOKEN", due, key, ttl, checked)
            noted = Noted()
        else:
            path, _ = durable.begin("wait.create_token")
            new = NewWaitpoint(durable.id_of("waitpoint", path), "TOKEN", due, key, ttl, checked)
            noted = Noted(durable.run_id, path, "wait.create_token")
        retention = bound.settings.run_retention
        return (yield from waitpoints.create_token(bound.scope, new, retention, noted))

    return bound.op(flow(), "wait.create_token")


@overload
def for_token(
    token_or_id: str | Token | None = ...,
    /,
    *,
    result_type: type[T],
    token: str | Token | None = ...,
    timeout_in_seconds: float | None = ...,
) -> ResultOp[TokenResult[T], T]: ...
@overload
def for_token(
    token_or_id: str | Token | None = ...,
    /,
    *,
    token: str | Token | None = ...,
    timeout_in_seconds: float | None = ...,
) -> ResultOp[TokenResult[Any], Any]: ...
def for_token(
    token_or_id: str | Token | None = None,
    /,
    *,
    result_type: Any = None,
    token: str | Token | None = None,
    timeout_in_seconds: float | None = None,
) -> ResultOp[TokenResult[Any], Any]:
    """Wait until a token is completed or times out; a token that has ended does not wait.

    The result has `ok`, `data` (or `output`) and `error`; `.unwrap()` gives the data or raises
    WaitpointTimeoutError. With *result_type* (any type that pydantic knows) the data are validated:
    ResultTypeError when they do not fit. Several runs may wait for one token.

    `token=` and `timeout_in_seconds=` are old spellings: pass the token first, and give the
    timeout to `create_token`. A timeout given here counts for everybody who waits for the token.

    Raises OutsideRunError, TokenNotFoundError, InvalidOptionError for what is no type.
    """
    if token is not None or timeout_in_seconds is not None:
        warn_of_old_form(
            "wait.for_token(token=…, timeout_in_seconds=…) is the form of earlier versions: write "
            "wait.for_token(token) and wait.create_token(timeout=…)"
        )
    token_id = _token_id(token_or_id if token_or_id is not None else token)
    shorten = (
        None
        if timeout_in_seconds is None
        else parse_duration(timeout_in_seconds, name="timeout_in_seconds")
    )
    adapter = None if result_type is None else _adapter(result_type)
    bound = context.current()
    require_run("wait.for_token()")
    flow = _token_flow(bound.scope, token_id, shorten, adapter)
    return ResultOp(bound.store, flow, "wait.for_token")


def complete_token(token_or_id: str | Token, data: Any = None) -> Op[bool]:
    """Complete a token with *data*, anything serialisable up to 10 MB; from anywhere.

    Returns True when this call completed it. The first ending wins: completing it again, or after
    its timeout, changes nothing and returns False.

    Raises TokenNotFoundError, PayloadNotSerializableError, OutputTooLargeError.
    """
    token_id = _token_id(token_or_id)
    result = encode(data, too_large=OutputTooLargeError, what="token's data")
    bound = context.current()
    retention = bound.settings.run_retention
    flow = waitpoints.complete_token(bound.scope, token_id, result, retention)
    return bound.op(flow, "wait.complete_token")


def retrieve_token(token_or_id: str | Token) -> Op[Token]:
    """Return a token with its status, times, tags and output. Raises TokenNotFoundError."""
    bound = context.current()
    flow = waitpoints.read_token(bound.scope, _token_id(token_or_id))
    return bound.op(flow, "wait.retrieve_token")


@dataclass(frozen=True, slots=True)
class TokenPage:
    """A page of tokens, newest first, without outputs. `next_cursor` is None at the end."""

    tokens: list[Token] = field(default_factory=list)
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[Token]:
        return iter(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)


def list_tokens(
    *,
    status: str | TokenStatus | Iterable[str] | None = None,
    tags: str | Iterable[str] | None = None,
    idempotency_key: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    period: str | float | None = None,
    limit: int = 20,
    after: str | None = None,
    cursor: str | None = None,
) -> Op[TokenPage]:
    """Return a page of tokens, newest first; filters are those of `runs.list`.

    *limit* is 1 to 100; pass `page.next_cursor` as *after*, or *cursor*, for the next page.
    """
    if type(limit) is not int or not 1 <= limit <= 100:
        raise InvalidOptionError(f"limit={limit!r}: a page has 1 to 100 tokens")
    if period is not None:
        ago = timedelta(milliseconds=parse_duration(period, name="period"))
        created_from = datetime.now(UTC) - ago
    first = after_of(after, cursor, "wait.list_tokens")
    texts = (status,) if isinstance(status, str) else tuple(status or ())
    wanted = TokenFilter(
        statuses=tuple(_status(text) for text in texts),
        tags=check_tags(tags),
        key=check_idempotency_key(idempotency_key),
        created_from_ms=0 if created_from is None else int(created_from.timestamp() * 1000),
        created_to_ms=9_999_999_999_999
        if created_to is None
        else int(created_to.timestamp() * 1000),
    )
    bound = context.current()

    def flow() -> Flow[TokenPage]:
        found, following = yield from waitpoints.list_tokens(bound.scope, wanted, limit, first)
        return TokenPage(found, following)

    return bound.op(flow(), "wait.list_tokens")


def _status(text: str) -> TokenStatus:
    try:
        return TokenStatus(text.upper())
    except ValueError:
        names = [status.value for status in TokenStatus]
        raise InvalidOptionError(
            f"{text!r} is no status of a token.{closest(text.upper(), names)} Statuses: "
            f"{', '.join(names)}."
        ) from None


def _token_id(token: str | Token | None) -> str:
    token_id = getattr(token, "id", token)
    if not isinstance(token_id, str):
        raise InvalidOptionError(
            f"{token!r} is not a token: pass what wait.create_token returned, or its id"
        )
    if not is_token_id(token_id):
        # Nothing with such a name can exist: the answer is the same as for an unknown token.
        raise waitpoints.no_token(token_id)
    return token_id


def _length(duration: str | float | timedelta | None, units: dict[str, float]) -> int:
    if duration is not None:
        if units:
            raise InvalidOptionError("wait.for_duration: give one duration or units, not both")
        return parse_duration(duration)
    if not units:
        raise InvalidOptionError(f"wait.for_duration needs a length: {', '.join(UNITS)}")
    total = 0.0
    for name, amount in units.items():
        if name not in UNITS:
            raise InvalidOptionError(
                f"wait.for_duration has no unit {name!r}.{closest(name, UNITS)} Units: "
                f"{', '.join(UNITS)}."
            )
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise InvalidDurationError(f"{name}={amount!r} is not a number")
        total += min(parse_duration(amount, name=name), MAX_MS) * UNITS[name]
    return parse_duration(total / 1000)


def _date_op(
    what: str, due: Delay, at: datetime, key: str, ttl: int, *, refuse_past: bool = False
) -> Op[None]:
    bound = context.current()
    require_run(f"{what}()")
    return bound.op(_date_flow(bound, what, due, at, key, ttl, refuse_past), what)


def _date_flow(
    bound: TriggerCelery, what: str, due: Delay, at: datetime, key: str, ttl: int, refuse_past: bool
) -> Flow[None]:
    durable = require_run(f"{what}()")
    if due.after_ms == 0:
        return
    position = durable.begin(what)
    # A replay may come to a date that was in the future when the run began to wait for it.
    if refuse_past and at < datetime.now(UTC) and not durable.knows(position[0]):
        raise DateInPastError(f"{what}(date={at.isoformat()}): the date is in the past")
    scope, retention = bound.scope, bound.settings.run_retention
    info = WaitInfo("duration", date=at)
    new = NewWaitpoint(durable.id_of("waitpoint", position[0]), "DATETIME", due, key, ttl)
    if not key:
        prepare = [waitpoints.create_waitpoint(scope, new, retention)]
        target = new.id
        del new
        yield from durable_wait(durable, scope, position, what, target, info, prepare)
        return
    # The key may name another waitpoint: which one is noted, so that a replay waits for the same.
    noted = Noted(durable.run_id, position[0], what)
    _, found = yield waitpoints.create_waitpoint(scope, new, retention, noted)
    by_key = f"{what} {found}"
    yield from durable_wait(durable, scope, durable.begin(by_key), by_key, found, info)


def _token_flow(
    scope: str, token_id: str, shorten_ms: int | None, adapter: TypeAdapter[Any] | None
) -> Flow[TokenResult[Any]]:
    durable: Durable = require_run("wait.for_token()")
    call = f"wait.for_token {token_id}"
    position = durable.begin(call)
    prepare: list[Call] = []
    if shorten_ms is not None:
        prepare.append(waitpoints.shorten_call(scope, token_id, shorten_ms))
    info = WaitInfo("token", token=token_id)
    yield from durable_wait(durable, scope, position, call, token_id, info, prepare)
    token = yield from waitpoints.read_token(scope, token_id)
    if token.status is TokenStatus.TIMED_OUT:
        problem = WaitpointTimeoutError(
            f"token {token_id} timed out at {token.timeout_at} before it was completed"
        )
        return TokenResult(False, None, problem)
    return TokenResult(True, _fitting(token, adapter))


def _adapter(result_type: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # it is large, and most processes validate nothing
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(readable(result_type))
    except PydanticUserError as problem:
        raise InvalidOptionError(
            f"wait.for_token(result_type={result_type!r:.60}): {problem.message}"
        ) from problem


def _fitting(token: Token, adapter: TypeAdapter[Any] | None) -> Any:
    if adapter is None:
        return token.output
    from pydantic import ValidationError

    try:
        return adapter.validate_python(token.output)
    except ValidationError as problem:
        details = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'data'}: {error['msg']}"
            for error in problem.errors()
        )
        raise ResultTypeError(
            f"token {token.id} was completed with data that do not fit the result_type: {details}"
        ) from problem
