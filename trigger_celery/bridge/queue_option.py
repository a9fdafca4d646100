"""What users write for a queue: its declaration, and the form of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trigger_celery.bridge import old_forms
from trigger_celery.bridge.registry import QUEUE_OPTIONS, Queue
from trigger_celery.errors import InvalidQueueError, closest
from trigger_celery.model import task_options as check
from trigger_celery.model.rate import parse_rate


def make_queue(name: str, given: Mapping[str, Any]) -> Queue:
    """Return a queue of this name with checked options. Raises InvalidQueueError."""
    rate = parse_rate(given.get("rate_limit"), "rate_limit")
    key_rate = parse_rate(given.get("rate_limit_per_key"), "rate_limit_per_key")
    return Queue(
        check.check_queue_name(name),
        check.check_concurrency_limit(given.get("concurrency_limit")),
        check.check_total_limit(given.get("total_concurrency_limit")),
        None if rate is None else rate.text,
        None if key_rate is None else key_rate.text,
        check.check_size_limit(given.get("size_limit")),
    )


def unknown_option(word: str) -> str:
    """Return what to say of an option of a queue that there is not."""
    options = ("name", *QUEUE_OPTIONS)
    return f"no option {word!r}.{closest(word, options)} Options: {', '.join(options)}."


def warn_of_old_form(where: str, given: Mapping[str, Any]) -> None:
    """Say how `queue={"name": …}` is written today, at the line of the user's code."""
    rest = "".join(f", {option}={value!r}" for option, value in given.items() if option != "name")
    name = given["name"]
    old_forms.warn_of_old_form(
        f"{where}: queue={dict(given)!r} is the form of earlier versions. Declare the queue once, "
        f"in a module that the workers import: its = queue(name={name!r}{rest}); then write "
        f"queue=its on tasks, and queue={name!r} when triggering."
    )


def queue_of_trigger(given: object) -> tuple[str, int | None]:
    """Return the queue that a trigger names, and the limit it has if nobody declared one.

    A name, a `queue(…)`, or, as in earlier versions, `{"name": …, "concurrency_limit": n}`.
    Raises InvalidQueueError.
    """
    if isinstance(given, Mapping):
        for word in given:
            if word not in ("name", "concurrency_limit"):
                meant = closest(str(word), ("name", "concurrency_limit"))
                raise InvalidQueueError(
                    f"queue={dict(given)!r:.60}: a trigger knows a queue's name only, not "
                    f"{word!r}.{meant} Write queue='name', and declare the rest with queue(…)."
                )
        name = check.check_queue_name(given.get("name"))
        limit = check.check_concurrency_limit(given.get("concurrency_limit"))
        warn_of_old_form("trigger", given)
        return name, limit
    return check.check_queue_name(getattr(given, "name", given)), None
