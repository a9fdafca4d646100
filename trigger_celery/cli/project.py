"""The project that a command works on: found, imported and bound at first use."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from trigger_celery.bridge import project_app
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.cli import discovery
from trigger_celery.dev import state
from trigger_celery.errors import ConfigurationError
from trigger_celery.sdk.alias import install_as_trigger
from trigger_celery.sdk.config import Config
from trigger_celery.settings import Settings, environment_variable, put_environment
from trigger_celery.store.op import Flow

T = TypeVar("T")
logger = logging.getLogger("trigger_celery.cli")

PATIENCE = 2.0
"""Seconds for which a command, with somebody in front of it, tries to reach the server."""


@dataclass
class Project:
    """What the options say, and the binding they lead to."""

    app: str | None = None
    workdir: Path | None = None
    redis_url: str | None = None
    quiet: bool = False
    debug: bool = False
    given_app: Any = None
    joins_dev: bool = True
    how: str = ""
    found_app: str = ""
    settings: Settings | None = None
    _address_from: str = ""
    _trigger: TriggerCelery | None = None

    def enter(self) -> Path:
        """Go to the project's folder and return it."""
        if self.workdir is not None:
            if not self.workdir.is_dir():
                raise ConfigurationError(f"--workdir {str(self.workdir)!r} is no folder")
            os.chdir(self.workdir)
            self.workdir = None
        return Path.cwd()

    @property
    def trigger(self) -> TriggerCelery:
        """The binding, for commands that only read and trigger: needs no app, only an address."""
        if self._trigger is None:
            # What a command prints is parsed: the project's own words go elsewhere.
            with redirect_stdout(sys.stderr):
                app = self.load(needs_tasks=False)
            self._trigger = self._bind(app)
            self.settings = self._with_sources(self._trigger.settings)
            if self.settings.sources["store_retry"] == "default":
                self._trigger.configure(store_retry=PATIENCE)
        return self._trigger

    def bound_for_work(self) -> TriggerCelery:
        """The binding of the project's own app, for a worker: without an app there is nothing."""
        if self._trigger is None:
            self._trigger = self._bind(self.load(needs_tasks=True))
        return self._trigger

    def run(self, flow: Flow[T]) -> T:
        """Run an operation of the engine."""
        return self.trigger.store.run_sync(flow)

    def load(self, *, needs_tasks: bool) -> Any:
        """Import the project and return its Celery app. Without *needs_tasks* it may have none."""
        if self.given_app is not None:
            return self.given_app
        folder = self.enter()
        project_app.add_to_path(folder)
        prepare_imports()
        config = load_config(folder)
        try:
            found = discovery.find_app(folder, self.app)
        except discovery.NoAppError:
            if config is not None:
                self.found_app, self.how = "trigger_config.py", "by trigger_config.py"
                return project_app.make_app(
                    self._broker(config), config.dirs, config.worker_concurrency
                )
            if needs_tasks or not (
                self.redis_url or project_app.configured_environment() or state.read(folder)
            ):
                raise
            return project_app.make_app(None, ())
        self.found_app, self.how = found.app, found.how
        return project_app.load_app(found.app)

    def _broker(self, config: Config) -> str | None:
        store = (
            self.redis_url
            or config.settings.get("redis_url")
            or environment_variable("TRIGGER_REDIS_URL")
        )
        return config.broker_url or (project_app.broker_of(store) if store else None)

    def _bind(self, app: Any) -> TriggerCelery:
        project_app.set_up_django()
        trigger = project_app.bind(app)
        if self.redis_url:
            trigger.configure(redis_url=self.redis_url)
            self._address_from = "--redis-url"
        elif self.joins_dev and project_app.addresses(trigger).redis_url is None:
            running = state.read(Path.cwd())
            if running is not None:
                trigger.configure(redis_url=running.redis_url)
                self._address_from = "trigger-celery dev"
                self.note(f"using the server of trigger-celery dev in {state.FOLDER}/")
        return trigger

    def _with_sources(self, settings: Settings) -> Settings:
        """Return the settings, saying where the command line took the address from."""
        if not self._address_from:
            return settings
        return replace(settings, sources={**settings.sources, "redis_url": self._address_from})

    def note(self, text: str) -> None:
        """Say something on stderr, unless told to be quiet."""
        if not self.quiet:
            click.secho(text, err=True, dim=True)


def prepare_imports() -> None:
    """Make `from trigger import …` work in the project's code."""
    try:
        install_as_trigger()
    except ConfigurationError as problem:
        logger.debug("`from trigger import …` stays as it is: %s", problem)


def load_config(folder: Path) -> Config | None:
    """Import `trigger_config.py`, when there is one, and return its `config`."""
    if not discovery.has_config(folder):
        return None
    config = getattr(project_app.import_module(discovery.CONFIG_MODULE), "config", None)
    if not isinstance(config, Config):
        raise ConfigurationError(
            f"{discovery.CONFIG_MODULE}.py has no variable `config` that is a define_config(…). "
            "Write: config = define_config(project='shop', dirs=['tasks'])"
        )
    return config


def no_color() -> None:
    """Print without colour from here on, child processes included."""
    put_environment("NO_COLOR", "1")
