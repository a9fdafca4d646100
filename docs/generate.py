"""Writes the reference pages that are made from the code.

`python -m docs.generate` writes them; `tests/docs/test_generated.py` fails when one is out of date.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from trigger_celery import errors
from trigger_celery.cli.failure import Failure, Misuse, Unreachable
from trigger_celery.cli.main import cli
from trigger_celery.cli.migration.rules import ALL as MIGRATION_RULES
from trigger_celery.engine.keys import KEYS, PERMANENT
from trigger_celery.model.duration import format_duration
from trigger_celery.settings import SETTINGS, Setting

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "trigger_celery"
LUA = PACKAGE / "engine" / "lua"
MADE = "<!-- Made by `python -m docs.generate`: change the code it is made from, not this page. -->"


def settings_page() -> str:
    """Return the page of settings, from `settings.SETTINGS`."""
    rows = [("Setting", "Default", "Unit", "What it does")]
    rows += [(f"`{one.name}`", _default(one), one.unit, _cell(one.doc)) for one in SETTINGS]
    return _page(
        "Settings",
        "Every setting has one name and four places where it can stand. The first that has it wins:",
        "1. a keyword: `TriggerCelery(app, worker_lease=30)`,\n"
        "2. the Celery configuration, with `trigger_` in front: `app.conf.trigger_worker_lease = 30`,\n"
        "3. the environment, in capitals with `TRIGGER_` in front: `TRIGGER_WORKER_LEASE=30`,\n"
        "4. `trigger_config.py`: `config = define_config(worker_lease=30)`,\n\n"
        "and after them the default. `trigger-celery doctor` prints every value that counts and the place "
        "it comes from, passwords masked.",
        _table(rows),
        "*Seconds* are a number, or a duration such as `30s`, `5m` or `1h30m`. Where a setting may be "
        "absent, `none` in the environment says so. `default_retry` is a `Retry` or a mapping and so "
        "cannot stand in the environment.",
        "Settings are read once, at the first operation. All that is wrong with them is said in one "
        "`SettingsError`, and a name that does not exist is answered with the closest that does.",
        "Two settings must be the same in every process that works together: `redis_url`, and the "
        "pair of `project` and `env`. `environment_concurrency_limit` and the limits of queues are "
        "written to the store by each worker that starts: the last one counts.",
    )


def _default(setting: Setting) -> str:
    if setting.default is None:
        return "none"
    if setting.name == "run_retention":
        return f"`{format_duration(setting.default)}`"
    return (
        f"`{setting.default:g}`" if isinstance(setting.default, float) else f"`{setting.default}`"
    )


def keys_page() -> str:
    """Return the page of keys, from `engine/keys.py`."""
    rows = [("Key", "Type", "Holds", "Removed by")]
    for kind in KEYS:
        name = ":".join((kind.start, *(f"<{part}>" for part in kind.parts)))
        lasting = " *(outlives runs)*" if kind.name in PERMANENT else ""
        rows.append((f"`{name}`", kind.type, _cell(kind.holds) + lasting, _cell(kind.removed)))
    return _page(
        "Keys",
        "Every key of an environment starts with its hash tag, `{tc:<project>:<env>}:`. So all keys of "
        "one environment are in one slot of a cluster, and two environments never touch. The names are made "
        "in `trigger_celery/engine/keys.py` only; this page is that table.",
        _table(rows),
        "**What stands in a name.** `<id>` is the id of a run and `<session>` that of a worker session. "
        "Everything that a user chooses (`<queue>`, `<key>`, `<task>`, `<tag>`, `<worker_queue>`) "
        "stands there as a token: the first 20 hex digits of its SHA-1. A `<lane>` is three tokens, "
        "`<worker_queue>:<queue>:<key>`; without a concurrency key the last one is empty.",
        "**Beside the keys** there are channels, `{tc:<project>:<env>}:news:<process>`: a process that "
        "waits for runs subscribes to its own, and the scripts announce the end of a run there.",
        "**Bounded.** A final run has a TTL on every key of its own, and the pruner takes it out of the "
        "indexes. Sets and lists that are empty do not exist. What is marked as outliving runs is bounded by "
        "what the deployment has, not by how many runs it has had.",
    )


def scripts_page() -> str:
    """Return the page of Lua scripts, from their headers."""
    paths = sorted(LUA.glob("*.lua"))
    includes = sorted((LUA / "include").glob("*.lua"))
    parts = [
        "A run changes in these scripts and nowhere else. Each is one file in "
        "`trigger_celery/engine/lua` that opens with its contract; this page is those headers. The scope "
        "is the only key a script is given: it is the hash tag that all keys of the environment start with.",
        "`ARGV` names the arguments in their order; one that ends in `...` is the first of any "
        "number. A script that takes an `op_id` answers a repeat of a call with the first answer, so a "
        "call whose reply got lost may be sent again.",
    ]
    for path in paths:
        parts += [f"## `{path.stem}`", *_script(path)]
    parts.append("## What scripts share")
    parts.append(
        "Files in `trigger_celery/engine/lua/include`, put in where a script says `-- INCLUDE name`. "
        "A function under `-- RARE` gets what only it needs, made when it is called: every function "
        "of a script is an object that the server makes anew at each call."
    )
    for path in includes:
        text, contract = _header(path)
        parts += [f"### `{path.stem}`", *_lead(text, contract)]
    return _page("Lua scripts", *parts)


def _script(path: Path) -> Iterator[str]:
    text, contract = _header(path)
    first = " ".join(text).partition(": ")[2]
    yield first[:1].upper() + first[1:]
    yield "```text\n" + "\n".join(contract) + "\n```"
    shared = re.findall(r"^-- INCLUDE (\w+)", path.read_text("utf-8"), re.MULTILINE)
    callers = [
        f"`{caller.relative_to(DOCS.parent).as_posix()}`"
        for caller in sorted((PACKAGE / "engine").rglob("*.py"))
        if re.search(rf"\bSCRIPTS\.{path.stem}\b", caller.read_text("utf-8"))
    ]
    with_ = f" Includes {', '.join(f'[`{name}`](#{name})' for name in shared)}." if shared else ""
    yield f"Called by {', '.join(callers)}.{with_}"


def _lead(text: list[str], contract: list[str]) -> Iterator[str]:
    yield " ".join(text)
    if contract:
        yield "```text\n" + "\n".join(contract) + "\n```"


def _header(path: Path) -> tuple[list[str], list[str]]:
    """Return a Lua file's opening comment: its prose, and the lines of the contract."""
    text: list[str] = []
    contract: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("--") or line.startswith("-- INCLUDE"):
            break
        said = line.removeprefix("--").removeprefix(" ").rstrip()
        in_contract = contract or said.startswith((" ", "KEYS ", "ARGV ", "REPLY ", "TTL "))
        (contract if in_contract else text).append(said)
    return text, contract


