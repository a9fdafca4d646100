"""Lets `typing.TypedDict` be validated on Python 3.11, where pydantic takes only that of typing_extensions."""

from __future__ import annotations

import sys
import typing
from functools import reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import Any

import typing_extensions


def readable(wanted: Any) -> Any:
    """Return a type in which pydantic can read every TypedDict."""
    if sys.version_info >= (3, 12):
        return wanted
    try:
        return _readable(wanted, {})
    except NameError:  # an annotation that cannot be resolved: pydantic says so
        return wanted


def _readable(wanted: Any, seen: dict[Any, Any]) -> Any:
    if typing.is_typeddict(wanted) and type(wanted).__module__ == "typing":
        return seen[wanted] if wanted in seen else _typed_dict(wanted, seen)
    arguments = typing.get_args(wanted)
    made = tuple(_readable(argument, seen) for argument in arguments)
    if all(new is old for new, old in zip(made, arguments, strict=True)):
        return wanted
    if isinstance(wanted, UnionType):
        return reduce(or_, made)
    if isinstance(wanted, GenericAlias):
        origin: Any = wanted.__origin__
        return GenericAlias(origin, made)
    if hasattr(wanted, "__metadata__"):
        return typing.Annotated[made]
    return wanted.copy_with(made)


def _typed_dict(wanted: Any, seen: dict[Any, Any]) -> Any:
    make: Any = typing_extensions.TypedDict
    made = make(wanted.__name__, {})
    seen[wanted] = made  # before its fields: one of them may be of its own type
    made.__module__, made.__doc__ = wanted.__module__, wanted.__doc__
    hints = typing.get_type_hints(wanted, include_extras=True)
    made.__annotations__ = {name: _readable(hint, seen) for name, hint in hints.items()}
    made.__required_keys__ = wanted.__required_keys__
    made.__optional_keys__ = wanted.__optional_keys__
    return made
