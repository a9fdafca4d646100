"""An event loop for processes that gevent or eventlet has patched, where a thread is a greenlet.

asyncio notes per thread of the system which loop is running, so all greenlets would seem to run
on it. This loop takes the note away while it waits, which is when the others run.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections.abc import Mapping
from typing import Any

from greenlet import getcurrent


def is_patched() -> bool:
    """Tell whether gevent, or eventlet, makes the threads of this process."""
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return True
    eventlet: Any = sys.modules.get("eventlet.patcher")
    return eventlet is not None and bool(eventlet.is_monkey_patched("thread"))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop for a thread of its own, which may be a greenlet."""
    return GreenLoop() if is_patched() else asyncio.new_event_loop()


class GreenLoop(asyncio.SelectorEventLoop):
    """Runs in one greenlet and lets the others run while it waits."""

    def __init__(self) -> None:
        super().__init__(_Selector(self))
        self._home: object = None

    def run_forever(self) -> None:
        """Run until it is stopped, in the greenlet that calls."""
        self._home = getcurrent()
        super().run_forever()

    def is_here(self) -> bool:
        """Tell whether this greenlet is the loop's: code that blocks in a coroutine lets others in."""
        return getcurrent() is self._home


class _Selector(selectors.BaseSelector):
    """The selector that gevent or eventlet puts in place, which waits in its hub."""

    def __init__(self, loop: GreenLoop) -> None:
        self._loop = loop
        self._selector = selectors.DefaultSelector()
        self._outside: asyncio.AbstractEventLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        asyncio._set_running_loop(self._outside)
        try:
            return self._selector.select(timeout)
        finally:
            # Another greenlet may have a loop of its own: it finds it again.
            self._outside = asyncio._get_running_loop()
            asyncio._set_running_loop(self._loop)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.get_key(fileobj)

    def close(self) -> None:
        self._selector.close()
