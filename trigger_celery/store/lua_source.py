"""Makes Lua text cheaper to execute.

Every function of a script is an object that the server makes anew at each call of the script. A
script of ours works for some 30 µs, and used to make up to 55 functions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

_ONE_LINE = re.compile(r"^local function (\w+)\(([^)]*)\) return (.*) end$")
_FUNCTION = re.compile(r"^local function (\w+)\((?:.* end\n|(?s:.*?)^end\n)", re.MULTILINE)
_CALL = re.compile(r"(?<!function )\b(\w+)\(")
_QUOTED = re.compile(r"('[^']*')")
_WORD = re.compile(r"\w+")
_FIELD = re.compile(r"(?<!\.)\.\w+")
_PIECE = re.compile(rf"{_FUNCTION.pattern}|^local ([A-Z_]+) = \{{\n(?s:.*?)^\}}\n", re.MULTILINE)
_DECLARED = re.compile(r"\b(?:local|for) ((?:\w+, )*\w+)")
_DECLARED_OUTSIDE = re.compile(r"^local ((?:\w+, )*\w+)", re.MULTILINE)
_NAME = re.compile(r"^local (?:function )?(\w+)")
_RARE = re.compile(r"^-- RARE\n(?:--.*\n)*local function (\w+)", re.MULTILINE)

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


def rare_functions(source: str) -> set[str]:
    """Return the functions with the comment `-- RARE` above them."""
    return set(_RARE.findall(source))


def with_rare_inside(body: str, rare: Collection[str], arguments: Collection[str] = ()) -> str:
    """Move what only rare functions use into them, where it is made when one is called.

    Functions and constants go; what others use too stays. Raises ValueError when a parameter of
    the rare function would hide a variable of the script, *arguments* among them, from what is
    moved into it, or would be hidden by it.
    """
    pieces = {found[1] or found[2]: found[0] for found in _PIECE.finditer(body)}
    rest = _PIECE.sub("", body)
    uses = {
        name: {word for word in _WORD.findall(text) if word in pieces and word != name}
        for name, text in pieces.items()
    }
    often = _reached(set(_WORD.findall(rest)) & pieces.keys(), uses, stop=rare)
    outer = {*arguments, *pieces, *_words(_DECLARED_OUTSIDE.findall(body))}
    filled = {}
    for name in often & set(rare):
        inside = _reached(uses[name], uses) - often
        moved = [pieces[one] for one in pieces if one in inside]
        filled[name] = _filled(pieces[name], moved, outer)
    return _PIECE.sub(
        lambda found: filled.get(name := found[1] or found[2], found[0] if name in often else ""),
        body,
    )


def _reached(
    names: Collection[str], uses: Mapping[str, Collection[str]], stop: Collection[str] = ()
) -> set[str]:
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead.extend(() if name in stop else uses[name])
    return found


def _filled(function: str, moved: Sequence[str], outer: Collection[str]) -> str:
    """Return the function with pieces at the start of its body."""
    head, end, tail = function.partition(")\n")
    hides = set(_WORD.findall(head.partition("(")[2])).intersection(outer)
    for piece in moved:
        signature = piece.partition("\n")[0]
        own = _words(_DECLARED.findall(piece)) | set(_WORD.findall(signature))
        if hides & (named := _words(_NAME.findall(signature))):
            raise ValueError(f"{head}): a parameter is hidden by {named}, which is moved there")
        used = set(_WORD.findall(_FIELD.sub("", _QUOTED.sub("", piece))))
        if hidden := hides & (used - own):
            raise ValueError(f"{head}): a parameter hides {hidden} from {signature}")
    return "".join((head, end, *moved, tail))


def _words(texts: Sequence[str]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text)}
