"""Makes Lua text cheaper to execute.

Every function of a script is an object that the server makes anew at each call of the script. A
script of ours works for some 30 µs, and used to make up to 55 functions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_ONE_LINE = re.compile(r"^local function (\w+)\(([^)]*)\) return (.*) end$")
_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end\n", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"(?<!function )\b(\w+)\(")
_QUOTED = re.compile(r"('[^']*')")
_WORD = re.compile(r"\w+")

OneLine = tuple[list[str], str]
"""Parameters of a one-line function, and what it returns."""


def one_line(line: str) -> OneLine | None:
    """Return the function that the line defines; None when it is something else."""
    found = _ONE_LINE.match(line)
    if found is None:
        return None
    return [part.strip() for part in found[2].split(",") if part.strip()], found[3]


def inlined(body: str, functions: Mapping[str, OneLine]) -> str:
    """Replace calls of one-line functions by what they return. They do not call each other."""
    parts, done = [], 0
    while call := _CALL.search(body, done):
        function = functions.get(call[1])
        if function is None:
            parts.append(body[done : call.end()])
            done = call.end()
            continue
        parameters, expression = function
        arguments, end = _arguments(body, call.end())
        values = dict(zip(parameters, (inlined(one, functions) for one in arguments), strict=True))
        parts += body[done : call.start()], "(", _filled_in(expression, values), ")"
        done = end
    return "".join((*parts, body[done:]))


def _filled_in(expression: str, values: Mapping[str, str]) -> str:
    parts = _QUOTED.split(expression)
    for index in range(0, len(parts), 2):  # the others are strings
        parts[index] = _WORD.sub(lambda word: values.get(word[0], word[0]), parts[index])
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
    mentions = Counter(_WORD.findall(body))
    functions = {found[1]: found[0] for found in _FUNCTION.finditer(body)}
    own = {name: Counter(_WORD.findall(text)) for name, text in functions.items()}
    unused: set[str] = set()
    # From the last to the first: whoever calls a function stands behind it.
    for name in reversed(functions):
        if mentions[name] == own[name][name]:
            unused.add(name)
            mentions.subtract(own[name])
    return _FUNCTION.sub(lambda found: "" if found[1] in unused else found[0], body)
