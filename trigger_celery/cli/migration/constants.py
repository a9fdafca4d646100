"""What an expression is worth, as far as its text tells."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, Final

UNKNOWN: Final[Any] = object()
"""The value is not in the text."""

_LARGEST = 10**15
_DEEP = 40
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_ENVIRONMENT = frozenset({"get", "getenv", "env", "config", "str", "cast"})
_UNITS: Final = {
    "weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1,
    "milliseconds": 0.001, "microseconds": 0.000_001,
}  # fmt: skip
_POSITIONS = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")


def value_of(node: ast.AST | None, depth: int = 0) -> Any:
    """Return the constant that an expression is: a number, text, None, a list, a dict; or UNKNOWN.

    A value read from the environment is its default.
    """
    if node is None or depth > _DEEP:
        return UNKNOWN
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        found = value_of(node.operand, depth + 1)
        return -found if _is_number(found) else UNKNOWN
    if isinstance(node, ast.BinOp):
        return _arithmetic(node, depth)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [value_of(one, depth + 1) for one in node.elts]
    if isinstance(node, ast.Dict):
        keys = [value_of(key, depth + 1) for key in node.keys]
        return {
            key: value_of(value, depth + 1)
            for key, value in zip(keys, node.values, strict=True)
            if isinstance(key, str | int)
        }
    if isinstance(node, ast.Call):
        return _default(node, depth)
    return UNKNOWN


def _arithmetic(node: ast.BinOp, depth: int) -> Any:
    left, right = value_of(node.left, depth + 1), value_of(node.right, depth + 1)
    compute = _ARITHMETIC.get(type(node.op))
    if compute is None or not (_is_number(left) and _is_number(right)):
        return UNKNOWN
    try:
        result = compute(left, right)
    except (ArithmeticError, ValueError):
        return UNKNOWN
    return result if abs(result) < _LARGEST else UNKNOWN


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST


def _default(node: ast.Call, depth: int) -> Any:
    """Return the default of a value that is read from the environment."""
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name not in _ENVIRONMENT:
        return UNKNOWN
    for keyword in node.keywords:
        if keyword.arg == "default":
            return value_of(keyword.value, depth + 1)
    return value_of(node.args[1], depth + 1) if len(node.args) > 1 else UNKNOWN


def number_of(node: ast.AST | None) -> float | None:
    """Return the number that an expression is, or None."""
    found = value_of(node)
    return float(found) if _is_number(found) else None


def seconds_of(node: ast.AST | None) -> float | None:
    """Return the seconds of `timedelta(…)` with constants, of a sum that ends in one, or of a number."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for side in (node.left, node.right):
            if isinstance(side, ast.Call) and _name(side) == "timedelta":
                return seconds_of(side)
    if isinstance(node, ast.Call) and _name(node) == "timedelta":
        parts = [(name, one) for name, one in zip(_POSITIONS, node.args, strict=False)]
        parts += [(keyword.arg or "", keyword.value) for keyword in node.keywords]
        amounts = [(number_of(value), _UNITS.get(name)) for name, value in parts]
        if any(amount is None or unit is None for amount, unit in amounts):
            return None
        return sum(amount * unit for amount, unit in amounts if amount is not None and unit)
    return number_of(node)


def _name(node: ast.Call) -> str:
    found: str = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return found


def keyword_of(call: ast.Call, name: str) -> ast.expr | None:
    """Return the value of a keyword argument, or None."""
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
