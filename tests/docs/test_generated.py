"""The pages made from the code are those that the code makes now."""

from __future__ import annotations

import pytest

from docs.generate import DOCS, PAGES
from tests.architecture.pages import blocks
from tests.architecture.source import scripts
from trigger_celery.engine.keys import KEYS
from trigger_celery.model.transitions import mermaid


@pytest.mark.parametrize("place", PAGES)
def test_a_page_is_up_to_date(place: str) -> None:
    written = (DOCS / place).read_text("utf-8")
    assert written == PAGES[place](), f"docs/{place} is out of date: python -m docs.generate"


def test_every_key_is_listed() -> None:
    page = PAGES["internals/keys.md"]()
    assert [kind.name for kind in KEYS if f"| `{kind.start}" not in page] == []


def test_every_script_is_listed_with_its_caller() -> None:
    page = PAGES["internals/scripts.md"]()
    assert [path.stem for path in scripts() if f"## `{path.stem}`" not in page] == []
    assert "Called by ." not in page


def test_the_life_of_a_run_is_the_table() -> None:
    drawings = [block.text for block in blocks(DOCS / "concepts" / "lifecycle.md")]
    assert mermaid() in drawings, f"paste this into docs/concepts/lifecycle.md:\n{mermaid()}"
