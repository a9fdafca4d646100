"""One module of the project as the checks see it: its names, its tasks, and where each node stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from trigger_celery.cli.migration.constants import keyword_of, value_of
from trigger_celery.cli.migration.facts import LONG_SECONDS, Facts
from trigger_celery.cli.migration.findings import Candidate, Finding

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)

_APPS: Final = frozenset({"app", "celery", "celery_app", "capp", "current_app"})
_DEEP: Final = 50
SENDING: Final = frozenset({"delay", "apply_async"})
"""Methods of a task that send it."""


@dataclass(frozen=True, slots=True)
class Task:
    """A function that is a Celery task, and the call that makes it one."""

    name: str
    node: Function
    decorator: ast.Call | None

    def option(self, name: str) -> object:
        """Return a constant option of the decorator; None: not given; UNKNOWN: no constant."""
        if self.decorator is None:
            return None
        value = keyword_of(self.decorator, name)
        return None if value is None else value_of(value)

    def has(self, *names: str) -> bool:
        """Whether the decorator has one of these options, or may have: it is given `**options`."""
        if self.decorator is None:
            return False
        return any(
            keyword.arg is None or keyword.arg in names for keyword in self.decorator.keywords
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands."""

    function: ast.AST | None = None
    task: Task | None = None
    class_: ast.ClassDef | None = None
    atomic: bool = False
    """In a transaction, as code that runs in it and not after it."""
    hook: str = ""
    """In a `signal` receiver or in the `save` of a model."""
    loop: bool = False
    """In a `while` loop of the same function."""
    main: bool = False
    """Under `if __name__ == "__main__"`."""


