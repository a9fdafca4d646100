"""What earlier versions wrote works, and warns of what is written today; that works without a word."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import trigger_celery
from tests.architecture.source import ROOT
from tests.documented.old_forms import OLD_FORMS, OldForm
from tests.worker.workers import Deployment
from trigger_celery.bridge.registry import REGISTRY

pytestmark = pytest.mark.processes

IN_RUNS = [form for form in OLD_FORMS if form.in_run]
IN_MODULES = [form for form in OLD_FORMS if not form.in_run]
PAGE = ROOT / "docs" / "reference" / "older-versions.md"


class BusyAtFirst(BaseHTTPRequestHandler):
    """Refuses what is asked for the first time."""

    def do_GET(self) -> None:
        self.send_response(503 if self.headers["x-retry-count"] == "0" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output to itself."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), BusyAtFirst) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def of_run(worker: Deployment, program: str, result: str, url: str) -> dict[str, Any]:
    run = worker.run("code", {"program": program, "result": result, "url": url}, machine="small-2x")
    assert run.status == "COMPLETED", run.error
    output: dict[str, Any] = run.output
    return output


@pytest.mark.parametrize("form", IN_RUNS, ids=lambda form: form.name)
def test_in_runs(worker: Deployment, url: str, form: OldForm) -> None:
    old = of_run(worker, form.program(form.old), form.result, url)
    today = of_run(worker, form.program(form.today), form.result, url)
    assert old["value"] == today["value"]
    [(message, place)] = old["warnings"]
    assert form.says in message
    assert place == "program"  # the code of the user
    assert today["warnings"] == []


def of_module(program: str, result: str) -> tuple[Any, list[warnings.WarningMessage]]:
    names: dict[str, Any] = {"REGISTRY": REGISTRY}
    names |= {name: getattr(trigger_celery, name) for name in trigger_celery.__all__}
    REGISTRY.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(program, "program", "exec"), names)  # noqa: S102
        return eval(result, names), caught  # noqa: S307


@pytest.fixture
def alone(worker: Deployment) -> Iterator[None]:
    """This process declares something else than the worker's callers do."""
    worker.suspend()
    yield
    worker.resume()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("form", IN_MODULES, ids=lambda form: form.name)
def test_in_modules(form: OldForm) -> None:
    old, warned = of_module(form.program(form.old), form.result)
    today, not_warned = of_module(form.program(form.today), form.result)
    assert old == today
    [one] = warned
    assert one.category is DeprecationWarning
    assert form.says in str(one.message)
    assert one.filename == "program"  # the code of the user
    assert not_warned == []


@pytest.mark.usefixtures("alone")
def test_both_of_an_old_and_a_new_name_are_refused() -> None:
    both = [
        "define_config(default_machine='micro', machine='micro')",
        "define_config(retries={'default': None}, default_retry={'max_attempts': 2})",
    ]
    for program in both:
        with pytest.raises(trigger_celery.ConfigurationError, match="are the same"):
            of_module(program, "None")


@pytest.mark.usefixtures("alone")
def test_an_instrumentation_that_does_nothing_says_so() -> None:
    program = (
        "from trigger.instrumentation import PrismaInstrumentation\none = PrismaInstrumentation()"
    )
    _, [said] = of_module(program, "one")
    assert said.category is UserWarning  # which is shown to everybody
    assert "OpenTelemetry instrumentation of your database library" in str(said.message)
    assert said.filename == "program"


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("define_config(build={'system_package': []})", "Did you mean 'system_packages'"),
        ("define_config(build=['ffmpeg'])", "is not a dict with requirements_file"),
        ("define_config(runtime='node')", "tasks run on 'python'"),
        ("define_config(retries={'max_attempts': 3})", "write default_retry="),
    ],
)
def test_a_configuration_that_nobody_understands_is_refused(program: str, message: str) -> None:
    with pytest.raises(trigger_celery.ConfigurationError, match=re.escape(message)):
        of_module(program, "None")


def cell(form: str) -> str:
    return "<br>".join(f"`{line}`" for line in form.splitlines())


def test_the_page_shows_the_same_forms() -> None:
    _, _, section = PAGE.read_text("utf-8").partition("\n## What is written differently\n")
    table, _, _ = section.partition("\n## ")
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [f"| {cell(form.old)} | {cell(form.today)} |" for form in OLD_FORMS]
