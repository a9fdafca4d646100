"""Makes Lua text cheaper to execute.

Every function of a script is an object that the server makes anew at each call of the script. A
script of ours works for some 30 µs, and used to make up to 55 functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ONE_LINE = re.compile(r"^local function (\w+)\(([^)]*)\) return (.*) end$")
_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end\n", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"('[^']*')")


def inlined(body: str, functions: Mapping[str, str]) -> str:
    """Replace calls of one-line functions by what they return."""
    for name, line in functions.items():
        if found := _ONE_LINE.match(line):
            names = [part.strip() for part in found[2].split(",") if part.strip()]
            body = _replace_calls(body, name, names, found[3])
    return body


def _replace_calls(body: str, name: str, parameters: list[str], expression: str) -> str:
    call = re.compile(rf"(?<!function )\b{name}\(")
    while found := call.search(body):
        arguments, end = _arguments(body, found.end())
        values = dict(zip(parameters, arguments, strict=True))
        body = f"{body[: found.start()]}({_filled_in(expression, values)}){body[end:]}"
    return body


def _filled_in(expression: str, values: Mapping[str, str]) -> str:
    parts = _QUOTED.split(expression)
    for index in range(0, len(parts), 2):  # the others are strings
        parts[index] = re.sub(r"\w+", lambda word: values.get(word[0], word[0]), parts[index])
    return "".join(parts)


def _arguments(body: str, start: int) -> tuple[list[str], int]:
    """Return the arguments of the call whose list begins at *start*, and where it ends."""
    arguments, depth, begin, at = [], 0, start, start
    while True:
        char = body[at]
        if char in "([{":
            depth += 1
        elif depth and char in ")]}":
            depth -= 1
        elif not depth and char in ",)":
            arguments.append(body[begin:at].strip())
            begin = at + 1
            if char == ")":
                return [argument for argument in arguments if argument], at + 1
        elif char == "'":
            at = body.index("'", at + 1)
        at += 1


def without_unused(body: str) -> str:
    """Remove functions that nothing calls."""
    while True:
        for found in _FUNCTION.finditer(body):
            if not re.search(rf"\b{found[1]}\b", body[: found.start()] + body[found.end() :]):
                body = body[: found.start()] + body[found.end() :]
                break
        else:
            return body
