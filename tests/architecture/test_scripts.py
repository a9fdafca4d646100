"""Every Lua script opens with its contract, and keeps it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture.source import LUA, PACKAGE, files, relative, scripts, tree

FIELDS = ("KEYS", "ARGV", "REPLY", "TTL")

every_script = pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)


class Call(NamedTuple):
    where: str
    script: str
    names: frozenset[str] | None
    has_rest: bool


def header(path: Path) -> list[str]:
    """Return the comment lines a file opens with."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("--") or line.startswith("-- INCLUDE"):
            break
        lines.append(line.removeprefix("--").strip())
    return lines


def fields(path: Path) -> dict[str, str]:
    """Return the header's fields. What stands on further lines explains and is not looked at."""
    parted = [line.partition(" ") for line in header(path)[1:]]
    return {word: rest.strip() for word, _, rest in parted if word in FIELDS}


def argument_names(path: Path) -> list[str]:
    return fields(path).get("ARGV", "").split()


def code(path: Path) -> str:
    """Return a Lua file without its comments."""
    return re.sub(r"--[^\n]*", "", path.read_text("utf-8"))


def included(path: Path, seen: frozenset[str] = frozenset()) -> Iterator[Path]:
    for name in re.findall(r"^-- INCLUDE (\w+)\s*$", path.read_text("utf-8"), re.MULTILINE):
        if name not in seen:
            seen |= {name}
            yield (include := LUA / "include" / f"{name}.lua")
            yield from included(include, seen)


@cache
def calls() -> list[Call]:
    """Return every `SCRIPTS.name(…)` of the engine."""
    found = []
    for path in files(PACKAGE / "engine", ".py"):
        for node in ast.walk(tree(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "SCRIPTS"
            ):
                names = {keyword.arg for keyword in node.keywords}
                known = None if None in names else frozenset(filter(None, names))
                where = f"{relative(path)}:{node.lineno}"
                # The arguments by position are the scope, the rest, and the decoder.
                has_rest = len(node.args) > 1 and ast.unparse(node.args[1]) != "()"
                found.append(Call(where, node.func.attr, known, has_rest))
    return found


@every_script
def test_header(path: Path) -> None:
    first, *_ = [*header(path), ""]
    assert re.fullmatch(rf"{path.stem}: \S.*", first), (
        f"{relative(path)} must open with `-- {path.stem}: what it does`"
    )
    assert list(fields(path)) == list(FIELDS), (
        f"{relative(path)}: its header must have the lines {', '.join(FIELDS)}, in this order"
    )
    assert fields(path)["KEYS"] == "scope", f"{relative(path)}: the one key is the scope"
    assert fields(path)["REPLY"], f"{relative(path)}: say what it replies"
    assert fields(path)["TTL"], f"{relative(path)}: say what expires, or `none`"


@every_script
def test_name_is_a_verb_and_a_noun(path: Path) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", path.stem), f"{relative(path)}: name it verb_noun.lua"


@every_script
def test_arguments_are_named_once_and_used(path: Path) -> None:
    names = argument_names(path)
    assert len(names) == len(set(names))
    assert not [name for name in names[:-1] if name.endswith("...")], "only the last takes the rest"
    body = "\n".join(code(part) for part in [path, *included(path)])
    unused = [
        name for name in names if not re.search(rf"\b{re.escape(name.removesuffix('...'))}\b", body)
    ]
    assert not unused, f"{relative(path)} never uses {', '.join(unused)}"


@every_script
def test_arguments_are_read_by_name(path: Path) -> None:
    numbered = re.findall(r"ARGV\s*\[\s*\d+\s*\]", code(path))
    assert not numbered, f"{relative(path)} reads {numbered[0]}; use the header's name"


@every_script
def test_is_called(path: Path) -> None:
    text = "".join(module.read_text("utf-8") for module in files(PACKAGE / "engine", ".py"))
    assert re.search(rf"\b{path.stem}\b", text), f"{relative(path)}: no Python module calls it"


def test_calls_name_the_arguments_of_the_header() -> None:
    complaints = []
    for call in calls():
        path = LUA / f"{call.script}.lua"
        if call.script == "scripts":
            continue
        if not path.exists():
            complaints.append(f"{call.where}: there is no {relative(path)}")
            continue
        names = argument_names(path)
        takes_rest = bool(names) and names[-1].endswith("...")
        wanted = frozenset(names[:-1] if takes_rest else names)
        if call.names is not None and call.names != wanted:
            difference = ", ".join(sorted(call.names ^ wanted))
            complaints.append(f"{call.where}: {call.script} and its call differ in {difference}")
        if call.has_rest and not takes_rest:
            complaints.append(f"{call.where}: {call.script} takes no further arguments")
    assert not complaints, "\n".join(complaints)


def test_includes_exist_and_are_used() -> None:
    wanted = {include for path in scripts() for include in included(path)}
    present = set((LUA / "include").glob("*.lua"))
    assert wanted == present, f"differ in {sorted(map(relative, wanted ^ present))}"
