"""Compares what the store says of a session's runs with what the worker has of them.

Messages may be lost on their way: a run that was handed over, that may go on, that was cancelled.
At each renewal of the lease the worker looks for such runs. Once is not enough to believe it: a run
may have ended, or be on its way, while the store was asked; so what counts was seen twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from trigger_celery.engine.attempts import Ending
from trigger_celery.engine.sessions import Owned

logger = logging.getLogger("trigger_celery.worker")


@dataclass(frozen=True, slots=True)
class Findings:
    """What the worker has to put right."""

    give_back: list[Ending] = field(default_factory=list)
    """Runs that were handed over and did not arrive."""
    give_up: list[tuple[str, str]] = field(default_factory=list)
    """Waiting runs (id, epoch) whose memory is not here."""
    go_on: list[str] = field(default_factory=list)
    """Runs that wait here and may go on."""
    gone: list[str] = field(default_factory=list)
    """Runs that are executed here and are not this session's any more."""


class Audit:
    """Remembers what looked wrong the time before."""

    def __init__(self) -> None:
        self._suspects: set[tuple[str, str, str]] = set()

    def compare(
        self, owned: Mapping[str, Owned], known: Mapping[str, tuple[str, bool]]
    ) -> Findings:
        """Return what was wrong this time and the time before.

        *owned* is what the store says; *known* maps the runs that are here to their epoch and
        whether they wait.
        """
        seen: set[tuple[str, str, str]] = set()
        for run_id, run in owned.items():
            here = known.get(run_id)
            if here is None:
                waits = run.status in ("WAITING", "QUEUED")
                seen.add((run_id, run.epoch, "waits elsewhere" if waits else "not here"))
            elif here[1] and run.status == "EXECUTING" and run.epoch == here[0]:
                seen.add((run_id, run.epoch, "not told"))
        for run_id, (epoch, _) in known.items():
            if run_id not in owned:
                seen.add((run_id, epoch, "not ours"))
        sure = seen & self._suspects
        self._suspects = seen - sure
        return self._findings(sorted(sure))

    @staticmethod
    def _findings(sure: list[tuple[str, str, str]]) -> Findings:
        findings = Findings()
        for run_id, epoch, what in sure:
            logger.warning(
                "news of run %s was lost (%s): put right",
                run_id,
                what,
                extra={"action": "run_news_lost", "run_id": run_id, "what": what},
            )
            if what == "not here":
                findings.give_back.append(Ending(run_id, epoch, "back", "", ""))
            elif what == "waits elsewhere":
                findings.give_up.append((run_id, epoch))
            elif what == "not told":
                findings.go_on.append(run_id)
            else:
                findings.gone.append(run_id)
        return findings
