"""Settings: one frozen value, validated once, that knows where each part came from.

Order, first wins: keyword of `TriggerCelery` > Celery configuration `trigger_<name>` >
environment `TRIGGER_<NAME>` > `trigger_config.py` > default. The only module that reads the
environment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trigger_celery.errors import SettingsError, TriggerError, closest
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.log_line import check_level
from trigger_celery.model.machine import DEFAULT_MACHINE, check_machine
from trigger_celery.model.recorded import ALL_TASKS, RecordRule
from trigger_celery.model.retry import Retry
from trigger_celery.model.stored_packet import check_payload_store
from trigger_celery.model.telemetry_options import TelemetryOptions, check_telemetry
from trigger_celery.model.trigger_options import check_ttl

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


def _ttl(value: object) -> int | None:
    if value is None or value in ("", "none"):
        return None
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    return check_ttl(value)


def _machine(value: object) -> str | None:
    return None if value is None or value in ("", "none") else check_machine(value)


def _machines(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(check_machine, _names(value))))


def _limit(value: object) -> int | None:
    if value is None or value in ("", "none"):
        return None
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if type(value) is not int or value < 0:
        raise ValueError("expects a whole number from 0, or none for no limit")
    return value


def _size(value: object) -> int:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if type(value) is not int or value < 1:
        raise ValueError("expects a whole number from 1")
    return value


def _factor(value: object) -> float:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if type(value) not in (int, float) or not 1 <= value <= 100:  # type: ignore[operator]
        raise ValueError("expects a number from 1 (no bursts) to 100")
    return float(value)  # type: ignore[arg-type]


def _flag(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    flag = value if isinstance(value, bool) else words.get(str(value).strip().lower())
    if flag is None:
        raise ValueError("expects true or false")
    return flag


def _names(value: object) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set | frozenset) or not all(
        isinstance(name, str) for name in names
    ):
        raise ValueError("expects names: a list, or text with commas between them")
    return tuple(name.strip() for name in names if name.strip())


def _patterns(value: object) -> Mapping[str, Mapping[str, Any]]:
    given = value if isinstance(value, Mapping) else {name: {} for name in _names(value)}
    for pattern, options in given.items():
        if not isinstance(pattern, str) or not isinstance(options, Mapping):
            raise ValueError(
                "expects names of tasks, such as 'shop.tasks.*': a list, or a dict with the options of each"
            )
    return dict(given)


def _cents(value: object) -> float:
    if isinstance(value, str):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError("expects cents, from 0")
    return float(value)


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
    Setting("retry_in_dev", _flag, True, "true or false", "Whether failed attempts are tried again in an environment whose name begins with dev or local; if not, `catch_error` is not asked either."),
    Setting("environment_concurrency_limit", _limit, None, "runs", "The most runs that execute at once in the environment."),
    Setting("environment_burst_factor", _factor, 1.0, "factor", "With several queues at work, the environment may exceed its limit by this factor; one queue never does."),
    Setting("queue_size_limit", _size, 1_000_000, "runs", "The most runs that wait in one queue, all concurrency keys together, unless it declares its own `size_limit`. A trigger beyond it raises QueueFullError."),
    Setting("max_duration", _maybe_seconds, None, "seconds", "How long an attempt may be active, waits excluded, unless its task or trigger says otherwise; none is for ever."),
    Setting("ttl", _ttl, None, "seconds or duration", "How long a run may wait to be begun before it is EXPIRED, unless its task or trigger says otherwise; none, and 0, is for ever."),
    Setting("machine", _machine, None, "preset", "The machine preset of runs whose task and trigger name none; trigger_config.py may call it default_machine."),
    Setting("machines", _machines, (), "presets", "The machine presets that a worker takes runs of, besides runs of every worker; `--machines` of the worker's command counts before it."),
    Setting("wait_hold", _seconds, 5.0, "seconds", "How long a waiting run stays in the memory of pools that cannot park it (prefork, threads, solo, and sync tasks); then it is executed again when it can go on."),
    Setting("log_level", check_level, "info", "level", "The least that runs' logs keep: debug, info, warn or error; none keeps nothing."),
    Setting("redact", _names, (), "names", "Further names of attributes whose values no log shows, beside password, secret, token and the like."),
    Setting("record", RecordRule.of, ALL_TASKS, "true, false or patterns", "Which tasks of plain Celery are recorded as runs: all, none, or by patterns of their names such as shop.*,!shop.noisy. `record=` of a task counts before it."),
    Setting("mask", _names, (), "names", "Further names of arguments and keys whose values no recorded payload or output shows, beside password, secret, token and the like."),
    Setting("capture_logging", _flag, True, "true or false", "Whether what a run says with Python's logging goes into its log."),
    Setting("capture_print", _flag, True, "true or false", "Whether what a run prints goes into its log."),
    Setting("cost_per_second", _cents, 0.0, "cents", "What a second of a run's active time costs, for usage."),
    Setting("cost_per_run", _cents, 0.0, "cents", "What each run costs beside that, for usage."),
    Setting("payload_store", check_payload_store, None, "URL", "Where payloads, outputs, results of steps and data of tokens over 128 KB are kept: file:///directory, s3://bucket/prefix, or another URL of fsspec. None: in Redis."),
    Setting("run_metadata_flush_interval", _seconds, 1.0, "seconds", "How long changes of a run's metadata are collected before they are sent. They are also sent before the run waits and before its attempt ends."),
    Setting("manage", _patterns, {}, "patterns", "Celery tasks whose calls make runs, by name: `shop.tasks.*`, several of them, or a dict with the options of each."),
    Setting("telemetry", check_telemetry, TelemetryOptions(), "true, false or auto", "Traces and metrics by OpenTelemetry: auto when the process has a provider; or a dict with instrumentations, exporters, log_exporters, metric_exporters."),
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
    retry_in_dev: bool = True
    environment_concurrency_limit: int | None = None
    environment_burst_factor: float = 1.0
    queue_size_limit: int = 1_000_000
    max_duration: float | None = None
    ttl: int | None = None
    machine: str | None = None
    machines: tuple[str, ...] = ()
    wait_hold: float = 5.0
    payload_store: str | None = field(default=None, repr=False)  # may hold a password
    run_metadata_flush_interval: float = 1.0
    log_level: str = "info"
    redact: tuple[str, ...] = ()
    record: RecordRule = ALL_TASKS
    mask: tuple[str, ...] = ()
    capture_logging: bool = True
    capture_print: bool = True
    cost_per_second: float = 0.0
    cost_per_run: float = 0.0
    manage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    telemetry: TelemetryOptions = field(default_factory=TelemetryOptions)
    store_timeout: float = 5.0
    store_retry: float = 5.0
    shutdown_grace: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def lease_ms(self) -> int:
        """Return the lease of a worker session in milliseconds."""
        return round(self.worker_lease * 1000)

    @property
    def default_machine(self) -> str:
        """The preset of runs that name none: what every worker is."""
        return self.machine or DEFAULT_MACHINE


def load_settings(
    keywords: Mapping[str, Any],
    celery_conf: Callable[[str], Any],
    config: Mapping[str, Any],
    broker_url: str | None,
) -> Settings:
    """Merge and validate the settings; *celery_conf* returns a value or None by its name.

    Raises SettingsError that lists every problem at once.
    """
    problems = _unknown(keywords)
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
            "TriggerCelery(app, redis_url='redis://localhost:6379/0') or set TRIGGER_REDIS_URL. "
            "`trigger-celery dev` prints that of its own server."
        )
    if problems:
        raise SettingsError("the settings do not fit:\n  - " + "\n  - ".join(problems))
    return Settings(**values, sources=sources)


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse names of settings that there are not. Raises SettingsError, with the closest."""
    problems = _unknown(names)
    if problems:
        raise SettingsError(f"{where} does not fit:\n  - " + "\n  - ".join(problems))


def _unknown(names: Iterable[str]) -> list[str]:
    return [
        f"{name}: no such setting.{closest(name, _BY_NAME)}"
        for name in names
        if name not in _BY_NAME
    ]


def read_managed(
    keywords: Mapping[str, Any],
    celery_conf: Callable[[str], Any],
    config: Mapping[str, Any],
) -> Mapping[str, Mapping[str, Any]]:
    """Return the setting `manage` alone, which is asked before the others may be known.

    Raises SettingsError.
    """
    setting = _BY_NAME["manage"]
    value, source = _find(setting, keywords, celery_conf, config)
    try:
        return {} if value is _UNSET else _patterns(value)
    except ValueError as problem:
        raise SettingsError(f"the settings do not fit:\n  - manage ({source}): {problem}") from None


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


def put_environment(name: str, value: str) -> None:
    """Set an environment variable for this process and its children."""
    os.environ[name] = value
