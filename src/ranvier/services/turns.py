"""So many at once per key; more wait. A key that nobody uses takes no memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """``most`` at once for each key; who waits is served in the order of coming."""

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def taken(self, key: str) -> AsyncIterator[None]:
        """Have a turn while the block runs."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(self._most)
        queue.users += 1
        try:
            async with queue.free:
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._queues[key]

    def users(self, key: str) -> int:
        """How many have a turn, or wait for one."""
        queue = self._queues.get(key)
        return queue.users if queue else 0

    def __len__(self) -> int:
        return len(self._queues)


class _Queue:
    __slots__ = ("free", "users")

    def __init__(self, most: int) -> None:
        self.free = asyncio.Semaphore(most)
        self.users = 0
