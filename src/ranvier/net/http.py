"""HTTP/1.1 over a stream that was judged: one exchange after another, within limits.

h11 is the parser. Around it stands what h11 leaves to its user: how much head, how
many headers, how much body, how much framing around the body and how much time an
answer may take. Whatever the peer does, an exchange ends in a response,
``ConnectionLost`` or ``TimedOut``, and after an error the link is closed.

The request is written while the answer is already awaited, so an early refusal of
a large body is seen. We never ask for compression, and unpack none.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import h11

from ranvier.errors import ConnectionLost, TimedOut
from ranvier.limits import ExchangeLimits
from ranvier.plugs import Clock, HttpRequest, HttpResponse, LinkFacts

# A request that every socket takes without waiting for the peer, in bytes.
_AT_ONCE = 8192

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_SAYS_WHY = frozenset({"client-certificate-refused"})
"""How a stream ends for a reason that is not that it ended too early."""


class ByteStream(Protocol):
    """What a link needs of a connection."""

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises: ConnectionLost."""

    async def receive(self) -> bytes:
        """The next piece, empty at the end. Raises: ConnectionLost."""

    def quiet(self) -> bool:
        """Whether it is open and nothing unasked for has come."""

    def abandon(self) -> None:
        """Make whoever sends or receives fail at once; never raises."""

    def close(self) -> None:
        """Close; never raises."""


