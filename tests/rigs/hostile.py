"""A peer that means no good, as a process of its own: ``python -m tests.rigs.hostile HOW PORT N``.

It comes from another loopback address than honest peers, says ``ready`` once it has
begun, goes on until its standard input ends, and then says how much it did.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator

ADDRESS = "127.0.0.66"
AUTH = 'X-Matrix origin="{origin}",destination="{us}",key="ed25519:a_now",sig="{sig}"'
SEND = "PUT /_matrix/federation/v1/send/1 HTTP/1.1\r\nHost: x\r\nAuthorization: {auth}\r\n"
Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Attack:
    """One way to be hostile, over at most ``most`` connections at once."""

    def __init__(self, how: str, port: int, most: int, victim: str, peer: str) -> None:
        self.port = port
        self.us = victim
        self.peer = peer
        self.done = 0
        self.made = 0
        self.names = itertools.count(1)
        self.most = most
        self.speak: Speak = getattr(self, how.replace("-", "_"))
        self.tls = None if how == "idle" else ssl._create_unverified_context()

    # --- Ways ---

    async def idle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect and say nothing, not even for TLS."""
        await reader.read()

    async def half_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a head, and add to it now and then."""
        writer.write(b"GET /_matrix/key/v2/server HTTP/1.1\r\nHost: x\r\n")
        while not reader.at_eof():
            writer.write(b"X: x\r\n")
            await asyncio.sleep(0.2)

    async def half_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A forged header, and a body that does not end."""
        head = SEND.format(auth=self.auth(self.peer)) + "Content-Length: 13000000\r\n\r\n"
        writer.write(head.encode() + b'{"a":"')
        while not reader.at_eof():
            writer.write(b"x" * 100)
            await asyncio.sleep(0.2)

    async def large_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As much as may be sent, but for the end."""
        head = SEND.format(auth=self.auth(self.peer)) + "Content-Length: 13000000\r\n\r\n"
        writer.write(head.encode() + b'{"a":"')
        for _ in range(12):
            writer.write(b"x" * 1_000_000)
            await writer.drain()
        await reader.read()

    async def dear_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forged requests whose bodies take seconds to read, one after another."""
        body = b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}"
        head = SEND.format(auth=self.auth(self.peer)) + f"Content-Length: {len(body)}\r\n\r\n"
        while True:
            writer.write(head.encode() + body)
            await reader.readuntil(b"}")
            self.done += 1

    async def unsigned(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests without a signature, one after another."""
        await self.flood(reader, writer, lambda: "")

    async def forged(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests in the name of a peer whose keys are known."""
        await self.flood(reader, writer, lambda: self.auth(self.peer))

    async def unknown(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of ever new names, whose servers take the question and never answer."""
        trap = await asyncio.start_server(lambda r, w: None, ADDRESS, 0)
        port = trap.sockets[0].getsockname()[1]
        await self.flood(reader, writer, lambda: self.auth(self.name(port)))

    def name(self, port: int) -> str:
        n = next(self.names)
        return f"127.{66 + n // 60_000}.{n // 250 % 240}.{n % 250 + 1}:{port}"

    # --- How ---

    def auth(self, origin: str) -> str:
        return AUTH.format(origin=origin, us=self.us, sig="A" * 86)

    async def flood(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, auth: Callable[[], str]
    ) -> None:
        while True:
            head = SEND.format(auth=auth()) if auth() else SEND.replace("Authorization", "X")
            writer.write(head.encode() + b"Content-Length: 2\r\n\r\n{}")
            await reader.readuntil(b"}")
            self.done += 1

    async def connection(self) -> None:
        """Again and again."""
        while True:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=self.tls, local_addr=(ADDRESS, 0)
                )
                self.made += 1
                try:
                    await self.speak(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(0.1)

    async def run(self) -> None:
        tasks = [asyncio.ensure_future(self.connection()) for _ in range(self.most)]
        await asyncio.sleep(1.0)
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print(self.most, self.made, self.done, flush=True)
        for task in tasks:
            task.cancel()


def most_connections(wanted: int) -> int:
    """What this machine lets one process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else wanted + 200
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, wanted + 200), hard))
        soft = min(most, wanted + 200)
    return min(wanted, soft - 100)


def words() -> Iterator[str]:
    yield from sys.argv[1:]


if __name__ == "__main__":
    how, port, wanted, victim, peer = words()
    asyncio.run(Attack(how, int(port), most_connections(int(wanted)), victim, peer).run())
