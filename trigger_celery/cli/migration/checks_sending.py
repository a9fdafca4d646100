"""Checks of how tasks are sent: TC101, TC103, TC104, TC107, TC115 and TC119."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from trigger_celery.cli.migration.constants import keyword_of, number_of, seconds_of, value_of
from trigger_celery.cli.migration.facts import Facts
from trigger_celery.cli.migration.findings import Candidate
from trigger_celery.cli.migration.module import FUNCTIONS, SENDING, Function, Module, Place

MAX_GROUP: Final = 1000
_REMEMBERED: Final = 50
_DELAYING: Final = frozenset({"apply_async", "signature", "set", "retry", "send_task"})
_SIGNATURES: Final = frozenset({"s", "si", "signature", "subtask"})
_READS: Final = frozenset({"get", "create", "first", "last", "latest", "earliest"})


def _is_task(name: str) -> Callable[[Facts], bool | None]:
    """Return what tells whether a name is a task of the project; without a name nobody knows."""
    return lambda facts: True if name in facts.tasks else None


def _sends(module: Module, rule: str, node: ast.Call, text: str) -> Iterator[Candidate]:
    name = module.receiver(node)
    if name is not None:
        finding = module.finding(rule, node, text.format(name=name or "a task"))
        yield Candidate(finding, _is_task(name))


def check_delay(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC101: a countdown or eta that lasts longer than the broker waits."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    if node.func.attr not in _DELAYING:
        return
    for word, seconds in (
        ("countdown", number_of(keyword_of(node, "countdown"))),
        ("eta", seconds_of(keyword_of(node, "eta"))),
    ):
        # No broker waits for less than half an hour unless the settings say so.
        if seconds is None or seconds < 60:
            continue
        finding = module.finding(
            "TC101", node, f"{word} of {seconds:,.0f} s is longer than the visibility timeout"
        )
        yield Candidate(finding, _longer_than_visible(seconds))


def _longer_than_visible(seconds: float) -> Callable[[Facts], bool | None]:
    def decide(facts: Facts) -> bool | None:
        visible = facts.visibility_timeout
        if visible is None:
            return None if seconds > 1800 else False
        return 0 < visible < seconds

    return decide


def check_commit(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC103: sent in a transaction."""
    if isinstance(node, ast.Call) and place.atomic:
        yield from _sends(
            module, "TC103", node, "{name} is sent before the transaction is committed"
        )


