"""Collects facts and settings, and checks them: TC106, TC109, TC111, TC115, TC116 and TC117."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Final

from trigger_celery.cli.migration.constants import UNKNOWN, keyword_of, value_of
from trigger_celery.cli.migration.facts import Facts
from trigger_celery.cli.migration.findings import Candidate
from trigger_celery.cli.migration.module import Function, Module, Place
from trigger_celery.cli.migration.settings_names import setting

_PICKLE: Final = frozenset({"pickle", "application/x-python-serialize"})
_SERIALIZERS: Final = (
    "task_serializer", "result_serializer", "event_serializer", "accept_content",
    "result_accept_content",
)  # fmt: skip


def settings_in(module: Module, node: ast.AST, place: Place) -> Iterator[tuple[str, ast.AST]]:
    """Yield the settings that a node gives, by today's names, with the node of their value."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _assigned(module, target, node.value, place)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield from _assigned(module, node.target, node.value, place)
    elif isinstance(node, ast.Call):
        yield from _passed(module, node)


def _assigned(
    module: Module, target: ast.AST, value: ast.AST, place: Place
) -> Iterator[tuple[str, ast.AST]]:
    name: str | None = None
    if isinstance(target, ast.Attribute):
        owner = module.dotted(target.value)
        if owner.endswith(".conf") or (owner.endswith("settings") and target.attr.isupper()):
            name = setting(target.attr)
    elif isinstance(target, ast.Subscript) and module.dotted(target.value).endswith(
        (".conf", "CELERY")
    ):
        text = value_of(target.slice)
        name = setting(text) if isinstance(text, str) else None
    elif isinstance(target, ast.Name) and place.function is None:
        name = setting(target.id)
        if target.id == "CELERY" and isinstance(value, ast.Dict):
            yield from _entries(value)
    if name is not None:
        yield name, value


def _entries(given: ast.Dict) -> Iterator[tuple[str, ast.AST]]:
    for key, value in zip(given.keys, given.values, strict=True):
        text = value_of(key)
        name = setting(text) if isinstance(text, str) else None
        if name is not None:
            yield name, value


def _passed(module: Module, call: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    dotted = module.dotted(call.func)
    if dotted.rpartition(".")[2] == "Celery":
        for word in ("broker", "broker_url"):
            value = keyword_of(call, word)
            if value is not None:
                yield "broker_url", value
    elif dotted.endswith((".conf.update", "override_settings", ".settings")) or dotted == "dict":
        for keyword in call.keywords:
            name = setting(keyword.arg) if keyword.arg else None
            if name is not None:
                yield name, keyword.value
        for given in call.args:
            if isinstance(given, ast.Dict) and dotted.endswith(".update"):
                yield from _entries(given)


def collect(module: Module, node: ast.AST, place: Place) -> None:
    """Note what a node says of the project."""
    facts = module.facts
    if isinstance(node, Function):
        task = module.task_of(node, place)
        if task is not None:
            facts.task_count += 1
            facts.tasks.update((node.name, task.name.rpartition(".")[2]))
            if task.option("ignore_result") is not None:
                (facts.ignoring if task.option("ignore_result") is True else facts.keeping).add(
                    node.name
                )
            facts.has_long_tasks |= module.is_long(task)
        if node.name == "__call__" and place.class_ is not None:
            facts.pushes_flask_context |= any(
                isinstance(inner, ast.Attribute) and inner.attr == "app_context"
                for inner in ast.walk(node)
            )
    for name, value in settings_in(module, node, place):
        facts.add_setting(name, value_of(value))


def check_settings(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """All that a setting can say."""
    for name, value in settings_in(module, node, place):
        at = value if hasattr(value, "lineno") else node
        found = value_of(value)
        if name in ("task_annotations", "task_default_rate_limit"):
            if name == "task_default_rate_limit" or _has_rate(found):
                yield module.candidate(
                    "TC106", at, f"{name} sets a rate_limit, which counts per worker"
                )
        elif name == "task_acks_late" and found is True:
            finding = module.finding(
                "TC109", at, "task_acks_late without task_reject_on_worker_lost"
            )
            yield Candidate(finding, _without_rejection)
        elif name == "task_always_eager" and found is True:
            yield module.candidate("TC111", at, "task_always_eager is on")
        elif name in _SERIALIZERS and _PICKLE & set(_texts(found)):
            yield module.candidate("TC115", at, f"{name} allows pickle")
        elif name == "beat_schedule":
            yield module.candidate("TC116", at, _schedule_text(module, value))
        elif name == "worker_prefetch_multiplier" and type(found) is int and found != 1:
            finding = module.finding("TC117", at, f"worker_prefetch_multiplier is {found}")
            yield Candidate(finding, lambda facts: facts.has_long_tasks or None)


def _has_rate(found: Any) -> bool:
    return isinstance(found, dict) and any(
        isinstance(one, dict) and "rate_limit" in one for one in found.values()
    )


def _without_rejection(facts: Facts) -> bool | None:
    is_set = facts.is_set("task_reject_on_worker_lost")
    return None if is_set is None else not is_set


def _texts(found: Any) -> list[str]:
    values = found if isinstance(found, list) else [found]
    return [value for value in values if isinstance(value, str)]


def _schedule_text(module: Module, value: ast.AST) -> str:
    text = "beat_schedule"
    if isinstance(value, ast.Dict):
        text = f"beat_schedule with {len(value.keys)} entr{'y' if len(value.keys) == 1 else 'ies'}"
    both = any(isinstance(node, ast.Call) and _both_days(module, node) for node in ast.walk(value))
    return f"{text}; one has day_of_month and day_of_week, which both must fit" if both else text


def _both_days(module: Module, call: ast.Call) -> bool:
    if module.dotted(call.func).rpartition(".")[2] != "crontab":
        return False
    days = [value_of(keyword_of(call, name)) for name in ("day_of_month", "day_of_week")]
    return all(day is not UNKNOWN and day != "*" for day in days)


def check_periodic(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC116: schedules that are made by code."""
    if not isinstance(node, ast.Call):
        return
    name = module.dotted(node.func)
    if name.endswith(".add_periodic_task"):
        yield module.candidate("TC116", node, "add_periodic_task makes an entry of beat")
    elif "PeriodicTask.objects." in f"{name}." and name.rpartition(".")[2] in (
        "create", "get_or_create", "update_or_create", "bulk_create",
    ):  # fmt: skip
        yield module.candidate("TC116", node, "a PeriodicTask of django-celery-beat")


SETTING: Final = (ast.Assign, ast.AnnAssign, ast.Call)
"""The nodes that give settings."""

CHECKS: Final = ((SETTING, check_settings), ((ast.Call,), check_periodic))
"""The checks, and the nodes that they look at."""
