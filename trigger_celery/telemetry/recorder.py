"""What is recorded of runs: spans that make one trace of a tree of runs, and metrics."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, StatusCode

from trigger_celery.errors import RunEvictedError
from trigger_celery.telemetry import attributes as names
from trigger_celery.telemetry import propagation, providers

T = TypeVar("T")

Attributes = Mapping[str, Any]


class Sending:
    """The span of a trigger, and the text that its runs carry."""

    __slots__ = ("_span", "trace")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.trace = propagation.text_of(span)

    def end(self, problem: BaseException | None = None) -> None:
        """The server has answered, or not; once."""
        if problem is not None:
            _fail(self._span, problem)
        self._span.end()


class Attempt:
    """The span of an attempt under way."""

    __slots__ = ("_own", "_span")

    def __init__(self, span: trace.Span, *, own: bool) -> None:
        self._span = span
        self._own = own

    def end(self, outcome: str, problem: BaseException | None, delay_ms: Any = None) -> None:
        """Note how the attempt ended: its span is ended by whoever began it."""
        self._span.set_attribute(names.OUTCOME, outcome)
        if delay_ms is not None:
            self._span.set_attribute(names.RETRY_DELAY, delay_ms)
        if problem is None:
            return
        if self._own or outcome != "failed":
            _fail(self._span, problem)
        else:  # whose span it is records the exception itself
            self._span.set_attribute(names.ERROR_TYPE, type(problem).__qualname__)


class Part:
    """The span of a part of an attempt: a hook, or what the task's code names itself."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Any = None

    def enter(self) -> None:
        """Spans that begin from now on in this context are children of it."""
        self._token = contexts.attach(trace.set_span_in_context(self._span))

    def leave(self) -> None:
        """No longer."""
        if self._token is not None:
            contexts.detach(self._token)
            self._token = None

    def end(self, about: Attributes | None = None, error: str | None = None) -> None:
        """End it, with its attributes as far as they are known by now."""
        for name, value in (about or {}).items():
            plain = isinstance(value, str | bool | int | float)
            self._span.set_attribute(name, value if plain else json.dumps(value, default=str))
        if error is not None:
            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()


