"""Large packets live in the payload store, where there is one; Redis has references to them.

Whoever writes such a packet notes its owner (a run or a token) first, and the pruner deletes the
owner's objects when the owner is not there any more. So nothing stays behind, whatever died
between two of these steps, and an object is there as long as its run.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import PayloadStoreError
from trigger_celery.model.packet import JSON, STORE, Packet
from trigger_celery.model.stored_packet import is_large
from trigger_celery.store.op import AskPayloads, Flow, Perform
from trigger_celery.store.payloads import PayloadStore

logger = logging.getLogger("trigger_celery.payloads")

MAX_OWNERS: Final = 1_000_000
"""Runs and tokens whose objects are known; beyond that those looked at first are forgotten."""
_MARK: Final = STORE.encode()
_BODIES: Final = ((b"ptype", 1), (b"otype", 2))
"""The field with a packet's type, and where in the reply of `read_run` a long packet is."""


def _blocking(action: Callable[[], Any]) -> Perform:
    """Return the step that does what blocks: in a thread where there is a loop."""
    return Perform(lambda: asyncio.to_thread(action), action)


def put_away(scope: str, items: Sequence[tuple[str, Packet]]) -> Flow[list[Packet]]:
    """Move large packets to the payload store; return what Redis gets: references, or the packets.

    Each comes with its owner. Raises PayloadStoreError.
    """
    found = [packet for _, packet in items]
    large = [index for index, packet in enumerate(found) if is_large(packet)]
    if not large:
        return found
    payloads: PayloadStore | None = yield AskPayloads()
    if payloads is None:
        return found
    moved = [items[index] for index in large]
    forgotten = yield SCRIPTS.note_objects(
        scope, list(dict.fromkeys(owner for owner, _ in moved)), None, most=MAX_OWNERS
    )
    if forgotten:
        logger.warning(
            "%d runs or tokens have objects in the payload store that no worker will delete: more "
            "than a million have such objects. Do workers have the setting payload_store?",
            forgotten,
            extra={"action": "objects_forgotten", "count": forgotten},
        )
    kept = yield _blocking(partial(payloads.keep, moved))
    for index, packet in zip(large, kept, strict=True):
        found[index] = packet
    return found


def bring(packets: Sequence[Packet]) -> Flow[list[Packet]]:
    """Return the packets themselves for references; others stay what they are.

    Raises PayloadStoreError, PayloadLostError.
    """
    found = list(packets)
    away = [index for index, packet in enumerate(found) if packet.type == STORE]
    if not away:
        return found
    payloads: PayloadStore | None = yield AskPayloads()
    if payloads is None:
        raise PayloadStoreError(
            "what is asked for is kept in a payload store, and this process has none: give it the "
            "setting payload_store of the process that stored it"
        )
    loaded = yield _blocking(partial(payloads.load, [found[index] for index in away]))
    for index, packet in zip(away, loaded, strict=True):
        found[index] = packet
    return found


def is_away(reply: Sequence[Any]) -> bool:
    """Say whether the reply of `read_run` may have references."""
    return bool(reply) and _MARK in reply[0]


def try_out() -> Flow[str]:
    """Write, read and delete an object; returns where, empty without a payload store.

    Raises PayloadStoreError.
    """
    payloads: PayloadStore | None = yield AskPayloads()
    if payloads is None:
        return ""
    yield _blocking(payloads.try_out)
    return payloads.shown


class Recent:
    """Packets of the payload store that were brought lately, by their references; 16 MB at most.

    A reference names its content by digest: what it stands for never changes.
    """

    def __init__(self, most_bytes: int = 16 * 1024 * 1024) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._packets: OrderedDict[str, Packet] = OrderedDict()

    def get(self, reference: Packet) -> Packet | None:
        """Return what a reference stands for, if it is here."""
        found = self._packets.get(reference.data)
        if found is not None:
            self._packets.move_to_end(reference.data)
        return found

    def put(self, reference: Packet, packet: Packet) -> None:
        """Keep what a reference stands for; what was asked for longest ago goes."""
        if len(packet.data) > self._most or reference.data in self._packets:
            return
        self._packets[reference.data] = packet
        self._bytes += len(packet.data)
        while self._bytes > self._most:
            self._bytes -= len(self._packets.popitem(last=False)[1].data)


def bring_bodies(replies: Sequence[Any], recent: Recent | None = None) -> Flow[None]:
    """Put payloads and outputs into replies of `read_run` that have references to them.

    What is among the *recent* is not read again.
    """
    places = [place for reply in replies if is_away(reply) for place in _places(reply)]
    if not places:
        return
    references = [Packet(reply[index].decode(), STORE) for reply, index, _ in places]
    found = [None if recent is None else recent.get(one) for one in references]
    missing = [one for one, packet in zip(references, found, strict=True) if packet is None]
    loaded = iter((yield from bring(missing)))
    for place, reference, known in zip(places, references, found, strict=True):
        packet = next(loaded) if known is None else known
        if recent is not None:
            recent.put(reference, packet)
        _put(*place, packet)


def leave_out(reply: Any) -> Any:
    """Return a reply of `read_run` without what is in the payload store: None stands for it."""
    if is_away(reply):
        for place in _places(reply):
            _put(*place, Packet("null", JSON))
    return reply


def _places(reply: Any) -> list[tuple[Any, int, int]]:
    """Return which texts of the reply are references, and where in its fields their types are."""
    flat, found = reply[0], []
    for name, index in _BODIES:
        if name in flat[::2]:
            at = 2 * flat[::2].index(name) + 1
            if flat[at] == _MARK and len(reply) > index:
                found.append((reply, index, at))
    return found


def _put(reply: Any, index: int, at: int, packet: Packet) -> None:
    reply[0][at], reply[index] = packet.type.encode(), packet.data.encode()


def prune_objects(scope: str, count: int) -> Flow[tuple[int, int]]:
    """Delete the objects of up to *count* runs and tokens that are gone.

    Returns how many owners were looked at, and how many were gone. Raises PayloadStoreError; what
    was not deleted is looked at again after a minute.
    """
    payloads: PayloadStore | None = yield AskPayloads()
    if payloads is None:
        return 0, 0
    looked, *gone = yield SCRIPTS.prune_objects(scope, (), None, count=count)
    if gone:
        yield _blocking(partial(payloads.delete, [owner.decode() for owner in gone[::2]]))
        yield SCRIPTS.prune_objects(scope, gone, None, count=0)
    return int(looked), len(gone) // 2
