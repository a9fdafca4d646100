"""The table, and the facts that it depends on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bench.rows import shown

if TYPE_CHECKING:
    from bench.rig import Rig

HEAD = ("what", "ours", "Celery", "ratio", "bar", "")


def facts(rig: Rig) -> dict[str, Any]:
    """Return machine class and versions."""
    info: dict[str, Any] = rig.client.info("server")  # type: ignore[assignment]
    server = info.get("valkey_version")
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "server": f"valkey {server}" if server else f"redis {info['redis_version']}",
        **{name: version(name) for name in ("celery", "kombu", "redis")},
    }


def facts_line(known: dict[str, Any]) -> str:
    """Return the facts as one line."""
    return (
        f"{known['cores']} cores, {known['system']}, Python {known['python']}, {known['server']}, "
        f"celery {known['celery']}, kombu {known['kombu']}, redis-py {known['redis']}"
    )


def table(lines: list[dict[str, Any]]) -> str:
    """Return a Markdown table that also reads well in a terminal."""
    grid = [HEAD, *map(cells, lines)]
    widths = [max(len(row[i]) for row in grid) for i in range(len(HEAD))]
    rows = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in grid
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])


def cells(line: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of one line."""
    other = shown(line["other"], line["unit"])
    if line["against"]:
        other = f"{other} ({line['against']})"
    ratio = "" if line["ratio"] is None else f"{line['ratio']:.3g} x"
    return (
        line["what"],
        shown(line["ours"], line["unit"]),
        other,
        ratio,
        line["bar"],
        line["verdict"],
    )