def errors_page() -> str:
    """Return the page of exceptions, from `errors.py`."""
    tree = re.search(r"```\n(.*?)```", str(errors.__doc__), re.DOTALL)
    drawing = "" if tree is None else tree[1].rstrip()
    rows = [("Exception", "Is also", "What it says")]
    for name in _order(errors):
        kind = getattr(errors, name)
        also = ", ".join(
            f"`{base.__name__}`" for base in kind.__bases__ if base.__module__ == "builtins"
        )
        said = " ".join(str(inspect.getdoc(kind)).split())
        rows.append((f"`{name}`", "" if also == "`Exception`" else also, _cell(said)))
    return _page(
        "Errors",
        "All but one of the library's exceptions are a `TriggerError`. All can be imported from "
        "`trigger_celery`.",
        f"```text\n{drawing}\n```",
        _table(rows),
        "What a *run* keeps of the exception its task raised is a `RunError`: see "
        "[statuses and errors of runs](statuses.md#the-error-of-a-run).",
    )


def _order(module: Any) -> list[str]:
    nodes = ast.parse(Path(str(module.__file__)).read_text("utf-8")).body
    return [node.name for node in nodes if isinstance(node, ast.ClassDef)]


def cli_page() -> str:
    """Return the page of commands, from click's definitions."""
    root = click.Context(cli, info_name="trigger-celery")
    parts = [
        "`trigger-celery` (or `tgc`, the same program with a short name). With an app of your own, "
        "`celery -A proj trigger …` has the same commands.",
        "## Which project",
        "The Celery app is the first of: `-A`, `app` under `[tool.trigger_celery]` in `pyproject.toml`, "
        "`CELERY_APP`, `APP`. Without any of them it is looked for: next to a `manage.py`, in "
        "`celery.py`, `celery_app.py`, `app.py` and `tasks.py` of the folder, and through `FLASK_APP`. "
        "Two that fit are listed, and the command ends. Without an app, a `trigger_config.py` "
        "makes one.",
        "Commands that only read and trigger need no app where an address is enough: `--redis-url`, "
        "`TRIGGER_REDIS_URL`, or a `trigger-celery dev` that runs in the same folder.",
        "## Options of every command",
        "Before or after the command's name.",
        _options(root, cli.params),
    ]
    for name, command in sorted(cli.commands.items()):
        parts += _command(
            click.Context(command, info_name=name, parent=root), f"trigger-celery {name}"
        )
    parts += [
        "## Exit codes",
        _table(
            [
                ("Code", "Means"),
                ("0", "It worked."),
                (
                    f"{Failure.exit_code}",
                    "It did not: a run failed (`trigger --wait`), a run is unknown, a check found an error.",
                ),
                (
                    f"{Misuse.exit_code}",
                    "Bad usage: an unknown option, an app that is not found, settings or input that do not fit.",
                ),
                (f"{Unreachable.exit_code}", "The server cannot be reached."),
            ]
        ),
        "Results go to stdout, remarks and errors to stderr. Tables are for people; with `--json` the output is "
        "one JSON document (of `dev`: one object a line). `NO_COLOR` is respected.",
    ]
    return _page("Command line", *parts)


