"""Settings: one frozen value, validated once, that knows where each part came from.

Order, first wins: keyword of `TriggerCelery` > Celery configuration `trigger_<name>` >
environment `TRIGGER_<NAME>` > `trigger_config.py` > default. The only module that reads the
environment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trigger_celery.errors import SettingsError, TriggerError, closest
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.retry import Retry

_UNSET: Any = object()


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expects text")
    return value.strip()


def _seconds(value: object) -> float:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expects seconds, for example 30, or a duration such as '30s'")
    seconds = parse_duration(value) / 1000
    if seconds <= 0:
        raise ValueError("expects more than zero seconds")
    return seconds


def _maybe_seconds(value: object) -> float | None:
    return None if value is None or value in ("", "none") else _seconds(value)


def _milliseconds(value: object) -> int:
    return round(_seconds(value) * 1000)


def _limit(value: object) -> int | None:
    if value is None or value in ("", "none"):
        return None
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if type(value) is not int or value < 0:
        raise ValueError("expects a whole number from 0, or none for no limit")
    return value


def _retry(value: object) -> Retry | None:
    if isinstance(value, str):
        raise ValueError("expects a Retry or a mapping; it cannot be set from the environment")
    return Retry.of(value, where="default_retry")  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: name, parser, default, unit, and what it does."""

    name: str
    parse: Callable[[object], Any]
    default: Any
    unit: str
    doc: str


SETTINGS: tuple[Setting, ...] = (
    Setting("redis_url", _text, None, "URL", "Where runs are stored: redis://, rediss://, unix://, valkey:// or sentinel://. Without it, the app's broker when that is Redis."),
    Setting("project", _text, "default", "name", "Together with env, the namespace of all keys."),
    Setting("env", _text, "dev", "name", "The environment: runs, queues and limits of two environments never meet."),
    Setting("worker_lease", _seconds, 30.0, "seconds", "How long a silent worker keeps its runs. A dead worker's runs are taken over after this time and at most a sweep (lease / 6, up to 5 s)."),
    Setting("run_retention", _milliseconds, 7 * 86_400_000, "seconds or duration", "How long final runs are kept."),
    Setting("default_retry", _retry, None, "Retry or mapping", "Retry policy of tasks that have none of their own."),
    Setting("environment_concurrency_limit", _limit, None, "runs", "The most runs that execute at once in the environment."),
    Setting("max_duration", _maybe_seconds, None, "seconds", "How long an attempt may be active, waits excluded, unless its task or trigger says otherwise; none is for ever."),
    Setting("wait_hold", _seconds, 5.0, "seconds", "How long a waiting run stays in the memory of pools that cannot park it (prefork, threads, solo, and sync tasks); then it is executed again when it can go on."),
    Setting("store_timeout", _seconds, 5.0, "seconds", "How long to wait for one reply of the server."),
    Setting("store_retry", _seconds, 5.0, "seconds", "How long a call is repeated while the server is away before it raises."),
    Setting("shutdown_grace", _maybe_seconds, None, "seconds", "How long a warm shutdown waits for running attempts before it hands them back; none waits for all."),
)  # fmt: skip

_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated settings. `sources` says where each came from."""

    redis_url: str = field(repr=False)  # may hold a password
    project: str = "default"
    env: str = "dev"
    worker_lease: float = 30.0
    run_retention: int = 7 * 86_400_000
    default_retry: Retry | None = None
    environment_concurrency_limit: int | None = None
    max_duration: float | None = None
    wait_hold: float = 5.0
    store_timeout: float = 5.0
    store_retry: float = 5.0
    shutdown_grace: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def lease_ms(self) -> int:
        """Return the lease of a worker session in milliseconds."""
        return round(self.worker_lease * 1000)


def load_settings(
    keywords: Mapping[str, Any],
    celery_conf: Callable[[str], Any],
    config: Mapping[str, Any],
    broker_url: str | None,
) -> Settings:
    """Merge and validate the settings; *celery_conf* returns a value or None by its name.

    Raises SettingsError that lists every problem at once.
    """
    problems = [
        f"{name}: no such setting.{closest(name, _BY_NAME)}"
        for name in keywords
        if name not in _BY_NAME
    ]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        value, source = _find(setting, keywords, celery_conf, config)
        if value is _UNSET and setting.name == "redis_url":
            value, source = _from_broker(broker_url)
        if value is _UNSET:
            values[setting.name], sources[setting.name] = setting.default, "default"
            continue
        try:
            values[setting.name] = setting.parse(value)
        except (ValueError, TriggerError) as problem:
            problems.append(f"{setting.name} ({source}): {problem}")
        sources[setting.name] = source
    if not values.get("redis_url") and not problems:
        problems.append(
            "redis_url: not set, and the app's broker is not Redis. Pass "
            "TriggerCelery(app, redis_url='redis://localhost:6379/0') or set TRIGGER_REDIS_URL."
        )
    if problems:
        raise SettingsError("the settings do not fit:\n  - " + "\n  - ".join(problems))
    return Settings(**values, sources=sources)


def _find(
    setting: Setting,
    keywords: Mapping[str, Any],
    celery_conf: Callable[[str], Any],
    config: Mapping[str, Any],
) -> tuple[Any, str]:
    if keywords.get(setting.name) is not None:
        return keywords[setting.name], "keyword"
    value = celery_conf(f"trigger_{setting.name}")
    if value is not None:
        return value, f"Celery configuration trigger_{setting.name}"
    variable = f"TRIGGER_{setting.name.upper()}"
    if os.environ.get(variable):
        return os.environ[variable], f"environment {variable}"
    if config.get(setting.name) is not None:
        return config[setting.name], "trigger_config.py"
    return _UNSET, ""


def _from_broker(url: str | None) -> tuple[Any, str]:
    scheme = (url or "").split("://", 1)[0]
    if scheme in ("redis", "rediss", "redis+socket", "valkey", "valkeys"):
        text = str(url)
        if scheme == "redis+socket":
            text = text.replace("virtual_host=", "db=")
        return text, "the app's broker"
    return _UNSET, ""


def environment_variable(name: str) -> str | None:
    """Return an environment variable that is not a setting (CLI discovery, test servers)."""
    return os.environ.get(name) or None


def environment_copy() -> dict[str, str]:
    """Return the environment, for a child process."""
    return dict(os.environ)


def put_environment(name: str, value: str) -> None:
    """Set an environment variable for this process and its children."""
    os.environ[name] = value
