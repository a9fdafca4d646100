"""Methods of several objects that listen to one signal of Celery's."""

from __future__ import annotations

import pytest
from celery.utils.dispatch import Signal, signal

from trigger_celery.bridge.listening import leave, listen


class Listener:
    def __init__(self) -> None:
        self.heard: list[int] = []

    def hear(self, number: int, **_: object) -> None:
        self.heard.append(number)


@pytest.mark.parametrize("old", [False, True])
def test_each_object_listens_for_itself(old: bool, monkeypatch: pytest.MonkeyPatch):
    if old:  # Celery 5.6
        monkeypatch.setattr(
            signal, "_make_id", lambda target: id(getattr(target, "__func__", target))
        )
    rang = Signal(name="rang", providing_args={"number"})
    one, other = Listener(), Listener()
    listen(rang, one.hear)
    listen(rang, other.hear)
    rang.send(None, number=1)
    leave(rang, one.hear)
    rang.send(None, number=2)
    leave(rang, other.hear)
    rang.send(None, number=3)
    assert (one.heard, other.heard) == ([1], [1, 2])
