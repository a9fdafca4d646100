"""The module whose function an example of a test replaces."""

from __future__ import annotations

from typing import Any


async def external_api_call() -> dict[str, Any]:
    raise ConnectionError("a test has to replace this")
