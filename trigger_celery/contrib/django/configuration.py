"""`TRIGGER_CELERY` of the Django settings, and the Celery app that it is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from celery import Celery
from django.apps import apps
from django.conf import settings as django_settings

from trigger_celery.bridge import context, project_app
from trigger_celery.bridge.binding import TriggerCelery, binding_of
from trigger_celery.errors import ConfigurationError, closest
from trigger_celery.settings import SETTINGS

NAME = "TRIGGER_CELERY"

DEFAULT_THREADS = 10

_OWN = ("app", "autodiscover", "async_threads")
_NAMES = (*_OWN, *(setting.name for setting in SETTINGS))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What `TRIGGER_CELERY` says."""

    app: str | Celery | None = None
    """The Celery app, or where it is: "shop.celery:app"."""
    autodiscover: bool = True
    """Whether workers import `tasks.py` of every installed app."""
    async_threads: int = DEFAULT_THREADS
    """Threads in which async tasks reach the database, each with connections of its own."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the library."""
    problems: tuple[str, ...] = ()


def read() -> Configuration:
    """Return what the Django settings say. What does not fit is left out, and told in `problems`."""
    given = getattr(django_settings, NAME, None) or {}
    if not isinstance(given, Mapping):
        return Configuration(problems=(f"it is {given!r:.60}, and should be a dict",))
    problems: list[str] = []
    found: dict[str, Any] = {}
    for word, value in given.items():
        name = str(word).lower()  # Django writes names of settings in upper case
        if name not in _NAMES:
            problems.append(
                f"{word!r} is no setting.{closest(name, _NAMES)} Settings: {', '.join(_NAMES)}."
            )
        elif name in found:
            problems.append(f"{name!r} is there twice, in upper and in lower case")
        elif (problem := _refused(name, value)) is not None:
            problems.append(problem)
        else:
            found[name] = value
    own = {name: found.pop(name) for name in _OWN if name in found}
    return Configuration(**own, settings=found, problems=tuple(problems))


def _refused(name: str, value: Any) -> str | None:
    if name == "app" and not isinstance(value, str | Celery | None):
        return f"app={value!r:.60} is not a Celery app, nor its place such as 'shop.celery:app'"
    if name == "autodiscover" and not isinstance(value, bool):
        return f"autodiscover={value!r:.60} is not True or False"
    if name == "async_threads" and (type(value) is not int or value < 1):
        return f"async_threads={value!r:.60} is not a whole number from 1"
    return None


def find_app(configuration: Configuration) -> Celery:
    """Return the project's Celery app. Raises ConfigurationError."""
    if isinstance(configuration.app, Celery):
        return configuration.app
    if configuration.app:
        return project_app.load_app(configuration.app)
    looked = list(_usual_places())
    for module in looked:
        if find_spec(module) is not None:
            return project_app.load_app(module)
    bound = context.bound()
    if len(bound) == 1:
        return bound[0].app
    places = f"no {' or '.join(looked)}" if looked else "no settings module"
    raise ConfigurationError(f"there is {places}, and {NAME} has no 'app'")


def _usual_places() -> Iterator[str]:
    """Yield where Celery's guide puts the app: beside the settings, or above them."""
    module = getattr(django_settings, "SETTINGS_MODULE", None) or ""  # None: settings.configure()
    package, _, _ = module.rpartition(".")
    while package:
        yield f"{package}.celery"
        package, _, _ = package.rpartition(".")


def bind(app: Celery, before: Mapping[str, Any], given: Mapping[str, Any]) -> TriggerCelery:
    """Return the app's binding with these settings; what its own code says counts first.

    *before*: what was given the last time.
    """
    binding = binding_of(app)
    if binding is None:
        return TriggerCelery(app, **given)
    theirs = {
        name: value
        for name, value in binding.keywords.items()
        if value is not None and not (name in before and before[name] == value)
    }
    wanted = {**dict.fromkeys(before), **given, **theirs}
    if wanted != binding.keywords:
        binding.configure(**wanted)
    return binding


def import_in_workers(app: Celery) -> None:
    """Let workers import `tasks.py` of every installed app, as `autodiscover_tasks()` does."""
    names = [f"{config.name}.tasks" for config in apps.get_app_configs()]
    present = [name for name in names if find_spec(name) is not None]
    conf: Any = app.conf
    known = [conf.include] if isinstance(conf.include, str) else list(conf.include or ())
    conf.include = [*known, *(name for name in present if name not in known)]
