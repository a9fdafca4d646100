"""What waiting calls answer, and operations whose answer can be unwrapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from trigger_celery.engine.querying import Outcome
from trigger_celery.errors import SubtaskUnwrapError, WaitpointTimeoutError
from trigger_celery.model.run import RunError, RunStatus
from trigger_celery.store.op import Flow, Op

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
ResultT_co = TypeVar("ResultT_co", bound="Unwrappable[Any]", covariant=True)


class Unwrappable(Protocol[T_co]):
    """A result that holds a value or an error."""

    def unwrap(self) -> T_co:
        """Return the value or raise the error."""
        ...


class ResultOp(Op[ResultT_co], Generic[ResultT_co, T_co]):
    """An operation that gives a result: `await op`, or `await op.unwrap()` for its value."""

    __slots__ = ()

    def unwrap(self) -> Op[T_co]:
        """Return the operation that gives the value, and raises the error of what went wrong."""
        flow = self._take()

        def unwrapped() -> Flow[T_co]:
            value: T_co = (yield from flow).unwrap()
            return value

        return Op(self._store, unwrapped(), f"{self._name}.unwrap")


class TaskResult(dict[str, Any], Generic[T]):
    """How a child run ended: `ok`, `id`, `task_identifier`, and `output` or `error`.

    Waiting for a child never raises because the child failed; look at `ok`, or call `unwrap()`.
    It is a dict as well, so a task may return it: `{"ok", "id", "task_identifier", "output" |
    "error"}`.
    """

    @property
    def ok(self) -> bool:
        """Whether the child completed."""
        return bool(self["ok"])

    @property
    def id(self) -> str:
        """The child's run id."""
        return str(self["id"])

    @property
    def task_identifier(self) -> str:
        """The child's task id."""
        return str(self["task_identifier"])

    @property
    def output(self) -> T:
        """What the child returned; None when it is not ok."""
        value: T = self.get("output")  # type: ignore[assignment]
        return value

    @property
    def error(self) -> RunError | None:
        """Why the child did not complete; None when it did."""
        return RunError.from_dict(self["error"]) if "error" in self else None

    def unwrap(self) -> T:
        """Return the output. Raises SubtaskUnwrapError when the child did not complete."""
        if self.ok:
            return self.output
        error = self.error
        name = f"{error.name}: " if error is not None and error.name else ""
        raise SubtaskUnwrapError(
            f"child run {self.id} of task {self.task_identifier!r} did not complete: "
            f"{name}{error.message if error is not None else 'no error is known'}",
            run_id=self.id,
            task_id=self.task_identifier,
            error=error,
        )


def result_of(run: Outcome) -> TaskResult[Any]:
    """Return the result of a final run."""
    found: dict[str, Any] = {
        "ok": run.status is RunStatus.COMPLETED,
        "id": run.run_id,
        "task_identifier": run.task,
    }
    if run.status is RunStatus.COMPLETED:
        found["output"] = run.output
    else:
        error = run.error or RunError.internal(
            str(run.status or "GONE"), f"the run is {run.status or 'not there any more'}"
        )
        found["error"] = error.to_dict()
    return TaskResult(found)


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[T]):
    """How the runs of a batch ended, in the order of its items. Iterates over `runs`."""

    id: str
    runs: list[TaskResult[T]]

    def __iter__(self) -> Iterator[TaskResult[T]]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> TaskResult[T]:
        return self.runs[index]

    def unwrap(self) -> list[T]:
        """Return the outputs. Raises SubtaskUnwrapError for the first that did not complete."""
        return [run.unwrap() for run in self.runs]


@dataclass(frozen=True, slots=True)
class TokenResult(Generic[T]):
    """How waiting for a token ended: `ok` and `output` (also `data`), or `error`."""

    ok: bool
    output: T
    error: WaitpointTimeoutError | None = None

    @property
    def data(self) -> T:
        """What the token was completed with; the same as `output`."""
        return self.output

    def unwrap(self) -> T:
        """Return what the token was completed with. Raises WaitpointTimeoutError."""
        if self.error is not None:
            raise self.error
        return self.output
