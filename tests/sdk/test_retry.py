"""`retry` before anything runs: names, options, and what is missing."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

import trigger_celery
from trigger_celery import (
    ConfigurationError,
    InvalidOptionError,
    TriggerCelery,
    install_as_trigger,
    retry,
)


def test_it_is_importable_under_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "trigger"]:
        monkeypatch.delitem(sys.modules, name)
    install_as_trigger()
    from trigger import retry as of_trigger  # type: ignore[import-not-found]

    assert of_trigger is retry is trigger_celery.retry
    for name in [name for name in sys.modules if name.partition(".")[0] == "trigger"]:
        del sys.modules[name]


def test_fetch_without_httpx_names_the_extra(
    trigger: TriggerCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'trigger-celery\[fetch\]'"):
        retry.fetch("http://localhost")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"content": iter([b"a"])}, "pass text or bytes, not list_iterator"),
        ({"timeout_in_ms": 0}, "timeout_in_ms=0 is no time"),
        ({"timeout_in_ms": float("nan")}, "timeout_in_ms=nan is no time"),
        ({"retry": {"by_status": {"6xx": {}}}}, "'6xx' is no status"),
        ({"retry": {"max_attempts": 3, "timeout": {}}}, "the old form of retry="),
        ({"retry": {"condition": "always"}}, "the old form of retry="),
    ],
)
def test_unfit_options_are_refused_at_once(
    trigger: TriggerCelery, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        retry.fetch("http://localhost", **options)
    assert says in str(refused.value)
