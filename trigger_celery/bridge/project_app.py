"""From a name to a bound app: imports what the name says, or makes an app from a configuration.

What the command line needs of a project. Nothing here is used by a program that binds its app
itself.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from celery import Celery

from trigger_celery.bridge.binding import TriggerCelery, binding_of
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.errors import ConfigurationError, SettingsError, TriggerError
from trigger_celery.settings import environment_variable, load_settings, put_environment

_USUAL_NAMES = ("app", "celery", "celery_app")
_BROKER_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_PACKAGE = str(Path(__file__).resolve().parents[1])


class UserCodeError(ConfigurationError):
    """Importing the project's code raised. `place` is the file and line to look at."""

    def __init__(self, name: str, place: str, cause: BaseException) -> None:
        self.place = place
        said = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
        super().__init__(f"importing {name} failed at {place}\n  {said}")


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a project configures: where runs are stored, and the broker. None: not configured."""

    redis_url: str | None
    broker_url: str | None


def add_to_path(folder: Path) -> None:
    """Make modules in *folder* importable."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def module_of(path: Path) -> str:
    """Return the dotted name of a Python file and make it importable.

    A file in a package belongs to the folder above its topmost package, any other to its own.
    """
    path = path.resolve()
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(parts)
    if name == "celery":
        raise ConfigurationError(
            f"{path} would hide the celery package itself: it is a top-level module of that name. "
            "Rename it (celery_app.py), or add an __init__.py to make its folder a package."
        )
    add_to_path(folder)
    return name


def import_module(name: str) -> ModuleType:
    """Import a module of the project. Raises UserCodeError with the line that failed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and (
            name == missing.name or name.startswith(missing.name + ".")
        ):
            raise ConfigurationError(
                f"there is no module {missing.name!r} here ({Path.cwd()}). Check the name, or "
                "run from the project's folder, or pass --workdir."
            ) from missing
        raise UserCodeError(name, _place(missing), missing) from missing
    except TriggerError:
        raise
    except (Exception, SystemExit) as problem:
        raise UserCodeError(name, _place(problem), problem) from problem


def import_tasks(app: Celery) -> None:
    """Import the modules that the app's configuration names. Raises UserCodeError."""
    try:
        app.loader.import_default_modules()
    except TriggerError:
        raise
    except (Exception, SystemExit) as problem:
        raise UserCodeError(f"the tasks of {app.main}", _place(problem), problem) from problem


def set_up_django() -> None:
    """Set Django up if the project is one: its settings may be ours as well. Raises UserCodeError."""
    if not environment_variable("DJANGO_SETTINGS_MODULE") or find_spec("django") is None:
        return
    try:
        import_module("django").setup()
    except TriggerError:
        raise
    except (Exception, SystemExit) as problem:
        raise UserCodeError("the Django project", _place(problem), problem) from problem


def _place(problem: BaseException) -> str:
    """Return file:line of the project's code that raised, as short as it can be said."""
    if isinstance(problem, SyntaxError) and problem.filename:
        return f"{_short(problem.filename)}:{problem.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if not frame.filename.startswith(("<", _PACKAGE)) and "importlib" not in frame.filename
    ]
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{_short(ours[-1].filename)}:{ours[-1].lineno}" if ours else "an unknown line"


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def load_app(name: str) -> Celery:
    """Import a Celery app: `module`, `module:attribute`, `package` or `path/to/file.py`."""
    target, _, attribute = name.partition(":")
    if target.endswith(".py") or "/" in target:
        path = Path(target)
        if not path.is_file():
            raise ConfigurationError(f"there is no file {target!r} in {Path.cwd()}")
        target = module_of(path)
    else:
        add_to_path(Path.cwd())
    module = import_module(target)
    if attribute:
        found = module
        for part in attribute.split("."):
            found = getattr(found, part, None)  # type: ignore[assignment]
    else:
        found = _app_in(module)
    if not isinstance(found, Celery):
        what = f"{attribute!r} in {target}" if attribute else f"Celery app in {target}"
        raise ConfigurationError(
            f"there is no {what}. Name it as module:attribute, for example {target}:app, "
            "and check that it is a Celery(...)."
        )
    return found


def _app_in(module: ModuleType) -> Any:
    for name in _USUAL_NAMES:
        if isinstance(vars(module).get(name), Celery):
            return vars(module)[name]
    if hasattr(module, "__path__"):
        try:
            return _app_in(import_module(f"{module.__name__}.celery"))
        except ConfigurationError as problem:
            if not isinstance(problem.__cause__, ModuleNotFoundError) or isinstance(
                problem, UserCodeError
            ):
                raise
    return next((value for value in vars(module).values() if isinstance(value, Celery)), None)


def make_app(broker_url: str | None, dirs: Sequence[str], concurrency: int | None = None) -> Celery:
    """Make the app of a project that has none, and import the modules of *dirs*."""
    app = Celery("trigger", broker=broker_url)
    if concurrency is not None:
        app.conf.worker_concurrency = concurrency
    for folder in dirs:
        for path in _modules_in(Path(folder)):
            import_module(module_of(path))
    return app


def _modules_in(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ConfigurationError(
            f"trigger_config.py: dirs names {str(folder)!r}, which is no folder in {Path.cwd()}"
        )
    add_to_path(folder.resolve())
    for path in sorted(folder.rglob("*.py")):
        hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
        if not hidden and path.name != "__main__.py":
            yield path


def bind(app: Celery) -> TriggerCelery:
    """Return the app's binding; makes one if its own code did not."""
    return binding_of(app) or TriggerCelery(app)


def broker_of(redis_url: str) -> str:
    """Return the broker URL that leads Celery to the server of a store URL."""
    scheme, _, rest = redis_url.partition("://")
    if scheme == "unix":
        return f"redis+socket://{rest.replace('db=', 'virtual_host=')}"
    if scheme == "sentinel":
        raise ConfigurationError(
            "a sentinel:// store has no broker URL of the same form: set broker_url, and "
            "broker_transport_options={'master_name': …}, as Celery's guide says"
        )
    return f"{_BROKER_SCHEMES.get(scheme, scheme)}://{rest}"


def addresses(trigger: TriggerCelery) -> Addresses:
    """Return what the project itself configures. Raises SettingsError for bad settings."""
    conf = trigger.app.conf
    broker = conf.get("broker_write_url") or conf.get("broker_url")
    try:
        return Addresses(trigger.settings.redis_url, broker)
    except SettingsError:
        # Are they bad, or is only the address missing?
        load_settings(trigger.keywords, conf.get, REGISTRY.config, "redis://localhost")
        return Addresses(None, broker)


def point_at(trigger: TriggerCelery, redis_url: str, broker_url: str | None = None) -> None:
    """Store runs at *redis_url* from now on, whatever is configured, here and in child processes."""
    trigger.configure(redis_url=redis_url)
    put_environment("TRIGGER_REDIS_URL", redis_url)
    if broker_url is not None:
        put_environment("CELERY_BROKER_URL", broker_url)


def configured_environment() -> bool:
    """Tell whether the environment says where runs are stored."""
    return any(map(environment_variable, ("TRIGGER_REDIS_URL", "CELERY_BROKER_URL")))
