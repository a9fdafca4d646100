"""What `runs.list` returns: a page to await, or all runs to loop over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from trigger_celery.engine.listing import RunPage
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.run import Run
from trigger_celery.store.op import Flow, Op, refuse_in_loop
from trigger_celery.store.store import Store


class RunList(Op[RunPage]):
    """One page with `await` or `.sync()`; with `async for` or `for` every run, page after page.

    Each loop begins with that page and goes on to older runs. Runs that are made meanwhile do not
    appear.
    """

    __slots__ = ("_page", "_pages")

    def __init__(self, store: Store, page: Callable[[str | None], Flow[RunPage]]) -> None:
        super().__init__(store, page(None), "runs.list")
        self._pages = store
        self._page = page

    def __iter__(self) -> Iterator[Run]:
        refuse_in_loop("for run in runs.list(…)")
        self.close()
        return self._runs()

    def _runs(self) -> Iterator[Run]:
        page = self._pages.run_sync(self._page(None))
        yield from page
        while page.next_cursor is not None:
            page = self._pages.run_sync(self._page(page.next_cursor))
            yield from page

    def __aiter__(self) -> AsyncIterator[Run]:
        self.close()
        return self._runs_async()

    async def _runs_async(self) -> AsyncIterator[Run]:
        page = await self._pages.run_async(self._page(None))
        for run in page:
            yield run
        while page.next_cursor is not None:
            page = await self._pages.run_async(self._page(page.next_cursor))
            for run in page:
                yield run


def after_of(after: str | None, cursor: str | None, call: str) -> str | None:
    """Return the cursor behind which a page begins. Raises InvalidOptionError for two of them."""
    if after is not None and cursor is not None and after != cursor:
        raise InvalidOptionError(f"{call}: after and cursor are the same; pass one of them")
    return cursor if after is None else after
