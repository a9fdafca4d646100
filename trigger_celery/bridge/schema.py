"""Payload schemas: pydantic models, TypeAdapters, dataclasses, TypedDicts, or any callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from trigger_celery.errors import DefinitionError, PayloadValidationError


class Schema:
    """Validates payloads: `parse` for what the function gets, `dump` for what is stored."""

    __slots__ = ("_parse", "name")

    def __init__(self, given: Any, where: str) -> None:
        self.name = getattr(given, "__name__", type(given).__name__)
        self._parse = _parser(given, where)

    def parse(self, payload: Any, task_id: str) -> Any:
        """Return the validated payload. Raises PayloadValidationError that names every field."""
        try:
            return self._parse(payload)
        except ValidationError as problem:
            details = "\n".join(
                f"  - {'.'.join(map(str, error['loc'])) or 'payload'}: {error['msg']}"
                for error in problem.errors()
            )
            raise PayloadValidationError(
                f"the payload of task {task_id!r} does not match {self.name}:\n{details}"
            ) from problem
        except Exception as problem:  # whatever a function raises is its way to refuse
            said = problem if isinstance(problem, ValueError | TypeError) else repr(problem)
            raise PayloadValidationError(
                f"the payload of task {task_id!r} does not match {self.name}: {said}"
            ) from problem


def _parser(given: Any, where: str) -> Callable[[Any], Any]:
    if isinstance(given, TypeAdapter):
        return given.validate_python
    if isinstance(given, type) and issubclass(given, BaseModel):
        return given.model_validate
    try:
        if isinstance(given, type) or hasattr(given, "__origin__"):
            return TypeAdapter(given).validate_python
    except PydanticSchemaGenerationError:
        pass  # a class that pydantic does not know may still be called
    except PydanticUserError as problem:
        raise DefinitionError(f"{where}: schema={given!r}: {problem.message}") from problem
    if callable(given):
        check: Callable[[Any], Any] = given
        return check
    raise DefinitionError(
        f"{where}: schema={given!r} cannot validate a payload. Pass a pydantic model, a "
        "TypeAdapter, a dataclass, a TypedDict, or a function that returns the checked payload."
    )
