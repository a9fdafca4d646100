r"""Trigger from a FastAPI view, and send the browser what happens to the run as it happens.

`GET /reports/{run}/events` is a stream of server-sent events: `new EventSource(…)` in a page reads
it. Without the playground: `trigger-celery worker -A fastapi_app.py`, `uvicorn fastapi_app:web`.

Output:
    202 triggered
    event: EXECUTING
    event: COMPLETED 100 %
    done: 3 sheets for ann
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from celery import Celery
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from trigger_celery import RunNotFoundError, TriggerCelery, metadata, runs, schema_task

app = Celery("reports")
trigger = TriggerCelery(app)


class Report(BaseModel):
    """What the view takes, and the task."""

    customer: str
    sheets: int = 3


@schema_task(id="write-report", schema=Report)
async def write_report(report: Report) -> str:
    for sheet in range(report.sheets):
        metadata.set("percent", round(100 * sheet / report.sheets))
        await metadata.flush()
        await asyncio.sleep(0.2)
    metadata.set("percent", 100)
    return f"{report.sheets} sheets for {report.customer}"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield  # connected at the first use; here what is open is closed
    await trigger.store.aclose()


web = FastAPI(lifespan=lifespan)


@web.post("/reports", status_code=202)
async def start(report: Report) -> dict:
    handle = await write_report.trigger(report, tags=[f"customer:{report.customer}"])
    return {"run": handle.id}


@web.get("/reports/{run_id}")
async def status(run_id: str) -> dict:
    try:
        run = await runs.retrieve(run_id)
    except RunNotFoundError:
        raise HTTPException(404, "no such run") from None
    return {"status": run.status, "done": run.is_completed, "output": run.output}


@web.get("/reports/{run_id}/events")
async def events(run_id: str) -> StreamingResponse:
    await status(run_id)  # a 404 has to come before the stream begins

    async def changes() -> AsyncIterator[str]:
        async for run in runs.subscribe_to_run(run_id):  # ends when the run has ended
            told = {"status": run.status, "percent": (run.metadata or {}).get("percent", 0)}
            yield f"data: {json.dumps(told)}\n\n"

    return StreamingResponse(changes(), media_type="text/event-stream")


if __name__ == "__main__":
    from fastapi.testclient import TestClient
    from playground import playground

    with playground(__file__), TestClient(web) as browser:
        answer = browser.post("/reports", json={"customer": "ann"})
        print(answer.status_code, "triggered")
        place = f"/reports/{answer.json()['run']}"
        seen: list[str] = []
        for line in browser.get(f"{place}/events").text.splitlines():
            if line:
                told = json.loads(line.removeprefix("data: "))
                shown = f" {told['percent']} %" if told["status"] == "COMPLETED" else ""
                if told["status"] not in seen:
                    seen.append(told["status"])
                    print(f"event: {told['status']}{shown}")
        print(f"done: {browser.get(place).json()['output']}")
