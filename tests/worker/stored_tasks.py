"""Tasks with large payloads and results, for `test_payload_store.py`."""

from __future__ import annotations

from typing import Any

from tests.worker.app_tasks import QUICK, app, note
from trigger_celery import step, task, tasks, wait

__all__ = ["app"]


def long_text() -> str:
    note("step")
    return "s" * 200_000


@task(id="give-back", retry={**QUICK, "max_attempts": 99})
def give_back(payload: Any) -> Any:
    return payload


@task(id="carry")
async def carry(payload: dict[str, Any]) -> dict[str, Any]:
    note("begin")
    text = await step.run("long", long_text)
    child = await tasks.trigger_and_wait("give-back", [text, payload["text"]]).unwrap()
    several = await tasks.batch_trigger_and_wait(
        "give-back", [{"payload": payload}, {"payload": 1}]
    )
    answer = await wait.for_token(payload["token"]).unwrap()
    return {
        "child": child == [text, payload["text"]],
        "several": several.unwrap() == [payload, 1],
        "answer": answer,
    }


@task(id="grow")
def grow(payload: int) -> str:
    return "x" * payload
