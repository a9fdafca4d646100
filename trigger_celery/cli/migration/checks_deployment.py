"""Checks of Procfiles, compose files and manifests, by their lines: TC108 and TC114."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from trigger_celery.cli.migration.findings import Candidate, Finding

NAMES: Final = re.compile(
    r"(Procfile[\w.-]*|(docker-)?compose[\w.-]*\.ya?ml|supervisord?[\w.-]*\.(conf|ini)|[\w.-]*\.service"
    r"|[\w.-]*\.ya?ml)",
    re.IGNORECASE,
).fullmatch
"""File names that may say which processes are started."""
WORTH_READING: Final = re.compile(rb"celery|flower", re.IGNORECASE).search

MAX_LINE: Final = 2000
"""Characters of a line that are looked at: the command that starts a process is shorter."""

_WORD: Final = r"[\s,\"'\[\]]+"
_BEAT: Final = re.compile(rf"\bcelery\b.*?(?:{_WORD})beat\b")
_IN_WORKER: Final = re.compile(rf"\bcelery\b.*?{_WORD}worker\b.*?{_WORD}(?:-B|--beat)(?=$|{_WORD})")
_MONITORS: Final = {
    "Flower": re.compile(rf"\bcelery\b.*?{_WORD}flower\b|\bmher/flower\b"),
    "a Celery exporter": re.compile(r"celery[-_](?:prometheus[-_])?exporter"),
}


def check_lines(path: str, lines: list[str]) -> Iterator[Candidate]:
    """Yield what the lines of a file of the deployment say."""
    beats, told = list[Finding](), set[str]()
    for number, whole in enumerate(lines, 1):
        line = "" if whole.lstrip().startswith("#") else whole[:MAX_LINE].partition(" #")[0]
        column = len(whole) - len(whole.lstrip()) + 1
        if _IN_WORKER.search(line):
            text = "a worker with beat inside: each copy of it sends every entry"
            yield Candidate(Finding(path, number, column, "TC108", text))
        elif _BEAT.search(line):
            beats.append(Finding(path, number, column, "TC108", "one of several beats"))
        for what, pattern in _MONITORS.items():
            if what not in told and pattern.search(line):
                told.add(what)
                yield Candidate(Finding(path, number, column, "TC114", f"{what} is deployed"))
    # Several files may be several deployments; one file is one.
    yield from map(Candidate, beats if len(beats) > 1 else ())
