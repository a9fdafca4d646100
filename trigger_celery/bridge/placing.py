"""Where a run is made that code makes: outside of runs, or at a place in one."""

from __future__ import annotations

from hashlib import sha1

from trigger_celery.bridge.durable import current_durable
from trigger_celery.engine.triggering import NOWHERE, NewRun, Origin


def placed(run: NewRun, how: str, path: str = "") -> Origin:
    """Return where a run is made. In a run it gets the id of its place, the same in a replay."""
    durable = current_durable()
    if durable is None:
        return NOWHERE
    call = asked(how, run)
    path, _ = durable.begin(call, path)
    run.id = durable.id_of("run", path)
    return durable.origin(path, call)


SHOWN = 60
"""Characters of a payload that a replay shows when it differs."""


def asked(how: str, *runs: NewRun) -> str:
    """Return what a run asks for when it makes runs, to be compared when it is replayed."""
    if len(runs) == 1 and len(runs[0].payload.data) <= SHOWN:
        return f"{how} {runs[0].placement.task} {runs[0].payload.data}".replace("\x1f", " ")
    digest = sha1(usedforsecurity=False)
    for run in runs:
        digest.update(f"{run.placement.task}\x1f{run.payload.data}\x1f".encode())
    what = f"{len(runs)} runs"
    if len(runs) == 1:
        what = f"{runs[0].placement.task} {runs[0].payload.data[:SHOWN]}…".replace("\x1f", " ")
    return f"{how} {what} #{digest.hexdigest()[:12]}"
