"""Key names are made in `engine/keys.py` and nowhere else, in Python and in Lua."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.architecture.source import LUA, PACKAGE, files, package_files, relative, strings, tree

KEYS = PACKAGE / "engine" / "keys.py"
LITERAL = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"")


@cache
def key_names() -> frozenset[str]:
    """Return the names in the table: the first argument of each `Key(…)`."""
    if not KEYS.exists():
        pytest.skip("engine/keys.py is not written yet")
    return frozenset(
        node.args[0].value
        for node in ast.walk(tree(KEYS))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Key"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )


def test_the_table_is_found() -> None:
    assert key_names()


def test_no_key_literal_in_python() -> None:
    prefix = re.compile(r"(?<![a-zA-Z])tc:")
    found = [
        f"{relative(path)}:{literal.lineno}: {literal.value!r}"
        for path in package_files()
        if path != KEYS
        for literal in strings(path)
        if prefix.search(str(literal.value))
    ]
    assert not found, "\n".join(found)


def test_no_key_literal_in_lua() -> None:
    names = "|".join(sorted(key_names(), key=len, reverse=True))
    key_like = re.compile(rf"(?<![a-z])tc:|:(?:{names})\b|\b(?:{names}):")
    found = []
    for path in files(LUA, ".lua"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            code = line.partition("--")[0]
            found += [
                f"{relative(path)}:{number}: {literal} looks like a key; use key_…(…)"
                for literal in LITERAL.findall(code)
                if key_like.search(literal)
            ]
            found += [
                f"{relative(path)}:{number}: {use}: a script has one key, its scope"
                for use in re.findall(r"KEYS\s*\[[^\]]*\]", code)
                if use != "KEYS[1]"
            ]
    assert not found, "\n".join(found)


def test_every_key_function_of_a_script_is_in_the_table() -> None:
    found = [
        f"{relative(path)}: key_{name}"
        for path in files(LUA, ".lua")
        for name in re.findall(r"\bkey_(\w+)\s*\(", path.read_text("utf-8"))
        if name not in key_names()
    ]
    assert not found, "\n".join(found)
