"""Where the app is found, in which order, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trigger_celery.cli.discovery import NoAppError, find_app, has_config
from trigger_celery.errors import ConfigurationError

APP = "from celery import Celery\napp = Celery('x')\n"
USES_APP = "from celery_app import app\n@app.task\ndef f(): ...\n"
MANAGE = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
PYPROJECT = "[tool.trigger_celery]\napp = 'shop.celery:app'\n"

Files = dict[str, str]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELERY_APP", "APP", "FLASK_APP", "DJANGO_SETTINGS_MODULE"):
        monkeypatch.setenv(name, "")


def lay_out(folder: Path, files: Files) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "env", "option", "app", "how"),
    [
        ({"app.py": APP}, {}, "other:app", "other:app", "by -A"),
        ({"pyproject.toml": PYPROJECT, "app.py": APP}, {}, None, "shop.celery:app", "pyproject"),
        ({"app.py": APP}, {"CELERY_APP": "a.b"}, None, "a.b", "CELERY_APP"),
        ({"app.py": APP}, {"APP": "a.b"}, None, "a.b", "variable APP"),
        (
            {"manage.py": MANAGE, "shop/celery.py": APP},
            {},
            None,
            "shop.celery:app",
            "DJANGO_SETTINGS_MODULE=shop.settings",
        ),
        (
            {"manage.py": MANAGE, "other/celery.py": APP},
            {"DJANGO_SETTINGS_MODULE": "other.settings.prod"},
            None,
            "other.celery:app",
            "other.settings.prod",
        ),
        ({"celery_app.py": APP, "tasks.py": USES_APP}, {}, None, "celery_app.py", "celery_app.py"),
        ({"tasks.py": "import celery\nx = celery.Celery()"}, {}, None, "tasks.py", "tasks.py"),
        ({"web.py": APP}, {"FLASK_APP": "web:create"}, None, "web.py", "FLASK_APP"),
        ({"web/__init__.py": APP}, {"FLASK_APP": "web"}, None, "web/__init__.py", "FLASK_APP"),
        ({"app.py": APP}, {"FLASK_APP": "app.py"}, None, "app.py", "app.py in this folder"),
    ],
)
def test_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: Files,
    env: dict[str, str],
    option: str | None,
    app: str,
    how: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = find_app(lay_out(tmp_path, files), option)
    assert found.app == app
    assert how in found.how


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"app.py": "from flask import Flask\napp = Flask('x')\n"},
        {"manage.py": MANAGE},
        {"manage.py": "print('no settings here')"},
        {"pyproject.toml": "[tool.other]\nx = 1\n"},
    ],
)
def test_nothing_found(tmp_path: Path, files: Files) -> None:
    with pytest.raises(NoAppError, match="Pass one: -A"):
        find_app(lay_out(tmp_path, files), None)


def test_two_are_listed(tmp_path: Path) -> None:
    lay_out(tmp_path, {"app.py": APP, "tasks.py": APP, "manage.py": MANAGE, "shop/celery.py": APP})
    with pytest.raises(ConfigurationError, match="more than one") as refused:
        find_app(tmp_path, None)
    assert all(f"-A {name} " in str(refused.value) for name in ("app.py", "tasks.py"))
    assert "-A shop.celery:app" in str(refused.value)


@pytest.mark.parametrize("text", ["[tool", "[tool.trigger_celery]\napp = 3\n"])
def test_bad_pyproject(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml"):
        find_app(lay_out(tmp_path, {"pyproject.toml": text}), None)


def test_a_file_that_does_not_parse_is_still_a_candidate(tmp_path: Path) -> None:
    assert find_app(lay_out(tmp_path, {"app.py": APP + "def ("}), None).app == "app.py"


def test_django_settings_are_set_for_the_import(tmp_path: Path) -> None:
    find_app(lay_out(tmp_path, {"manage.py": MANAGE, "shop/celery.py": APP}), None)
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "shop.settings"


def test_config_file(tmp_path: Path) -> None:
    assert not has_config(tmp_path)
    assert has_config(lay_out(tmp_path, {"trigger_config.py": ""}))
