"""Large bodies: how much of them is held, and who works on them.

Whoever asks may send 12.5 MiB before we know who it is, and what a body says must be
known before its signature can be (AUTH-04). One that is made for it takes seconds to
read as JSON. So that a stranger slows only itself (SEC-05):

* of the bodies of requests that are not authenticated yet so many bytes are held, in
  all and of one client; beyond that a large one is told to come again. The first 64 KiB
  of each are free, so that ordinary requests always pass;
* a large body is read beside the event loop, one at a time, and one of each client or
  origin, which then rests for some time as long as the work took: whoever sends many
  waits for itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ranvier.errors import Unauthenticated
from ranvier.limits import Limits
from ranvier.plugs import Clock
from ranvier.services.bounded import Bounded
from ranvier.services.turns import Turns

LARGE = 65_536
"""Bytes up to which a body is ordinary: free, and read at once."""
REST = 4
"""How many times as long as the work on its last large body took a client has to wait."""

T = TypeVar("T")


class Bodies:
    """The bodies in hand, by client; ``""`` is nobody's, and only counts in all."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: Counter[str] = Counter()

    @contextmanager
    def held(self, client: str) -> Iterator[Callable[[int], None]]:
        """Count one body while the block runs: the function is told of every piece.

        It raises: Unauthenticated (``bodies-too-many``, 429).
        """
        size = charged = 0

        def grow(more: int) -> None:
            nonlocal size, charged
            size += more
            new = max(size - LARGE, 0) - charged
            if new and not self._room(client, new):
                raise _too_many()
            charged += new
            self._held[client] += new

        try:
            yield grow
        finally:
            self._held[client] -= charged
            if not self._held[client]:
                del self._held[client]

    def _room(self, client: str, new: int) -> bool:
        own = self._held[client] + new if client else 0
        return (
            self._held.total() + new <= self._limits.inbound_body_bytes
            and own <= self._limits.inbound_body_bytes_per_client
        )


def _too_many() -> Unauthenticated:
    return Unauthenticated(
        "bodies-too-many",
        "too many large bodies are being read",
        clause="[ranvier:limits]",
        status=429,
        errcode="M_LIMIT_EXCEEDED",
        public="too many large bodies are being read",
    )


class BodyWork:
    """Work on bodies: at once on ordinary ones, on large ones in turns beside the loop."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._turns = Turns()
        self._one = asyncio.Lock()
        self._rests: Bounded[float] = Bounded(most=limits.cache_entries)  # ticks

    async def work(self, whose: str, size: int, what: Callable[[], T]) -> T:
        """What ``what`` returns or raises; it must touch nothing that others touch."""
        if size <= LARGE:
            return what()
        async with self._turns.taken(whose):
            await self._clock.sleep((self._rests.get(whose) or 0.0) - self._clock.tick())
            async with self._one:
                return await self._beside(whose, what)

    async def _beside(self, whose: str, what: Callable[[], T]) -> T:
        began = self._clock.tick()
        try:
            return await asyncio.to_thread(what)
        finally:
            ended = self._clock.tick()
            self._rests.put(whose, ended + REST * (ended - began))
