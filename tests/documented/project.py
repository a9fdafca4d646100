"""A project that consists of the documented examples; workers import it.

Two tasks of its own are for the old forms: one that executes the code of a run, and one to trigger.
"""

from __future__ import annotations

import sys
import warnings
from textwrap import indent
from typing import Any

from celery import Celery

import trigger_celery
from tests.documented.adaptations import PROJECT, STANDINS, load
from trigger_celery import Context, TriggerCelery, install_as_trigger, queue, task

app = Celery("documented")
TriggerCelery(app)
install_as_trigger()
sys.path.append(str(STANDINS))
for name in PROJECT:
    load(name)

queue(name="shopify", concurrency_limit=4)


@task(id="sync")
async def sync(payload: Any) -> Any:
    return payload


@task(id="code")
async def code(payload: dict[str, str], ctx: Context) -> dict[str, Any]:
    """Execute a program; return its result, and the warnings with the file that each points at."""
    body = indent(f"{payload['program']}\nreturn {payload['result']}", "    ")
    names: dict[str, Any] = {
        **{name: getattr(trigger_celery, name) for name in trigger_celery.__all__},
        "ctx": ctx,
        "url": payload.get("url"),
    }
    exec(compile(f"async def program():\n{body}", "program", "exec"), names)  # noqa: S102
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = await names["program"]()
    said = [
        [str(one.message), one.filename]
        for one in caught
        if issubclass(one.category, DeprecationWarning)
    ]
    return {"value": value, "warnings": said}
