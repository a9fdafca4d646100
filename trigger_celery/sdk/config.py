"""`define_config`: project settings in `trigger_config.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.errors import ConfigurationError, closest
from trigger_celery.model.retry import Retry
from trigger_celery.settings import SETTINGS

_SETTING_NAMES = tuple(setting.name for setting in SETTINGS)
_NAMES = (*_SETTING_NAMES, "dirs", "broker_url", "worker_concurrency")


@dataclass(frozen=True, slots=True)
class Config:
    """A project's configuration. `settings` are the lowest but the defaults in precedence."""

    project: str
    dirs: tuple[str, ...] = ()
    broker_url: str | None = None
    worker_concurrency: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def define_config(
    *,
    project: str = "default",
    dirs: Sequence[str] = (),
    broker_url: str | None = None,
    worker_concurrency: int | None = None,
    default_retry: Retry | Mapping[str, Any] | None = None,
    **settings: Any,
) -> Config:
    """Describe a project; assign the result to `config` in `trigger_config.py`.

    Args:
        project: part of the namespace of all keys.
        dirs: folders whose modules define tasks; the CLI imports them.
        broker_url: of the Celery app that is made when there is none; by default `redis_url`.
        worker_concurrency: runs at once in a worker of that app.
        default_retry: policy of tasks without one.
        settings: further settings by name (`redis_url`, `env`, `worker_lease`, …).

    Raises ConfigurationError for a name that is no setting.
    """
    for name in settings:
        if name not in _SETTING_NAMES:
            raise ConfigurationError(
                f"define_config() has no option {name!r}.{closest(name, _NAMES)} "
                f"Options: {', '.join(_NAMES)}."
            )
    values = {"project": project, **settings}
    if default_retry is not None:
        values["default_retry"] = Retry.of(default_retry, where="define_config(default_retry)")
    config = Config(project, tuple(dirs), broker_url, worker_concurrency, values)
    REGISTRY.config.clear()
    REGISTRY.config.update(values)
    return config
