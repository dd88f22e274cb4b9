"""Any bytes as an HTTP answer, in pieces of any size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ranvier.errors import ConnectionLost
from ranvier.limits import ExchangeLimits, Ms
from ranvier.net.http import HttpLink
from ranvier.plugs import HttpRequest, HttpResponse, LinkFacts
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import Certificates

INVARIANT = (
    "Any bytes are a ConnectionLost, or one response within the limits, read from no more than a"
    " bounded number of bytes; and after an error the connection is closed."
)

LIMITS = ExchangeLimits(head_bytes=512, head_count=8, body_bytes=64, framing_bytes=256)
FACTS = LinkFacts(address=Address("192.0.2.1", 8448), certificates=Certificates())
TEMPLATES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nabcde",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: r\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nConnection: close\r\n\r\nto the end",
    b"HTTP/1.0 200 OK\r\n\r\nto the end",
)


class _Clock:
    """A clock whose time-outs never come, so that no event loop is needed."""

    def now(self) -> Ms:
        return Ms(0)

    def tick(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        assert seconds == 0, "nothing sleeps here, but others get their turn"

    def timeout(self, seconds: float) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()

    def random_bytes(self, count: int) -> bytes:
        return bytes(count)


class _Stream:
    """Pieces in memory; nothing here ever waits."""

    def __init__(self, data: bytes, size: int, cut: bool) -> None:
        self._pieces: Iterator[bytes] = (data[i : i + size] for i in range(0, len(data), size))
        self._cut = cut
        self.closed = False
        self.taken = 0

    async def send(self, data: bytes) -> None:
        pass

    async def receive(self) -> bytes:
        for piece in self._pieces:
            self.taken += len(piece)
            return piece
        if self._cut:
            raise ConnectionLost("connection-cut", "cut")
        return b""

    def quiet(self) -> bool:
        return not self.closed

    def abandon(self) -> None:
        raise AssertionError("nobody closes under an exchange")

    def close(self) -> None:
        self.closed = True


def _exchange(link: HttpLink, method: str) -> HttpResponse | None:
    running = link.exchange(HttpRequest(method=method, target="/", host="a.test"), LIMITS)
    try:
        running.send(None)
    except StopIteration as done:
        response: HttpResponse = done.value
        return response
    except ConnectionLost:
        return None
    raise AssertionError("it waits for something")


def _judge(answer: bytes, size: int, method: str, cut: bool) -> None:
    stream = _Stream(answer, size, cut)
    link = HttpLink(stream, FACTS, _Clock())
    response = _exchange(link, method)
    most = 3 * LIMITS.head_bytes + LIMITS.framing_bytes + 8 * LIMITS.body_bytes + size
    assert stream.taken <= most
    if response is None:
        assert stream.closed
        return
    assert len(response.body) <= LIMITS.body_bytes
    assert len(response.headers) <= LIMITS.head_count
    assert sum(len(key) + len(value) for key, value in response.headers) <= LIMITS.head_bytes
    assert 200 <= response.status <= 999
    assert all(key == key.lower() for key, _ in response.headers)
    assert method != "HEAD" or not response.body


def check(data: bytes) -> None:
    size = 1 + (data[0] if data else 0)
    cut = bool(data) and data[-1] % 2 == 1
    for method in ("GET", "HEAD"):
        _judge(data, size, method, cut)
        for template in TEMPLATES:
            place = (data[1] if len(data) > 1 else 0) % len(template)
            for width in (0, len(data)):
                answer = template[:place] + data[2:] + template[place + width :]
                _judge(answer, size, method, cut)
