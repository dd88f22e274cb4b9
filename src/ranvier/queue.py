"""What waits to be sent, for people: look at it, try again now, or drop it.

::

    for lane in await fed.queue.lanes():
        print(lane.destination, lane.waiting, lane.because)
    await fed.queue.retry("b.example")      # everything that waits, and what was parked
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ranvier.deeds import LaneState, ParkedItem
from ranvier.parts import Parts


class Queue:
    """The outbox of an open federation."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts

    async def lanes(self, destination: str | None = None) -> tuple[LaneState, ...]:
        """Where something waits, is parked or is held off, most waiting first.

        Raises: StoreFault.
        """
        return await self._parts().store.outbox.lanes(destination)

    async def parked(self, destination: str | None = None) -> tuple[ParkedItem, ...]:
        """Items that their destination refused on their own. Raises: StoreFault."""
        return await self._parts().store.outbox.parked(destination)

    async def retry(self, destination: str, *, ids: Sequence[int] | None = None) -> int:
        """Put parked items (all, without ``ids``) back and try the lane at once.

        How many were put back. Raises: StoreFault.
        """
        parts = self._parts()
        back = await parts.store.outbox.unpark(destination, ids=ids, now=parts.clock.now())
        await parts.store.outbox.heard_from(destination, now=parts.clock.now())
        await parts.back_offs.load()
        parts.sender.nudge()
        return back

    async def drop(
        self, destination: str, *, parked_only: bool = False, ids: Sequence[int] | None = None
    ) -> int:
        """Forget what waits and is parked, or (these) parked ones. How many.

        A transaction that is on its way at this moment may still arrive. Raises: StoreFault.
        """
        return await self._parts().store.outbox.drop(destination, parked_only=parked_only, ids=ids)
