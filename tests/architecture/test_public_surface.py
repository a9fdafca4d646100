"""The public surface is written down, so that a change of it is seen in review.

After a change that is meant: `python -m tests.architecture.test_public_surface --write`.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from enum import EnumType
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import PACKAGE, relative

SNAPSHOT = Path(__file__).with_name("public_surface.txt")
COMMAND = "python -m tests.architecture.test_public_surface --write"


class _Verbatim:
    """An annotation that prints as it was written, the same on every Python version."""

    def __init__(self, annotation: Any) -> None:
        self.text = (
            annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        )

    def __repr__(self) -> str:
        return self.text


def signature(value: Any) -> str:
    """Return a callable's signature as text, or nothing where there is none to see."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(…)"
    empty = inspect.Parameter.empty
    parameters = [
        parameter
        if parameter.annotation is empty
        else parameter.replace(annotation=_Verbatim(parameter.annotation))
        for parameter in found.parameters.values()
    ]
    result = found.return_annotation
    shown = found.replace(
        parameters=parameters,
        return_annotation=empty if result is empty else _Verbatim(result),
    )
    return re.sub(r" at 0x[0-9a-f]+", "", str(shown))


def is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("trigger_celery")


def heading(name: str, kind: type) -> str:
    bases = ", ".join(base.__name__ for base in kind.__bases__ if base is not object)
    return f"class {name}({bases})" if bases else f"class {name}"


def members(value: Any) -> Iterator[str]:
    """Yield the lines for what a class, a namespace module or a namespace object offers."""
    if isinstance(value, types.ModuleType):
        names = getattr(value, "__all__", None) or [
            name for name, member in vars(value).items() if is_ours(member)
        ]
        owner: Any = value
    else:
        owner = value if isinstance(value, type) else type(value)
        names = [name for kind in owner.__mro__ if is_ours(kind) for name in vars(kind)]
    for name in sorted({name for name in names if not name.startswith("_")}):
        member = inspect.getattr_static(owner, name)
        if isinstance(member, type):
            yield f"  {heading(name, member)}"
        elif isinstance(member, property):
            yield f"  {name}: property"
        elif isinstance(member, classmethod | staticmethod):
            yield f"  {name}{signature(member.__func__)}"
        elif callable(member):
            yield f"  {name}{signature(member)}"
        else:
            yield f"  {name}"


def surface() -> str:
    """Return the public surface as text."""
    door = importlib.import_module("trigger_celery")
    lines: list[str] = []
    for name in sorted(door.__all__):
        value = getattr(door, name)
        if isinstance(value, types.ModuleType):
            lines += [f"module {name}", *members(value)]
        elif isinstance(value, EnumType):  # how one is made is Python's, and changes with it
            lines += [heading(name, value), *members(value)]
        elif isinstance(value, type):
            lines += [heading(name, value), f"  __init__{signature(value)}", *members(value)]
        elif inspect.isroutine(value):
            lines.append(f"def {name}{signature(value)}")
        elif is_ours(type(value)):
            lines += [f"{name}: {type(value).__name__}", *members(value)]
        else:
            lines.append(f"{name}: {type(value).__name__}")
    return "\n".join(lines) + "\n"


def require_door() -> None:
    if not (PACKAGE / "__init__.py").exists():
        pytest.skip("trigger_celery/__init__.py is not written yet")


def test_surface_is_as_written_down() -> None:
    require_door()
    assert SNAPSHOT.exists(), f"write {relative(SNAPSHOT)} with `{COMMAND}`"
    assert surface() == SNAPSHOT.read_text("utf-8"), f"if this is meant: `{COMMAND}`"


def test_all_is_sorted_and_complete() -> None:
    require_door()
    door = importlib.import_module("trigger_celery")
    assert list(door.__all__) == sorted(set(door.__all__))
    assert not [name for name in door.__all__ if not hasattr(door, name)]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        SNAPSHOT.write_text(surface(), "utf-8")
        print(f"wrote {relative(SNAPSHOT)}")
    else:
        print(surface(), end="")
