"""What goes over the wire: packing of calls, and the meaning of error replies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from redis import exceptions as redis_errors

from trigger_celery.errors import (
    ServerUnfitError,
    StoreAuthenticationError,
    StoreError,
    StoreUnavailableError,
)
from trigger_celery.store.op import Arg, Call

LOST = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)
"""The link failed: whether the server did the work is unknown, so the same call is sent again."""

PIECE = 16 * 1024
"""Bytes from which packed calls are sent while the next are packed."""

_UNAVAILABLE = (
    "LOADING", "OOM", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "BUSY",
    "TRYAGAIN", "UNBLOCKED",
)  # fmt: skip
_TRANSIENT = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "READONLY")
_AUTHENTICATION = (
    "NOAUTH", "WRONGPASS", "NOPERM", "ACL failure", "can't run this command",
    "invalid username-password",
)  # fmt: skip


def pack_arg(arg: Arg) -> bytes:
    """Return one argument as a RESP bulk string."""
    if type(arg) is str:
        data = arg.encode()
    elif type(arg) is bytes:
        data = arg
    elif type(arg) is int:
        data = b"%d" % arg
    elif isinstance(arg, str):  # of a class of its own
        data = arg.encode()
    else:
        data = repr(arg).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def pack(call: Call, *, by_text: bool = False) -> bytes:
    """Return the call as bytes; *by_text* sends the whole script instead of its digest."""
    parts: list[bytes]
    script = call.script
    if script is None:
        parts = [b"*%d\r\n" % len(call.args)]
    elif by_text:
        parts = [b"*%d\r\n" % (4 + len(call.args)), pack_arg("EVAL"), pack_arg(script.text)]
        parts += [pack_arg(1), pack_arg(call.scope)]
    else:
        parts = [b"*%d\r\n" % (4 + len(call.args)), script.head, pack_arg(call.scope)]
    parts.extend(map(pack_arg, call.args))
    return b"".join(parts)


def pieces(calls: Sequence[Call]) -> Iterator[bytes]:
    """Yield the calls as bytes to send one after another.

    The server works on a large piece while the next is packed. Small calls go together: between
    two sends another thread may take the interpreter for 5 ms.
    """
    if len(calls) == 1:
        yield pack(calls[0])
        return
    small: list[bytes] = []
    size = 0
    for call in calls:
        small.append(pack(call))
        size += len(small[-1])
        if size >= PIECE:
            yield b"".join(small)
            small, size = [], 0
    if small:
        yield b"".join(small)


def is_lost(error: BaseException) -> bool:
    """Tell whether the link failed, so that it is unknown whether the server did the work."""
    return isinstance(error, LOST) and not isinstance(
        error,
        redis_errors.AuthenticationError
        | redis_errors.AuthorizationError
        | redis_errors.BusyLoadingError,
    )


def is_noscript(error: BaseException) -> bool:
    """Tell whether the server has forgotten the script (restart, failover, flush)."""
    return isinstance(error, redis_errors.NoScriptError)


def is_transient(error: BaseException) -> bool:
    """Tell whether the server refused for now and the same call is worth sending again."""
    return isinstance(error, redis_errors.RedisError) and _code(error) in _TRANSIENT


def _code(error: BaseException) -> str:
    if isinstance(error, redis_errors.BusyLoadingError):
        return "LOADING"
    if isinstance(error, redis_errors.ReadOnlyError):
        return "READONLY"
    if isinstance(error, redis_errors.OutOfMemoryError):
        return "OOM"
    if isinstance(error, redis_errors.NoPermissionError):
        return "NOPERM"
    if isinstance(error, redis_errors.AuthenticationError):
        return "NOAUTH"
    text = str(error)
    return text.split(" ", 1)[0] if text else ""


def translate(error: BaseException, where: str) -> Exception:
    """Return the library's exception for what redis-py raised; *where* names the server."""
    code = _code(error)
    text = str(error).rstrip(".")
    if code in _AUTHENTICATION or any(word in text[:300] for word in _AUTHENTICATION):
        return StoreAuthenticationError(
            f"the server at {where} refused us: {text}. Check user and password in redis_url, "
            "and that the user may run EVALSHA and every command the scripts use "
            "(trigger-celery doctor names them)."
        )
    if code in _UNAVAILABLE or isinstance(error, LOST):
        return StoreUnavailableError(f"the server at {where} cannot serve now: {text or error!r}")
    if "unknown command" in text.lower():
        return ServerUnfitError(f"the server at {where} lacks a command that runs need: {text}")
    return StoreError(f"the server at {where} answered with an error: {text}")


def decode_replies(calls: Sequence[Call], replies: Sequence[object]) -> list[object]:
    """Apply each call's decoder to its reply."""
    return [
        call.decode(reply) if call.decode is not None else reply
        for call, reply in zip(calls, replies, strict=True)
    ]
