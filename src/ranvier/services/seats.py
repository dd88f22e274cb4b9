"""So many at once per key; more wait. A key that nobody uses takes no memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Seats:
    """``most`` seats for each key; who waits is served in the order of coming."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[str, _Row] = {}

    @asynccontextmanager
    async def taken(self, key: str) -> AsyncIterator[None]:
        """Have a seat while the block runs."""
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row(self._most)
        row.users += 1
        try:
            async with row.free:
                yield
        finally:
            row.users -= 1
            if not row.users:
                del self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)


class _Row:
    __slots__ = ("free", "users")

    def __init__(self, most: int) -> None:
        self.free = asyncio.Semaphore(most)
        self.users = 0
