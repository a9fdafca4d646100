"""docker-compose.yml: pinned images, scalable workers, a safe store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.source import ROOT


@pytest.fixture
def services() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def is_pinned(image: str) -> bool:
    """Say whether an image names at least a minor version."""
    return re.search(r":v?\d+\.\d+[\w.-]*$", image) is not None


def test_images_are_pinned(services: dict[str, Any]) -> None:
    assert all(is_pinned(service["image"]) for service in services.values() if "image" in service)


def test_base_images_are_pinned() -> None:
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert bases
    assert all(map(is_pinned, bases))


def test_what_is_built_has_its_files(services: dict[str, Any]) -> None:
    built = [service["build"] for service in services.values() if "build" in service]
    assert built
    assert all((ROOT / build["context"] / build["dockerfile"]).exists() for build in built)


def test_workers_scale(services: dict[str, Any]) -> None:
    assert not [name for name, service in services.items() if "container_name" in service]
    assert not [name for name in ("worker", "beat") if "ports" in services[name]]


def test_the_store_keeps_runs(services: dict[str, Any]) -> None:
    command = " ".join(services["valkey"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "healthcheck" in services["valkey"]
    assert services["valkey"]["volumes"]


def test_commands_name_an_app_that_exists(services: dict[str, Any]) -> None:
    if not list((ROOT / "examples").glob("*.py")):
        pytest.skip("no example is written yet")
    for name in ("worker", "beat"):
        command = services[name]["command"]
        module = Path(*command[command.index("-A") + 1].split(".")).with_suffix(".py")
        assert (ROOT / module).exists(), f"{name} runs {module}"
