"""Finds the project's Celery app: which name to import, and how we came to it.

Nothing is imported here. What the user says counts first (`-A`, `pyproject.toml`, the environment);
then the usual places are looked at, and two that fit are one too many.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trigger_celery.errors import ConfigurationError
from trigger_celery.settings import environment_variable, put_environment

CONFIG_MODULE = "trigger_config"
_USUAL_FILES = ("celery.py", "celery_app.py", "app.py", "tasks.py")
_DJANGO = re.compile(r"DJANGO_SETTINGS_MODULE['\"]\s*,\s*['\"]([\w.]+)['\"]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name that leads to an app, and a phrase that says how it was found."""

    app: str
    how: str


class NoAppError(ConfigurationError):
    """Nothing here leads to a Celery app."""


def find_app(folder: Path, option: str | None) -> Candidate:
    """Return where the app is. Raises NoAppError, or ConfigurationError for two that fit."""
    said = _said(folder, option)
    if said is not None:
        return said
    found = _distinct([*_django(folder), *_files(folder), *_flask(folder)])
    if len(found) == 1:
        return found[0]
    if found:
        listing = "\n".join(f"  -A {candidate.app:<24} {candidate.how}" for candidate in found)
        raise ConfigurationError(
            f"more than one Celery app fits; say which one:\n{listing}\n"
            'or write it once into pyproject.toml: [tool.trigger_celery] app = "…"'
        )
    raise NoAppError(
        f"no Celery app was found in {folder}. Looked for -A, [tool.trigger_celery] in "
        "pyproject.toml, CELERY_APP, manage.py, celery.py, celery_app.py, app.py, tasks.py, FLASK_APP "
        "and trigger_config.py. Pass one: -A package.module:app, or go to the project's folder."
    )


def has_config(folder: Path) -> bool:
    """Tell whether the project has a `trigger_config.py`."""
    return (folder / f"{CONFIG_MODULE}.py").is_file()


def _said(folder: Path, option: str | None) -> Candidate | None:
    if option:
        return Candidate(option, "by -A")
    named = _pyproject(folder)
    if named:
        return Candidate(named, "by [tool.trigger_celery] in pyproject.toml")
    for variable in ("CELERY_APP", "APP"):
        value = environment_variable(variable)
        if value:
            return Candidate(value, f"by the environment variable {variable}")
    return None


def _pyproject(folder: Path) -> str | None:
    path = folder / "pyproject.toml"
    if not path.is_file():
        return None
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get("trigger_celery", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{path} does not parse: {problem}") from problem
    app = table.get("app") if isinstance(table, dict) else None
    if app is not None and not isinstance(app, str):
        raise ConfigurationError(
            f"{path}: [tool.trigger_celery] app must be text such as 'shop.celery:app', not {app!r}"
        )
    return app or None


def _django(folder: Path) -> Iterator[Candidate]:
    path = folder / "manage.py"
    if not path.is_file():
        return
    written = _DJANGO.search(path.read_text("utf-8", errors="replace"))
    settings = environment_variable("DJANGO_SETTINGS_MODULE") or (written[1] if written else None)
    if settings is None:
        return
    package = settings.partition(".")[0]
    if (folder / package / "celery.py").is_file():
        put_environment("DJANGO_SETTINGS_MODULE", settings)
        how = f"by manage.py (DJANGO_SETTINGS_MODULE={settings})"
        yield Candidate(f"{package}.celery:app", how)


def _files(folder: Path) -> Iterator[Candidate]:
    for name in _USUAL_FILES:
        path = folder / name
        if path.is_file() and _makes_app(path):
            yield Candidate(name, f"by {name} in this folder")


def _flask(folder: Path) -> Iterator[Candidate]:
    value = environment_variable("FLASK_APP")
    if not value:
        return
    module = value.partition(":")[0].removesuffix(".py").replace("/", ".")
    place = folder / module.replace(".", "/")
    for path in (place.with_suffix(".py"), place / "__init__.py", place / "celery.py"):
        if path.is_file() and _makes_app(path):
            yield Candidate(str(path.relative_to(folder)), f"by FLASK_APP={value}")
            return


def _makes_app(path: Path) -> bool:
    """Tell whether a file calls Celery(…). One that does not parse is shown when it is imported."""
    text = path.read_text("utf-8", errors="replace")
    try:
        nodes = ast.walk(ast.parse(text))
    except (SyntaxError, ValueError):
        return "Celery(" in text
    return any(isinstance(node, ast.Call) and _is_celery(node.func) for node in nodes)


def _is_celery(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name == "Celery"


def _distinct(found: list[Candidate]) -> list[Candidate]:
    return list({candidate.app: candidate for candidate in reversed(found)}.values())[::-1]
