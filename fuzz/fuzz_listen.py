"""Any bytes to the listener, in any pieces, with time passing in between.

The first byte chooses how the rest is read: as it is, each byte as a fragment of
HTTP, or each four bytes as a request (random bytes alone would never get past the
request line). The second byte is the size of the pieces. No sockets: the
connection's transport keeps what is written to it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ranvier.faces.asgi import FederationApp
from ranvier.limits import Limits, Ms
from ranvier.net.clock import SystemClock
from ranvier.net.guard import GuardedProtocol
from ranvier.net.hall import Arrival, Hall
from ranvier.net.listen import JsonErrors, uvicorn_config
from ranvier.protocol.names import ServerName
from ranvier.protocol.signing import generate_signing_key
from ranvier.services.identity import Identity

INVARIANT = (
    "Any bytes get whole JSON answers with a documented status, then a close in time,"
    " and the next connection is served."
)

SEEDS = (
    b"\x95\xbc\x91\x19\x04t",  # the application fails while a refusal waits for its turn
    b"\x00\xffGET /_matrix/key/v2/server HTTP/1.1\r\nHost: a\r\n\r\n",
)

STATUSES = {200, 400, 404, 405, 408, 413, 431, 505}
GOOD = b"GET /_matrix/key/v1 HTTP/1.0\r\n\r\n"
LEAF = b"a leaf"

FRAGMENTS = (
    b"GET ", b"PUT ", b"POST ", b"HEAD ", b"CONNECT ", b"PRI ", b" ", b"\r\n", b"\r\n\r\n", b"\n",
    b"/_matrix/key/v1", b"/_matrix/key/v2/server", b"/read", b"/fails", b"*", b"http://a/b", b"//",
    b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"Host: a\r\n", b"Host:\r\n",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99999999999\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"3\r\nabc\r\n",
    b"0\r\n\r\n", b"0\r\n", b"abc", b"X: y\r\n", b" folded\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"Upgrade: h2c\r\n", b"\x00", b"\xff",
    b"GET /_matrix/key/v2/server HTTP/1.1\r\nHost: a\r\n\r\n", b"X: " + b"y" * 20_000 + b"\r\n",
    b"GET /read HTTP/1.1\r\nHost: a\r\n\r\n", b"X:y\r\n" * 70,
    b"PUT /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
    b"PUT /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
)  # fmt: skip

METHODS = (b"GET", b"GET", b"PUT", b"POST", b"HEAD", b"OPTIONS")
TARGETS = (
    b"/_matrix/key/v1", b"/_matrix/key/v2/server", b"/_matrix/federation/v1/version?",
    b"/read", b"/read", b"/fails", b"/nope", b"http://a/read", b"*", b"/" + b"y" * 30_000,
)  # fmt: skip
LINES = (
    b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Connection: close", b"X: y",
    b"Expect: 100-continue", b"Upgrade: h2c\r\nConnection: Upgrade", b"Host: again", b"X:",
)  # fmt: skip
BODIES = (b"", b"", b"abc", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"ab", b"zz")


def request(data: bytes) -> bytes:
    """A request from up to four bytes: method, target, header lines, body."""
    method, target, lines, body = (*data, 0, 0, 0)[:4]
    chosen = [line for bit, line in enumerate(LINES) if lines >> bit & 1 and method >> bit & 1]
    version = b"1.0" if method > 240 else b"1.1"
    return b"%s %s HTTP/%s\r\n%s\r\n%s" % (
        METHODS[method % len(METHODS)],
        TARGETS[target % len(TARGETS)],
        version,
        b"".join(line + b"\r\n" for line in (b"Host: a", *chosen)),
        BODIES[body % len(BODIES)],
    )


class Clock(SystemClock):
    """Stands still until told."""

    at = 0.0

    def now(self) -> Ms:
        return Ms(1_800_000_000_000 + int(self.at * 1000))

    def tick(self) -> float:
        return self.at


class Pipe(asyncio.Transport):
    """A transport that keeps what is written, and closes as real ones do: a turn later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop, self.wrote, self.closing, self.late = loop, b"", False, b""
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        if self.closing:  # an error here would end in the application, unseen
            self.late += bytes(data)
        else:
            self.wrote += bytes(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class House:
    """A hall with an application that reads bodies, fails, or is ours."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        key = generate_signing_key(b"1" * 32, "a_1")
        self.desk = FederationApp(Identity(ServerName("us.test"), [key], clock=self.clock))
        self.hall = Hall(self.desk, self.clock, Limits())
        self.config = uvicorn_config(JsonErrors(self.app, self.desk))
        self.config.load()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/fails":
            raise ConnectionError
        more = scope["path"] == "/read"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message["more_body"]
        await self.desk(scope, receive, send)

    async def turns(self, count: int = 6) -> None:
        for _ in range(count):
            await self.clock.sleep(0)

    async def call(self, pieces: list[bytes]) -> bytes:
        """Send the pieces, then let so much time pass that everything must have ended."""
        pipe = Pipe(self.loop)
        arrival = Arrival(client="192.0.2.1", leaf=LEAF, believed=None)
        pipe.protocol = GuardedProtocol(self.config, self.hall, {}, arrival)
        pipe.protocol.connection_made(pipe)
        for piece in pieces:
            if not pipe.closing:
                pipe.protocol.data_received(piece)
                await self.turns(1 + piece[0] % 3)
                self.clock.at += piece[0] % 5
                self.hall.sweep()
        for _ in range(4):
            await self.turns(2 + 2 * len(pipe.protocol.pipeline))
            self.clock.at += 130
            self.hall.sweep()
        await self.turns()
        assert pipe.closing, "the connection is still open"
        assert not pipe.late, f"written after the close: {pipe.late[:60]!r}"
        assert pipe.protocol not in self.hall.guests
        assert not self.hall.state.tasks, "the application is still at work"
        return pipe.wrote


_house: list[House] = []


def house() -> House:
    if not _house:
        _house.append(House())
    return _house[0]


def check(data: bytes) -> None:
    whole = data[2:]
    if data[:1] > b"\x80":
        whole = b"".join(request(whole[at : at + 4]) for at in range(0, len(whole), 4))
    elif data[:1] > b"\x40":
        whole = b"".join(FRAGMENTS[each % len(FRAGMENTS)] for each in whole)
    size = 1 + int.from_bytes(data[1:2], "big") ** 2
    if whole[400 * size :]:
        size = len(whole) // 400 + 1
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    ours = house()
    check_answers(ours.loop.run_until_complete(ours.call(pieces)))
    good = ours.loop.run_until_complete(ours.call([GOOD]))
    assert not ours.hall.refused["listener-failed"]
    assert good.startswith(b"HTTP/1.1 200 ")
    assert b"tls_certificate" in good


def check_answers(wrote: bytes) -> None:
    while wrote:
        head, end, rest = wrote.partition(b"\r\n\r\n")
        assert end, "half a head"
        first, *lines = head.decode("ascii").split("\r\n")
        if first == "HTTP/1.1 100 Continue":
            wrote = rest
            continue
        status = int(first.split(" ")[1])
        headers = dict(line.split(": ", 1) for line in lines)
        assert status in STATUSES or status == 500, first
        assert headers["content-type"] == "application/json"
        body = rest[: int(headers["content-length"])]
        if not rest or rest.startswith(b"HTTP/1.1 "):  # to a HEAD
            wrote = rest
            continue
        assert isinstance(json.loads(body), dict)
        wrote = rest[len(body) :]