def migration_rules_page() -> str:
    """Return the page of the rules of `migrate --check`."""
    rows = [("Rule", "Severity", "Finds")]
    rows += [
        (f"[{rule.id}](#{rule.id.lower()})", rule.severity.word, rule.title)
        for rule in MIGRATION_RULES
    ]
    sections = (
        f"## {rule.id}\n\n**{rule.title}.** `{rule.name}`, {rule.severity.word}.\n\n{rule.why}\n\n"
        f"*What to do:* {rule.fix}"
        for rule in MIGRATION_RULES
    )
    return _page(
        "Rules of migrate --check",
        "What `trigger-celery migrate --check PATH` looks for in a Celery codebase; how to use it is told in "
        "[From Celery](../how-to/from-celery.md).",
        _table(rows),
        "An *error* loses or doubles work, or blocks. A *warning* works until it does not. A *note*: there "
        "is something better. A rule does not guess: where the text does not say which broker it is, or whether "
        "something with a method `delay` is a task, the place is counted as not decided.",
        *sections,
    )


def _command(ctx: click.Context, path: str) -> Iterator[str]:
    command = ctx.command
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _command(click.Context(inner, info_name=name, parent=ctx), f"{path} {name}")
        return
    pieces = [param for param in command.params if isinstance(param, click.Argument)]
    named = [_argument(param) for param in pieces]
    yield f"## `{path}`"
    yield "\n\n".join(_paragraphs(str(command.help)))
    yield f"```text\n{' '.join([path, '[OPTIONS]', *named])}\n```"
    own = [
        param for param in command.params if isinstance(param, click.Option) and not param.hidden
    ]
    if own:
        yield _options(ctx, own)


def _argument(param: click.Argument) -> str:
    return param.metavar or str(param.name).upper()


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n")]


def _options(ctx: click.Context, params: list[click.Parameter]) -> str:
    rows = [("Option", "What it does")]
    for param in params:
        record = param.get_help_record(ctx)
        if record is not None and isinstance(param, click.Option) and "--help" not in param.opts:
            rows.append((f"`{record[0]}`".replace("|", r"\|"), _cell(record[1])))
    return _table(rows)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join((MADE, f"# {title}", *parts)) + "\n"


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in body)])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")


PAGES: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings_page,
    "reference/errors.md": errors_page,
    "reference/cli.md": cli_page,
    "reference/migration-rules.md": migration_rules_page,
    "internals/keys.md": keys_page,
    "internals/scripts.md": scripts_page,
}
"""The pages that are made here, by their place below `docs/`."""


def write() -> None:
    """Write every page."""
    for place, make in PAGES.items():
        path = DOCS / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(make(), "utf-8")


if __name__ == "__main__":
    write()
