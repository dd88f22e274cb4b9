"""The clock for life: the system's time and the system's chance.

The only file in which the event loop's timers and the system's clocks may be used.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ranvier.limits import Ms


class SystemClock:
    """The :class:`~ranvier.plugs.Clock` of production and diagnosis."""

    def now(self) -> Ms:
        """Wall clock."""
        return Ms(time.time_ns() // 1_000_000)

    def tick(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; nothing or less lets others run once."""
        await asyncio.sleep(max(seconds, 0.0))

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Cancel the block after ``seconds`` and raise :class:`TimeoutError`."""
        async with asyncio.timeout(seconds):
            yield

    def random_bytes(self, count: int) -> bytes:
        """Unpredictable bytes from the operating system."""
        return secrets.token_bytes(count)
