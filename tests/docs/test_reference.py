"""The pages written by hand name what the code has, and nothing else."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from types import ModuleType
from typing import Any

import pytest

import trigger_celery
from tests.architecture.source import PACKAGE, ROOT, files
from trigger_celery import (
    BatchStatus,
    Context,
    Run,
    RunStatus,
    TokenStatus,
    WaitInfo,
    batch,
    heartbeats,
    idempotency_keys,
    queues,
    runs,
    schedules,
    step,
    tasks,
    usage,
    wait,
)
from trigger_celery.bridge import hooks
from trigger_celery.bridge.request import OPTIONS
from trigger_celery.engine import listing, waitpoints
from trigger_celery.model import packet, retry, rich, run_error, task_options
from trigger_celery.sdk import step as step_module
from trigger_celery.sdk import task as task_module
from trigger_celery.settings import SETTINGS

DOCS = ROOT / "docs"


@cache
def text(place: str) -> str:
    return (DOCS / place).read_text("utf-8")


def rows(place: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    section = re.split(rf"^#+ {re.escape(heading)}$", text(place), maxsplit=1, flags=re.MULTILINE)[
        1
    ]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None, f"no table below {heading!r} in {place}"
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


NAMESPACES = (
    tasks, runs, batch, wait, step, idempotency_keys, queues, schedules, usage, heartbeats,
)  # fmt: skip


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("name", sorted(trigger_celery.__all__))
def test_the_api_page_names_every_public_name(name: str) -> None:
    assert re.search(rf"`{name}\b", text("reference/python-api.md"))


def functions(namespace: ModuleType) -> Iterator[str]:
    for name, value in vars(namespace).items():
        own = inspect.isfunction(value) and value.__module__ == namespace.__name__
        if own and not name.startswith("_"):
            yield f"{namespace.__name__.rpartition('.')[2]}.{name}"


@pytest.mark.parametrize(
    "name", [name for namespace in NAMESPACES for name in functions(namespace)]
)
def test_the_api_page_has_every_function(name: str) -> None:
    assert re.search(rf"^`{re.escape(name)}\(", text("reference/python-api.md"), re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "function"), [("runs.list", runs.list), ("wait.list_tokens", wait.list_tokens)]
)
def test_the_api_page_has_the_parameters_of_lists(name: str, function: Any) -> None:
    pattern = rf"^`{re.escape(name)}\((.*)\)`$"
    line = re.search(pattern, text("reference/python-api.md"), re.MULTILINE)
    assert line is not None
    given = inspect.signature(function).parameters
    wanted = [
        name for name, parameter in given.items() if parameter.kind is not parameter.VAR_KEYWORD
    ]
    assert re.findall(r"(\w+)=", line[1]) == wanted


def test_the_api_page_has_the_context() -> None:
    page = text("reference/python-api.md")
    for part in fields(Context):
        for field in fields(vars(trigger_celery.bridge.context)[str(part.type)]):
            alone = f"ctx.{part.name}.{field.name}" in page
            assert alone or re.search(rf"`ctx\.{part.name}` \|.*`{field.name}`", page), field.name


@pytest.mark.parametrize("kind", [BatchStatus, TokenStatus])
def test_the_api_page_has_the_statuses_of_tokens_and_batches(kind: Any) -> None:
    line = re.search(
        rf"^`{kind.__name__}`\n:   (.*)", text("reference/python-api.md"), re.MULTILINE
    )
    assert line is not None
    assert names(line[1]) == [status.value for status in kind]


def test_the_hooks() -> None:
    table = rows("reference/python-api.md", "Hooks")
    first = names(table[0][2])
    asks = {names(row[0])[0]: names(row[2]) or first for row in table}
    assert asks == {name: list(offered) for name, offered in hooks.NAMES.items()}
    line = next(
        line for line in text("reference/python-api.md").splitlines() if "gets as `wait`" in line
    )
    assert {field.name for field in fields(WaitInfo)} <= set(names(line))


def test_statuses() -> None:
    found = {names(row[0])[0]: row[1] for row in rows("reference/statuses.md", "Statuses")}
    assert list(found) == [status.value for status in RunStatus]
    for status in RunStatus:
        group = found[status]
        assert ("final" in group) == status.is_final
        assert ("success" in group) == status.is_success
        assert ("failed" in group) == status.is_failed
        assert ("queued" in group) == status.is_queued
        assert ("executing" in group) == status.is_executing


def test_the_questions_a_run_answers() -> None:
    for cell, answer in rows("reference/statuses.md", "Questions a run answers"):
        for name in names(cell):
            true = [
                status.value
                for status in RunStatus
                if getattr(Run(id="", status=status, task_identifier=""), name)
            ]
            assert names(answer) == true or (name == "is_completed" and "every final" in answer)


def test_the_codes_of_errors() -> None:
    written = {names(row[0])[0] for row in rows_with_code()}
    code = "".join(path.read_text("utf-8") for path in files(PACKAGE, ".py"))
    assert written == set(re.findall(r'"(TASK_[A-Z_]+)"', code))


def rows_with_code() -> list[list[str]]:
    lines = text("reference/statuses.md").splitlines()
    return [[line.split("|")[1]] for line in lines if line.startswith("| `TASK_")]


def test_the_options_of_a_trigger() -> None:
    table = rows("reference/trigger-options.md", "Of a trigger")
    assert [names(row[0])[0] for row in table] == list(OPTIONS)
    errors = {name for row in table for name in names(row[3])}
    assert errors <= set(trigger_celery.__all__)


def test_the_options_of_a_task() -> None:
    table = rows("reference/trigger-options.md", "Of a task")
    given = inspect.signature(task_module.schema_task).parameters
    wanted = {name for name, kind in given.items() if kind.kind is kind.KEYWORD_ONLY}
    assert {names(row[0])[0] for row in table} == wanted


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (task_options.MAX_TAGS, "up to 10 of up to 128 characters"),
        (task_options.MAX_TAG_LENGTH, "up to 10 of up to 128 characters"),
        (task_options.MAX_BATCH, "items of a batch | 1,000"),
        (task_options.MAX_QUEUE_NAME, "1 to 128 of"),
        (task_options.MAX_TASK_ID, "1 to 128 of"),
        (task_options.MAX_CONCURRENCY_LIMIT, "0 to 100,000"),
        (task_options.MAX_CONCURRENCY_KEY, "up to 512 characters"),
        (retry.MAX_ATTEMPTS, "attempts | 250"),
        (listing.MAX_PAGE, "`runs.list` | 100"),
        (rich.MAX_DEPTH, "100 levels"),
        (packet.MAX_BYTES // 2**20, "payload, encoded | 10 MB"),
        (task_options.MAX_METADATA_BYTES // 2**10, "metadata | 256 KB"),
        (task_options.MIN_DURATION_MS // 1000, "at least 5"),
        (step_module.MAX_NAME, "name of a step | 128"),
        (task_options.MAX_IDEMPOTENCY_KEY, "idempotency key | 2,048"),
        (waitpoints.MAX_WAIT_MS // 31_536_000_000, "without a timeout | 1 year"),
    ],
)
def test_limits(limit: int, shown: str) -> None:
    assert f"{limit:,}" in shown
    assert shown in text("reference/trigger-options.md")


def test_the_limits_of_an_error() -> None:
    page = text("reference/statuses.md")
    assert f"up to {run_error.MAX_NAME} characters" in page
    assert f"up to {run_error.MAX_MESSAGE:,} characters" in page
    assert f"at most {run_error.MAX_FRAMES} frames" in page


def test_the_retry_policy() -> None:
    table = {
        names(row[0])[0]: row[1].strip("`")
        for row in rows("how-to/retry.md", "Give a task a policy")
    }
    assert table == {field.name: str(field.default) for field in fields(retry.Retry)}
    assert retry.REQUEUE_FROM_MS == 30_000


def test_the_actions_of_log_records() -> None:
    table = rows("internals/architecture.md", "Log records")
    written = [names(row[0])[0] for row in table]
    code = "".join(path.read_text("utf-8") for path in files(PACKAGE, ".py"))
    used = set(re.findall(r'"action": "(\w+)"', code))
    assert set(written) == used, f"differ in {sorted(set(written) ^ used)}"
    assert len(written) == len(set(written))


def test_settings_named_in_pages_exist() -> None:
    known = {f"TRIGGER_{setting.name.upper()}" for setting in SETTINGS}
    known.add("TRIGGER_CELERY")  # of Django and of Flask: a dict of them
    for page in files(DOCS, ".md"):
        used = set(re.findall(r"\bTRIGGER_[A-Z_]+\b", page.read_text("utf-8")))
        assert used <= known, f"{page.relative_to(ROOT)}: {sorted(used - known)}"


def test_what_pages_import_is_public() -> None:
    for page in files(DOCS, ".md"):
        for name in re.findall(r"\bfrom trigger_celery import ([\w, ]+)", page.read_text("utf-8")):
            for word in name.split(","):
                assert word.strip() in trigger_celery.__all__, f"{page.name}: {word}"
