"""The Flask extension: what it binds, and that a factory may be called again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery, _state
from flask import Flask, current_app, g

from trigger_celery import ConfigurationError, SettingsError, task
from trigger_celery.bridge import context
from trigger_celery.bridge.binding import binding_of
from trigger_celery.bridge.surroundings import SURROUNDINGS, surrounded
from trigger_celery.contrib.flask import Trigger
from trigger_celery.dev.embedded import EmbeddedServer

URL = "redis://localhost:6379/0"


@pytest.fixture(autouse=True)
def alone(registry: None) -> Iterator[None]:
    before, default = list(SURROUNDINGS), _state.default_app
    current = getattr(_state._tls, "current_app", None)
    SURROUNDINGS.clear()
    yield
    SURROUNDINGS[:] = before
    _state.set_default_app(default)
    _state._set_current_app(current)


def make(**config: object) -> Flask:
    app = Flask("press")
    app.config.update({"TRIGGER_CELERY": {"redis_url": URL}, **config})
    return app


def test_an_app_is_made_and_bound():
    app = make(CELERY={"task_ignore_result": True}, TRIGGER_CELERY={"REDIS_URL": URL, "env": "x"})
    trigger = Trigger(app, project="press")
    assert app.extensions["celery"] is trigger.celery
    assert trigger.celery.conf.task_ignore_result is True
    bound = binding_of(trigger.celery)
    assert (bound.settings.redis_url, bound.settings.project, bound.settings.env) == (
        URL, "press", "x",
    )  # fmt: skip


def test_your_own_celery_app_is_taken(app: Celery):
    assert Trigger(make(), celery=app).celery is app
    flask = make()
    flask.extensions["celery"] = app
    assert Trigger(flask).celery is app
    assert len(context.bound()) == 1


def test_the_context_is_around_runs_and_is_each_attempts_own():
    Trigger(make(PUBLISHER="us"))
    ended: list[str] = []
    current = SURROUNDINGS[0]._app
    current.teardown_appcontext(lambda _: ended.append(g.one))
    for name in ("a", "b"):
        with surrounded():
            assert current_app.config["PUBLISHER"] == "us"
            assert "one" not in g
            g.one = name
    assert ended == ["a", "b"]
    assert not current_app


def test_plain_tasks_of_celery_have_the_context():
    trigger = Trigger(make(PUBLISHER="us"))

    @trigger.celery.task(name="old")
    def old() -> str:
        return str(current_app.config["PUBLISHER"])

    assert old.apply().get() == old() == "us"


def test_a_factory_may_be_called_again():
    shared = Trigger()
    first, second = make(), make()
    shared.init_app(first)
    old = shared.celery
    shared.init_app(second)
    assert binding_of(old) is None
    assert [one.app for one in context.bound()] == [shared.celery]
    assert len(SURROUNDINGS) == 1
    Trigger(make())  # each with an extension of its own
    assert len(context.bound()) == 1
    shared.init_app(second)  # the same app twice
    assert [one.app for one in context.bound()] == [second.extensions["celery"]]

    @task(id="still")
    def still(payload): ...

    assert second.extensions["celery"].tasks["still"].name == "still"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"TRIGGER_CELERY": {"redis_ur": URL}}, "Did you mean 'redis_url'"),
        ({"TRIGGER_CELERY": URL}, "should be a dict of settings"),
        ({"CELERY": URL}, "should be a dict of Celery's settings"),
    ],
)
def test_unfit_settings_are_refused(config: dict[str, object], message: str):
    with pytest.raises((ConfigurationError, SettingsError), match=message):
        Trigger(make(**config))
    assert not context.bound()


def test_before_init_app_there_is_no_celery_app():
    with pytest.raises(ConfigurationError, match="init_app"):
        _ = Trigger().celery


def test_flask_has_our_commands(server: EmbeddedServer):
    app = make(TRIGGER_CELERY={"redis_url": server.url})
    Trigger(app)
    runner = app.test_cli_runner()
    shown = runner.invoke(args=["trigger", "--help"])
    assert "worker" in shown.output
    assert "  dev " not in shown.output
    listed = runner.invoke(args=["trigger", "runs", "list", "--json"])
    assert listed.exit_code == 0, listed.output