class HttpLink:
    """The :class:`~ranvier.plugs.Link` over a real connection."""

    def __init__(self, stream: ByteStream, facts: LinkFacts, clock: Clock) -> None:
        self._stream = stream
        self._facts = facts
        self._clock = clock
        self._open = True
        self._busy = False

    @property
    def facts(self) -> LinkFacts:
        """What is known of this connection."""
        return self._facts

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: open, idle, and the peer has not left."""
        return self._open and not self._busy and self._stream.quiet()

    async def exchange(self, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
        """Send one request and read its answer whole.

        Raises: ConnectionLost, TimedOut.
        """
        if not self.reusable:
            raise ConnectionLost("connection-closed", "this connection takes no further request")
        reading = _Reading(request, limits)
        self._busy, again = True, False
        try:
            async with self._clock.timeout(limits.seconds):
                response, again = await self._exchange(reading)
        except TimeoutError as error:
            message = f"no whole answer within {limits.seconds:g} s, {reading.state}"
            raise TimedOut("exchange-timeout", message) from error
        finally:
            self._busy = False
            if not (again and self._open):
                await self.close()
        return response

    async def _exchange(self, reading: _Reading) -> tuple[HttpResponse, bool]:
        if len(reading.outgoing) <= _AT_ONCE:
            sent = await self._send(reading.outgoing)
            return await self._answer(reading), reading.again and sent
        sending = asyncio.ensure_future(self._send(reading.outgoing))
        try:
            response = await self._answer(reading)
            return response, reading.again and sending.done() and sending.result()
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait((sending,))

    async def _answer(self, reading: _Reading) -> HttpResponse:
        while (response := reading.step()) is None:
            reading.feed(await self._receive(reading))
            await self._clock.sleep(0.0)  # who sends fast enough would never let others run
        return response

    async def _send(self, data: bytes) -> bool:
        """Whether all was sent; if not, the reader finds out why, or reads an early answer."""
        try:
            await self._stream.send(data)
        except ConnectionLost:
            return False
        return True

    async def _receive(self, reading: _Reading) -> bytes:
        try:
            return await self._stream.receive()
        except ConnectionLost as error:
            if error.code in _SAYS_WHY:
                raise
            raise reading.cut(error.message) from error

    async def close(self) -> None:
        """Close; an exchange under way fails. Never raises."""
        self._open = False
        if self._busy:
            self._stream.abandon()
        else:
            self._stream.close()


class _Reading:
    """One answer on its way, and what it has cost so far."""

    def __init__(self, request: HttpRequest, limits: ExchangeLimits) -> None:
        self._limits = limits
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.head_bytes)
        self.outgoing = self._written(request)
        self._bodiless = request.method == "HEAD"
        self._response: h11.Response | None = None
        self._body = bytearray()
        self._raw = 0
        self._head_bytes = 0
        self._head_count = 0

    def _written(self, request: HttpRequest) -> bytes:
        """The request's bytes: ``Host`` first, exactly as given."""
        headers = [("Host", request.host), *request.headers]
        given = {name.lower() for name, _ in request.headers}
        if (request.body or request.method in _WITH_BODY) and "content-length" not in given:
            headers.append(("Content-Length", str(len(request.body))))
        try:
            head = h11.Request(method=request.method, target=request.target, headers=headers)
            pieces = [
                self._parser.send(head),
                self._parser.send(h11.Data(data=request.body)) if request.body else b"",
                self._parser.send(h11.EndOfMessage()),
            ]
        except (h11.LocalProtocolError, UnicodeError) as error:
            raise ConnectionLost("request-unsendable", f"not sent: {error}") from error
        return b"".join(piece or b"" for piece in pieces)

    @property
    def state(self) -> str:
        """How far the answer has come, in words."""
        if self._response is not None:
            return f"{len(self._body)} bytes of body had come"
        return f"{self._raw} bytes of its head had come" if self._raw else "nothing had come"

    @property
    def again(self) -> bool:
        """Whether both sides agree that another request may follow, and nothing is left over."""
        done = self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE
        return done and not self._parser.trailing_data[0]

    def cut(self, why: str) -> ConnectionLost:
        """The connection ended too early."""
        if not self._raw:
            return ConnectionLost("no-answer", f"it ended before an answer: {why}")
        return ConnectionLost("connection-lost", f"it ended too early, {self.state}: {why}")

    def feed(self, data: bytes) -> None:
        """Take what came; empty at the end. Raises: ConnectionLost."""
        if not data and not self._raw:
            raise self.cut("the connection was closed")
        self._raw += len(data)
        framing = self._raw - self._head_bytes - len(self._body)
        tolerated = self._limits.framing_bytes + self._limits.framing_per_byte * len(self._body)
        if framing > 2 * self._limits.head_bytes + tolerated:
            raise ConnectionLost("too-much-framing", "the answer is more framing than content")
        self._parser.receive_data(data)

    def step(self) -> HttpResponse | None:
        """The response, if it is whole. Raises: ConnectionLost."""
        while True:
            try:
                event = self._parser.next_event()
            except h11.RemoteProtocolError as error:
                raise self._refused(error) from error
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return None
            if isinstance(event, h11.EndOfMessage):
                return self._whole()
            self._take(event)

    def _refused(self, error: h11.RemoteProtocolError) -> ConnectionLost:
        if error.error_status_hint == 431:
            return self._too_much_head()
        if self._parser.trailing_data[1]:
            return self.cut(str(error))
        return ConnectionLost("not-http", f"the answer is no HTTP/1.1: {error!s:.200}")

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Data):
            self._body += event.data
            self._insist_body(len(self._body))
        elif isinstance(event, h11.Response | h11.InformationalResponse):
            self._head_count += 1 + len(event.headers)
            self._head_bytes += sum(len(name) + len(value) + 4 for name, value in event.headers)
            if self._head_count > self._limits.head_count + 1:
                message = f"more than {self._limits.head_count} headers"
                raise ConnectionLost("too-many-headers", message)
            if self._head_bytes > self._limits.head_bytes:
                raise self._too_much_head()
            if isinstance(event, h11.Response):
                self._begin(event)

    def _begin(self, response: h11.Response) -> None:
        if not response.http_version.startswith(b"1."):
            raise ConnectionLost("not-http", "the answer is no HTTP/1.1: another version")
        self._response = response
        length = dict(response.headers).get(b"content-length", b"0")
        if not self._bodiless and response.status_code not in (204, 304):
            self._insist_body(int(length))

    def _insist_body(self, size: int) -> None:
        if size > self._limits.body_bytes:
            message = f"the body is larger than {self._limits.body_bytes} bytes"
            raise ConnectionLost("body-too-large", message)

    def _too_much_head(self) -> ConnectionLost:
        message = f"the head is larger than {self._limits.head_bytes} bytes"
        return ConnectionLost("head-too-large", message)

    def _whole(self) -> HttpResponse:
        assert self._response is not None
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._response.headers
        )
        return HttpResponse(
            status=self._response.status_code, headers=headers, body=bytes(self._body)
        )
