"""What the documented examples need to be executed, and why. Otherwise they are as they are written.

Each example is a file in `blocks/`. Modules that it imports and that are not ours are in `standins/`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType
from typing import Final

FOLDER: Final = Path(__file__).parent
BLOCKS: Final = FOLDER / "blocks"
STANDINS: Final = FOLDER / "standins"
PACKAGE: Final = "documented"


@dataclass(frozen=True)
class Adaptation:
    """How an example is executed.

    `before` and `after` stand around it. `replace` has what is written and what is executed. With
    `body_of` the example is the body of the task of that id, after `head` and before `tail`.
    """

    why: str
    before: str = ""
    after: str = ""
    replace: tuple[tuple[str, str], ...] = ()
    body_of: str | None = None
    head: str = ""
    tail: str = ""

    def adapt(self, text: str) -> str:
        """Return the example as it is executed."""
        for written, executed in self.replace:
            assert text.count(written) == 1, f"not once in the example: {written!r}"
            text = text.replace(written, executed)
        if self.body_of is not None:
            body = indent(f"{self.head}\n{text}\n{self.tail}\n", "    ")
            text = f'@task(id="{self.body_of}")\nasync def fragment(payload):\n{body}'
        return f"{self.before}\n{text}\n{self.after}\n"


IDS = "a project has an id once, and several examples are called my-task"
TASK = "from trigger import task, logger\n"


def renamed(name: str) -> Adaptation:
    return Adaptation(IDS, replace=(('id="my-task"', f'id="{name}"'),))


_CONFIG_HOOKS: Final = """\
    async def on_start(payload, ctx):
        print(f"Task started: {ctx.task.id}")

    async def on_success(payload, output, ctx):
        print(f"Task succeeded: {ctx.task.id}")

    async def on_failure(payload, error, ctx):
        print(f"Task failed: {ctx.task.id}")
"""

ADAPTATIONS: Final[Mapping[str, Adaptation]] = {
    "parameterized_sql": Adaptation(
        "a function that imports nothing, and is called by no task",
        before="from trigger import task\nfrom ._db import get_db_connection\n",
        after='@task(id="sql")\nasync def sql(payload):\n    return await fetch_team_data(payload)\n',
    ),
    "result_handling": Adaptation(
        "a fragment with `return` on the level of the module",
        before=TASK,
        body_of="result-handling",
        head='result, team_id = payload["rows"], payload["team"]',
    ),
    "database_error": Adaptation(
        "a fragment with `await` on the level of the module",
        before=(
            f"{TASK}import asyncpg\n"
            "async def fetch_team_data(team_id):\n"
            '    raise asyncpg.PostgresError("no such function")\n'
        ),
        body_of="database-error",
        head='team_id = payload["team"]',
    ),
    "input_validation": Adaptation("a fragment that imports nothing", before=TASK),
    "risky_operation": Adaptation(
        "a fragment with `await` on the level of the module, which calls what it does not define",
        before=(
            f'{TASK}async def external_api_call():\n    raise ConnectionError("no route to host")\n'
        ),
        body_of="risky-operation",
    ),
    "lifecycle_hooks": Adaptation(
        f"a fragment that imports nothing and leaves out what fails; {IDS}",
        before=TASK,
        replace=(
            ('id="my-task"', 'id="my-task-hooks"'),
            ("# main logic", 'assert not payload["fails"], "as told"'),
        ),
    ),
    "scheduled_task": Adaptation(
        "imports neither the logger nor datetime",
        before="from datetime import datetime\nfrom trigger import logger\n",
    ),
    "pydantic_payload": renamed("my-task-pydantic"),
    "metadata_and_stream": Adaptation(
        f"imports no logger; {IDS}",
        before="from trigger import logger\n",
        replace=(('id="my-task"', 'id="my-task-metadata"'),),
    ),
    "idempotency_key": renamed("my-task-idempotency"),
    "waits_for_time": Adaptation(
        "a fragment with `await` on the level of the module",
        before=TASK,
        body_of="waits-for-time",
        tail='return "waited"',
    ),
    "wait_token": Adaptation(
        "a fragment with `await` on the level of the module",
        before=TASK,
        body_of="wait-token",
        tail="return result.data if result.ok else None",
    ),
    "idempotent_wait": Adaptation(
        "a fragment with `await` on the level of the module",
        before="from trigger import task, wait\n",
        body_of="idempotent-wait",
        tail='return "waited"',
    ),
    "subscribe_to_run": Adaptation(IDS, replace=(('"my-task"', '"my-task-metadata"'),)),
    "trigger_config": Adaptation(
        "`async def` inside of a call is no Python: the functions come before it",
        before=dedent(_CONFIG_HOOKS),
        replace=(
            (_CONFIG_HOOKS, "    on_start=on_start, on_success=on_success, on_failure=on_failure,\n"),
        ),
    ),
    "gather": Adaptation(
        "calls functions that it does not define",
        before=(
            "import asyncio\n"
            "async def fetch_user_data(id):\n    await asyncio.sleep(0.01)\n    return ['user', id]\n"
            "async def fetch_team_data(id):\n    return ['team', id]\n"
            "async def fetch_project_data(id):\n    return ['project', id]\n"
        ),
    ),
    "context_manager": Adaptation(
        "calls a function that it does not define",
        before="async def fetch_data():\n    return [1, 2]\n",
    ),
    "generic_result": Adaptation(
        "calls a function that it does not define",
        before="async def process_items(items):\n    return [item.upper() for item in items]\n",
    ),
}  # fmt: skip
"""By the name of the example. One that is not here is executed as it is written."""

PROJECT: Final = (
    "trigger_config",
    "hello_world",
    "basic_structure",
    "typed_dict_payload",
    "pydantic_payload",
    "database_connection",
    "parameterized_sql",
    "result_handling",
    "database_error",
    "logging",
    "input_validation",
    "risky_operation",
    "lifecycle_hooks",
    "waits_for_time",
    "wait_token",
    "idempotent_wait",
    "schema_task",
    "scheduled_task",
    "parent_and_child",
    "metadata_and_stream",
    "idempotency_key",
    "gather",
    "context_manager",
    "generic_result",
    "environment_variables",
)
"""The examples that are the modules of a worker's project."""

CALLERS: Final = (
    "old_import",
    "trigger_from_a_server",
    "subscribe_to_run",
    "payload_key",
    "testing_a_task",
    "api_request",
)
"""The examples that are executed outside of a worker."""


def load(name: str) -> ModuleType:
    """Execute an example as a module of the package `documented`, and return it."""
    path = BLOCKS / f"{name}.txt"
    text = path.read_text("utf-8")
    adaptation = ADAPTATIONS.get(name)
    code = text if adaptation is None else adaptation.adapt(text)
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(STANDINS)]
        sys.modules[PACKAGE] = package
    module = ModuleType(f"{PACKAGE}.{name}")
    module.__package__ = PACKAGE
    sys.modules[module.__name__] = module
    exec(compile(code, str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102
    return module
