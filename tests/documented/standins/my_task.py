"""The module of the task that an example of a test imports."""

from __future__ import annotations

from typing import Any

import my_module
from trigger import task


@task(id="tested-task")
async def my_task(payload: dict[str, Any]) -> dict[str, Any]:
    answer = await my_module.external_api_call()
    return {"success": answer["status"] == "success", "param1": payload["param1"]}
