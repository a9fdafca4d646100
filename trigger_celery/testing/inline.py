"""Inline mode: `trigger` executes the run at once, in the test's process, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.errors import InlineModeError
from trigger_celery.model.packet import encode
from trigger_celery.model.run import Run
from trigger_celery.sdk.handle import id_of
from trigger_celery.store.store import Store
from trigger_celery.testing.environments import binding
from trigger_celery.testing.inline_execution import InlineExecutor
from trigger_celery.testing.inline_records import InlineToken, Memory
from trigger_celery.testing.inline_scripts import Scripts
from trigger_celery.testing.inline_store import InlineStore
from trigger_celery.testing.recorded import RecordedRuns, SomeRun

_NO_ANSWER: Final[Any] = object()


class Inline(RecordedRuns):
    """The runs that were executed inline, with the assertions of `trigger_env`."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._answer: Any = _NO_ANSWER

    @property
    def runs(self) -> list[Run]:
        """Every run, those made by tasks included, in the order in which they were triggered."""
        return [run.seen() for run in list(self._memory.runs.values())]

    def ended(self, run: SomeRun) -> Run:
        """Return the run. Inside of itself it has not ended: AssertionError."""
        run_id = id_of(run)
        found = self._memory.runs.get(run_id)
        if found is None:
            raise AssertionError(f"run {run_id} was not triggered in this inline mode")
        if not found.is_final:
            raise AssertionError(
                f"run {run_id} of {found.task!r} is {found.status}: it has not ended"
            )
        return found.seen()

    def stream(self, run: SomeRun, name: str = "default") -> list[Any]:
        """Return the chunks of a stream of a run."""
        found = self._memory.runs.get(id_of(run))
        return [json.loads(chunk) for chunk in (found.streams.get(name, ()) if found else ())]

    def answer_tokens(self, answer: Any) -> None:
        """Complete every token that a run waits for with *answer*.

        A function is called with the token's id, and returns the data.
        """
        self._answer = answer

    def _complete(self, token: InlineToken) -> None:
        """A run waits for a token or a date that is not done."""
        if token.type != "TOKEN":
            self._memory.pass_until(token.due_ms)
            token.status = "COMPLETED"
            return
        if self._answer is _NO_ANSWER:
            raise InlineModeError(
                f"a run waits for the token {token.id}, and inline nobody can complete it meanwhile. "
                "Complete it before the wait, say trigger_inline.answer_tokens(data) at the begin of "
                "the test, or use the fixture trigger_env and complete_token()."
            )
        data = self._answer(token.id) if callable(self._answer) else self._answer
        token.status, token.output = "COMPLETED", encode(data)


class _InlineBinding(TriggerCelery):
    """What is lent to the binding: settings and a store without a server."""

    def __init__(self, store: Callable[[], Store], **settings: Any) -> None:
        super().__init__(**settings)
        self._store = store()


@contextmanager
def trigger_inline(
    trigger: TriggerCelery | None = None, *, raise_errors: bool = False
) -> Iterator[Inline]:
    """Meanwhile execute every run where it is triggered, to its end, without a server.

    Children, batches, steps, metadata and tags work; delays, retries and waits for time are over at
    once. Queues and limits do not exist, and what needs a server raises InlineModeError. Not for code
    under test that depends on runs going on by themselves: a run triggered without waiting has ended,
    too, when `trigger` returns.

    Args:
        trigger: the binding; otherwise the one there is, or one that is made for the purpose.
        raise_errors: raise what a run's code raised where it was triggered, instead of recording it only.

    Example:
        with trigger_inline() as inline:
            handle = fulfil.trigger({"id": 1}).sync()
            inline.assert_completed(handle)
    """
    with ExitStack() as stack:
        bound = stack.enter_context(binding(None)) if trigger is None else trigger
        memory = Memory()
        inline = Inline(memory)
        scripts = Scripts(memory, inline._complete)
        executor = InlineExecutor(bound, memory, raise_errors=raise_errors)
        settings = bound.keywords
        # Whatever would look for a server there finds none. Log lines have nobody to read them.
        settings |= {"redis_url": "redis://inline.invalid", "project": "test", "env": "dev"}
        settings |= {"log_level": "none"}
        lent = _InlineBinding(lambda: InlineStore("inline", scripts, executor), **settings)
        bound.exchange(lent)
        stack.callback(bound.exchange, lent)
        yield inline
