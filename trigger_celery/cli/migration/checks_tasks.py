"""Checks of tasks and their code: TC102, TC105, TC106, TC109, TC110, TC112, TC113, TC118, TC119, TC120."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Final

from trigger_celery.cli.migration.constants import keyword_of, number_of, value_of
from trigger_celery.cli.migration.facts import Facts
from trigger_celery.cli.migration.findings import Candidate
from trigger_celery.cli.migration.module import FUNCTIONS, Function, Module, Place, Task
from trigger_celery.cli.migration.waiting import (
    LOOPS,
    gives_result,
    waited_for,
    waits_for_each,
)

MAX_SLEEP: Final = 5
_LIMITS: Final = ("time_limit", "soft_time_limit")
_NETWORK: Final = (
    "requests.", "urllib.request.", "urllib3.", "aiohttp.", "smtplib.", "ftplib.", "paramiko.",
    "socket.create_connection", "http.client.", "telnetlib.", "imaplib.", "poplib.",
)  # fmt: skip
_SINGLETONS: Final = {
    "celery_once": "celery-once",
    "celery_singleton": "celery-singleton",
    "celery_redis_lock": "celery-redis-lock",
}


def _task(module: Module, node: ast.AST, place: Place) -> Task | None:
    return module.task_of(node, place) if isinstance(node, Function) else None


def check_results(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC102: a task waits for a result."""
    if place.task is None:
        return
    if isinstance(node, ast.Call):
        waited = waited_for(node)
        if waited is not None and gives_result(module, place.task.node, waited):
            yield _waits(module, node, place.task)
    for call in waits_for_each(module, place.task.node, node):
        yield _waits(module, call, place.task)


def _waits(module: Module, call: ast.Call, task: Task) -> Candidate:
    how = getattr(call.func, "attr", "get")
    return module.candidate("TC102", call, f"{task.name} waits for a result with .{how}()")


