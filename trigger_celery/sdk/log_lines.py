"""What `runs.logs` returns: the lines of a run, for `for` and for `async for`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from trigger_celery.engine.logs import LogReader
from trigger_celery.model.log_line import LogLine
from trigger_celery.store.op import refuse_in_loop
from trigger_celery.store.store import Store


class LogLines:
    """The lines of a run's log, oldest first: `for line in lines`, or `async for` in async code.

    Each loop reads from the beginning.
    """

    def __init__(self, store: Store, read: Callable[[], LogReader]) -> None:
        self._store = store
        self._read = read
        self._reader: LogReader | None = None

    @property
    def dropped(self) -> int:
        """How many lines are missing from the log, as the last loop found: known when it has begun."""
        return 0 if self._reader is None else self._reader.dropped

    def __iter__(self) -> Iterator[LogLine]:
        refuse_in_loop("for line in runs.logs(…)")
        return self._lines()

    def _lines(self) -> Iterator[LogLine]:
        reader = self._reader = self._read()
        while (line := self._store.run_sync(reader.next())) is not None:
            yield line

    async def __aiter__(self) -> AsyncIterator[LogLine]:
        reader = self._reader = self._read()
        while (line := await self._store.run_async(reader.next())) is not None:
            yield line
