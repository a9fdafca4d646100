"""Reads the mailbox of an asyncio worker's session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from trigger_celery.engine import keys
from trigger_celery.errors import StoreError
from trigger_celery.store.store import Store
from trigger_celery.worker.parking import split_message

LOOK_EVERY = 2.0
"""Seconds between looks without a wake-up: the net under a lost one."""

SERVICES = {b"timer": "promoter", b"bulk": "bulk"}
"""Messages for a service of the worker: it has something to do sooner than it would look."""


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
    if message.startswith(b"run "):
        addressee.handed(message)
    elif message in SERVICES:
        poke(SERVICES[message])
    elif message == b"stop":
        addressee.emptied()
    elif b" " in message:
        addressee.told(*split_message(message))
    else:
        return True
    return False
