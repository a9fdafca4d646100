"""Where the environments of tests are: the server of a test session, and the binding lent to a test."""

from __future__ import annotations

import importlib.util
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.project_app import load_app, make_app
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.errors import ConfigurationError, NotBoundError
from trigger_celery.model.ids import op_id
from trigger_celery.store.op import command
from trigger_celery.store.store import Store

_SCAN = 1000


class TestServer:
    """The server of one test process: an embedded one, or one that runs already."""

    __test__ = False  # pytest: not a class of tests

    def __init__(self, url: str | None, folder: Path) -> None:
        self._embedded: EmbeddedServer | None = None
        self._folder = folder
        self._stand_ins: weakref.WeakKeyDictionary[TriggerCelery, TriggerCelery]
        self._stand_ins = weakref.WeakKeyDictionary()
        self._stores: list[Store] = []
        # On a server of their own, tests have it for themselves; else only what nobody else uses.
        self._env = "dev" if url is None else f"dev-{op_id()[:16]}"
        if url is None:
            self._embedded = EmbeddedServer()
            self._embedded.start()
            url = self._embedded.url
        self.url = url

    def close(self) -> None:
        """End an embedded server."""
        for store in self._stores:
            store.close()
        if self._embedded is not None:
            self._embedded.close()

    @contextmanager
    def lend(self, trigger: TriggerCelery) -> Iterator[Store]:
        """Meanwhile the binding's runs are stored here, in an empty environment."""
        stand_in = self._stand_ins.get(trigger)
        if stand_in is None:
            stand_in = self._stand_ins[trigger] = self._stand_in(trigger)
        trigger.exchange(stand_in)
        try:
            store = trigger.store
            if store not in self._stores:
                self._stores.append(store)
            self._empty(store)
            yield store
        finally:
            if self._embedded is None:
                self._empty(trigger.store)
            trigger.exchange(stand_in)

    def _stand_in(self, trigger: TriggerCelery) -> TriggerCelery:
        settings = trigger.keywords
        settings |= {"redis_url": self.url, "project": "test", "env": self._env}
        stand_in = TriggerCelery(**settings)
        stand_in.exchange(trigger)
        try:
            elsewhere = trigger.settings.payload_store is not None
        finally:
            stand_in.exchange(trigger)
        if elsewhere and importlib.util.find_spec("fsspec") is not None:
            stand_in.configure(payload_store=(self._folder / "payloads").as_uri())
        return stand_in

    def _empty(self, store: Store) -> None:
        """Remove what is stored: everything on a server of our own, our environment on others."""
        if self._embedded is not None:
            store.send(command("FLUSHALL"))
            return
        cursor: bytes | int = 0
        while True:
            cursor, found = store.send(
                command("SCAN", cursor, "MATCH", f"{store.scope}:*", "COUNT", _SCAN)
            )[0]
            if found:
                store.send(command("UNLINK", *found))
            if int(cursor) == 0:
                return


@contextmanager
def binding(app: str | None) -> Iterator[TriggerCelery]:
    """Return the binding to test: of the named app, the one there is, or one of an app made for it."""
    if app is not None:
        loaded = load_app(app)
        found = next((one for one in context.bound() if one.app is loaded), None)
        if found is None:
            raise ConfigurationError(
                f"trigger_app = {app}: this Celery app is not bound. Add TriggerCelery(app) behind it."
            )
        yield found
        return
    if len(context.bound()) > 1:
        names = ", ".join(repr(one.app.main) for one in context.bound())
        raise NotBoundError(
            f"several TriggerCelery are bound (apps {names}): override the fixture trigger_binding "
            "in conftest.py, so that it returns the one to test, and unbind the others"
        )
    if context.bound():
        yield context.bound()[0]
        return
    made, own = _spare(), make_app("memory://", ())
    made.init_app(own)
    try:
        yield made
    finally:
        made.unbind()
        own.close()


@cache
def _spare() -> TriggerCelery:
    """Return the binding for tests without one: the same each time, as its connections are kept."""
    return TriggerCelery()
