"""The Django app: binds the project's Celery app once Django is set up."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.signals import setting_changed

from trigger_celery.bridge.binding import TriggerCelery, binding_of
from trigger_celery.bridge.surroundings import SURROUNDINGS
from trigger_celery.contrib.django.configuration import (
    NAME,
    Configuration,
    bind,
    find_app,
    import_in_workers,
    read,
)
from trigger_celery.contrib.django.connections import CONNECTIONS
from trigger_celery.errors import ConfigurationError


class TriggerConfig(AppConfig):  # type: ignore[misc]
    """`trigger_celery.contrib.django` in INSTALLED_APPS."""

    name = "trigger_celery.contrib.django"
    label = "trigger_celery"
    verbose_name = "Trigger"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration = Configuration()
        self.binding: TriggerCelery | None = None
        self.problem = ""
        """Why no Celery app is bound."""
        self._made: TriggerCelery | None = None
        """The binding, if nobody had made one before."""

    def ready(self) -> None:
        """Bind the Celery app. What is wrong is for the checks to say, and for the first use."""
        from trigger_celery.contrib.django import checks

        checks.register()
        if CONNECTIONS not in SURROUNDINGS:
            SURROUNDINGS.append(CONNECTIONS)
        setting_changed.connect(self._changed)
        self.configure()

    def configure(self) -> None:
        """Bind the Celery app that the settings name or lead to, with what they say."""
        before = self.configuration.settings
        self.configuration, self.problem = read(), ""
        CONNECTIONS.resize(self.configuration.async_threads)
        try:
            app = find_app(self.configuration)
        except ConfigurationError as problem:
            if problem.__cause__ is not None:
                raise  # it is the project's own code that fails
            self.problem = str(problem)
            return
        made = self._made
        if made is not None and made.app is not app and binding_of(made.app) is made:
            made.unbind()
        is_new = binding_of(app) is None
        self.binding = bind(app, before, self.configuration.settings)
        self._made = self.binding if is_new or self.binding is made else None
        if self.configuration.autodiscover:
            import_in_workers(app)

    def _changed(self, *, setting: str, **_: Any) -> None:
        """Follow `override_settings` of tests."""
        if setting == NAME:
            self.configure()
