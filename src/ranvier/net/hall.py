"""What all connections of one listener share: budgets, finished answers, deadlines, counts.

There are no timers on the connections. Each has a deadline, and
:meth:`Hall.sweep`, called a few times a second on the Clock plug's time, ends
what is over it; a deadline is therefore late by one sweep at most.

The listener knows no Matrix JSON: what it answers by itself it gets from a
:class:`Desk`, which the application is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

import msgspec
from uvicorn.server import ServerState

from ranvier.limits import Limits
from ranvier.net.heads import Refused
from ranvier.net.proxies import Proxies
from ranvier.net.seats import Seats
from ranvier.net.stay import DAWDLING, RESTING, Stay
from ranvier.plugs import Clock


class Desk(Protocol):
    """What the listener asks of the application besides ASGI: finished JSON bodies."""

    def ready(self, target: bytes, leaf: bytes | None) -> bytes | None:
        """The 200 body for a GET of this raw target, or ``None``: let the application answer.

        ``leaf`` is the certificate that this connection's peer saw (DER), ``None``
        without TLS. Only a small, fixed set of targets may get a body: for up to a
        second it is kept.
        """

    def refusal(self, status: int, reason: str) -> bytes:
        """The JSON body for an error that the listener answers by itself."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a connection before its first byte.

    ``client``: whose seat it takes. ``leaf``: our certificate (DER) that it is
    shown. ``believed``: the header about the client that is believed of this peer;
    ``None``: it is no proxy of ours.
    """

    client: str
    leaf: bytes | None
    believed: bytes | None


class Guest(Protocol):
    """A connection, as the hall sees it."""

    arrival: Arrival
    stay: Stay
    transport: asyncio.Transport

    def overdue(self) -> None:
        """The deadline has passed."""

    def shutdown(self) -> None:
        """Close now, or after the answer that is owed."""


def render(status: int, body: bytes, date: bytes, *, keep: bool) -> bytes:
    """A whole HTTP/1.1 JSON answer, never chunked, so that HTTP/1.0 clients read it too."""
    return (
        b"HTTP/1.1 %d %s\r\ndate: %s\r\n%scontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s"
    ) % (
        status,
        HTTPStatus(status).phrase.encode("ascii"),
        date,
        b"" if keep else b"connection: close\r\n",
        len(body),
        body,
    )


class Hall:
    """Shared by all connections of one listener.

    ``refused`` counts refusals by code; ``tick`` is the Clock's monotonic time as
    of the last sweep; ``date`` is the ``Date`` header's value.
    """

    def __init__(
        self, desk: Desk, clock: Clock, limits: Limits, proxies: Proxies | None = None
    ) -> None:
        self.desk = desk
        self.clock = clock
        self.limits = limits
        self.proxies = proxies or Proxies()
        self.seats = Seats(limits.listen_connections_per_client)
        self.state = ServerState()
        self.refused: Counter[str] = Counter()
        self.guests: set[Guest] = set()
        self.empty = asyncio.Event()
        self.empty.set()
        self.tick = 0.0
        self.date = b""
        self._answers: dict[tuple[bytes, bytes | None, bool], bytes] = {}
        self._second = -1
        self.refresh()

    def refresh(self) -> None:
        """Take the time. ``Date`` changes once a second, and the finished answers with it."""
        self.tick = self.clock.tick()
        second = self.clock.now() // 1000
        if second != self._second:
            self._second = second
            self.date = formatdate(second, usegmt=True).encode("ascii")
            self.state.default_headers = [(b"date", self.date)]
            self._answers.clear()

    def sweep(self) -> None:
        """End what is over its time."""
        self.refresh()
        for guest in [each for each in self.guests if each.stay.over(self.tick)]:
            guest.overdue()

    def arrived(self, guest: Guest) -> None:
        """A connection is ready."""
        self.guests.add(guest)
        self.seats.sit(guest.arrival.client, guest)
        self.empty.clear()

    def gone(self, guest: Guest) -> None:
        """A connection is closed; it may not have arrived."""
        self.guests.discard(guest)
        self.seats.leave(guest.arrival.client, guest)
        if not self.guests:
            self.empty.set()

    def make_room(self, client: str | None = None) -> bool:
        """End the connection that has idled longest, or else the one that has dawdled longest.

        Of one client, or of all. At once, so that the seat is free. ``False`` if every
        connection is being worked for.
        """
        among = self.guests if client is None else self.guests & self.seats.of(client)
        for phases in (RESTING, DAWDLING):
            found = [guest for guest in among if guest.stay.phase in phases]
            if found:
                oldest = min(found, key=lambda guest: guest.stay.since)
                oldest.transport.abort()
                self.gone(oldest)
                return True
        return False

    def answer(self, target: bytes, leaf: bytes | None, keep: bool) -> bytes | None:
        """The finished answer for a GET of ``target``, if the desk has one."""
        known = self._answers.get((target, leaf, keep))
        if known is None:
            body = self.desk.ready(target, leaf)
            if body is not None:
                known = self._answers[target, leaf, keep] = render(200, body, self.date, keep=keep)
        return known

    def refusal(self, why: Refused) -> bytes:
        """The finished answer to what is refused; counts it."""
        self.refused[why.code] += 1
        body = self.desk.refusal(why.status, why.reason)
        return render(why.status, body, self.date, keep=False)
