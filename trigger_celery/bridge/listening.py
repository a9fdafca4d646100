"""Methods that listen to Celery's signals."""

from __future__ import annotations

from typing import Any


def listen(signal: Any, method: Any) -> None:
    """Call the method at each signal, until `leave`.

    Celery 5.6 takes the methods of two objects of a class for one handler, unless they have names.
    """
    signal.connect(method, weak=False, dispatch_uid=_name_of(method))


def leave(signal: Any, method: Any) -> None:
    """Call it no more."""
    signal.disconnect(method, dispatch_uid=_name_of(method))


def _name_of(method: Any) -> str:
    return f"{method.__qualname__} of {id(method.__self__)}"
