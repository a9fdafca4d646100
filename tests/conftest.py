"""Fixtures that every test may use: one real server per process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from trigger_celery.dev.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def server_binary() -> str | None:
    """The server program to test against; None means the one that is found."""
    return os.environ.get("TRIGGER_TEST_SERVER") or None


@pytest.fixture(scope="session")
def server(server_binary: str | None) -> Iterator[EmbeddedServer]:
    """A server that lives as long as this test process (one for each pytest-xdist worker)."""
    with EmbeddedServer(binary=server_binary) as embedded:
        yield embedded
