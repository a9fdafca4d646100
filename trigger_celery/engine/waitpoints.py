"""Waitpoints: dates that are reached and tokens that somebody completes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from trigger_celery.engine.codec import fields_of, instant_of
from trigger_celery.engine.offloading import bring, put_away
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import InvalidOptionError, ReplayMismatchError, TokenNotFoundError
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import op_id
from trigger_celery.model.packet import JSON, STORE, Packet, decode
from trigger_celery.model.waitpoint import Token, TokenStatus
from trigger_celery.store.op import Call, Flow

MAX_WAIT_MS = 365 * 86_400_000
"""A token without a timeout times out after a year, so that none stays for ever."""
KEY_TTL_MS = 30 * 86_400_000
"""How long an idempotency key of a wait counts unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class NewWaitpoint:
    """A waitpoint to create, or to find by its id or idempotency key."""

    id: str
    type: Literal["DATETIME", "TOKEN"]
    due: Delay
    key: str = ""
    key_ttl_ms: int = KEY_TTL_MS
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Noted:
    """Where in which run a waitpoint is made; a replay gets the same one."""

    run_id: str = ""
    path: str = ""
    call: str = ""


def _created(reply: Any) -> tuple[str, str]:
    word, found = (part.decode() for part in reply)
    return word, found


def create_waitpoint(
    scope: str, new: NewWaitpoint, retention: int, noted: Noted | None = None
) -> Call:
    """Return the call that makes a waitpoint; it answers (created | cached | again, its id)."""
    noted = noted or Noted()
    after = new.due.after_ms
    return SCRIPTS.create_waitpoint(
        scope,
        (),
        _created,
        id=new.id,
        type=new.type,
        mode="at" if after is None else "in",
        amount=(new.due.at_ms or 0) if after is None else after,
        key=new.key,
        key_ttl=new.key_ttl_ms,
        tags="\x1f".join(new.tags),
        run_id=noted.run_id,
        path=noted.path,
        call=noted.call,
        retention=retention,
    )


def create_token(
    scope: str, new: NewWaitpoint, retention: int, noted: Noted | None = None
) -> Flow[Token]:
    """Make a token, or find the one that its idempotency key names."""
    word, found = yield create_waitpoint(scope, new, retention, noted)
    if word == "mismatch":
        raise ReplayMismatchError(
            f"before, this place of the run asked for {found!r}; now it creates a token: "
            f"{noted.call if noted else ''!r}"
        )
    token = yield from read_token(scope, found)
    return replace(token, is_cached=word == "cached")


def no_token(token_id: str) -> TokenNotFoundError:
    """Return the error for a token that is not there."""
    return TokenNotFoundError(
        f"no token {token_id!r}: it was never created in this environment, or its retention has "
        "passed. Pass the token that wait.create_token returned, or its id (waitpoint_…)."
    )


def read_token(scope: str, token_id: str) -> Flow[Token]:
    """Return a token with its output. Raises TokenNotFoundError."""
    reply = yield SCRIPTS.read_waitpoint(scope, id=token_id)
    fields = fields_of(reply[0]) if reply else {}
    if fields.get("type") != "TOKEN":
        raise no_token(token_id)
    long_output = reply[1].decode()
    if fields.get("otype") == STORE:
        [packet] = yield from bring([Packet(long_output, STORE)])
        fields["otype"], long_output = packet.type, packet.data
    return _token(token_id, fields, long_output)


def shorten_call(scope: str, token_id: str, timeout_ms: int) -> Call:
    """Return the call that lets a token time out sooner than it was created to."""
    return SCRIPTS.shorten_token(scope, id=token_id, timeout=timeout_ms)


def complete_token(scope: str, token_id: str, result: Packet, retention: int) -> Flow[bool]:
    """End a token with a result; False: it had ended before, and nothing changed.

    Raises TokenNotFoundError.
    """
    [result] = yield from put_away(scope, [(token_id, result)])
    answer, _ = yield SCRIPTS.complete_token(
        scope,
        op_id=op_id(),
        id=token_id,
        ptype=result.type,
        data=result.data,
        retention=retention,
    )
    if answer == b"gone":
        raise no_token(token_id)
    return bool(answer == b"ok")


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """Which tokens to list; empty means any, several of a kind mean any of them."""

    statuses: tuple[TokenStatus, ...] = ()
    tags: tuple[str, ...] = ()
    key: str = ""
    created_from_ms: int = 0
    created_to_ms: int = 9_999_999_999_999


def list_tokens(
    scope: str, wanted: TokenFilter, limit: int, cursor: str | None
) -> Flow[tuple[list[Token], str | None]]:
    """Return a page of at most *limit* tokens, newest first, and the next cursor."""
    if cursor is not None and not cursor.isdigit():
        raise InvalidOptionError(
            f"{cursor!r} is not a cursor: pass `next_cursor` of the page before, as it is"
        )
    skip = int(cursor or 0)
    tokens: list[Token] = []
    while len(tokens) < limit:
        found, skip = yield SCRIPTS.list_tokens(
            scope,
            statuses="\x1f".join(wanted.statuses),
            tags="\x1f".join(wanted.tags),
            key=wanted.key,
            oldest=wanted.created_from_ms,
            newest=wanted.created_to_ms,
            skip=skip,
            count=limit - len(tokens),
        )
        tokens += [_token(name.decode(), fields_of(flat), None) for name, flat in found]
        if skip < 0:
            return tokens, None
    return tokens, str(skip)


def _token(token_id: str, fields: dict[str, str], long_output: str | None) -> Token:
    text, kind = long_output or fields.get("output"), fields.get("otype", JSON)
    # Completed without anything: no JSON has no characters, and text may.
    readable = long_output is not None and text is not None and not (text == "" and kind == JSON)
    return Token(
        id=token_id,
        status=TokenStatus(fields["status"]),
        output=decode(text, kind) if readable and text is not None else None,
        tags=tuple(filter(None, fields.get("tags", "").split("\x1f"))),
        created_at=instant_of(fields, "created"),
        timeout_at=instant_of(fields, "due"),
        completed_at=instant_of(fields, "completed"),
        idempotency_key=fields.get("key"),
        idempotency_key_expires_at=instant_of(fields, "key_until"),
    )
