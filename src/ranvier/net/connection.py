"""One connection from its first to its last byte: its seat, its phase, its end.

* It is in one :class:`~ranvier.net.stay.Phase` at a time, with one deadline. Flags
  say what is being read; :meth:`Connection.settle` derives the phase from them.
* A refusal is one JSON answer and the end of the connection. What still arrives
  is dropped for a second, or the reset that an early close provokes
  would overtake the answer.
* A peer that ends its own side after its last request gets the answers that are
  owed. One that has gone looks the same, so the time for them is bounded. Over
  TLS the event loop ends both sides.

What is read, and what of it is refused, is in :mod:`ranvier.net.guard`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ranvier.net.hall import Arrival, Hall
from ranvier.net.heads import Refused
from ranvier.net.stay import Phase, Stay

TOO_SLOW = {
    Phase.HEAD: ("head-too-slow", "the head of the request came too slowly"),
    Phase.BODY: ("body-too-slow", "the body of the request came too slowly"),
}

logger = logging.getLogger("ranvier.listen")

# Overridden methods are documented where uvicorn defines them.
# ruff: noqa: D102


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a seat in the :class:`Hall`, deadlines, and an orderly end."""

    def __init__(
        self, config: Config, hall: Hall, app_state: dict[str, Any], arrival: Arrival
    ) -> None:
        super().__init__(config, hall.state, app_state, asyncio.get_running_loop())
        self.logger, self.access_log = logger, False
        self.hall, self.limits, self.arrival = hall, hall.limits, arrival
        self.peer_leaf: bytes | None = None
        self.running: Any = None  # the cycle whose answer is being made
        self.farewell: bytes | None = None  # the last answer, while earlier ones are owed
        self.begun = False  # a head has begun and is not complete
        self.reading = False  # a message for the application, its body not complete
        self.keep, self.done = True, False  # done: not one more request will be read
        self.head_since = self.body_since = hall.tick

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does: always a Transport
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls and self.arrival.believed is None:  # else it is the proxy's own
            self.peer_leaf = tls.getpeercert(True)
        self.stay = Stay(self.limits, transport, self.hall.tick)
        self.hall.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.hall.gone(self)
        self.pipeline.clear()
        if self.running is not None:
            self.running.disconnected = True
            self.running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn's says never
        answers = self.owes and self.stay.phase is not Phase.ENDING
        if self.reading or not answers or not self.transport.can_write_eof():
            return False
        self.done, self.keep = True, False
        if self.farewell is None:
            self.cycle.keep_alive = False
        self.settle()
        self.stay.stall(self.hall.tick)
        return True

    @property
    def owes(self) -> bool:
        """Whether the application still works on an answer."""
        return self.running is not None and not self.cycle.response_complete

    def settle(self) -> None:
        """Derive the phase from what is read and what is owed."""
        if self.stay.phase is Phase.ENDING:
            return
        if self.reading and not self.pipeline:
            self.stay.wait(Phase.BODY, self.body_since)
        elif self.owes:
            self.stay.wait(Phase.BUSY, self.hall.tick)
        elif self.done or self.transport.is_closing():
            self.stay.leave(self.hall.tick)
        elif self.begun:
            self.stay.wait(Phase.HEAD, self.head_since)
        else:
            self.stay.wait(Phase.IDLE, self.hall.tick)

    def refuse(self, why: Refused) -> None:
        """Answer and end; answers that are owed go out first."""
        self.done = True
        if not why.status:
            return
        logger.debug("refused a request: %s (%s)", why.reason, why.code)
        answer = self.hall.refusal(why)
        if self.reading and self.running is self.cycle:  # the application has this message
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:  # it cannot be answered twice
                self.stay.leave(self.hall.tick)
            else:
                self.stay.say_last(answer, self.hall.tick)
            return
        if self.reading:  # it waits: forget it
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self.running
        self.reading = False
        if self.owes:
            self.farewell = answer
        else:
            self.stay.say_last(answer, self.hall.tick)

    def overdue(self) -> None:
        if self.stay.phase in TOO_SLOW:
            self.refuse(Refused(408, *TOO_SLOW[self.stay.phase]))
        else:
            self.stay.leave(self.hall.tick)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stay.stall(self.hall.tick)
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stay.stalled = math.inf
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """Close now, or after the answer that is owed."""
        self.keep = False
        if self.owes:
            self.done = not self.reading
            self.cycle.keep_alive = False
        else:
            self.stay.leave(self.hall.tick)
