"""The pytest plugin of trigger_celery: the fixtures `trigger_env` and `trigger_inline`.

It stands beside the package so that pytest loads a few lines here, and the library only for tests
that ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trigger_celery import TriggerCelery
    from trigger_celery.testing import Inline, TriggerEnv
    from trigger_celery.testing.environments import TestServer

_MARKER = "trigger_env(worker=True, concurrency=16): how the fixture trigger_env is set up."


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; each may stand in the ini file as well."""
    group = parser.getgroup("trigger_celery")
    url = "a Redis or Valkey server for trigger_env, instead of an embedded one"
    app = "the Celery app to test, as module:attribute; without it, the one that is bound"
    group.addoption("--trigger-redis-url", metavar="URL", help=url)
    group.addoption("--trigger-app", metavar="APP", help=app)
    parser.addini("trigger_redis_url", url, default=None)
    parser.addini("trigger_app", app, default=None)
    parser.addini(
        "trigger_timeout",
        "seconds of real time that trigger_env waits for runs; 0 is for ever (debuggers)",
        default="10",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker, and pass over what redis-py says of connections of a loop that was closed."""
    config.addinivalue_line("markers", _MARKER)
    config.addinivalue_line("filterwarnings", "ignore:unclosed Connection:ResourceWarning")


_ENV = pytest.StashKey["TriggerEnv"]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Close the connections of the test's event loop while there is one: before fixtures end."""
    env = item.stash.get(_ENV, None)
    if env is not None:
        env.trigger.store.close_of_resting_loops()
        del item.stash[_ENV]


def _setting(config: pytest.Config, name: str) -> str | None:
    found = config.getoption(name, default=None) or config.getini(name)
    return str(found) if found else None


@pytest.fixture(scope="session")
def trigger_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestServer]:
    """The server of this test process; each pytest-xdist worker has its own."""
    from trigger_celery.testing.environments import TestServer

    folder = tmp_path_factory.mktemp("trigger_celery")
    server = TestServer(_setting(request.config, "trigger_redis_url"), folder)
    yield server
    server.close()


@pytest.fixture
def trigger_binding(request: pytest.FixtureRequest) -> Iterator[TriggerCelery]:
    """The TriggerCelery under test; override it in conftest.py when there are several."""
    from trigger_celery.testing.environments import binding

    with binding(_setting(request.config, "trigger_app")) as found:
        yield found


@pytest.fixture
def trigger_env(
    request: pytest.FixtureRequest, trigger_server: TestServer, trigger_binding: TriggerCelery
) -> Iterator[TriggerEnv]:
    """An empty environment and a worker in this process; see `trigger_celery.testing.TriggerEnv`."""
    from trigger_celery.testing import TriggerEnv

    wanted = _wanted(request)
    seconds = float(str(request.config.getini("trigger_timeout")))
    with ExitStack() as stack:
        stack.enter_context(trigger_server.lend(trigger_binding))
        env = TriggerEnv(
            trigger_binding, timeout=seconds or None, concurrency=wanted.get("concurrency", 16)
        )
        stack.callback(env.stop_worker)
        request.node.stash[_ENV] = env
        if wanted.get("worker", True):
            env.start_worker()
        yield env


def _wanted(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("trigger_env")
    if marker is None:
        return {}
    unknown = marker.kwargs.keys() - {"worker", "concurrency"}
    if marker.args or unknown:
        raise pytest.UsageError(
            f"{request.node.nodeid}: @pytest.mark.trigger_env takes worker=… and concurrency=…, "
            f"not {', '.join([*map(repr, marker.args), *sorted(unknown)])}"
        )
    return dict(marker.kwargs)


@pytest.fixture
def trigger_inline(trigger_binding: TriggerCelery) -> Iterator[Inline]:
    """Inline mode for the whole test: no server; see `trigger_celery.testing.trigger_inline`."""
    from trigger_celery.testing import trigger_inline as inline

    with inline(trigger_binding) as found:
        yield found
