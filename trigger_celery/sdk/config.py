"""`define_config`: project settings in `trigger_config.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trigger_celery.bridge.hooks import Hook, bind_hook
from trigger_celery.bridge.old_forms import machine_name, warn_of_old_form
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.errors import ConfigurationError, closest
from trigger_celery.model.retry import Retry
from trigger_celery.settings import SETTINGS

_SETTING_NAMES = tuple(setting.name for setting in SETTINGS)
_HOOK_NAMES = ("init", "on_start", "on_success", "on_failure")
_OTHER_NAMES = ("dirs", "broker_url", "worker_concurrency", "runtime", "build")
_NAMES = (*_SETTING_NAMES, *_OTHER_NAMES, *_HOOK_NAMES)
_BUILD_NAMES = ("requirements_file", "python_version", "system_packages")


@dataclass(frozen=True, slots=True)
class Config:
    """A project's configuration. `settings` are the lowest but the defaults in precedence."""

    project: str
    dirs: tuple[str, ...] = ()
    broker_url: str | None = None
    worker_concurrency: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    runtime: str = "python"
    build: Mapping[str, Any] = field(default_factory=dict)


def define_config(
    *,
    project: str = "default",
    dirs: Sequence[str] = (),
    broker_url: str | None = None,
    worker_concurrency: int | None = None,
    default_retry: Retry | Mapping[str, Any] | None = None,
    runtime: str = "python",
    build: Mapping[str, Any] | None = None,
    init: Hook | None = None,
    on_start: Hook | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    **settings: Any,
) -> Config:
    """Describe a project; assign the result to `config` in `trigger_config.py`.

    Args:
        project: part of the namespace of all keys.
        dirs: folders whose modules define tasks; the CLI imports them.
        broker_url: of the Celery app that is made when there is none; by default `redis_url`.
        worker_concurrency: runs at once in a worker of that app.
        default_retry: policy of tasks without one.
        runtime: "python".
        build: `requirements_file`, `python_version` and `system_packages`, for what builds the
            image of your workers. It is kept as `config.build`; nothing here acts on it.
        init: hook of every task, before those of `tasks.init`; and so with the next three.
        on_start: `(payload, ctx)`, or by name, as with all hooks.
        on_success: `(payload, output, ctx)`.
        on_failure: `(payload, error, ctx)`.
        settings: further settings by name (`redis_url`, `env`, `worker_lease`, …).
            `default_machine`, the older name of `machine`, and `retries={"enabled_in_dev": …,
            "default": …}`, those of `retry_in_dev` and `default_retry`, warn.

    Raises ConfigurationError for a name that is no setting, DefinitionError for an unfit hook.
    """
    if "default_machine" in settings:
        _rename_default_machine(settings)
    if "retries" in settings:
        default_retry = _old_retries(settings, default_retry)
    for name in settings:
        if name not in _SETTING_NAMES:
            raise ConfigurationError(
                f"define_config() has no option {name!r}.{closest(name, _NAMES)} "
                f"Options: {', '.join(_NAMES)}."
            )
    values = {"project": project, **settings}
    if default_retry is not None:
        values["default_retry"] = Retry.of(default_retry, where="define_config(default_retry)")
    config = Config(
        project,
        tuple(dirs),
        broker_url,
        worker_concurrency,
        values,
        _checked_runtime(runtime),
        _checked_build(build),
    )
    REGISTRY.config.clear()
    REGISTRY.config.update(values)
    given = {"init": init, "on_start": on_start, "on_success": on_success, "on_failure": on_failure}
    REGISTRY.configure_hooks(
        {
            name: bind_hook(name, hook, "define_config")
            for name, hook in given.items()
            if hook is not None
        }
    )
    return config


def _rename_default_machine(settings: dict[str, Any]) -> None:
    if "machine" in settings:
        raise ConfigurationError("define_config(): machine and default_machine are the same")
    settings["machine"] = machine_name(settings.pop("default_machine"))
    warn_of_old_form("define_config(): default_machine is now called machine")


def _old_retries(settings: dict[str, Any], default_retry: Any) -> Any:
    given = settings.pop("retries")
    if default_retry is not None or "retry_in_dev" in settings:
        raise ConfigurationError(
            "define_config(): retries are the same as default_retry and retry_in_dev"
        )
    if not isinstance(given, Mapping) or set(given) - {"enabled_in_dev", "default"}:
        raise ConfigurationError(
            f"define_config(retries={given!r:.60}): write default_retry={{'max_attempts': 3}}"
        )
    policy = given.get("default")
    today = [] if policy is None else [f"default_retry={policy!r}"]
    if "enabled_in_dev" in given:
        settings["retry_in_dev"] = given["enabled_in_dev"]
        today.append(f"retry_in_dev={given['enabled_in_dev']!r}")
    shown = f": write {', '.join(today)}" if today else ""
    warn_of_old_form(f"define_config(retries=…) is the form of earlier versions{shown}")
    return policy


def _checked_runtime(runtime: object) -> str:
    if isinstance(runtime, str) and runtime.startswith("python"):
        return runtime
    raise ConfigurationError(f"define_config(runtime={runtime!r:.60}): tasks run on 'python'")


def _checked_build(given: object) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"define_config(build={given!r:.60}) is not a dict with {', '.join(_BUILD_NAMES)}"
        )
    for name in given:
        if name not in _BUILD_NAMES:
            raise ConfigurationError(
                f"define_config(): build has no option {name!r}.{closest(str(name), _BUILD_NAMES)} "
                f"It has {', '.join(_BUILD_NAMES)}; the rest belongs into your Dockerfile."
            )
    return dict(given)
