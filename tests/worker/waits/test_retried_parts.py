"""Parts of a task that are tried again: `retry.on_throw` and `retry.fetch`, also across replays."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.waiting import wait_until
from tests.worker.waits.test_programs import waits
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, runs, wait

pytestmark = pytest.mark.processes

parks = pytest.mark.parametrize("pool", ["asyncio"], indirect=True, scope="session")
both = pytest.mark.parametrize("pool", ["asyncio", "prefork"], indirect=True, scope="session")
"""On a pool that parks waiting runs, and on one that forgets and replays them."""

KINDS = ("", "-sync")


def tries(deployment: Deployment, run: str, name: str = "try") -> list[int]:
    return [entry.more["attempt_in"] for entry in deployment.ledger(run, name)]


@both
@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_tried_until_it_does_not_raise(shared: Deployment, kind: str) -> None:
    good = {"good": 3}
    ended = shared.run(f"on-throw{kind}", good)
    assert (ended.output, ended.attempt_count) == ("try 3", 1)
    assert tries(shared, ended.id) == [1, 2, 3]
    assert {entry.more["most"] for entry in shared.ledger(ended.id, "try")} == {3}
    worse = shared.run(f"on-throw{kind}", {"good": 9, "options": {"max_attempts": 4}})
    assert worse.output == "raised try 4 failed"
    aborted = shared.run(f"on-throw{kind}", {"good": 2, "error": "abort"})
    assert (aborted.status, tries(shared, aborted.id)) == (RunStatus.FAILED, [1])
    assert aborted.error is not None
    assert aborted.error.message == "try 1 failed"


@both
def test_parts_side_by_side(shared: Deployment) -> None:
    ended = shared.run("on-throw-side-by-side")
    assert ended.output == ["try 2", "try 3", "try 2"]
    # A pool that cannot park a sync wait may have executed the run again: never a failed try.
    for name, good in (("a", 2), ("b", 3), ("c", 2)):
        failed = Counter(number for number in tries(shared, ended.id, name) if number < good)
        assert failed == dict.fromkeys(range(1, good), 1)


@both
@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_goes_on_with_the_try_it_was_at(shared: Deployment, kind: str) -> None:
    """The wait between the tries is longer than pools keep a waiting run that cannot park."""
    token = wait.create_token().sync()
    run = shared.trigger(f"on-throw-program{kind}", {"ms": 300, "token": token.id})
    shared.wait_for("part", run, 3)
    waits(shared, run)
    wait.complete_token(token, None).sync()
    ended = shared.wait(run)
    assert (ended.output, ended.attempt_count) == ([5, 3, "end"], 1)
    made = Counter(tries(shared, run, "part"))
    assert (set(made), len(shared.ledger(run, "charged"))) == ({1, 2, 3}, 1)
    children = [
        child for child in runs.list(task="echo", limit=100).sync() if child.parent_id == run
    ]
    assert len(children) == 4


@both
def test_logs_of_a_replay_with_tries_are_said_once(shared: Deployment) -> None:
    token = wait.create_token().sync()
    run = shared.trigger("on-throw-program", {"ms": 250, "token": token.id})
    shared.wait_for("part", run, 3)
    waits(shared, run)
    wait.complete_token(token, None).sync()
    shared.wait(run)
    said = [line.message for line in runs.logs(run)]
    assert [said.count(f"said {what}") for what in ("at the beginning", "after the tries")] == [
        1,
        1,
    ]
    assert said.count("said after the token") == 1


def test_a_killed_worker_does_not_bring_a_failed_try_back(
    deployment: Deployment, start: Callable[..., Any]
) -> None:
    worker = start("asyncio")
    token = wait.create_token().sync()
    run = deployment.trigger("on-throw-program", {"ms": 900, "token": token.id})
    deployment.wait_for("part", run, 1)

    def rests() -> bool:
        children = [child.status for child in runs.list(task="echo").sync()]
        return children == ["COMPLETED"] and deployment.status(run) == "WAITING"

    wait_until(rests, "it waits between two tries")
    worker.kill()
    start("asyncio")
    deployment.wait_for("part", run, 3)
    wait.complete_token(token, None).sync()
    ended = deployment.wait(run)
    assert (ended.output, ended.attempt_count) == ([5, 3, "end"], 1)
    assert sorted(tries(deployment, run, "part")) == [1, 2, 3]
    assert len(deployment.ledger(run, "charged")) == 1


@parks
def test_the_next_attempt_begins_with_the_first_try(shared: Deployment) -> None:
    ended = shared.run("on-throw-anew")
    assert (ended.output, ended.attempt_count) == (2, 2)
    assert tries(shared, ended.id, "part") == [1, 2, 1, 2]


@parks
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("in a step", "StateError: retry.on_throw: not in the function of step.run('outer', …)"),
        ("parameters", "has a parameter 'order'"),
        ("no function", "pass a function"),
        ("options", "max_attempts=0 is not a whole number from 1"),
        ("sync", "is async; await it in an async task"),
    ],
)
def test_misuse_is_told(shared: Deployment, how: str, says: str) -> None:
    ended = shared.run("on-throw-misused", how)
    assert says in ended.output
    assert not shared.ledger(ended.id, "try")


# retry.fetch


class Site:
    """A web server that answers as the address says, and counts."""

    def __init__(self) -> None:
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.never = Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        address = urlsplit(request.path)
        wish = {name: values[0] for name, values in parse_qs(address.query).items()}
        asked = self.asked.setdefault(address.path, [])
        size = int(request.headers.get("content-length", 0))
        asked.append(
            {
                "count": request.headers["x-retry-count"],
                "at": time.time(),
                "body": request.rfile.read(size).decode(),
                "by": request.headers.get("x-by"),
            }
        )
        plan = wish.get("plan", "200").split(",")
        status = plan[min(len(asked), len(plan)) - 1]
        if status == "slow":
            self.never.wait(0.6)
            status = "200"
        if status == "cut":
            request.close_connection = True
            return
        body = gzip.compress(b"x" * int(wish["size"]) if "size" in wish else b'{"type":"limit"}')
        request.send_response(int(status))
        request.send_header("x-kind", "test")
        if "reset" in wish:
            request.send_header("x-reset", wish["reset"].replace("NOW", str(time.time() + 0.2)))
        request.send_header("content-encoding", "gzip")
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def counts(self, path: str) -> list[str]:
        return [one["count"] for one in self.asked[path]]


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(params=KINDS)
def fetch(
    request: pytest.FixtureRequest, shared: Deployment, site: Site
) -> Callable[..., tuple[Any, list[str]]]:
    """Fetches in a run; returns what the run saw, and the x-retry-count of each request."""

    def begin(plan: str, more: str = "", **options: Any) -> tuple[Any, list[str]]:
        path = f"/{len(site.asked)}"
        url = f"{site.url}{path}?plan={plan}&{more}"
        ended = shared.run(f"fetch{request.param}", {"url": url, "options": options})
        assert ended.status is RunStatus.COMPLETED, ended.error
        return ended.output, site.counts(path)

    return begin


QUICKLY = {"max_attempts": 3, "min_timeout_in_ms": 20, "factor": 1, "randomize": False}
QUICK_STATUS = {"by_status": {"408,409,429,5xx": {"strategy": "backoff", **QUICKLY}}}


@parks
def test_a_request_is_made_again(fetch: Callable[..., tuple[Any, list[str]]]) -> None:
    answer, counts = fetch("503,429,200", retry=QUICK_STATUS, headers={"x-by": "me"})
    assert (answer["status"], answer["text"], answer["kind"]) == (200, '{"type":"limit"}', "test")
    assert counts == ["0", "1", "2"]
    answer, counts = fetch("500", retry=QUICK_STATUS)
    assert (answer["status"], len(counts)) == (500, 3)
    answer, counts = fetch("404", retry=QUICK_STATUS)
    assert (answer["status"], len(counts)) == (404, 1)
    endless = {"by_status": {"all": {**QUICKLY, "max_attempts": 50, "min_timeout_in_ms": 1}}}
    answer, counts = fetch("400", retry=endless)
    assert (answer["status"], len(counts)) == (400, 10)


@parks
def test_network_errors_are_raised_at_the_end(
    fetch: Callable[..., tuple[Any, list[str]]],
) -> None:
    answer, counts = fetch("cut", retry={"connection_error": QUICKLY})
    assert (answer["error"], len(counts)) == ("RemoteProtocolError", 3)
    answer, counts = fetch("cut,200", retry={"connection_error": QUICKLY})
    assert (answer["status"], len(counts)) == (200, 2)
    late = {"retry": {"timeout": QUICKLY}, "timeout_in_ms": 200}
    answer, counts = fetch("slow,200", **late)
    assert (answer["status"], len(counts)) == (200, 2)
    answer, counts = fetch("slow", retry={"timeout": None}, timeout_in_ms=200)
    assert answer["error"] in ("ReadTimeout", "ConnectTimeout")
    assert len(counts) == 1


@parks
def test_bodies_and_headers_decide(fetch: Callable[..., tuple[Any, list[str]]], site: Site) -> None:
    by_body = {"strategy": "backoff", **QUICKLY, "body_filter": {"type": ["limit", "busy"]}}
    _, counts = fetch("400,200", retry={"by_status": {"4xx": by_body}})
    assert len(counts) == 2
    other = {**by_body, "body_filter": {"type": "other"}}
    _, counts = fetch("400,200", retry={"by_status": {"4xx": other}})
    assert len(counts) == 1
    reset = {"strategy": "headers", "reset_header": "x-reset", "reset_format": "unix_timestamp"}
    _, counts = fetch("429,200", "reset=NOW", retry={"by_status": {"429": reset}})
    first, second = site.asked[list(site.asked)[-1]]
    assert 0.1 < second["at"] - first["at"] < 5


@parks
def test_the_old_form_of_its_options(shared: Deployment, site: Site) -> None:
    options = {"retry": "old", "method": "post", "json": {"a": 1}}
    ended = shared.run("fetch", {"url": f"{site.url}/old?plan=500", "options": options})
    assert (ended.output["status"], [one["body"] for one in site.asked["/old"]]) == (
        500,
        ['{"a":1}'] * 2,
    )
    [warned] = shared.ledger(ended.id, "fetch")[0].more["warned"]
    assert "retry={'by_status': {'429,5xx': {'strategy': 'backoff', 'max_attempts': 2}}}" in warned


@both
@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_response_is_not_fetched_again(shared: Deployment, site: Site, kind: str) -> None:
    """A run that waits afterwards may be executed again; secrets of the address are not stored."""
    made: dict[str, tuple[str, str]] = {}
    token = wait.create_token().sync()
    for name, more in (("small", "size=10"), ("large", "size=1000001")):
        path = f"/{len(site.asked)}-{name}"
        url = f"{site.url}{path}?plan=500,200&{more}&secret=CANARY"
        payload = {"url": url, "token": token.id, "options": {"retry": QUICK_STATUS}}
        made[name] = path, shared.trigger(f"fetch{kind}", payload)
        shared.wait_for("fetched", made[name][1])
    for _, run in made.values():
        waits(shared, run)
    executions = {name: len(shared.ledger(run, "fetch")) for name, (_, run) in made.items()}
    calls = [
        value
        for key in shared.client.scan_iter("*calls*")
        if shared.client.type(key) == b"hash"
        for value in shared.client.hvals(key)
    ]
    assert any(b"retry.fetch GET" in value for value in calls)
    assert not any(b"CANARY" in value for value in calls)
    wait.complete_token(token, None).sync()
    for name, (path, run) in made.items():
        ended = shared.wait(run)
        assert (ended.output["status"], ended.output["kind"]) == (200, "test")
        assert ended.output["size"] == (10 if name == "small" else 1_000_001)
        again = len(shared.ledger(run, "fetch")) - executions[name]
        assert len(site.counts(path)) <= (2 if name == "small" else 2 + executions[name] + again)
    assert len(site.counts(made["small"][0])) == 2
