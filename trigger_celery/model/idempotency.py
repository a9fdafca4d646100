"""Idempotency keys: text with a scope, told from other text by its type."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

KeyScope = Literal["run", "attempt", "global"]

SCOPES: Final[tuple[str, ...]] = ("run", "attempt", "global")
DEFAULT_TTL_MS: Final = 30 * 86_400_000
"""How long a key counts unless it says otherwise, from the creation of its run."""


class IdempotencyKey(str):
    """A key that is scoped already and is used as it is: its value is a digest.

    `text` is what the user wrote, the parts of a list joined by `-`; `scope` where it counts.
    """

    text: str
    scope: KeyScope

    def __new__(cls, value: str, text: str = "", scope: KeyScope = "global") -> IdempotencyKey:
        """Return the key with this value."""
        key = super().__new__(cls, value)
        key.text = text or value
        key.scope = scope
        return key

    def __reduce__(self) -> tuple[type[IdempotencyKey], tuple[str, str, KeyScope]]:
        """Return what makes it again, for copies and pickles."""
        return IdempotencyKey, (str(self), self.text, self.scope)


def scoped_key(
    parts: Sequence[str], scope: KeyScope, run_id: str = "", attempt: int = 0
) -> IdempotencyKey:
    """Return the key of some texts within a scope. Different parts never give the same key."""
    where = {"run": [run_id], "attempt": [run_id, attempt], "global": []}[scope]
    digest = sha256(json.dumps([list(parts), where]).encode()).hexdigest()
    return IdempotencyKey(digest, "-".join(parts), scope)


@dataclass(frozen=True, slots=True)
class BatchKey:
    """The idempotency key of a batch: it counts for the same set of tasks."""

    key: IdempotencyKey
    ttl_ms: int

    def item(self, index: int) -> IdempotencyKey:
        """Return the key of an item that has none of its own."""
        digest = sha256(f"{self.key}-{index}".encode("utf-8", "surrogatepass")).hexdigest()
        return IdempotencyKey(digest, f"{self.key.text}-{index}", self.key.scope)

    def text_of(self, tasks: Iterable[str]) -> str:
        """Return it as the scripts take it."""
        digest = key_digest("\x1f".join(sorted(set(tasks))), self.key)
        return f"{digest}\x1f{self.ttl_ms}\x1f{self.key.text}"


def key_digest(task: str, key: str) -> str:
    """Return what stands for a key of a task in the name of a key of the store."""
    return sha256(f"{task}\x1f{key}".encode("utf-8", "surrogatepass")).hexdigest()[:40]
