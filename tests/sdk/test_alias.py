"""`from trigger import …` is `from trigger_celery import …`."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trigger_celery
from trigger_celery import ConfigurationError, install_as_trigger


def is_alias(name: str) -> bool:
    return name.partition(".")[0] == "trigger"


@pytest.fixture(autouse=True)
def no_trigger() -> Iterator[None]:
    """Nothing is called trigger; what there was before comes back."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if is_alias(name)}
    yield
    for name in list(sys.modules):
        if is_alias(name):
            del sys.modules[name]
    sys.modules.update(before)


def imported(statement: str) -> dict[str, Any]:
    """Return the names that an import makes."""
    names: dict[str, Any] = {}
    exec(compile(statement, "program", "exec"), names)  # noqa: S102
    return {name: value for name, value in names.items() if not name.startswith("__")}


def test_every_public_name() -> None:
    install_as_trigger()
    for name in (*trigger_celery.__all__, "locals"):
        assert imported(f"from trigger import {name}") == {name: getattr(trigger_celery, name)}


def test_a_star_imports_the_public_names_and_nothing_else() -> None:
    install_as_trigger()
    everything = imported("from trigger import *")
    assert everything == imported("from trigger_celery import *")
    assert sorted(everything) == sorted(trigger_celery.__all__)
    assert dir(sys.modules["trigger"]) == sorted(trigger_celery.__all__)


def test_a_name_that_there_is_not() -> None:
    install_as_trigger()
    for place in ("trigger", "trigger.v3"):
        with pytest.raises(ImportError, match="cannot import name 'client'"):
            imported(f"from {place} import client")


def test_every_public_name_of_the_old_module_warns_at_the_line_of_the_import() -> None:
    install_as_trigger()
    for name in trigger_celery.__all__:
        with pytest.warns(DeprecationWarning, match="write from trigger import") as caught:
            found = imported(f"from trigger.v3 import {name}")
        assert found == {name: getattr(trigger_celery, name)}
        [one] = caught
        assert str(one.message).endswith(f"write from trigger import {name}")
        assert one.filename == "program"


def test_twice_is_once_and_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        install_as_trigger()
        module = sys.modules["trigger"]
        install_as_trigger()
        import_again = importlib.import_module("trigger")
    assert sys.modules["trigger"] is import_again is module


def test_another_package_of_that_name_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "trigger"
    package.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    (package / "__init__.py").write_text("mine = 1\n")
    for _ in range(2):  # before it is imported, and after
        with pytest.raises(ConfigurationError, match="import from trigger_celery instead"):
            install_as_trigger()
        assert imported("from trigger import mine") == {"mine": 1}


def test_a_folder_of_tasks_called_trigger_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trigger").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    install_as_trigger()
    assert imported("from trigger import task") == {"task": trigger_celery.task}
