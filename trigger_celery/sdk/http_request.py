"""The request of `retry.fetch`, over httpx: imported when the first is made."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.tries import Tries
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.duration import Delay
from trigger_celery.model.fetch_retry import MAX_TRIES, Backoff, FetchRetry, reset_of
from trigger_celery.model.packet import Packet, decode, encode
from trigger_celery.model.retry import Retry
from trigger_celery.store.op import Flow, Perform

COUNT_HEADER: Final = "x-retry-count"
PATIENCE: Final = 300.0
"""Seconds for connecting, and for each read, of a request that does not say."""
MAX_RECORDED: Final = 1_000_000
"""Bytes of a body that is stored for replays."""
_CODED = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""What the body of a stored response is no longer."""

logger = logging.getLogger("trigger_celery.task")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, to be sent as often as needed."""

    method: str
    url: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] | None
    client: httpx.Client | httpx.AsyncClient | None
    timeout_in_ms: float | None
    follow: bool

    @property
    def shown(self) -> str:
        """The address without its query and user, which may hold secrets."""
        return str(httpx.URL(self.url).copy_with(query=None, userinfo=b""))

    def sending(self, count: int) -> Perform:
        """Return the step that sends it, after *count* others."""
        return Perform(lambda: self._asynchronously(count), lambda: self._synchronously(count))

    @property
    def _limit(self) -> float | None:
        return None if self.timeout_in_ms is None else self.timeout_in_ms / 1000

    def _made(self, client: httpx.Client | httpx.AsyncClient, count: int) -> httpx.Request:
        headers = {**(self.headers or {}), COUNT_HEADER: str(count)}
        patience: dict[str, Any] = {}
        if self._limit is not None or self.client is None:
            patience["timeout"] = httpx.Timeout(self._limit or PATIENCE)
        return client.build_request(self.method, self.url, headers=headers, **self.body, **patience)

    async def _asynchronously(self, count: int) -> httpx.Response:
        client = httpx.AsyncClient(verify=_trusted()) if self.client is None else self.client
        if not isinstance(client, httpx.AsyncClient):
            raise _unfit_client("await retry.fetch(…)", "AsyncClient", client)
        try:
            async with asyncio.timeout(self._limit):
                return await client.send(self._made(client, count), follow_redirects=self.follow)
        except TimeoutError as problem:
            raise self._too_late() from problem
        finally:
            if self.client is None:
                await client.aclose()

    def _synchronously(self, count: int) -> httpx.Response:
        client = httpx.Client(verify=_trusted()) if self.client is None else self.client
        if not isinstance(client, httpx.Client):
            raise _unfit_client("retry.fetch(…).sync()", "Client", client)
        deadline = None if self._limit is None else time.monotonic() + self._limit
        try:
            request = self._made(client, count)
            response = client.send(request, stream=True, follow_redirects=self.follow)
            try:
                if deadline is not None and isinstance(response.stream, httpx.SyncByteStream):
                    response.stream = _Punctual(response.stream, deadline, self._too_late())
                response.read()
            finally:
                response.close()
            return response
        finally:
            if self.client is None:
                client.close()

    def _too_late(self) -> httpx.ReadTimeout:
        return httpx.ReadTimeout(f"{self.method} {self.shown} took longer than {self._limit} s")


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates we trust: reading them takes longer than a request."""
    return httpx.create_ssl_context()


class _Punctual(httpx.SyncByteStream):
    """A body that has to be there by a moment."""

    def __init__(
        self, body: httpx.SyncByteStream, deadline: float, too_late: httpx.ReadTimeout
    ) -> None:
        self._body = body
        self._deadline = deadline
        self._too_late = too_late

    def __iter__(self) -> Iterator[bytes]:
        for part in self._body:
            if time.monotonic() > self._deadline:
                raise self._too_late
            yield part

    def close(self) -> None:
        """Close the connection of the body."""
        self._body.close()


def _unfit_client(how: str, kind: str, client: object) -> InvalidOptionError:
    return InvalidOptionError(f"{how} needs an httpx.{kind} as client, not {type(client).__name__}")


def request_flow(
    bound: TriggerCelery, request: Request, rules: FetchRetry, *, record: bool
) -> Flow[httpx.Response]:
    """Send the request until there is an answer that counts, and keep it."""
    shown = request.shown
    tries = Tries(bound, "retry.fetch", f"retry.fetch {request.method} {shown:.200}")
    stored = tries.result_before()
    if stored is not None:
        return _restored(stored, request.method)
    number = 0
    while True:
        number += 1
        if tries.failed_before(number):
            yield from tries.pause(number, Delay(1000, None))
            continue
        response: httpx.Response | None = None
        try:
            with tries.inside(number):
                response = yield request.sending(number - 1)
        except httpx.TransportError as problem:
            due = _after_error(rules, problem, number)
            if due is None:
                raise
        else:
            due = _after_response(rules, response, number)
        if due is None:
            assert response is not None  # noqa: S101 - else it was raised
            if record and len(response.content) <= MAX_RECORDED:
                yield from tries.keep(_packed(response))
            return response
        logger.info(
            "%s is tried again: %s",
            shown,
            "no response" if response is None else f"status {response.status_code}",
            extra={"action": "fetch_retried", "tries": number},
        )
        yield from tries.pause(number, due)


def _after_error(rules: FetchRetry, problem: httpx.TransportError, number: int) -> Delay | None:
    if isinstance(problem, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return None  # the request itself is wrong
    late = isinstance(problem, httpx.TimeoutException)
    if rules.condition is not None and not rules.condition(None, problem):
        return None
    return _backoff(rules.timeout if late else rules.connection_error, number)


def _after_response(rules: FetchRetry, response: httpx.Response, number: int) -> Delay | None:
    if rules.condition is not None and not rules.condition(response, None):
        return None
    strategy = rules.strategy(response.status_code, lambda: response.text)
    if strategy is None or number >= MAX_TRIES:
        return None
    if isinstance(strategy, Backoff):
        return _backoff(strategy.policy, number)
    remaining = strategy.remaining_header
    if remaining is not None and response.headers.get(remaining, "0").strip() not in ("0", ""):
        return _backoff(Retry(), number)  # it is not this limit that was reached
    due = reset_of(strategy, response.headers.get)
    return _backoff(Retry(), number) if due is None else due


def _backoff(policy: Retry | None, number: int) -> Delay | None:
    if policy is None or number >= min(policy.max_attempts, MAX_TRIES):
        return None
    return Delay(policy.delay_ms(number, random.random), None)


def _packed(response: httpx.Response) -> Packet:
    kept = {
        "status": response.status_code,
        "url": str(response.url),
        "headers": [list(pair) for pair in response.headers.multi_items()],
        "body": response.content,
    }
    return encode(kept, what="response")


def _restored(stored: Packet, method: str) -> httpx.Response:
    kept = decode(stored.data, stored.type)
    headers = [(name, value) for name, value in kept["headers"] if name.lower() not in _CODED]
    return httpx.Response(
        kept["status"],
        headers=headers,
        content=kept["body"],
        request=httpx.Request(method, kept["url"]),
    )
