"""`retry.fetch`: an HTTP request that is made again when it fails."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import require_run
from trigger_celery.bridge.old_forms import warn_of_old_form
from trigger_celery.errors import ConfigurationError, InvalidOptionError
from trigger_celery.model.fetch_retry import FetchRetry, old_fetch_retry, parse_fetch_retry
from trigger_celery.store.op import Op

if TYPE_CHECKING:
    import httpx


def fetch(
    url: str,
    /,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
    content: str | bytes | None = None,
    json: Any = None,
    data: Mapping[str, Any] | None = None,
    follow_redirects: bool = True,
    timeout_in_ms: float | None = None,
    retry: Mapping[str, Any] | None = None,
    client: httpx.Client | httpx.AsyncClient | None = None,
    record: bool = True,
) -> Op[httpx.Response]:
    """Make an HTTP request, again when it fails in a way worth it; only in a run.

    Statuses 408, 409, 429 and 5xx, connection errors and time-outs are tried three times; change
    it by `retry={"by_status": {…}, "connection_error": {…}, "timeout": {…}}`. Never more than 10
    times. When the tries are used up, a response is returned whatever its status, and a
    network error (`httpx.TransportError`) is raised. Between tries the run waits as with
    `wait.for_duration`, without a slot. Each request says in `x-retry-count` how many came before.

    The response is stored, so that a replay of the run gets it without a request; not when its
    body is over 1 MB, or with *record* False: then a replay asks again. *timeout_in_ms* is for a
    whole request. A *client* of yours is used, not closed. Needs the extra `fetch`.

    Raises OutsideRunError, InvalidOptionError, ConfigurationError without httpx.
    """
    if importlib.util.find_spec("httpx") is None:
        raise ConfigurationError(
            "retry.fetch needs httpx, which is not installed: pip install 'trigger-celery[fetch]'"
        )
    if content is not None and not isinstance(content, str | bytes):
        raise InvalidOptionError(
            f"retry.fetch content: pass text or bytes, not {type(content).__name__}: it may have to "
            "be sent again"
        )
    if timeout_in_ms is not None and not 0 < timeout_in_ms < float("inf"):
        raise InvalidOptionError(f"retry.fetch timeout_in_ms={timeout_in_ms!r} is no time")
    rules = _rules(retry)
    bound = context.current()
    require_run("retry.fetch()")
    from trigger_celery.sdk.http_request import Request, request_flow

    body = {"params": params, "content": content, "json": json, "data": data}
    request = Request(method.upper(), url, body, headers, client, timeout_in_ms, follow_redirects)
    return bound.op(request_flow(bound, request, rules, record=record), "retry.fetch")


def _rules(given: Mapping[str, Any] | None) -> FetchRetry:
    if not isinstance(given, Mapping) or not {"max_attempts", "condition"} & given.keys():
        return parse_fetch_retry(given)
    most = given.get("max_attempts", 3)
    condition = given.get("condition")
    if set(given) - {"max_attempts", "condition"} or not (condition is None or callable(condition)):
        raise InvalidOptionError(
            "retry.fetch: the old form of retry= has max_attempts and condition(response, error) "
            "only; write retry={'by_status': …, 'connection_error': …, 'timeout': …}"
        )
    warn_of_old_form(
        "retry.fetch(retry={'max_attempts': …, 'condition': …}) is the form of earlier versions: write "
        f"retry={{'by_status': {{'429,5xx': {{'strategy': 'backoff', 'max_attempts': {most!r}}}}}}}"
    )
    return old_fetch_retry(most, condition)
