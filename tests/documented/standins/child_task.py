"""The module of the child task that an example imports."""

from __future__ import annotations

from typing import Any

from trigger import task


@task(id="child-task")
async def child_task(payload: dict[str, Any]) -> dict[str, Any]:
    return {"processed": payload["foo"]}
