"""The types of `task(…)` and `schema_task(…)`: what they keep of the function below them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from trigger_celery.bridge.context import Context
from trigger_celery.bridge.signal import RunSignal
from trigger_celery.model.schedule import SchedulePayload

if TYPE_CHECKING:
    from trigger_celery.sdk.task import Task

PayloadT = TypeVar("PayloadT")
OutputT = TypeVar("OutputT")
NamedP = ParamSpec("NamedP")
PayloadT_contra = TypeVar("PayloadT_contra", contravariant=True)
OutputT_co = TypeVar("OutputT_co", covariant=True)


class _TakesPayloadAndMore(Protocol[PayloadT_contra, OutputT_co]):
    def __call__(
        self, payload: PayloadT_contra, /, *, ctx: Context, signal: RunSignal
    ) -> OutputT_co: ...


class _TakesPayloadAndCtx(Protocol[PayloadT_contra, OutputT_co]):
    def __call__(self, payload: PayloadT_contra, /, *, ctx: Context) -> OutputT_co: ...


class _TakesPayloadAndSignal(Protocol[PayloadT_contra, OutputT_co]):
    def __call__(self, payload: PayloadT_contra, /, *, signal: RunSignal) -> OutputT_co: ...


class _TakesMore(Protocol[OutputT_co]):
    def __call__(self, *, ctx: Context, signal: RunSignal) -> OutputT_co: ...


class _TakesCtx(Protocol[OutputT_co]):
    def __call__(self, *, ctx: Context) -> OutputT_co: ...


class _TakesSignal(Protocol[OutputT_co]):
    def __call__(self, *, signal: RunSignal) -> OutputT_co: ...


class TaskDecorator(Protocol):
    """What `task(…)` returns: keeps the function's payload and return types."""

    @overload
    def __call__(
        self, function: _TakesPayloadAndMore[PayloadT, OutputT], /
    ) -> Task[PayloadT, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndCtx[PayloadT, OutputT], /
    ) -> Task[PayloadT, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndSignal[PayloadT, OutputT], /
    ) -> Task[PayloadT, OutputT]: ...
    @overload
    def __call__(self, function: _TakesMore[OutputT], /) -> Task[None, OutputT]: ...
    @overload
    def __call__(self, function: _TakesCtx[OutputT], /) -> Task[None, OutputT]: ...
    @overload
    def __call__(self, function: _TakesSignal[OutputT], /) -> Task[None, OutputT]: ...
    @overload
    def __call__(self, function: Callable[[PayloadT], OutputT], /) -> Task[PayloadT, OutputT]: ...
    @overload
    def __call__(self, function: Callable[[], OutputT], /) -> Task[None, OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[PayloadT, NamedP], OutputT], /
    ) -> Task[PayloadT, OutputT]: ...


class ScheduledTaskDecorator(Protocol):
    """What `scheduled_task(…)` returns: by hand it is triggered with nothing, or parts of a payload."""

    @overload
    def __call__(
        self, function: _TakesPayloadAndMore[SchedulePayload, OutputT], /
    ) -> Task[Mapping[str, Any] | None, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndCtx[SchedulePayload, OutputT], /
    ) -> Task[Mapping[str, Any] | None, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndSignal[SchedulePayload, OutputT], /
    ) -> Task[Mapping[str, Any] | None, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesMore[OutputT], /
    ) -> Task[Mapping[str, Any] | None, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesCtx[OutputT], /
    ) -> Task[Mapping[str, Any] | None, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesSignal[OutputT], /
    ) -> Task[Mapping[str, Any] | None, OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[[], OutputT], /
    ) -> Task[Mapping[str, Any] | None, OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[SchedulePayload, NamedP], OutputT], /
    ) -> Task[Mapping[str, Any] | None, OutputT]: ...


class SchemaTaskDecorator(Protocol):
    """What `schema_task(…)` returns: a trigger takes what the schema turns into the payload."""

    @overload
    def __call__(
        self, function: _TakesPayloadAndMore[PayloadT, OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndCtx[PayloadT, OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndSignal[PayloadT, OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[[PayloadT], OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[PayloadT, NamedP], OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...
