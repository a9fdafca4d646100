"""What was written differently in earlier versions, and what is written today.

The page `docs/reference/older-versions.md` shows the same forms; `test_old_forms.py` holds them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class OldForm:
    """Two ways to write the same: in `frame`, both give the same `result`.

    `says` is what the warning shows. With `in_run` it is the code of a run, otherwise of a module.
    """

    name: str
    old: str
    today: str
    says: str
    result: str
    frame: str = "{form}"
    in_run: bool = True

    def program(self, form: str) -> str:
        """Return the code that contains a form, without its result."""
        return self.frame.format(form=form)


_TASK: Final = "{form}\ndef made(payload):\n    return payload"
_HOOK: Final = "@task(id='made', {form})\ndef made(payload):\n    return payload"
_HOOKED: Final = (
    "made.definition.hooks[{!r}].call(lambda name: name, {{'output': 'output', 'error': 'error'}})"
)

OLD_FORMS: Final = (
    OldForm(
        "the module of version 3",
        "from trigger.v3 import task",
        "from trigger import task",
        says="write from trigger import task",
        result="task.__name__",
        in_run=False,
    ),
    OldForm(
        "the queue of a task",
        '@task(id="sync", queue={"name": "shopify", "concurrency_limit": 4})',
        '@task(id="sync", queue=queue(name="shopify", concurrency_limit=4))',
        says="queue(name='shopify', concurrency_limit=4)",
        frame=_TASK,
        result="(made.queue.name, made.queue.concurrency_limit)",
        in_run=False,
    ),
    OldForm(
        "the queue of a trigger",
        'await tasks.trigger("sync", 7, queue={"name": "shopify", "concurrency_limit": 4})',
        'await tasks.trigger("sync", 7, queue="shopify")',
        says="queue='shopify' when triggering",
        frame="handle = {form}\nrun = await runs.poll(handle)",
        result="[run.output, run.queue]",
    ),
    OldForm(
        "the machine of a task",
        '@task(id="sync", machine={"preset": "large-2x"})',
        '@task(id="sync", machine="large-2x")',
        says="write machine='large-2x'",
        frame=_TASK,
        result="made.definition.machine",
        in_run=False,
    ),
    OldForm(
        "the machine of a trigger",
        'await tasks.trigger("sync", 7, machine={"preset": "medium-1x"})',
        'await tasks.trigger("sync", 7, machine="medium-1x")',
        says="write machine='medium-1x'",
        frame="handle = {form}\nrun = await runs.poll(handle)",
        result="[run.output, run.machine]",
    ),
    OldForm(
        "the machine of a run",
        "ctx.machine.preset",
        "ctx.machine.name",
        says="now called ctx.machine.name",
        frame="value = {form}",
        result="value",
    ),
    OldForm(
        "the machine of a project",
        'define_config(default_machine="large-1x")',
        'define_config(machine="large-1x")',
        says="now called machine",
        frame="config = {form}",
        result="config.settings['machine']",
        in_run=False,
    ),
    OldForm(
        "the retries of a project",
        'define_config(retries={"default": {"max_attempts": 3}})',
        'define_config(default_retry={"max_attempts": 3})',
        says="write default_retry={'max_attempts': 3}",
        frame="config = {form}",
        result="config.settings['default_retry'].max_attempts",
        in_run=False,
    ),
    OldForm(
        "retries in dev",
        'define_config(retries={"enabled_in_dev": False})',
        "define_config(retry_in_dev=False)",
        says="write retry_in_dev=False",
        frame="config = {form}",
        result="config.settings['retry_in_dev']",
        in_run=False,
    ),
    OldForm(
        "the name of an error hook",
        '@task(id="sync", handle_error=decide)',
        '@task(id="sync", catch_error=decide)',
        says="now called catch_error",
        frame="def decide(error): ...\n" + _TASK,
        result="list(made.definition.hooks)",
        in_run=False,
    ),
    OldForm(
        "the name of an error hook of all tasks",
        "tasks.handle_error(decide)",
        "tasks.catch_error(decide)",
        says="now called catch_error",
        frame="def decide(error): ...\n{form}",
        result="list(REGISTRY.hooks)",
        in_run=False,
    ),
    OldForm(
        "what a start hook gets",
        'on_start=lambda payload, params: params["ctx"]',
        "on_start=lambda payload, ctx: ctx",
        says="by name: ctx",
        frame=_HOOK,
        result=_HOOKED.format("on_start"),
        in_run=False,
    ),
    OldForm(
        "what a success hook gets",
        'on_success=lambda payload, output, params: (output, params["ctx"])',
        "on_success=lambda payload, output, ctx: (output, ctx)",
        says="by name: ctx",
        frame=_HOOK,
        result=_HOOKED.format("on_success"),
        in_run=False,
    ),
    OldForm(
        "what a failure hook gets",
        'on_failure=lambda payload, error, params: (error, params["ctx"])',
        "on_failure=lambda payload, error, ctx: (error, ctx)",
        says="by name: ctx",
        frame=_HOOK,
        result=_HOOKED.format("on_failure"),
        in_run=False,
    ),
    OldForm(
        "trigger and poll",
        'await tasks.trigger_and_poll("sync", 7)',
        'await runs.poll(await tasks.trigger("sync", 7))',
        says="write runs.poll(await tasks.trigger(…), timeout=…)",
        frame="run = {form}",
        result="run.output",
    ),
    OldForm(
        "which token to wait for",
        "await wait.for_token(token=token)",
        "await wait.for_token(token)",
        says="write wait.for_token(token)",
        frame=(
            "token = await wait.create_token()\nawait wait.complete_token(token, 7)\nresult = {form}"
        ),
        result="result.data",
    ),
    OldForm(
        "how long to wait for a token",
        "token = await wait.create_token()\nresult = await wait.for_token(token, timeout_in_seconds=limit)",
        "token = await wait.create_token(timeout=limit)\nresult = await wait.for_token(token)",
        says="wait.create_token(timeout=…)",
        frame="limit = 0.1\n{form}",
        result="result.ok",
    ),
    OldForm(
        "when a request is tried again",
        'await retry.fetch(url, retry={"max_attempts": 5, "condition": is_busy})',
        'await retry.fetch(url, retry={"by_status": {"429,5xx": {"strategy": "backoff", "max_attempts": 5}}})',
        says="retry={'by_status': {'429,5xx': {'strategy': 'backoff', 'max_attempts': 5}}}",
        frame=(
            "def is_busy(response, error):\n"
            "    return response is None or response.status_code >= 500\n"
            "response = {form}"
        ),
        result="[response.status_code, response.request.headers['x-retry-count']]",
    ),
    OldForm(
        "save metadata",
        'metadata.save({"step": 1})',
        'metadata.replace({"step": 1})',
        says="metadata.replace()",
        result="metadata.current()",
    ),
    OldForm(
        "update metadata",
        'metadata.update({"step": 2})',
        'metadata.replace({"step": 2})',
        says="metadata.replace()",
        result="metadata.current()",
    ),
    OldForm(
        "update metadata of the parent",
        'metadata.parent.update({"step": 3})',
        'metadata.parent.replace({"step": 3})',
        says="metadata.parent.replace()",
        result="metadata.current()",
    ),
    OldForm(
        "stream metadata",
        'words = await metadata.stream("words", source)',
        'words = streams.pipe("words", source).stream',
        says="write streams.pipe(key, source)",
        frame="source = iter(['a', 'b'])\n{form}",
        result="[word async for word in words]",
    ),
    OldForm(
        "the time that a run has used",
        "(await usage.get_current()).duration_ms",
        "(await usage.get_current()).compute.attempt.duration_ms",
        says="usage.compute.attempt.duration_ms",
        frame="used = {form}",
        result="0 < used < 10_000",
    ),
    OldForm(
        "the cost of a run",
        "(await usage.get_current()).cost_in_cents",
        "(await usage.get_current()).compute.attempt.cost_in_cents",
        says="usage.compute.attempt.cost_in_cents",
        frame="used = {form}",
        result="0 < used < 10_000",
    ),
)