@dataclass(slots=True)
class Module:
    """A parsed file."""

    path: str
    tree: ast.Module
    names: dict[str, str] = field(default_factory=dict)
    """What imported names stand for."""
    apps: set[str] = field(default_factory=set)
    """Names that are Celery apps here."""
    facts: Facts = field(default_factory=Facts)
    _locals: dict[int, dict[str, ast.expr]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    self.names[name] = alias.name if alias.asname else name
            elif isinstance(node, ast.ImportFrom):
                origin = "." * node.level + (node.module or "")
                for alias in node.names:
                    self.names[alias.asname or alias.name] = f"{origin}.{alias.name}"
            elif isinstance(node, ast.Assign) and self._makes_an_app(node.value):
                names = (target for target in node.targets if isinstance(target, ast.Name))
                self.apps.update(name.id for name in names)

    def dotted(self, node: ast.AST | None) -> str:
        """Return the dotted name of an expression with imports resolved; empty when it has none."""
        parts: list[str] = []
        for _ in range(_DEEP):
            if isinstance(node, ast.Attribute):
                parts.append(node.attr)
                node = node.value
            elif isinstance(node, ast.Name):
                parts.append(self.names.get(node.id, node.id))
                return ".".join(reversed(parts))
            else:
                break
        return ""

    def locals_of(self, function: ast.AST) -> dict[str, ast.expr]:
        """Return what the names in a function are set to by `=` or `with … as`; the last counts."""
        found = self._locals.get(id(function))
        if found is None:
            found = self._locals[id(function)] = {}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign):
                    names = (target for target in node.targets if isinstance(target, ast.Name))
                    found.update((name.id, node.value) for name in names)
                elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
                    found[node.optional_vars.id] = node.context_expr
        return found

    @property
    def globals(self) -> dict[str, ast.expr]:
        """What the names of the module are set to at its top; the last counts."""
        found: dict[str, ast.expr] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign):
                names = (target for target in node.targets if isinstance(target, ast.Name))
                found.update((name.id, node.value) for name in names)
        return found

    def imports(self, *packages: str) -> bool:
        """Whether something of one of the packages is imported."""
        return any(origin.split(".")[0] in packages for origin in self.names.values())

    def task_of(self, node: Function, place: Place) -> Task | None:
        """Return the task that a function is, or None."""
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            if self._makes_a_task(decorator if call is None else call.func):
                given = value_of(keyword_of(call, "name")) if call is not None else None
                name = given if isinstance(given, str) else node.name
                return Task(name, node, call)
        if place.class_ is not None and node.name == "run" and place.function is None:
            bases = [self.dotted(base) for base in place.class_.bases]
            if any(base.startswith("celery.") and base.endswith("Task") for base in bases):
                return Task(place.class_.name, node, None)
        return None

    def _makes_an_app(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and (
            self.dotted(node.func).rpartition(".")[2] == "Celery"
        )

    def _makes_a_task(self, decorator: ast.AST) -> bool:
        name = self.dotted(decorator)
        if name.startswith("trigger_celery."):
            return False
        first, _, last = name.rpartition(".")
        if last in ("shared_task", "periodic_task") or name in ("celery.task", "celery.task.task"):
            return first.split(".")[0] == "celery" or not first
        if last != "task" or not isinstance(decorator, ast.Attribute):
            return False
        return first in self.apps or first.rpartition(".")[2] in _APPS

    def walk(self) -> Iterator[tuple[ast.AST, Place]]:
        """Yield every node and where it stands, in the order of the text."""
        stack: list[tuple[ast.AST, Place]] = [(self.tree, Place(main=self._is_main))]
        while stack:
            node, place = stack.pop()
            yield node, place
            inner = self._inside(node, place)
            stack.extend((child, inner) for child in reversed(list(ast.iter_child_nodes(node))))

    @property
    def _is_main(self) -> bool:
        return self.path.rpartition("/")[2] == "__main__.py"

    def _inside(self, node: ast.AST, place: Place) -> Place:
        """Return where the children of a node stand."""
        if isinstance(node, Function):
            return self._inside_function(node, place)
        if isinstance(node, ast.Lambda):
            return replace(place, function=node, atomic=False, hook="", loop=False)
        if isinstance(node, ast.ClassDef):
            return replace(place, class_=node, function=None)
        if isinstance(node, ast.While):
            return replace(place, loop=True)
        if isinstance(node, ast.With | ast.AsyncWith):
            if any(self._is_atomic(item.context_expr) for item in node.items):
                return replace(place, atomic=True)
        elif isinstance(node, ast.Call) and self.dotted(node.func).endswith("on_commit"):
            return replace(place, atomic=False, hook="")
        elif isinstance(node, ast.If) and _is_main_guard(node.test):
            return replace(place, main=True)
        return place

    def _inside_function(self, node: Function, place: Place) -> Place:
        decorators = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
        task = self.task_of(node, place)
        return Place(
            function=node,
            # A function in a task is its own; one in a function of a task as well.
            task=task or place.task,
            class_=place.class_,
            atomic=any(map(self._is_atomic, decorators)),
            hook="" if task is not None else self._hook_of(node, place, decorators),
            main=place.main,
        )

    def _is_atomic(self, node: ast.AST) -> bool:
        name = self.dotted(node.func if isinstance(node, ast.Call) else node)
        return name.endswith(("transaction.atomic", "transaction.commit_on_success"))

    def _hook_of(self, node: Function, place: Place, decorators: list[ast.expr]) -> str:
        if any(self.dotted(one).startswith("django.dispatch.receiver") for one in decorators):
            return "signal"
        if place.class_ is not None and node.name == "save" and place.function is None:
            bases = map(self.dotted, place.class_.bases)
            if any(base.rpartition(".")[2].endswith("Model") for base in bases):
                return "save"
        return ""

    def is_long(self, task: Task) -> bool:
        """Whether a task says of itself that it takes long."""
        limits = (task.option("time_limit"), task.option("soft_time_limit"))
        return any(type(limit) in (int, float) and limit > LONG_SECONDS for limit in limits)  # type: ignore[operator]

    def finding(self, rule: str, node: ast.AST, text: str) -> Finding:
        """Return a finding at a node."""
        line = getattr(node, "lineno", 1)
        column = getattr(node, "col_offset", 0) + 1
        return Finding(
            self.path, line, column, rule, text, getattr(node, "end_lineno", None) or line
        )

    def candidate(self, rule: str, node: ast.AST, text: str) -> Candidate:
        """Return a finding that needs nothing else to be known."""
        return Candidate(self.finding(rule, node, text))

    def receiver(self, call: ast.Call) -> str | None:
        """Return the name of the task that a call sends; None: it sends none, empty: not known which."""
        if not (isinstance(call.func, ast.Attribute) and call.func.attr in SENDING):
            return None
        target: ast.AST = call.func.value
        if isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
            # add.s(1).delay(), add.signature(…).apply_async()
            inner = target.func
            target = inner.value if inner.attr in ("s", "si", "signature", "set") else target
        return self.dotted(target).rpartition(".")[2]


def _is_main_guard(test: ast.AST) -> bool:
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
        and len(test.comparators) == 1
        and value_of(test.comparators[0]) == "__main__"
    )
