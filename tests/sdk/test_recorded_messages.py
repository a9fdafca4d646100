"""What is worth knowing of a message is told: of which brokers, how often, and from whom."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from trigger_celery import TriggerCelery
from trigger_celery.bridge.recording.messages import Messages
from trigger_celery.model.recorded import BEYOND_VISIBILITY, CHORD_WITHOUT_RESULT, notes_of


def messages_of(broker: Any, **options: Any) -> Messages:
    app = Celery("shop", broker=broker, set_as_current=False)
    app.conf.broker_transport_options = options
    trigger = TriggerCelery()
    trigger._app = app
    found = Messages(trigger)
    found.configure()
    return found


def due(hours: float) -> dict[str, str]:
    return {"eta": (datetime.now(UTC) + timedelta(hours=hours)).isoformat()}


@pytest.mark.parametrize(
    ("broker", "options", "hours", "told"),
    [
        ("redis://there", {}, 0.9, False),
        ("redis://there", {}, 1.1, True),
        ("redis+socket:///there", {}, 1.1, True),
        ("rediss://one;rediss://two", {}, 1.1, True),
        ("sentinel://there", {"visibility_timeout": 43_200}, 11, False),
        ("valkey://there", {"visibility_timeout": 43_200}, 13, True),
        ("sqs://", {}, 0.6, True),
        ("amqp://there", {}, 100, False),
        ("memory://", {"visibility_timeout": 1}, 100, False),
    ],
)
def test_delays_that_the_broker_cuts_short(
    broker: str, options: dict[str, Any], hours: float, told: bool
) -> None:
    detail = messages_of(broker, **options).detail(due(hours), "shop.add", in_chord=False)
    assert (BEYOND_VISIBILITY in detail) is told


def test_each_task_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    found = messages_of("redis://there")
    with caplog.at_level(logging.WARNING, "trigger_celery"):
        for task in ("a", "a", "b"):
            found.detail({**due(2), "ignore_result": True}, task, in_chord=True)
    assert [record.action for record in caplog.records] == [  # type: ignore[attr-defined]
        *("beyond_visibility_timeout", "chord_without_result"),
        *("beyond_visibility_timeout", "chord_without_result"),
    ]


def test_notes_of_all_messages_of_a_run_each_once() -> None:
    record = {
        "p0": f"1700000000000\x1f1700007200000\x1f{BEYOND_VISIBILITY},{CHORD_WITHOUT_RESULT}",
        "p1": f"1700000000001\x1f\x1f{BEYOND_VISIBILITY}",
        "s1:a": "1700000000002\x1fw\x1f",
        "prio": "5",
        "payload": "[]",
    }
    assert notes_of(record) == (BEYOND_VISIBILITY, CHORD_WITHOUT_RESULT)
    assert notes_of({"p0": "1700000000000\x1f"}) == ()
