"""Hidden state: no `global` outside a named list, ContextVars in two places."""

from __future__ import annotations

import ast

from tests.architecture.source import PACKAGE, package_files, relative, tree

# module -> why it has to be
GLOBALS = {
    "trigger_celery/model/ids.py": "no two ids of one process may be equal, and a fork starts anew",
}

CONTEXT_PLACES = ("trigger_celery/bridge/context.py", "trigger_celery/worker/")


def test_global_statements() -> None:
    found = {
        relative(path): f"{relative(path)}:{node.lineno}: global {', '.join(node.names)}"
        for path in package_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Global)
    }
    hidden = [found[module] for module in found.keys() - GLOBALS.keys()]
    assert not hidden, "pass the value in instead: " + ", ".join(hidden)
    assert not GLOBALS.keys() - found.keys(), "no longer needed: remove the entry"


def test_context_variables() -> None:
    assert PACKAGE.exists()
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in package_files()
        if not relative(path).startswith(CONTEXT_PLACES)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "ContextVar"
    ]
    assert not found, f"a ContextVar outside {' and '.join(CONTEXT_PLACES)}: {', '.join(found)}"
