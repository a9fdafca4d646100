"""What `manage.py check` says of the library's settings."""

from __future__ import annotations

from typing import Any

from celery.fixups.django import DjangoFixup
from django.apps import apps
from django.core import checks

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.contrib.django.configuration import NAME
from trigger_celery.errors import TriggerError

_WHERE = "https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html"


def register() -> None:
    """Let Django know the check; again is harmless."""
    checks.register(check_trigger_celery, "trigger_celery")


def check_trigger_celery(app_configs: Any = None, **_: Any) -> list[checks.CheckMessage]:
    """Return what is wrong with the settings. Connects to nothing."""
    config: Any = apps.get_app_config("trigger_celery")
    found = [
        checks.Error(f"{NAME}: {problem}", id="trigger_celery.E002")
        for problem in config.configuration.problems
    ]
    if config.binding is None or config.problem:
        return [*found, _no_app(config.problem)]
    return [*found, *_check_binding(config.binding)]


def _no_app(problem: str) -> checks.CheckMessage:
    return checks.Error(
        f"No Celery app to bind: {problem}.",
        hint=f"Make one as Celery's guide says ({_WHERE}), or name it: "
        f'{NAME} = {{"app": "shop.celery:app"}}.',
        id="trigger_celery.E001",
    )


def _check_binding(binding: TriggerCelery) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    try:
        _ = binding.settings
    except TriggerError as problem:
        hint = f'For example {NAME} = {{"redis_url": "redis://localhost:6379/0"}}.'
        found.append(checks.Error(str(problem), hint=hint, id="trigger_celery.E003"))
    if len(context.bound()) > 1:
        names = ", ".join(repr(one.app.main) for one in context.bound())
        found.append(
            checks.Error(
                f"Several Celery apps are bound ({names}): no task can be triggered.",
                hint=f"Call TriggerCelery(app) for one only, or name that one in {NAME}.",
                id="trigger_celery.E004",
            )
        )
    app: Any = binding.app
    if not any(isinstance(fixup, DjangoFixup) for fixup in app._fixups or ()):
        found.append(
            checks.Warning(
                f"The Celery app {app.main!r} was made before DJANGO_SETTINGS_MODULE was set: a "
                "worker started with `celery -A` does not set Django up.",
                hint='Write os.environ.setdefault("DJANGO_SETTINGS_MODULE", …) above Celery(…).',
                id="trigger_celery.W001",
            )
        )
    if app.conf.task_always_eager:
        found.append(
            checks.Warning(
                "task_always_eager is on: .delay() and .apply_async() execute tasks at once, in "
                "the caller, and make no runs.",
                hint="Leave it to the settings of unit tests.",
                id="trigger_celery.W002",
            )
        )
    return found