def check_retries(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC105: retries without an end."""
    task = _task(module, node, place)
    if task is not None and task.decorator is not None:
        limit = keyword_of(task.decorator, "max_retries")
        if limit is not None and value_of(limit) is None:
            yield module.candidate("TC105", limit, f"{task.name} has max_retries=None")
    if place.task is None:
        return
    if isinstance(node, ast.Call) and _is_retry(node):
        limit = keyword_of(node, "max_retries")
        if limit is not None and value_of(limit) is None:
            yield module.candidate(
                "TC105", node, f"{place.task.name} retries with max_retries=None"
            )
    if isinstance(node, ast.ExceptHandler) and _catches_all(module, node):
        inside = (inner for one in node.body for inner in ast.walk(one))
        if any(map(_is_retry, inside)):
            yield module.candidate(
                "TC105", node, f"{place.task.name} retries whatever was raised, SystemExit included"
            )


def _is_retry(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr == "retry")
    )


def _catches_all(module: Module, handler: ast.ExceptHandler) -> bool:
    return handler.type is None or module.dotted(handler.type) == "BaseException"


def check_options(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC106 and TC109: a rate per worker, and acks_late alone."""
    task = _task(module, node, place)
    if task is None:
        return
    if task.option("rate_limit") is not None:
        yield module.candidate(
            "TC106", node, f"{task.name} has a rate_limit, which counts per worker"
        )
    if task.option("acks_late") is True and not task.has("reject_on_worker_lost"):
        finding = module.finding(
            "TC109", node, f"{task.name} has acks_late without reject_on_worker_lost"
        )
        yield Candidate(finding, _unless_set("task_reject_on_worker_lost"))


def _unless_set(name: str) -> Callable[[Facts], bool | None]:
    def decide(facts: Facts) -> bool | None:
        is_set = facts.is_set(name)
        return None if is_set is None else not is_set

    return decide


def check_limits(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC110: network calls that may hang, in a task without a time limit."""
    task = _task(module, node, place)
    if task is None or task.has(*_LIMITS):
        return
    for inner in ast.walk(task.node):
        if not isinstance(inner, ast.Call) or keyword_of(inner, "timeout") is not None:
            continue
        name = module.dotted(inner.func)
        if name.startswith(_NETWORK) and name.rpartition(".")[2][:1].islower():
            finding = module.finding(
                "TC110", node, f"{task.name} calls {name} and has no time limit"
            )
            yield Candidate(finding, _without_limits)
            return


def _without_limits(facts: Facts) -> bool | None:
    answers = [facts.is_set(f"task_{name}") for name in _LIMITS]
    return False if True in answers else None if None in answers else True


def check_locks(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC112: locks around tasks."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        origin = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        package = (origin or "").split(".")[0]
        if package in _SINGLETONS:
            yield module.candidate("TC112", node, f"{_SINGLETONS[package]} locks tasks")
    if place.task is None or not isinstance(node, ast.Call):
        return
    is_set = isinstance(node.func, ast.Attribute) and node.func.attr == "set"
    if is_set and value_of(keyword_of(node, "nx")) is True:
        yield module.candidate("TC112", node, f"{place.task.name} takes a lock with SET NX")
    elif module.dotted(node.func).endswith("cache.add"):
        yield module.candidate("TC112", node, f"{place.task.name} takes a lock with cache.add")
    elif (
        isinstance(node.func, ast.Attribute)
        and node.func.attr == "lock"
        and _is_a_client(module, place.task, node.func.value)
    ):
        yield module.candidate("TC112", node, f"{place.task.name} takes a lock of Redis")


def _is_a_client(module: Module, task: Task, owner: ast.expr) -> bool:
    name = module.dotted(owner).lower()
    if "redis" in name or name.endswith(("cache", "client", "conn")):
        return True
    if isinstance(owner, ast.Name):  # r = redis.Redis()
        made = module.locals_of(task.node).get(owner.id) or module.globals.get(owner.id)
        owner = made if made is not None else owner
    return isinstance(owner, ast.Call) and any(
        server in module.dotted(owner.func).lower() for server in ("redis", "valkey")
    )


def check_progress(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC113: progress by other means."""
    if not isinstance(node, ast.Call):
        return
    name = module.dotted(node.func)
    if name.endswith("ProgressRecorder") and name.startswith("celery_progress"):
        yield module.candidate("TC113", node, "progress by celery-progress")
    elif place.task is not None and name.endswith(".update_state"):
        yield module.candidate("TC113", node, f"{place.task.name} reports progress by update_state")


def check_definition(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC118: a task that workers may not have."""
    task = _task(module, node, place)
    if task is None:
        return
    if place.function is not None:
        outer = getattr(place.function, "name", "a lambda")
        yield module.candidate("TC118", node, f"{task.name} is defined in the function {outer}")
    elif place.main:
        yield module.candidate("TC118", node, f"{task.name} is defined under __main__")


def check_flask(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC119: Flask's context in a task that has none."""
    task = _task(module, node, place)
    if task is None or not module.imports("flask"):
        return
    used = ""
    for inner in ast.walk(task.node):
        if isinstance(inner, ast.Attribute) and inner.attr in (
            "app_context",
            "test_request_context",
        ):
            return
        if isinstance(inner, ast.Name) and module.names.get(inner.id) in (
            "flask.current_app", "flask.g",
        ):  # fmt: skip
            used = module.names[inner.id]
    if used:
        finding = module.finding("TC119", node, f"{task.name} uses {used} without an app context")
        yield Candidate(finding, lambda facts: not facts.pushes_flask_context)


def check_sleeps(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC120: time that a task sleeps away."""
    if place.task is None or not isinstance(node, ast.Call):
        return
    if module.dotted(node.func) not in ("time.sleep", "asyncio.sleep", "gevent.sleep"):
        return
    seconds = number_of(node.args[0]) if node.args else None
    if place.loop:
        yield module.candidate("TC120", node, f"{place.task.name} polls: it sleeps in a loop")
    elif seconds is not None and seconds > MAX_SLEEP:
        yield module.candidate("TC120", node, f"{place.task.name} sleeps for {seconds:g} s")


CHECKS: Final = (
    ((ast.Call, *LOOPS), check_results),
    ((ast.Call, ast.ExceptHandler, *FUNCTIONS), check_retries),
    (FUNCTIONS, check_options),
    (FUNCTIONS, check_limits),
    ((ast.Call, ast.Import, ast.ImportFrom), check_locks),
    ((ast.Call,), check_progress),
    (FUNCTIONS, check_definition),
    (FUNCTIONS, check_flask),
    ((ast.Call,), check_sleeps),
)
"""The checks, and the nodes that they look at."""
