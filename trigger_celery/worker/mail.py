"""Reads the mailbox of an asyncio worker's session, and what is in the mailboxes of others."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Final, Protocol

from trigger_celery.engine import keys
from trigger_celery.errors import StoreError
from trigger_celery.store.store import Store
from trigger_celery.worker.parking import split_message

logger = logging.getLogger("trigger_celery.worker")

LOOK_EVERY = 2.0
"""Seconds between looks without a wake-up: the net under a lost one."""

SERVICES = {b"timer": "promoter", b"bulk": "bulk"}
"""Messages for a service of the worker: it has something to do sooner than it would look."""


WORK: Final = b"work"
"""There may be runs to take."""

_NEWS: Final = ("done", "resume", "cancel")
_refused = itertools.count(1)


def refuse(message: bytes, problem: object) -> None:
    """Throw away what is no message of ours: nothing that is in a mailbox may end its reader."""
    count = next(_refused)
    logger.warning(
        "%.200r in a mailbox is no message, and is thrown away: %s; %d so far in this process",
        message[:200],
        problem,
        count,
        extra={"action": "mail_refused", "count": count},
    )


def news_in(message: bytes) -> tuple[str, str, str] | None:
    """Return word, run id and detail of a message about a run; None for what is none."""
    try:
        word, run_id, detail = split_message(message)
    except ValueError as problem:
        refuse(message, problem)
        return None
    if word not in _NEWS or not run_id:
        refuse(message, "it says nothing of a run")
        return None
    return word, run_id, detail


class Addressee(Protocol):
    """Who the mail is for."""

    def handed(self, message: bytes) -> None:
        """A run was put into the mailbox, started."""
        ...

    def told(self, word: str, run_id: str, detail: str) -> None:
        """News of a run: done, resume, cancel."""
        ...

    def woken(self) -> None:
        """There may be work."""
        ...

    def emptied(self) -> None:
        """Everything that was sent before the worker began to stop has been read."""
        ...


async def read_mailbox(
    store: Store, session: Callable[[], str], addressee: Addressee, poke: Callable[[str], None]
) -> None:
    """Hand the messages of the session's mailbox over, for ever. *poke* wakes a service."""
    reader = store.async_blocking_reader()
    try:
        while True:
            mailbox = keys.key(store.scope, "mailbox", session())
            try:
                messages = await reader.pop(mailbox, LOOK_EVERY)
            except StoreError:
                await asyncio.sleep(0.3)
                continue
            looked = not messages
            for message in messages:
                looked |= _deliver(message, addressee, poke)
            if looked:
                addressee.woken()
            if looked or len(messages) > 1:
                # First the runs, then the next messages.
                await asyncio.sleep(0)
    finally:
        await reader.close()


def _deliver(message: bytes, addressee: Addressee, poke: Callable[[str], None]) -> bool:
    """Hand one message over; tells whether it says that there is work."""
    if message == WORK:
        return True
    if message.startswith(b"run "):
        try:
            addressee.handed(message)
        except (ValueError, LookupError) as problem:
            refuse(message, problem)
    elif message in SERVICES:
        poke(SERVICES[message])
    elif message == b"stop":
        addressee.emptied()
    elif (news := news_in(message)) is not None:
        addressee.told(*news)
    return False
