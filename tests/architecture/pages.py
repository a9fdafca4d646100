"""The Markdown pages, read and run.

Every ```` ```python ```` block of the README and of `docs/` is executed: the blocks of one page in order,
in one process and one namespace, with a server of their own. `await` works at the top level. A block that
cannot run says why after `no-run:` in its first line, and is only compiled:

    ```python no-run: needs a Django project

As a program (`python -m tests.architecture.pages README.md`) it runs one page.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.architecture.source import ROOT, files
from tests.deploying import deploy
from trigger_celery.bridge import context
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition

FENCE = re.compile(r"^(?P<indent>[ ]*)(?P<ticks>`{3,}|~{3,})(?P<info>[^\n`]*)$")


class Block(NamedTuple):
    """A fenced block of a page: its first line's number, its info string, its text."""

    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.split()[0].rstrip(":") if self.info.split() else ""

    @property
    def runs(self) -> bool:
        return "no-run" not in self.info


def pages() -> list[Path]:
    """Return every Markdown page of the repository."""
    return files(ROOT, ".md")


def executed_pages() -> list[Path]:
    """Return the pages whose Python blocks are executed."""
    readme = ROOT / "README.md"
    return [*([readme] if readme.exists() else []), *files(ROOT / "docs", ".md")]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    opening: re.Match[str] | None = None
    start, text = 0, list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if opening is None:
            if opening := FENCE.match(line):
                start, text = number + 1, []
        elif line.strip() == opening["ticks"]:
            yield Block(start, opening["info"].strip(), "\n".join(text) + "\n")
            opening = None
        else:
            text.append(line.removeprefix(opening["indent"]))


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a page that are not in a fenced block."""
    fenced = {
        number
        for block in blocks(page)
        for number in range(block.line - 1, block.line + block.text.count("\n"))
    }
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if number not in fenced:
            yield number, line


def compiled(page: Path, block: Block) -> types.CodeType:
    """Compile a block so that its line numbers are the page's."""
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, types.CodeType)
    return code


def deploy_as_declared() -> None:
    """Let it be as if a worker with the page's tasks had been there; pages trigger without one."""

    def declared(definition: TaskDefinition) -> None:
        for trigger in context.bound():
            deploy(trigger)

    REGISTRY.on_task(declared)


def run(page: Path) -> int:
    """Execute the blocks of a page; return how many there were."""
    module = types.ModuleType("page")
    sys.modules["page"] = module
    count = 0
    for block in blocks(page):
        if block.language == "python" and block.runs:
            code = compiled(page, block)
            # What a reader pastes is what runs here: eval is the point.
            result = eval(code, vars(module))  # noqa: S307
            if inspect.iscoroutine(result):
                asyncio.run(result)
            count += 1
    return count


if __name__ == "__main__":
    deploy_as_declared()
    print(f"{run(Path(sys.argv[1]).resolve())} blocks ran")
