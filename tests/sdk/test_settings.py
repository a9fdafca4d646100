"""Settings: one order of sources, every problem at once, no secret shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from trigger_celery import ConfigurationError, Retry, SettingsError, TriggerCelery, define_config
from trigger_celery.bridge.binding import binding_of
from trigger_celery.settings import SETTINGS, Settings

pytestmark = pytest.mark.usefixtures("registry")

URL = "redis://localhost:7777/0"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    for setting in SETTINGS:
        monkeypatch.delenv(f"TRIGGER_{setting.name.upper()}", raising=False)
    made = Celery("shop", broker="memory://", set_as_current=False)
    yield made
    made.close()


def settings_of(app: Celery, **keywords: Any) -> Settings:
    trigger = TriggerCelery(app, **keywords)
    try:
        return trigger.settings
    finally:
        trigger.unbind()


def test_defaults(app: Celery) -> None:
    settings = settings_of(app, redis_url=URL)
    assert (settings.project, settings.env, settings.worker_lease) == ("default", "dev", 30.0)
    assert settings.run_retention == 7 * 86_400_000
    assert settings.lease_ms() == 30_000
    assert settings.default_retry is settings.environment_concurrency_limit is None
    assert settings.sources["redis_url"] == "keyword"
    assert settings.sources["env"] == "default"


def test_the_order_of_sources(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**keywords: Any) -> tuple[str, str]:
        settings = settings_of(app, redis_url=URL, **keywords)
        return settings.project, settings.sources["project"]

    assert found() == ("default", "default")
    define_config(project="from-config")
    assert found() == ("from-config", "trigger_config.py")
    monkeypatch.setenv("TRIGGER_PROJECT", "from-environment")
    assert found() == ("from-environment", "environment TRIGGER_PROJECT")
    app.conf.trigger_project = "from-celery"
    assert found() == ("from-celery", "Celery configuration trigger_project")
    assert found(project="from-keyword") == ("from-keyword", "keyword")


def test_what_a_config_does_not_say_does_not_hide_the_default(app: Celery) -> None:
    define_config(env="prod")
    settings = settings_of(app, redis_url=URL)
    assert (settings.env, settings.project) == ("prod", "default")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("worker_lease", "5", 5.0),
        ("worker_lease", "2m", 120.0),
        ("run_retention", "1d", 86_400_000),
        ("run_retention", "3600", 3_600_000),
        ("environment_concurrency_limit", "20", 20),
        ("environment_concurrency_limit", "none", None),
        ("shutdown_grace", "none", None),
        ("shutdown_grace", "1.5", 1.5),
        ("env", " prod ", "prod"),
    ],
)
def test_values_of_the_environment(
    app: Celery, monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"TRIGGER_{name.upper()}", text)
    assert getattr(settings_of(app, redis_url=URL), name) == value


def test_an_empty_variable_is_not_set(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIGGER_ENV", "")
    assert settings_of(app, redis_url=URL).env == "dev"


@pytest.mark.parametrize(
    "broker",
    ["redis://h:1/0", "rediss://h:1/0", "redis+socket:///run/r.sock?virtual_host=3", "valkey://h"],
)
def test_a_broker_that_is_redis_is_the_store_too(app: Celery, broker: str) -> None:
    app.conf.broker_url = broker
    settings = settings_of(app)
    assert settings.redis_url == broker.replace("virtual_host=", "db=")
    assert settings.sources["redis_url"] == "the app's broker"


def test_another_broker_needs_an_address(app: Celery) -> None:
    with pytest.raises(SettingsError, match=r"set TRIGGER_REDIS_URL"):
        settings_of(app)


def test_every_problem_at_once(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIGGER_RUN_RETENTION", "forever")
    app.conf.trigger_environment_concurrency_limit = -1
    with pytest.raises(SettingsError) as raised:
        settings_of(
            app,
            redis_url=URL,
            worker_leese=3,
            worker_lease=0,
            project="",
            default_retry={"max_attempts": 0},
        )
    text = str(raised.value)
    for part in (
        "worker_leese: no such setting. Did you mean 'worker_lease'",
        "worker_lease (keyword): expects more than zero seconds",
        "run_retention (environment TRIGGER_RUN_RETENTION)",
        "environment_concurrency_limit (Celery configuration trigger_environment_concurrency_limit)",
        "project (keyword): expects text",
        "default_retry (keyword)",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("worker_lease", "abc"),
        ("worker_lease", -1),
        ("worker_lease", True),
        ("worker_lease", float("nan")),
        ("run_retention", 0),
        ("environment_concurrency_limit", "many"),
        ("environment_concurrency_limit", 1.5),
        ("store_timeout", []),
        ("redis_url", 7),
        ("default_retry", "3"),
        ("env", 7),
    ],
)
def test_bad_values(app: Celery, name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"{name} \(keyword\)"):
        settings_of(app, **{"redis_url": URL, name: value})


@pytest.mark.parametrize("name", ["a b", "{x}", "x" * 65, "a:b", "*"])
def test_names_of_environments(app: Celery, name: str) -> None:
    trigger = TriggerCelery(app, redis_url=URL, env=name)
    with pytest.raises(ConfigurationError, match="cannot name an environment"):
        _ = trigger.scope
    trigger.unbind()


def test_no_secret_is_shown(app: Celery) -> None:
    secret = "redis://bob:secret@localhost:port/0"
    trigger = TriggerCelery(app, redis_url=secret)
    with pytest.raises(ConfigurationError) as raised:
        _ = trigger.store
    assert "secret" not in str(raised.value)
    trigger.unbind()
    settings = settings_of(app, redis_url="redis://bob:secret@localhost/0")
    assert "secret" not in repr(settings)


def test_a_default_retry_from_a_config(app: Celery) -> None:
    define_config(default_retry={"max_attempts": 5})
    assert settings_of(app, redis_url=URL).default_retry == Retry(max_attempts=5)


def test_define_config_refuses_unknown_names() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'redis_url'"):
        define_config(redis_ur=URL)


def test_binding_connects_to_nothing(app: Celery) -> None:
    trigger = TriggerCelery(app, redis_url="redis://203.0.113.1:1/0")
    assert trigger.scope == "{tc:default:dev}"
    trigger.unbind()


def test_binding_twice_is_refused_and_unbinding_takes_all_back(app: Celery) -> None:
    trigger = TriggerCelery(app, redis_url=URL)
    with pytest.raises(ConfigurationError, match=r"call TriggerCelery\(app\) once"):
        TriggerCelery(app, redis_url=URL)
    assert binding_of(app) is trigger
    trigger.unbind()
    assert binding_of(app) is None
    TriggerCelery(app, redis_url=URL).unbind()
