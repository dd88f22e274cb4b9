"""One connection of the world: what comes back over it, within limits.

Requests are written by h11, as in life, so a host keeps the very bytes. Answers
are values: only their measures are checked here, and faults end in the errors
that reading such bytes ends in.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import h11

from ranvier.errors import ConnectionLost, TimedOut
from ranvier.limits import ExchangeLimits
from ranvier.plugs import Clock, HttpRequest, HttpResponse, LinkFacts
from ranvier.world.faults import HTTP_FAULTS, Fault
from ranvier.world.host import Host

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_WITHOUT_BODY = frozenset({204, 304})


class WorldLink:
    """The Link plug in memory. ``receive`` is told each request and its bytes."""

    def __init__(
        self,
        clock: Clock,
        host: Host,
        facts: LinkFacts,
        receive: Callable[[HttpRequest, bytes], None],
    ) -> None:
        self._clock = clock
        self._host = host
        self._facts = facts
        self._receive = receive
        self._open = True
        self._busy = False
        self._left = False

    @property
    def facts(self) -> LinkFacts:
        """What is known of this connection."""
        return self._facts

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: open, idle, and the peer has not left."""
        return self._open and not self._busy and not self._left

    async def exchange(self, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
        """Send one request and read its answer whole.

        Raises: ConnectionLost, TimedOut.
        """
        if not self.reusable:
            raise ConnectionLost("connection-closed", "this connection takes no further request")
        raw = written(request)
        self._busy, again = True, False
        try:
            async with self._clock.timeout(limits.seconds):
                self._receive(request, raw)
                response = await self._answer(request, limits)
            again = "close" not in (response.header("connection") or "").lower()
        except TimeoutError:
            message = f"no whole answer within {limits.seconds:g} s"
            raise TimedOut("exchange-timeout", message) from None
        finally:
            self._busy = False
            if not again:
                self._open = False
        return response

    async def close(self) -> None:
        """Close; never raises."""
        self._open = False

    async def _answer(self, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
        if self._host.answer_seconds:
            await self._clock.sleep(self._host.answer_seconds)
        fault = self._host.fault if self._host.fault in HTTP_FAULTS else None
        answer = fault or await self._host.serves(request)
        if isinstance(answer, Fault):
            if answer in (Fault.HANGS, Fault.SLOW):
                await self._clock.sleep(math.inf)
            raise broken(answer)
        self._left = not self._host.keeps_alive
        return measured(answer, request, limits)


def written(request: HttpRequest) -> bytes:
    """The request's bytes: ``Host`` first, a length if there may be a body.

    Raises: ConnectionLost (it cannot be written as HTTP).
    """
    headers = [("Host", request.host), *request.headers]
    given = {name.lower() for name, _ in request.headers}
    if (request.body or request.method in _WITH_BODY) and "content-length" not in given:
        headers.append(("Content-Length", str(len(request.body))))
    writer = h11.Connection(h11.CLIENT)
    try:
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        pieces = [writer.send(head)]
        if request.body:
            pieces.append(writer.send(h11.Data(data=request.body)))
        pieces.append(writer.send(h11.EndOfMessage()))
    except (h11.LocalProtocolError, UnicodeError) as error:
        raise ConnectionLost("request-unsendable", f"not sent: {error}") from error
    return b"".join(piece or b"" for piece in pieces)


def broken(fault: Fault) -> ConnectionLost:
    """The error that reading such an answer ends in."""
    match fault:
        case Fault.CLOSES:
            return ConnectionLost("no-answer", "it ended before an answer")
        case Fault.REFUSES_CLIENT:
            message = "it refused our client certificate, or wanted one"
            return ConnectionLost("client-certificate-refused", message)
        case Fault.HALF | Fault.HALF_HEAD:
            return ConnectionLost("connection-lost", "it ended too early")
        case Fault.ENDLESS | Fault.TOO_LARGE:
            return ConnectionLost("body-too-large", "the body is larger than we take")
        case Fault.ENDLESS_HEAD:
            return ConnectionLost("head-too-large", "the head is larger than we take")
        case _:
            return ConnectionLost("not-http", "the answer is no HTTP/1.1")


def measured(response: HttpResponse, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
    """The response as it is read: names in lower case, a length, all within the limits."""
    headers = [(name.lower(), value) for name, value in response.headers]
    body = response.body
    if request.method == "HEAD" or response.status in _WITHOUT_BODY:
        body = b""
    elif not {"content-length", "transfer-encoding"} & {name for name, _ in headers}:
        headers.append(("content-length", str(len(body))))
    if sum(len(name) + len(value) + 4 for name, value in headers) > limits.head_bytes:
        raise broken(Fault.ENDLESS_HEAD)
    if len(headers) > limits.head_count:
        message = f"more than {limits.head_count} headers"
        raise ConnectionLost("too-many-headers", message)
    if len(body) > limits.body_bytes:
        raise broken(Fault.TOO_LARGE)
    return HttpResponse(status=response.status, headers=tuple(headers), body=body)
