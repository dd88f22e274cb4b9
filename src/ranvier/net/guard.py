"""The guarded HTTP/1.1 connection: uvicorn's httptools protocol with the budgets it lacks.

uvicorn takes 60,000 headers or one of 20 MB, waits for ever for the second half
of a head, accepts HTTP/1.1 without ``Host``, adds chunked trailers to the
headers, goes on reading after ``Connection: close`` and answers garbage in plain
text. :class:`GuardedProtocol` closes these holes (decisions D18 to D20). It
stays under 150 lines, so that it can be read against uvicorn's own code.

* One connection is in one :class:`~ranvier.net.stay.Phase` at a time, with one
  deadline. Flags say what is being read; :meth:`GuardedProtocol.settle` derives
  the phase from them.
* A refusal is one JSON answer and the end of the connection. What still arrives
  is dropped for a second, or the reset that an early close provokes
  would overtake the answer.
* **Ready answers.** A GET without a body whose raw target the desk knows is
  answered here from finished bytes: no scope, no task. Everything else goes to
  the application through uvicorn's own request cycle.
* The raw request target, which signatures cover and which uvicorn's scope loses
  (``/x?`` and ``/x``, ``#f``, an absolute form's host), is in
  ``scope["extensions"]["ranvier"]``, with the leaf certificates of both ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ranvier.net.hall import Hall
from ranvier.net.heads import Budget, Refused, check_head
from ranvier.net.stay import Phase, Stay

PIPELINE_MOST = 16
"""Requests of one connection in one read, or waiting; no peer of ours pipelines at all."""

TOO_SLOW = {
    Phase.HEAD: ("head-too-slow", "the head of the request came too slowly"),
    Phase.BODY: ("body-too-slow", "the body of the request came too slowly"),
}

logger = logging.getLogger("ranvier.listen")

# Overridden methods are documented where uvicorn defines them.
# ruff: noqa: D102


def reason_of(error: Exception) -> Refused:
    """Why the parser stopped: our own refusal, the caller's fault, or ours."""
    cause = error if isinstance(error, Refused) else error.__context__
    if isinstance(cause, Refused):
        return cause
    if cause is None or isinstance(cause, httptools.HttpParserError):
        return Refused(400, "not-http", "this is not an HTTP/1.1 request")
    logger.error("the listener failed at a request", exc_info=cause)
    return Refused(500, "listener-failed", "the server failed")


class GuardedProtocol(HttpToolsProtocol):
    """One connection. The module says what is guarded and why."""

    def __init__(
        self, config: Config, hall: Hall, app_state: dict[str, Any], leaf: bytes | None
    ) -> None:
        super().__init__(config, hall.state, app_state, asyncio.get_running_loop())
        self.logger, self.access_log = logger, False
        self.hall, self.limits, self.leaf = hall, hall.limits, leaf
        self.told: dict[object, object] = {}
        self.running: Any = None  # the cycle whose answer is being made
        self.farewell: bytes | None = None  # the last answer, while earlier ones are owed
        self.quick: bytes | None = None  # the ready answer to the message being read
        self.begun = False  # a head has begun and is not complete
        self.reading = False  # a message for the application, its body not complete
        self.keep, self.done = True, False  # done: not one more request will be read
        self.budget, self.burst = Budget(hall.limits), 0
        self.head_since = self.body_since = hall.tick

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does: always a Transport
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        peer = tls.getpeercert(True) if tls else None
        self.told = {"peer_leaf": peer, "local_leaf": self.leaf}
        self.stay = Stay(self.limits, transport, self.hall.tick)
        self.hall.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.hall.gone(self)
        self.pipeline.clear()
        if self.running is not None:
            self.running.disconnected = True
            self.running.message_event.set()
        super().connection_lost(exc)

    @property
    def owes(self) -> bool:
        """Whether the application still works on an answer."""
        return self.running is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        if self.done or self.stay.phase is Phase.ENDING:
            return
        self.budget.pending += len(data)
        self.burst = 0
        try:
            self.parser.feed_data(data)
            self.budget.check_pending(in_body=self.reading)
        except httptools.HttpParserUpgrade:
            pass  # answered as a plain request, and as the last one
        except (Refused, httptools.HttpParserError) as error:
            self.refuse(reason_of(error))
        self.settle()

    def on_message_begin(self) -> None:
        self.burst += 1
        if self.done:
            raise Refused(0, "after-close", "the connection has had its last request")
        if self.burst > PIPELINE_MOST or len(self.pipeline) >= PIPELINE_MOST:
            raise Refused(400, "pipeline-too-long", "too many requests at once")
        super().on_message_begin()
        self.begun, self.quick, self.head_since = True, None, self.hall.tick
        self.budget.reset()

    def on_url(self, url: bytes) -> None:
        self.budget.spend_head(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.budget.spend_head(len(name) + len(value) + 4, fields=1)
        if self.begun:  # a trailer is bounded in the same way, and dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        parser, version = self.parser, self.parser.get_http_version()
        body = check_head(version, self.url, self.headers, self.limits)
        self.begun, last = False, version == "1.0" or parser.should_upgrade()
        self.keep = parser.should_keep_alive() and not last and self.keep
        if not (body or self.owes) and parser.get_method() == b"GET":
            self.quick = self.hall.answer(self.url, self.leaf, self.keep)
            if self.quick is not None:
                return
        self.scope["extensions"] = {"ranvier": {"raw_target": self.url, **self.told}}
        super().on_headers_complete()
        self.reading, self.cycle.keep_alive = True, self.keep

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running, self.body_since = cycle, self.hall.tick
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self.budget.spend_body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.reading, self.budget.pending, self.done = False, 0, not self.keep
        if self.quick is None:
            super().on_message_complete()
        else:
            self.transport.write(self.quick)

    def on_response_complete(self) -> None:
        self.flow.resume_reading()
        if self.pipeline and not self.transport.is_closing():
            self._start_asgi_task(*self.pipeline.pop())
        elif self.farewell is not None:
            self.stay.say_last(self.farewell, self.hall.tick)
        self.settle()

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
