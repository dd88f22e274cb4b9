"""A stream in memory: the pieces that a link will read, and what it wrote.

For tests and fuzzing of the HTTP client without a socket. ``ends`` says how the
stream ends after the last piece: ``"end"`` (with TLS's end mark), ``"cut"``,
or ``"hangs"``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ranvier.errors import ConnectionLost
from ranvier.plugs import LinkFacts
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import Certificates

FACTS = LinkFacts(address=Address("192.0.2.1", 8448), certificates=Certificates())


class MemoryStream:
    """See the module's text. ``taken`` counts the pieces that were read."""

    def __init__(self, pieces: Iterable[bytes], *, ends: str = "end", deaf: bool = False) -> None:
        self._pieces = iter(pieces)
        self._ends = ends
        self._deaf = deaf
        self._abandoned = asyncio.Event()
        self.sent = bytearray()
        self.taken = 0
        self.closed = False
        self.noisy = False

    async def send(self, data: bytes) -> None:
        if self._deaf:
            raise ConnectionLost("connection-broken", "deaf")
        self.sent += data

    async def receive(self) -> bytes:
        for piece in self._pieces:
            self.taken += 1
            return piece
        if self._ends == "hangs":
            await self._abandoned.wait()
        if self._ends != "end":
            raise ConnectionLost("connection-cut", "cut")
        return b""

    def quiet(self) -> bool:
        return not self.closed and not self.noisy

    def abandon(self) -> None:
        self._abandoned.set()

    def close(self) -> None:
        self.closed = True