def check_before_save(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC103: sent with what is saved further down in the same block."""
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return
    sent: list[tuple[ast.Call, set[str]]] = []
    for statement in body:
        call = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        owner = call.func.value
        if call.func.attr == "save" and isinstance(owner, ast.Name):
            for earlier, names in sent:
                if owner.id in names:
                    text = f"{{name}} is sent before {owner.id}.save()"
                    yield from _sends(module, "TC103", earlier, text)
            sent = [(earlier, names - {owner.id}) for earlier, names in sent]
        elif call.func.attr in SENDING:
            sent = [*sent[-_REMEMBERED:], (call, set(_names_in(_arguments(call))))]


def _names_in(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                yield inner.id


def _arguments(call: ast.Call) -> list[ast.expr]:
    """Return what the task of a sending call is given."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "delay":
        return [*call.args, *(keyword.value for keyword in call.keywords)]
    found: list[ast.expr] = []
    for given in (*call.args[:2], keyword_of(call, "args"), keyword_of(call, "kwargs")):
        if isinstance(given, ast.List | ast.Tuple):
            found += given.elts
        elif isinstance(given, ast.Dict):
            found += given.values
    return found


def check_arguments(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC104: what cannot be, or should not be, serialised."""
    if not isinstance(node, ast.Call) or module.receiver(node) is None:
        return
    known = {} if place.function is None else module.locals_of(place.function)
    for given in _arguments(node):
        what = ""
        if isinstance(given, ast.Lambda):
            what = "a lambda"
        elif isinstance(given, ast.Call) and module.dotted(given.func) == "open":
            what = "an open file"
        elif module.dotted(given) in ("request", "self.request") and place.task is None:
            what = "the request"
        elif module.dotted(given) in ("request.user", "self.request.user") and place.task is None:
            what = "the model instance request.user"
        elif isinstance(given, ast.Name) and isinstance(known.get(given.id), ast.Call):
            what = _object_of(module, known[given.id])
            what = f"the {what} {given.id}" if what else ""
        if what:
            yield from _sends(module, "TC104", node, f"{what} is passed to {{name}}")


def _object_of(module: Module, value: ast.expr) -> str:
    """Return what a call gives that should not be passed on."""
    name = module.dotted(value.func) if isinstance(value, ast.Call) else ""
    if name.endswith(("get_object_or_404", "aget_object_or_404")):
        return "model instance"
    if name == "open":
        return "open file"
    first, _, method = name.rpartition(".")
    return "model instance" if method in _READS and first.endswith(".objects") else ""


def check_groups(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC107: a chord whose header ignores results, or a very large group."""
    if not isinstance(node, ast.Call):
        return
    kind = module.dotted(node.func)
    if kind not in ("celery.chord", "celery.group", "celery.canvas.chord", "celery.canvas.group"):
        return
    header = node.args[0] if node.args else keyword_of(node, "header")
    count = _count(module, header)
    if count is not None and count > MAX_GROUP:
        yield module.candidate("TC107", node, f"a group of {count:,.0f} tasks, made at once")
    if kind.endswith("chord") and header is not None:
        names = list(dict.fromkeys(_signatures(module, header)))
        text = f"a chord whose header has {', '.join(names)}, which ignores its result"
        if names:
            yield Candidate(module.finding("TC107", node, text), _any_ignores(names))


def _any_ignores(names: list[str]) -> Callable[[Facts], bool | None]:
    def decide(facts: Facts) -> bool | None:
        answers = [facts.ignores_result(name) for name in names]
        return True if True in answers else None if None in answers else False

    return decide


def _signatures(module: Module, header: ast.AST) -> Iterator[str]:
    for node in ast.walk(header):
        method = node.func if isinstance(node, ast.Call) else None
        if isinstance(method, ast.Attribute) and method.attr in _SIGNATURES:
            name = module.dotted(method.value).rpartition(".")[2]
            if name:
                yield name


def _count(module: Module, header: ast.AST | None) -> float | None:
    """Return how many signatures a comprehension over a constant range makes."""
    if not isinstance(header, ast.GeneratorExp | ast.ListComp) or len(header.generators) != 1:
        return None
    source = header.generators[0].iter
    if not (isinstance(source, ast.Call) and module.dotted(source.func) == "range"):
        return None
    bounds = [number_of(one) for one in source.args[:2]]
    if None in bounds or not bounds or len(source.args) > 2:
        return None
    numbers = [bound for bound in bounds if bound is not None]
    return numbers[0] if len(numbers) == 1 else numbers[1] - numbers[0]


def check_serializer(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC115: pickle for one task or one call."""
    if isinstance(node, ast.Call) and value_of(keyword_of(node, "serializer")) == "pickle":
        yield from _sends(module, "TC115", node, "{name} is sent with pickle")
    if isinstance(node, Function):
        task = module.task_of(node, place)
        if task is not None and task.option("serializer") == "pickle":
            yield module.candidate("TC115", node, f"{task.name} is serialised with pickle")


def check_hooks(module: Module, node: ast.AST, place: Place) -> Iterator[Candidate]:
    """TC119: sent in a signal receiver or in save()."""
    if isinstance(node, ast.Call) and place.hook:
        where = "a signal receiver" if place.hook == "signal" else "save()"
        yield from _sends(module, "TC119", node, f"{{name}} is sent in {where}")


_BLOCKS: Final = (
    ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.With, ast.AsyncWith, ast.If, ast.For,
    ast.AsyncFor, ast.While, ast.Try,
)  # fmt: skip

CHECKS: Final = (
    ((ast.Call,), check_delay),
    ((ast.Call,), check_commit),
    (_BLOCKS, check_before_save),
    ((ast.Call,), check_arguments),
    ((ast.Call,), check_groups),
    ((ast.Call, *FUNCTIONS), check_serializer),
    ((ast.Call,), check_hooks),
)
"""The checks, and the nodes that they look at."""
