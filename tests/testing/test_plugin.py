"""The plugin as a user meets it: in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.architecture.source import ROOT
from trigger_celery.bridge import context
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.errors import ConfigurationError
from trigger_celery.testing.environments import TestServer, binding

EXAMPLE = ROOT / "examples" / "testing"


def run_pytest(
    folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, with this plugin as its entry point loads it, and without pytest-asyncio.

    Warnings are errors.
    """
    unset = ("TRIGGER_", "CELERY_", "PYTEST_", "COVERAGE_")
    plugins = ["-p", "pytest_trigger_celery", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    return subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", *plugins, "--rootdir", str(folder), "-W", "error",
            *arguments,
        ],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(unset)},
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(env or {}),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip


def assert_passed(result: subprocess.CompletedProcess[str], count: int) -> None:
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{count} passed" in result.stdout


def test_the_example_passes_in_several_processes_at_once() -> None:
    assert_passed(run_pytest(EXAMPLE, "-n", "2"), 6)


def test_a_server_of_ones_own_is_left_as_it_was(server: EmbeddedServer, tmp_path: Path) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.set("{tc:shop:prod}:mine", 1)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\ntrigger_redis_url = {server.url}\n")
        (tmp_path / "test_it.py").write_text(
            "import sys\n"
            "def test_it_costs_nothing_until_it_is_used():\n"
            "    assert not {'trigger_celery', 'celery', 'redis'} & set(sys.modules)\n"
            "def test_during(trigger_env):\n"
            "    from celery import Celery\n"
            "    from trigger_celery import task\n"
            "    @task(id='t')\n"
            "    def t(payload): return payload\n"
            f"    assert trigger_env.trigger.settings.redis_url == {server.url!r}\n"
            "    trigger_env.assert_completed(t.trigger(1).sync(), output=1)\n"
        )
        assert_passed(run_pytest(tmp_path, "--strict-markers", "--strict-config"), 2)
        assert client.keys("*") == [b"{tc:shop:prod}:mine"]
        client.flushall()


def test_what_is_wrong_is_said_and_bindings_are_given_back(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from celery import Celery\n"
        "from trigger_celery import TriggerCelery\n"
        "bound = TriggerCelery(Celery('shop'), redis_url='redis://production.invalid/0', env='prod')\n"
        "@pytest.mark.parametrize('name', ['trigger_env', 'trigger_inline'])\n"
        "def test_during(request, name):\n"
        "    request.getfixturevalue(name)\n"
        "    assert 'production' not in bound.settings.redis_url\n"
        "    assert (bound.settings.project, bound.settings.env) == ('test', 'dev')\n"
        "def test_after():\n"
        "    assert bound.settings.redis_url == 'redis://production.invalid/0'\n"
        "    assert bound.settings.env == 'prod'\n"
        "@pytest.mark.trigger_env(workers=2)\n"
        "def test_marker(trigger_env): ...\n"
        "def test_several(request):\n"
        "    TriggerCelery(Celery('other', set_as_current=False))\n"
        "    with pytest.raises(Exception, match='override the fixture trigger_binding'):\n"
        "        request.getfixturevalue('trigger_env')\n"
    )
    result = run_pytest(tmp_path)
    assert "takes worker=… and concurrency=…, not workers" in result.stdout
    assert "4 passed, 1 error" in result.stdout, result.stdout + result.stderr


def test_the_app_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: None
) -> None:
    (tmp_path / "plain_app.py").write_text("from celery import Celery\napp = Celery('plain')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        pytest.raises(ConfigurationError, match=r"not bound. Add TriggerCelery\(app\)"),
        binding("plain_app:app"),
    ):
        pass
    with binding(None) as made:
        assert made.app.main == "trigger"
        with binding(None) as found:
            assert found is made
    assert not context.bound()


def test_objects_of_the_payload_store_stay_in_the_test(
    trigger_server: TestServer, registry: None, tmp_path: Path
) -> None:
    elsewhere = (tmp_path / "production").as_uri()
    with binding(None) as made:
        made.configure(payload_store=elsewhere)
        with trigger_server.lend(made):
            assert made.settings.payload_store not in (None, elsewhere)
        assert made.keywords["payload_store"] == elsewhere
