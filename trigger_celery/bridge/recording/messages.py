"""What a message says of its task: the queue it goes to, when it is due, and what is worth knowing of that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import ContentDisallowed

from trigger_celery.bridge.celery_times import due_in
from trigger_celery.engine.recording import published_detail
from trigger_celery.model.recorded import BEYOND_VISIBILITY, CHORD_WITHOUT_RESULT
from trigger_celery.model.run_error import RunError

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.recording")

VISIBILITY: Final[Mapping[str, float]] = {
    "redis": 3600, "rediss": 3600, "valkey": 3600, "valkeys": 3600, "sentinel": 3600, "sqs": 1800,
}  # fmt: skip
"""Seconds until these brokers deliver a message again that is not acknowledged, unless configured."""

_MAX_PLACES = _MAX_TOLD = 1000


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a worker throws a message away without executing its task."""

    code: str
    reason: str
    hint: str

    def note(self, worker: str) -> str:
        """Return it in a line."""
        return f"rejected by worker {worker}: {self.reason}"

    def error(self, worker: str) -> RunError:
        """Return it as the error of the run."""
        return RunError.internal(self.code, f"{self.note(worker)}. {self.hint}")


def not_registered(task: object) -> Rejection:
    """Return why a message is thrown away whose task the worker does not know."""
    return Rejection(
        "TASK_NOT_REGISTERED",
        "not registered",
        f"It does not know the task {task!r} and has thrown the message away. Let that worker import "
        "the module of the task (imports, include, autodiscover_tasks), or send the task to a queue "
        "whose workers do (queue=, task_routes)",
    )


def invalid(problem: Exception | None) -> Rejection:
    """Return why a message is thrown away that the worker does not take."""
    kind = type(problem).__name__ if problem is not None else "no message of a task"
    refused = isinstance(problem, ContentDisallowed)
    return Rejection(
        "TASK_MESSAGE_REJECTED",
        f"invalid ({kind})",
        f"It has thrown the message away: {problem}. "
        + (
            "Let accept_content of the worker name the serializer of the message"
            if refused
            else "Whoever sent it has to send it otherwise"
        ),
    )


class Messages:
    """Reads the messages of one app."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger
        self._queues: dict[tuple[str, str], str] = {}
        self._visibility: float | None = None
        self._told: set[tuple[str, str]] = set()

    def configure(self) -> None:
        """Read what the app says of its broker."""
        conf: Any = self._trigger.app.conf
        url = conf.broker_write_url or conf.broker_url or ""
        first = url[0] if isinstance(url, list | tuple) and url else url
        scheme = str(first).partition(":")[0].partition("+")[0]
        self._visibility = VISIBILITY.get(scheme)
        given = (conf.broker_transport_options or {}).get("visibility_timeout")
        if self._visibility is not None and isinstance(given, int | float):
            self._visibility = given

    # The queue

    def queue(self, exchange: str | None, routing_key: str | None) -> str:
        """Return the queue that messages to an exchange go to."""
        place = exchange or "", routing_key or ""
        if not place[0]:
            return place[1]
        name = self._queues.get(place)
        if name is None:
            if len(self._queues) >= _MAX_PLACES:  # routing keys may be anything
                self._queues.clear()
            app: Any = self._trigger.app
            queues = list(app.amqp.queues.values())  # publishing adds to them
            fitting = (
                queue.name
                for queue in queues
                if queue.exchange.name == place[0] and queue.routing_key in (place[1], "#")
            )
            name = self._queues[place] = next(fitting, place[1] or place[0])
        return name

    def queue_of(self, message: Any) -> str:
        """Return the queue that a message came from."""
        info = message.get("delivery_info") or {}
        return self.queue(info.get("exchange"), info.get("routing_key"))

    # When it is due, and notes

    def detail(self, message: Any, task: str, *, in_chord: bool) -> str:
        """Return the detail of the fact that the message was published. Warns once a task."""
        due = due_in(message.get("eta"))
        notes = []
        if due and self._visibility is not None and int(due) > self._visibility * 1000:
            notes.append(BEYOND_VISIBILITY)
            if self._is_new(task, BEYOND_VISIBILITY):
                logger.warning(
                    "task %s is sent with a countdown or eta of %s s, and the broker delivers again "
                    "what is not acknowledged for %g s (visibility_timeout): it may be executed more "
                    "than once. Take it over (manage=…), or raise the timeout",
                    task,
                    f"{round(int(due) / 1000):,}",
                    self._visibility,
                    extra={"action": "beyond_visibility_timeout", "task": task},
                )
        if in_chord and message.get("ignore_result"):
            notes.append(CHORD_WITHOUT_RESULT)
            if self._is_new(task, CHORD_WITHOUT_RESULT):
                logger.warning(
                    "task %s is in the header of a chord and ignores its result: with most result "
                    "backends the chord's body is never called. Send it with ignore_result=False",
                    task,
                    extra={"action": "chord_without_result", "task": task},
                )
        return published_detail(due, notes)

    def _is_new(self, task: str, note: str) -> bool:
        if (task, note) in self._told or len(self._told) >= _MAX_TOLD:
            return False
        self._told.add((task, note))
        return True
