"""The extension: a Celery app for a Flask app, bound, with the application context around runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from celery import Celery, Task

from trigger_celery.bridge.binding import TriggerCelery, binding_of
from trigger_celery.bridge.context import current_execution
from trigger_celery.bridge.surroundings import SURROUNDINGS
from trigger_celery.cli.hosted import hosted_group
from trigger_celery.errors import ConfigurationError
from trigger_celery.settings import check_names

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger("trigger_celery.flask")

NAME = "TRIGGER_CELERY"
CELERY = "CELERY"
_HERE = "trigger"


class Trigger:
    """Lets a Flask app trigger, and workers execute runs in its application context.

    Reads `app.config["TRIGGER_CELERY"]`, a dict of settings such as `redis_url`; those given here
    count before it. The Celery app is the one given, or the one at `app.extensions["celery"]`, or
    one that is made of `app.config["CELERY"]` as Flask's own guide does, and put there: a worker
    finds it with `celery -A make_celery` as in that guide, or by `flask trigger worker`.

    In one process the app that was initialised last counts: a factory may be called again.

    Example:
        ```python
        app = Flask("shop")
        app.config["TRIGGER_CELERY"] = {"redis_url": "redis://localhost:6379/0"}
        Trigger(app)
        ```
    """

    def __init__(
        self, app: Flask | None = None, *, celery: Celery | None = None, **settings: Any
    ) -> None:
        self._given = celery
        self._settings = settings
        self._celery: Celery | None = celery
        if app is not None:
            self.init_app(app)

    @property
    def celery(self) -> Celery:
        """The Celery app. Raises ConfigurationError before `init_app`."""
        if self._celery is None:
            raise ConfigurationError("this Trigger has no Flask app yet: call .init_app(app)")
        return self._celery

    def init_app(self, app: Flask) -> None:
        """Bind the Celery app of *app*, and take the place of an app that was there before.

        Raises ConfigurationError for a `TRIGGER_CELERY` that is no dict or has unknown names.
        """
        configured = app.config.get(NAME) or {}
        if not isinstance(configured, Mapping):
            raise ConfigurationError(
                f'app.config["{NAME}"] is {configured!r:.60}, and should be a dict of settings: '
                '{"redis_url": "redis://localhost:6379/0"}'
            )
        settings = {
            **{str(name).lower(): one for name, one in configured.items()},
            **self._settings,
        }
        check_names(settings, f'app.config["{NAME}"]')
        self._celery = self._given or app.extensions.get("celery") or _make_celery(app)
        app.extensions["celery"] = self._celery
        app.extensions[_HERE] = self
        _take_over(app, self._celery)
        binding = binding_of(self._celery)
        if binding is None:
            TriggerCelery(self._celery, **settings)
        elif settings:
            binding.configure(**{**settings, **binding.keywords})
        if _HERE not in app.cli.commands:
            # `dev` starts workers of its own, which know of a Celery app but not of `flask`.
            commands = hosted_group(lambda: self.celery, "by flask", leave_out=("dev",))
            app.cli.add_command(commands, _HERE)


class AppContext:
    """The application context around the code of runs."""

    def __init__(self, app: Flask, celery: Celery) -> None:
        self._app = app
        self.celery = celery

    def around(self) -> AbstractContextManager[object]:
        """Return the context: one of its own for each attempt, as for each request."""
        return self._app.app_context()

    def rest(self) -> None:
        """Do nothing: what belongs to the context stays with the run while it waits."""


def _take_over(app: Flask, celery: Celery) -> None:
    """Let the context of *app* be the one of runs. What another app's Trigger bound is unbound."""
    for other in [one for one in SURROUNDINGS if isinstance(one, AppContext)]:
        SURROUNDINGS.remove(other)
        binding = binding_of(other.celery)
        if other.celery is not celery and binding is not None:
            binding.unbind()
            logger.info(
                "runs are those of the Flask app %s now, and no more of the one before",
                app.name,
                extra={"action": "flask_app_replaced"},
            )
    SURROUNDINGS.append(AppContext(app, celery))


def _make_celery(app: Flask) -> Celery:
    """Make the Celery app of Flask's own guide; its plain tasks have the context as well."""
    config = app.config.get(CELERY) or {}
    if not isinstance(config, Mapping):
        raise ConfigurationError(
            f'app.config["{CELERY}"] is {config!r:.60}, and should be a dict of Celery\'s settings: '
            '{"broker_url": "redis://localhost:6379/0"}'
        )

    parent: Any = Task

    class FlaskTask(parent):  # type: ignore[misc]
        """A task in the application context."""

        abstract = True

        def __call__(self, *args: object, **kwargs: object) -> object:
            """Execute it; a run is in the context already."""
            if current_execution.get() is not None:
                return self.run(*args, **kwargs)
            with app.app_context():
                return self.run(*args, **kwargs)

    celery: Celery = Celery(app.name, task_cls=FlaskTask)
    celery.config_from_object(dict(config))
    celery.set_default()
    return celery
