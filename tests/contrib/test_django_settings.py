"""`TRIGGER_CELERY` of Django's settings: what it binds, and what the checks say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.apps import apps
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import override_settings

import tests.contrib.here  # noqa: F401 - sets Django up
from trigger_celery import NotBoundError, TriggerCelery, task
from trigger_celery.bridge import context
from trigger_celery.bridge.binding import binding_of
from trigger_celery.contrib.django.connections import CONNECTIONS
from trigger_celery.dev.embedded import EmbeddedServer

URL = "redis://localhost:6379/0"


@pytest.fixture
def unbound(registry: None, app: Celery) -> Iterator[Celery]:
    """An app that nobody has bound; the project's configuration is forgotten at the end."""
    config: Any = apps.get_app_config("trigger_celery")
    yield app
    for left in context.bound():
        left.unbind()
    config.configure()
    config.binding = None


def told() -> list[tuple[str, str]]:
    return [(one.id, one.msg) for one in run_checks(tags=["trigger_celery"])]


def test_a_project_without_a_celery_app_is_told_so(unbound: Celery):
    with override_settings(TRIGGER_CELERY={}):
        [(name, message)] = told()
        assert (name, "TRIGGER_CELERY has no 'app'" in message) == ("trigger_celery.E001", True)

        @task(id="lonely")
        def lonely(payload): ...

        with pytest.raises(NotBoundError):
            lonely.trigger(1)
        with pytest.raises(CommandError, match="no Celery app"):
            call_command("trigger", "version")


def test_the_app_is_bound_with_the_settings(unbound: Celery):
    given = {"app": unbound, "REDIS_URL": URL, "project": "shop", "async_threads": 3}
    with override_settings(TRIGGER_CELERY=given):
        bound = binding_of(unbound)
        assert bound is not None
        assert (bound.settings.redis_url, bound.settings.project) == (URL, "shop")
        assert CONNECTIONS._most == 3
        with override_settings(TRIGGER_CELERY={"app": unbound, "redis_url": URL, "env": "test"}):
            assert (bound.settings.project, bound.settings.env) == ("default", "test")
        assert bound.settings.project == "shop"
        ids = {name for name, _ in told()}
        assert ids == {"trigger_celery.W001"}


def test_another_app_takes_the_place_of_the_one_before(unbound: Celery):
    other = Celery("other", set_as_current=False)
    with override_settings(TRIGGER_CELERY={"app": unbound, "redis_url": URL}):
        with override_settings(TRIGGER_CELERY={"app": other, "redis_url": URL}):
            assert [one.app for one in context.bound()] == [other]
        assert [one.app for one in context.bound()] == [unbound]


def test_what_the_code_says_counts_before_the_settings(unbound: Celery):
    bound = TriggerCelery(unbound, project="mine")
    with override_settings(TRIGGER_CELERY={"app": unbound, "redis_url": URL, "project": "yours"}):
        assert binding_of(unbound) is bound
        assert (bound.settings.project, bound.settings.redis_url) == ("mine", URL)
    with override_settings(TRIGGER_CELERY={"redis_url": URL}):
        assert binding_of(unbound) is bound  # the one that is bound is the app


def test_mistakes_are_told_all_at_once(unbound: Celery):
    given = {
        "app": unbound,
        "redis_ur": URL,
        "RUN_RETENTION": "soon",
        "run_retention": "1d",
        "autodiscover": "yes",
        "async_threads": 0,
    }
    with override_settings(TRIGGER_CELERY=given):
        messages = [message for name, message in told() if name == "trigger_celery.E002"]
        assert len(messages) == 4
        assert "Did you mean 'redis_url'?" in messages[0]
        assert "twice" in messages[1]
        unfit = [message for name, message in told() if name == "trigger_celery.E003"]
        assert "run_retention" in unfit[0]
    with override_settings(TRIGGER_CELERY=["redis_url"]):
        assert "should be a dict" in told()[0][1]
    with override_settings(TRIGGER_CELERY={"app": 7}):
        assert "'shop.celery:app'" in told()[0][1]
    with override_settings(TRIGGER_CELERY={"app": "tests.contrib.here:app"}):
        assert "Celery" in dict(told())["trigger_celery.E001"]


def test_a_missing_address_is_told(unbound: Celery, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRIGGER_REDIS_URL", raising=False)
    with override_settings(TRIGGER_CELERY={"app": unbound}):
        assert "redis_url: not set" in dict(told())["trigger_celery.E003"]


def test_eager_mode_and_a_second_app_are_told(unbound: Celery):
    unbound.conf.task_always_eager = True
    with override_settings(TRIGGER_CELERY={"app": unbound, "redis_url": URL}):
        TriggerCelery(Celery("other", set_as_current=False), redis_url=URL)
        assert {"trigger_celery.E004", "trigger_celery.W002"} <= set(dict(told()))


def test_workers_import_the_tasks_of_every_app(unbound: Celery):
    unbound.conf.include = ["mine"]
    given = {"app": unbound, "redis_url": URL}
    with override_settings(TRIGGER_CELERY={**given, "autodiscover": False}):
        assert list(unbound.conf.include) == ["mine"]
    with override_settings(TRIGGER_CELERY=given):
        assert unbound.conf.include[0] == "mine"  # no app here has tasks


def test_commands_can_be_called(
    unbound: Celery, server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
):
    with override_settings(TRIGGER_CELERY={"app": unbound, "redis_url": server.url}):
        call_command("trigger", "version")
        assert "celery" in capsys.readouterr().out
        with pytest.raises(CommandError, match="runs gett failed"):
            call_command("trigger", "runs", "gett")
        assert "No such command" in capsys.readouterr().err
