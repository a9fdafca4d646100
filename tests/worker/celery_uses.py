"""Finds what the library uses of Celery's private side, by reading the library's code."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import trigger_celery

ROOT = Path(trigger_celery.__file__).parent
LAYERS = ("bridge", "worker", "scheduler", "contrib", "testing")
"""Where Celery may be imported, and `cli/plugin.py`."""
THEIRS = ("celery", "kombu", "billiard", "redbeat", "vine", "amqp")

DOCUMENTED = frozenset(
    {
        "billiard.exceptions", "celery", "celery.app:app_or_default", "celery.beat:ScheduleEntry", "celery.exceptions",
        "celery.result:AsyncResult", "celery.schedules", "celery.signals", "celery.utils:uuid", "kombu.exceptions",
        "kombu:serialization", "kombu.serialization",
        "redbeat.schedulers:RedBeatScheduler", "redbeat.schedulers:RedBeatSchedulerEntry", "redbeat.schedules",
    }
)  # fmt: skip
"""Modules whose names all are in the manuals, and names of others that are."""

_PYTHONS = {
    "_asdict", "_cancel_and_wait", "_children", "_exit", "_fields", "_fut_waiter", "_get_running_loop", "_getframe",
    "_set_running_loop", "_wait",
}  # fmt: skip
_OURS = {
    "described._get_info", "inline._complete", "one._placements", "self.schedule._present", "stream._end",
    "stream._put", "super()._close",
}  # fmt: skip
"""Private names of ours that another of our objects uses."""
_DUNDERS = {
    name
    for one in (type, FunctionType, ModuleType, Exception, object, type(property()), type(len), ROOT)
    for name in dir(one)
} | {
    "__all__", "__await__", "__dataclass_fields__", "__metadata__", "__optional_keys__", "__origin__", "__path__",
    "__required_keys__", "__self__", "__signature__", "__slots__", "__stdout__", "__version__", "__wrapped__",
    "__contains__", "__file__", "__main__", "__init__", "__post_init__", "__pycache__",
}  # fmt: skip
_LISTS = ("__slots__", "__all__", "_OWN")
_PRIVATE = re.compile(r"__?[a-z]\w*\Z")


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield each module that may use Celery, by its name."""
    found = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    for path in sorted([*found, ROOT / "cli" / "plugin.py"]):
        name = path.relative_to(ROOT).with_suffix("").as_posix()
        yield name, ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    """Return the undocumented names that a module imports, as `module:name`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                if one.name.split(".")[0] in THEIRS and one.name not in DOCUMENTED:
                    found.add(one.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.split(".")[0] not in THEIRS:
                continue
            for one in node.names:
                full = f"{node.module}:{one.name}"
                public = node.module in DOCUMENTED and not _is_module(node.module, one.name)
                if not (public or full in DOCUMENTED):
                    found.add(full)
    return found


def _is_module(package: str, name: str) -> bool:
    known = {"celery": ("bootsteps", "signals", "states")}
    try:
        return (
            name not in known.get(package, ())
            and importlib.util.find_spec(f"{package}.{name}") is not None
            and not callable(getattr(importlib.import_module(package), name, None))
        )
    except ModuleNotFoundError:
        return False


def touched(tree: ast.Module) -> set[str]:
    """Return the private names that a module reads or sets on what is not itself, also by text."""
    found = set()
    listed = {id(one) for node in ast.walk(tree) for one in _lists_of_names(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own and ast.unparse(node) not in _OURS:
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and id(node) not in listed:
            found.add(str(node.value))
    return {name for name in found if _PRIVATE.match(name)} - _PYTHONS - _DUNDERS


def _lists_of_names(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the texts in `__slots__` and other lists of names of one's own."""
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in _LISTS:
        yield from ast.walk(node.value)


def overridden() -> Iterator[tuple[type, str, Any, Any]]:
    """Yield what our classes override of theirs: class, name, ours, theirs."""
    for layer in ("bridge", "worker", "scheduler", "contrib.flask"):
        package = importlib.import_module(f"trigger_celery.{layer}")
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for _, one in inspect.getmembers(module, inspect.isclass):
                if one.__module__ == module.__name__:
                    yield from _overridden_by(one)


def _overridden_by(one: type) -> Iterator[tuple[type, str, Any, Any]]:
    bases = [base for base in one.__mro__[1:] if base.__module__.split(".")[0] in THEIRS]
    for name, ours in vars(one).items():
        theirs = next((vars(base)[name] for base in bases if name in vars(base)), None)
        if isinstance(ours, FunctionType) and isinstance(theirs, FunctionType):
            yield one, name, ours, theirs
