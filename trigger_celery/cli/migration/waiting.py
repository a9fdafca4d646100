"""Whether code waits for the results of tasks: what gives a result, what holds some, who asks them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from trigger_celery.cli.migration.module import SENDING, Module

_WAITS: Final = frozenset({"get", "join", "join_native", "wait", "collect"})
_CANVAS: Final = ("celery.group", "celery.chord", "celery.chain")
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_DISPLAYS: Final = (ast.List, ast.Tuple, ast.Set)
LOOPS: Final = (ast.For, *_COMPREHENSIONS)
"""The nodes that `waits_for_each` looks at."""


def waited_for(call: ast.Call) -> ast.expr | None:
    """Return what a call of `.get()` and its like asks."""
    function = call.func
    return (
        function.value if isinstance(function, ast.Attribute) and function.attr in _WAITS else None
    )


def gives_result(module: Module, function: ast.AST, node: ast.expr) -> bool:
    """Whether an expression in a function is the result of a task, as far as can be seen."""
    if isinstance(node, ast.Name):
        known = module.locals_of(function).get(node.id)
        return isinstance(known, ast.Call) and _sends(module, known)
    return isinstance(node, ast.Call) and _sends(module, node)


def waits_for_each(module: Module, function: ast.AST, loop: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls in a loop, or a comprehension, that wait for what it goes over."""
    if isinstance(loop, ast.For):
        over = [(loop.target, loop.iter)]
        body: list[ast.AST] = [*loop.body]
    elif isinstance(loop, _COMPREHENSIONS):
        over = [(one.target, one.iter) for one in loop.generators]
        values = [loop.key, loop.value] if isinstance(loop, ast.DictComp) else [loop.elt]
        body = [*values, *(test for one in loop.generators for test in one.ifs)]
    else:
        return
    names = {
        target.id
        for target, source in over
        if isinstance(target, ast.Name) and _holds_results(module, function, source)
    }
    for node in (inner for one in body for inner in ast.walk(one)) if names else ():
        waited = waited_for(node) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Call) and isinstance(waited, ast.Name) and waited.id in names:
            yield node


def _holds_results(module: Module, function: ast.AST, node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        known = module.locals_of(function).get(node.id)
        if known is None or isinstance(known, ast.Name):
            return False
        return _holds_results(module, function, known) or _is_filled(module, function, node.id)
    if isinstance(node, ast.Attribute):  # group(…)().results
        return node.attr in ("results", "children") and gives_result(module, function, node.value)
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        return gives_result(module, function, node.elt)
    if isinstance(node, _DISPLAYS):
        return any(gives_result(module, function, one) for one in node.elts)
    return gives_result(module, function, node)


def _is_filled(module: Module, function: ast.AST, name: str) -> bool:
    """Whether results are appended to a list."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("append", "add")
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == name
        and any(gives_result(module, function, one) for one in node.args)
        for node in ast.walk(function)
    )


def _sends(module: Module, call: ast.Call) -> bool:
    name = module.dotted(call.func)
    if name.rpartition(".")[2] in ("AsyncResult", "GroupResult") or name.endswith(
        "GroupResult.restore"
    ):
        return True
    if isinstance(call.func, ast.Attribute) and call.func.attr in SENDING:
        return True
    # group(…)(), chord(…)(…), chain(…)()
    inner = call.func
    return isinstance(inner, ast.Call) and module.dotted(inner.func) in _CANVAS
