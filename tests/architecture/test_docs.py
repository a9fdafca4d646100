"""The documentation is true: links lead somewhere, paths exist, code runs."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forking
from tests.architecture.pages import blocks, compiled, executed_pages, pages, prose, run
from tests.architecture.source import PACKAGE, ROOT, relative
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.model.transitions import mermaid

LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
# What a page may name as a file: a path that starts in one of these, or one of these files.
FOLDERS = ("trigger_celery/", "tests/", "docs/", "examples/", "bench/", ".ci/")
PLACEHOLDER = re.compile(r"[<>…\s(){}]|\.\.\.|\bverb_noun\b|::")

every_page = pytest.mark.parametrize("page", pages(), ids=relative)
every_executed_page = pytest.mark.parametrize("page", executed_pages(), ids=relative)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    found = set()
    for _, line in prose(page):
        if heading := re.match(r"#{1,6}\s+(.*?)\s*(?:\{#([\w-]+)\})?\s*$", line):
            text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            text = re.sub(r"[^\w\s-]", "", text)
            found |= {heading[2], text.replace(" ", "-"), re.sub(r"[-\s]+", "-", text)}
    return frozenset(found - {None})


class _Site(yaml.SafeLoader):
    """Reads mkdocs.yml without importing the Python names in it."""


_Site.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda *_: None)


def site() -> Any:
    return yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader=_Site)  # noqa: S506 - a SafeLoader


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for number, line in prose(page):
        for match in LINK.finditer(CODE.sub("", line)):
            target, _, anchor = match["target"].partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            place = (page.parent / target).resolve() if target else page
            if not place.exists():
                broken.append(f"{relative(page)}:{number}: {match['target']} does not exist")
            elif anchor and place.suffix == ".md" and anchor not in anchors(place):
                broken.append(f"{relative(page)}:{number}: no heading #{anchor}")
    assert not broken, "\n".join(broken)


@every_page
def test_paths_exist(page: Path) -> None:
    broken = []
    for number, line in prose(page):
        for name in CODE.findall(line):
            if not name.startswith(FOLDERS) or PLACEHOLDER.search(name):
                continue
            present = ROOT / name.rpartition("/")[0] if "*" in name else ROOT / name
            if not present.exists():
                broken.append(f"{relative(page)}:{number}: `{name}` does not exist")
    assert not broken, "\n".join(broken)


@every_page
def test_make_targets_exist(page: Path) -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", text, re.MULTILINE))
    shell = [
        block.text for block in blocks(page) if block.language in {"", "bash", "console", "sh"}
    ]
    inline = [name for _, line in prose(page) for name in CODE.findall(line)]
    named = {
        target
        for piece in [*"\n".join(shell).splitlines(), *inline]
        for target in re.findall(r"^(?:\$ )?make ([a-z]+)\b", piece)
    }
    assert named <= targets, f"{relative(page)}: no such targets: {sorted(named - targets)}"


def test_navigation_is_complete() -> None:
    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        children = node.values() if isinstance(node, dict) else node
        return [leaf for child in children for leaf in leaves(child)]

    docs = ROOT / "docs"
    listed = leaves(site()["nav"])
    present = {path.relative_to(docs).as_posix() for path in pages() if docs in path.parents}
    assert len(listed) == len(set(listed))
    assert set(listed) == present, f"differ in {sorted(set(listed) ^ present)}"


def test_the_drawing_is_the_table() -> None:
    architecture = ROOT / "docs" / "internals" / "architecture.md"
    drawings = [block.text for block in blocks(architecture) if block.language == "mermaid"]
    assert mermaid() in drawings, f"paste this into {relative(architecture)}:\n{mermaid()}"


@every_executed_page
def test_blocks_compile_and_give_reasons(page: Path) -> None:
    for block in blocks(page):
        if block.language != "python":
            continue
        compiled(page, block)
        words = block.info.removeprefix("python").strip()
        assert re.fullmatch(r"(no-run: \S.*)?", words), (
            f"{relative(page)}:{block.line}: write ```python, or ```python no-run: and the reason"
        )


def test_a_page_runs_as_one_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nimport asyncio\nanswer = 6\n```\n"
        "```bash\nrm -rf /\n```\n"
        "```python no-run: an example\nno_such_name\n```\n"
        "   ```python\n   print(await asyncio.sleep(0, answer * 7))\n   ```\n"
        "```python\nraise ValueError(answer)\n```\n"
    )
    with pytest.raises(ValueError, match="6") as raised:
        run(page)
    assert capsys.readouterr().out == "42\n"
    assert raised.traceback[-1].lineno + 1 == 15


@every_executed_page
def test_blocks_run(page: Path, server: EmbeddedServer, tmp_path: Path) -> None:
    if not any(block.language == "python" and block.runs for block in blocks(page)):
        pytest.skip("the page has no Python to run")
    if not (PACKAGE / "__init__.py").exists():
        pytest.skip("trigger_celery/__init__.py is not written yet")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TRIGGER_")
    } | {
        "PYTHONPATH": str(ROOT),
        "TRIGGER_REDIS_URL": server.url,
        "CELERY_BROKER_URL": server.broker_url,
        "CELERY_RESULT_BACKEND": server.broker_url,
    }
    command = [sys.executable, "-m", "tests.architecture.pages", str(page)]
    result = forking.run(command, env=environment, cwd=tmp_path, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
