"""Where triggers and waits are told to telemetry. Switched off, each place costs a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from trigger_celery.bridge.durable import current_durable
from trigger_celery.engine.codec import with_trace
from trigger_celery.engine.triggering import NewRun, Origin
from trigger_celery.store.op import Flow

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery
    from trigger_celery.telemetry.recorder import Sending

T = TypeVar("T")


class Sent:
    """A trigger with its span. Its runs are made with this `origin`."""

    __slots__ = ("_sending", "origin")

    def __init__(self, sending: Sending, origin: Origin) -> None:
        self._sending = sending
        self.origin = replace(origin, links=with_trace(origin.links, sending.trace))

    def end(self, problem: BaseException | None = None) -> None:
        """The server has answered, or the call failed."""
        self._sending.end(problem)

    def around(self, flow: Flow[T]) -> Flow[T]:
        """Run the flow and end the span with it."""
        try:
            result = yield from flow
        except BaseException as problem:
            self.end(problem)
            raise
        self.end()
        return result


def send(bound: TriggerCelery, origin: Origin, path: str, runs: Sequence[NewRun]) -> Sent | None:
    """Begin the span of a trigger; None without telemetry, and for what a replay sends again."""
    telemetry = bound.telemetry
    if telemetry is None or not runs:
        return None
    durable = current_durable()
    if durable is not None and durable.knows(path):
        return None
    counts = Counter((run.placement.task, run.placement.queue) for run in runs)
    return Sent(telemetry.sending(counts, runs[0].id, origin.batch), origin)


def sent_flow(sent: Sent | None, flow: Flow[T]) -> Flow[T]:
    """Return the flow, within the span if there is one."""
    return flow if sent is None else sent.around(flow)
