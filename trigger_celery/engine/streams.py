"""Streams of runs: appends chunks, and reads them as they come.

Chunk i of a stream is the entry `<i + 1>-0`, so a reader that knows how many it has seen goes on from
there, whoever it asks. A call that is sent again counts once.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from trigger_celery.engine import keys
from trigger_celery.engine.following import Follower
from trigger_celery.engine.querying import not_found
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import (
    InvalidOptionError,
    OutputTooLargeError,
    RunLeaseLostError,
    StateError,
    StoreUnavailableError,
)
from trigger_celery.model.ids import op_id, token
from trigger_celery.model.packet import encode_json
from trigger_celery.model.run import RunStatus
from trigger_celery.store.op import Call, Flow, Perform, Sleep
from trigger_celery.store.stream_reader import StreamReader

logger = logging.getLogger("trigger_celery.streams")

MAX_CHUNK: Final = 1024 * 1024 - 1024
MAX_NAME: Final = 128
PATIENCE: Final = 60.0
"""Seconds for which chunks wait for a server that is away."""
_LOOK: Final = 5.0
_TRY_AGAIN: Final = 0.3


@dataclass(frozen=True, slots=True)
class Address:
    """A stream, and who writes to it: a run with its epoch, or '' from outside."""

    scope: str
    target: str
    name: str
    run_id: str = ""
    epoch: str = ""


def check_name(name: object) -> str:
    """Return the name of a stream. Raises InvalidOptionError."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidOptionError(
            f"{name!r:.60} is not the name of a stream: printable text of 1 to {MAX_NAME} characters"
        )
    return name


def chunk_text(value: Any) -> str:
    """Return a chunk as JSON. Raises InvalidOptionError, OutputTooLargeError over 1 MiB - 1 KiB."""
    return encode_json(
        value,
        limit=MAX_CHUNK,
        error=InvalidOptionError,
        too_large=OutputTooLargeError,
        what="chunk",
    )


def append(
    to: Address, chunks: Sequence[str], *, begins: bool = False, ends: bool = False
) -> Flow[None]:
    """Append chunks in one call; waits up to a minute for a server that is away.

    Raises RunNotFoundError, RunLeaseLostError, StateError for the 101st stream of a run.
    """
    call = SCRIPTS.append_stream(
        to.scope,
        chunks,
        None,
        op_id=op_id(),
        run_id=to.run_id,
        epoch=to.epoch,
        target=to.target,
        stream=token(to.name),
        name=to.name,
        begins=int(begins),
        ends=int(ends),
    )
    word = (yield from _until_heard(call))[0]
    if word == b"gone":
        raise not_found(to.target)
    if word == b"stale":
        raise RunLeaseLostError(f"run {to.run_id} belongs to another worker now")
    if word == b"full":
        raise StateError(f"run {to.target} has 100 streams, the limit: use one stream for several")


def _until_heard(call: Call) -> Flow[Any]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return (yield call)
        except StoreUnavailableError:
            if time.monotonic() > deadline:
                raise
        yield Sleep(_TRY_AGAIN)


def position(index: int) -> str:
    """Return the entry after which chunk *index* stands."""
    return f"{index}-0"


class StreamFollower(Follower[tuple[Any]]):
    """Gives the chunks of one stream, each in a tuple: from an index on, until it ends.

    It ends when no pipe into it is open any more, when the run is final and everything is read, or
    after *timeout* seconds without a chunk.
    """

    def __init__(
        self,
        scope: str,
        run_id: str,
        name: str,
        reader: StreamReader,
        *,
        index: int = 0,
        timeout: float = 60.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._scope = scope
        self._id = run_id
        self._token = token(name)
        self._reader = reader
        self._after = position(index)
        self._timeout = timeout
        self._heard_at: float | None = None

    def close(self) -> None:
        """Come to the end. Ends a wait under way."""
        super().close()
        self._reader.close()

    def rest(self) -> None:
        """Hold no connection until the next call."""
        self._reader.disconnect()

    def _step(self) -> Flow[None]:
        reply = yield SCRIPTS.read_stream(
            self._scope, run_id=self._id, stream=self._token, after=self._after
        )
        if not reply:
            raise not_found(self._id)
        status, ended, *entries = reply
        now = time.monotonic()
        chunks = [(json.loads(text),) for _, kind, text in entries if kind == b"chunk"]
        if chunks or self._heard_at is None:
            self._heard_at = now
        self._ready.extend(chunks)
        if entries:
            self._after = entries[-1][0].decode()
        if ended or entries:
            self._over = bool(ended)
            return
        if RunStatus(status.decode()).is_final or now - self._heard_at >= self._timeout:
            self._over = True
            return
        seconds = min(_LOOK, self._timeout - (now - self._heard_at))
        key, after = keys.key(self._scope, "stream", self._token, self._id), self._after
        yield Perform(
            lambda: self._reader.wait(key, after, seconds),
            lambda: self._reader.wait_sync(key, after, seconds),
        )


class RunStreams:
    """What has been read of all streams of one run."""

    def __init__(self, scope: str, run_id: str) -> None:
        self._scope = scope
        self._id = run_id
        self._seen: dict[str, str] = {}

    def read(self) -> Flow[tuple[int, deque[tuple[str, Any]]] | None]:
        """Return the number of the run's last change, and the new chunks with their streams' names.

        None when there is no such run.
        """
        positions = [part for pair in self._seen.items() for part in pair]
        reply = yield SCRIPTS.read_streams(self._scope, positions, None, run_id=self._id)
        if not reply:
            return None
        found: deque[tuple[str, Any]] = deque()
        for stream, name, *entries in reply[1:]:
            self._seen[stream.decode()] = entries[-1][0].decode()
            found.extend(
                (name.decode(), json.loads(text)) for _, kind, text in entries if kind == b"chunk"
            )
        return int(reply[0]), found
