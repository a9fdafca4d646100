"""How a pool keeps a waiting run, as the durable side of a run sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trigger_celery.errors import RunLeaseLostError
from trigger_celery.model.wait import WaitInfo

if TYPE_CHECKING:
    from trigger_celery.bridge.durable import Scope


class Ticket(Protocol):
    """One wait: made before the server is asked, so that no news falls in between."""

    park: bool

    async def wait(self) -> None:
        """Wait until the target is done and the run has its slot."""
        ...

    def wait_sync(self) -> None:
        """The same for sync code; may give up the process's memory of the run."""
        ...

    def drop(self) -> None:
        """There is nothing to wait for."""
        ...

    async def abandon(self) -> None:
        """The call that began it broke off: the run goes on without it, in its slot."""
        ...

    def abandon_sync(self) -> None:
        """The same for sync code."""
        ...


class Parking(Protocol):
    """How a pool keeps a waiting run."""

    gave_way_at: float
    """When the code last let others have a turn, by the monotonic clock."""

    @property
    def stopped(self) -> RunLeaseLostError | None:
        """What stops the run, if anything does."""
        ...

    @property
    def post(self) -> str:
        """The run's own mailbox, or an empty text: that of its session."""
        ...

    def begin(self, target: str, scope: Scope, info: WaitInfo) -> Ticket:
        """Announce a wait."""
        ...

    def reconsider(self) -> None:
        """Look whether the run has nothing left to do but wait."""
        ...

    def check(self) -> None:
        """Raise what stops the run: cancelled, given up, over its time."""
        ...

    def active_seconds(self) -> float:
        """Return for how long the attempt has been active, waits excluded."""
        ...

    def close(self, reason: RunLeaseLostError) -> None:
        """Refuse everything from now on."""
        ...


class _NoParking:
    post = ""
    stopped = None
    gave_way_at = 0.0

    def begin(self, target: str, scope: Scope, info: WaitInfo) -> Ticket:
        raise RuntimeError("this attempt cannot wait")

    def reconsider(self) -> None:
        return

    def check(self) -> None:
        return

    def active_seconds(self) -> float:
        return 0.0

    def close(self, reason: RunLeaseLostError) -> None:
        return


NO_PARKING: Parking = _NoParking()
"""Outside of a pool nothing can wait."""
