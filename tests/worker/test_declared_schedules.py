"""A worker declares the schedules of its code, and works also when it cannot."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from trigger_celery import TriggerCelery, scheduled_task, schedules, task
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.worker.declared_schedules import DeclaredSchedules


def test_what_cannot_be_declared_now_is_declared_later(
    trigger: TriggerCelery, server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @scheduled_task(id="nightly", cron="0 3 * * *")
    def nightly() -> None: ...

    @scheduled_task(id="on-demand")
    def on_demand() -> None: ...

    @task(id="plain")
    def plain() -> None: ...

    caplog.set_level(logging.INFO, "trigger_celery.schedules")
    declared = DeclaredSchedules(trigger)
    trigger.configure(redis_url=f"unix://{tmp_path}/nobody", store_retry=0.1)
    declared.sync()
    assert declared.done is False
    trigger.configure(redis_url=server.url)
    declared.sync()
    assert declared.done is True
    DeclaredSchedules(trigger).sync()
    assert [vars(record)["action"] for record in caplog.records] == [
        "schedules_not_declared",
        "schedules_declared",
    ]
    assert "added nightly" in caplog.text
    assert [one.task for one in schedules.list().sync()] == ["nightly"]
