"""The guarded HTTP/1.1 connection: uvicorn's httptools protocol with the budgets it lacks.

uvicorn takes 60,000 headers or one of 20 MB, waits for ever for the second half
of a head, accepts HTTP/1.1 without ``Host``, adds chunked trailers to the
headers, goes on reading after ``Connection: close``, answers garbage in plain
text and hangs up on a peer that has said all and waits for its answer.
:class:`GuardedProtocol` closes the holes in what is read,
:class:`~ranvier.net.connection.Connection` those in how a connection goes on and
ends (decisions D18 to D20). Together they stay short, so that they can be read
against uvicorn's own code.

* **Ready answers.** A GET without a body whose raw target the desk knows is
  answered here from finished bytes: no scope, no task. Everything else goes to
  the application through uvicorn's own request cycle. An answer that is JSON and no
  more leaves in one write, not in uvicorn's two.
* The raw request target, which signatures cover and which uvicorn's scope loses
  (``/x?`` and ``/x``, ``#f``, an absolute form's host), is in
  ``scope["extensions"]["ranvier"]``, with the leaf certificates of both ends; the
  peer's may come from a proxy of ours (:mod:`ranvier.net.proxies`).
"""

from __future__ import annotations

import logging
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ranvier.net.connection import Connection
from ranvier.net.hall import Arrival, Hall, render
from ranvier.net.heads import Budget, Refused, check_head
from ranvier.net.stay import Phase

PIPELINE_MOST = 16
"""Requests of one connection in one read, or waiting; no peer of ours pipelines at all."""

JSON = [(b"content-type", b"application/json")]

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


class GuardedProtocol(Connection):
    """One connection. The module says what is guarded and why."""

    def __init__(
        self, config: Config, hall: Hall, app_state: dict[str, Any], arrival: Arrival
    ) -> None:
        super().__init__(config, hall, app_state, arrival)
        self.quick: bytes | None = None  # the ready answer to the message being read
        self.budget, self.burst = Budget(hall.limits), 0

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
        peer = self.peer_leaf
        if self.hall.proxies.headers:
            peer = self.hall.proxies.take(self.headers, self.arrival.believed) or peer
        self.begun, last = False, version == "1.0" or parser.should_upgrade()
        self.keep = parser.should_keep_alive() and not last and self.keep
        if not (body or self.owes) and parser.get_method() == b"GET":
            self.quick = self.hall.answer(self.url, self.arrival.leaf, self.keep)
            if self.quick is not None:
                return
        told: dict[object, object] = {
            "raw_target": self.url,
            "peer_leaf": peer,
            "local_leaf": self.arrival.leaf,
            "client": self.arrival.client,
            "whole": self.whole,
        }
        self.scope["extensions"] = {"ranvier": told}
        super().on_headers_complete()
        self.reading, self.cycle.keep_alive = True, self.keep

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running, self.body_since = cycle, self.hall.tick
        super()._start_asgi_task(cycle, app)

    def whole(self, status: int, headers: Any, body: bytes) -> bool:
        """Send an answer in one write, if it is JSON and no more; else it is not sent."""
        cycle = self.running
        if cycle.disconnected or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
            return False
        if headers != [*JSON, (b"content-length", b"%d" % len(body))]:
            return False
        cycle.response_started = cycle.response_complete = True
        self.transport.write(render(status, body, self.hall.date, keep=cycle.keep_alive))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

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