class Telemetry:
    """Records by the providers that the process has now."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(names.WE)
        self._meter = Meter()

    def sending(self, counts: Mapping[tuple[str, str], int], run_id: str, batch_id: str) -> Sending:
        """Begin the span of a trigger; *counts* are those of runs by task and queue."""
        what, found = "batch", _messaging("send", "")
        if len(counts) == 1:
            [(what, queue)] = counts
            found = {**_messaging("send", queue), names.TASK: what}
        if batch_id:
            found[names.BATCH_COUNT], found[names.BATCH] = sum(counts.values()), batch_id
        else:
            found[names.MESSAGE_ID] = found[names.RUN] = run_id
        for (task, queue), count in counts.items():
            self._meter.triggered.add(count, {names.TASK: task, names.DESTINATION: queue})
        span = self._tracer.start_span(f"send {what}", kind=SpanKind.PRODUCER, attributes=found)
        return Sending(span)

    @contextmanager
    def attempt(self, task: str, queue: str, carried: str, about: Attributes) -> Iterator[Attempt]:
        """The code inside is an attempt: with a span of ours, or the one that Celery's has begun.

        The official instrumentation makes a span of each task that Celery's tracer executes. Where it
        is on, ours would be its double.
        """
        found = {**_messaging("process", queue), names.TASK: task, **about}
        if celery_is_instrumented():
            span = trace.get_current_span()
            span.set_attributes(found)
            yield Attempt(span, own=False)
            return
        parent = propagation.context_of(carried)
        span = self._tracer.start_span(
            f"process {task}", context=parent, kind=SpanKind.CONSUMER, attributes=found
        )
        token = contexts.attach(trace.set_span_in_context(span, parent))
        try:
            yield Attempt(span, own=True)
        finally:
            span.end()
            contexts.detach(token)

    def wait(self, kind: str, target: str, step: T) -> Generator[T, Any, None]:
        """Yield *step*, which waits, in a span of its own."""
        self._meter.waits.add(1, {names.WAIT_TYPE: kind})
        about = {names.WAIT_TYPE: kind, names.WAIT_TARGET: target}
        span = self._tracer.start_span(f"wait {kind}", attributes=about)
        outcome = "given up"
        try:
            yield step
            outcome = "completed"
        except RunEvictedError:
            outcome = "evicted"
            raise
        finally:
            span.set_attribute(names.WAIT_OUTCOME, outcome)
            span.end()

    def resumed(self, kind: str, target: str) -> None:
        """Note that the run goes on after a wait that began in another process or execution."""
        about = {names.WAIT_TYPE: kind, names.WAIT_TARGET: target}
        trace.get_current_span().add_event("resumed after wait", about)

    def part(self, name: str) -> Part:
        """Begin the span of a part of an attempt."""
        return Part(self._tracer.start_span(name))

    @contextmanager
    def hook(self, name: str, carried: str) -> Iterator[None]:
        """The code inside is a hook; one that is called beside the attempt is in its trace, too."""
        inside = trace.get_current_span().get_span_context().is_valid
        parent = None if inside else propagation.context_of(carried)
        with self._tracer.start_as_current_span(
            f"hook {name}", context=parent, attributes={names.HOOK: name}
        ):
            yield

    # Metrics

    def started(self, task: str, queue: str, queued_seconds: float | None) -> None:
        """Count an attempt that begins; *queued_seconds* only for the first of a run."""
        about = {names.TASK: task, names.DESTINATION: queue}
        self._meter.active.add(1, about)
        if queued_seconds is not None:
            self._meter.started.add(1, about)
            self._meter.queued.record(max(0.0, queued_seconds), about)

    def ended(self, task: str, queue: str, seconds: float, outcome: str, status: str) -> None:
        """Count an attempt that has ended; *status* is that of the run when it is final, or empty."""
        about = {names.TASK: task, names.DESTINATION: queue}
        self._meter.active.add(-1, about)
        self._meter.duration.record(seconds, {**about, names.OUTCOME: outcome})
        if status:
            self._meter.finished.add(1, {**about, names.STATUS: status})

    def flush(self) -> None:
        """Send what is still waiting to be exported."""
        providers.flush()


class Meter:
    """The instruments."""

    def __init__(self) -> None:
        meter = metrics.get_meter(names.WE)
        self.triggered = meter.create_counter(
            "trigger.run.triggered", "{run}", "Runs that this process triggered."
        )
        self.started = meter.create_counter(
            "trigger.run.started", "{run}", "Runs whose first attempt began here."
        )
        self.finished = meter.create_counter(
            "trigger.run.finished", "{run}", "Runs whose last attempt ended here, by status."
        )
        self.duration = meter.create_histogram(
            "trigger.attempt.duration", "s", "Active time of attempts, waits excluded."
        )
        self.queued = meter.create_histogram(
            "trigger.run.queue_time", "s", "Time from when a run was due to its first attempt."
        )
        self.waits = meter.create_counter(
            "trigger.wait.count", "{wait}", "Waits of runs that began here."
        )
        self.active = meter.create_up_down_counter(
            "trigger.attempt.active", "{attempt}", "Attempts under way, those that wait included."
        )


def celery_is_instrumented() -> bool:
    """Whether the official instrumentation of Celery is switched on in this process."""
    module = sys.modules.get("opentelemetry.instrumentation.celery")
    if module is None:
        return False
    return bool(module.CeleryInstrumentor().is_instrumented_by_opentelemetry)


def _messaging(operation: str, queue: str) -> dict[str, Any]:
    found = {
        names.SYSTEM: "trigger_celery",
        names.OPERATION: operation,
        names.OPERATION_TYPE: operation,
    }
    return {**found, names.DESTINATION: queue} if queue else found


def _fail(span: trace.Span, problem: BaseException) -> None:
    span.set_attribute(names.ERROR_TYPE, type(problem).__qualname__)
    span.record_exception(problem)
    span.set_status(StatusCode.ERROR, str(problem))
