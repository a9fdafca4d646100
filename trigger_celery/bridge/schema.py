"""Payload schemas: pydantic models, TypeAdapters, dataclasses, TypedDicts, or any callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from trigger_celery.bridge.typed_dicts import readable
from trigger_celery.errors import DefinitionError, PayloadValidationError

_ROUND_TRIP: Final[Mapping[str, Any]] = {"by_alias": True, "round_trip": True, "warnings": False}


class Schema:
    """Validates payloads: `parse` for what the function gets, `dump` for what is stored."""

    __slots__ = ("_check", "_dump", "name")

    def __init__(self, given: Any, where: str) -> None:
        self.name = getattr(given, "__name__", type(given).__name__)
        self._check, self._dump = _functions(given, where)

    def parse(self, payload: Any, task_id: str) -> Any:
        """Return the validated payload. Raises PayloadValidationError that names every field."""
        try:
            return self._check(payload)
        except Exception as problem:  # whatever a function raises is its way to refuse
            raise self._refusal(problem, task_id) from problem

    def _refusal(self, problem: Exception, task_id: str) -> PayloadValidationError:
        from pydantic import ValidationError  # it is large, and most processes validate nothing

        what = f"the payload of task {task_id!r} does not match {self.name}:"
        if isinstance(problem, ValidationError):
            details = "\n".join(
                f"  - {'.'.join(map(str, error['loc'])) or 'payload'}: {error['msg']}"
                for error in problem.errors()
            )
            return PayloadValidationError(f"{what}\n{details}")
        said = problem if isinstance(problem, ValueError | TypeError) else repr(problem)
        return PayloadValidationError(f"{what} {said}")

    def dump(self, parsed: Any) -> Any:
        """Return what `parse` returned in a form that it takes again, for it runs twice.

        Fields go by their aliases, computed ones are left out. What a function returned is
        returned as it is: the function must take it.
        """
        return self._dump(parsed)


_Function = Callable[[Any], Any]


def _functions(given: Any, where: str) -> tuple[_Function, _Function]:
    from pydantic import BaseModel, TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    if isinstance(given, TypeAdapter):
        return given.validate_python, partial(given.dump_python, **_ROUND_TRIP)
    if isinstance(given, type) and issubclass(given, BaseModel):
        return given.model_validate, partial(given.model_dump, **_ROUND_TRIP)
    try:
        if isinstance(given, type) or hasattr(given, "__origin__"):
            return _functions(TypeAdapter(readable(given)), where)
    except PydanticSchemaGenerationError:
        pass  # a class that pydantic does not know may still be called
    except PydanticUserError as problem:
        raise DefinitionError(f"{where}: schema={given!r}: {problem.message}") from problem
    if callable(given):
        return given, lambda parsed: parsed
    raise DefinitionError(
        f"{where}: schema={given!r} cannot validate a payload. Pass a pydantic model, a "
        "TypeAdapter, a dataclass, a TypedDict, or a function that returns the checked payload."
    )
