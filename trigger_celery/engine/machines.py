"""Worker queues of machine presets: each worker queue has one more for every preset.

Runs of the default preset, and those that name none, are in the worker queue itself. As long as no
worker of the environment ever declared presets, all runs are: `include/machines.lua`.
"""

from __future__ import annotations

from collections.abc import Sequence

from trigger_celery.model.ids import token


def preset_queue(worker_queue: str, machine: str) -> str:
    """Return the token of a preset's worker queue; *worker_queue* is a token, too."""
    return token(f"{worker_queue}@{machine}")


def served(worker_queues: Sequence[str], machines: Sequence[str]) -> list[str]:
    """Return the tokens of all that a worker serves, in order.

    Runs of its presets come first, in each worker queue: fewer workers can take them.
    """
    tokens = []
    for name in worker_queues:
        own = token(name)
        tokens += [*(preset_queue(own, machine) for machine in machines), own]
    return tokens
