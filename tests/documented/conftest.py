"""One worker for a module of tests, whose project is the documented examples."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.documented.adaptations import PACKAGE, STANDINS
from tests.worker.workers import Deployment
from trigger_celery import install_as_trigger


@pytest.fixture(scope="module")
def worker(
    tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Deployment]:
    """Its lease outlasts the leaps of the clock; `from trigger import …` works beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_KEY", "key")
        patch.setenv("MAX_RETRIES", "5")
        patch.syspath_prepend(str(STANDINS))
        before = set(sys.modules)
        made = Deployment(
            tmp_path_factory.mktemp("documented"),
            binary=server_binary,
            worker_lease=86_400,
            log_level="debug",
            cost_per_second=1,
        )
        made.start_worker(module="tests.documented.project", concurrency=8)
        install_as_trigger()
        yield made
        print(made.logs())
        made.close()
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("trigger", PACKAGE, "my_module"):
                del sys.modules[name]
