"""The listener: one address, its connections, and their limits.

It accepts by itself instead of letting the loop do so, for three reasons: the
TLS context is chosen per connection (a new certificate counts at once), a
handshake counts against the number of connections and has a time limit, and
when all seats are taken the connection that has idled longest gives way, so that
idlers cannot keep others out. One client may have only some of the seats (see
:mod:`ranvier.net.seats`): beyond them its own connections give way to each other.

The listener lives in the caller's event loop and installs no signal handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from uvicorn.config import Config
from uvicorn.lifespan.off import LifespanOff
from uvicorn.lifespan.on import LifespanOn

from ranvier.errors import BadConfiguration
from ranvier.limits import Limits
from ranvier.net.guard import GuardedProtocol
from ranvier.net.hall import Arrival, Desk, Hall
from ranvier.net.proxies import Proxies, TrustedProxy
from ranvier.net.seats import MANY, client_of
from ranvier.net.stay import LINGER_SECONDS, Phase
from ranvier.net.tls_server import ServerTls
from ranvier.plugs import Clock
from ranvier.protocol.addresses import Address
from ranvier.protocol.text import shown

SWEEP_SECONDS = 0.25
BACKLOG = 2048
TURN = 16
"""Connections accepted before others get their turn."""

_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Asgi = Callable[[Any, Any, Any], Awaitable[None]]

logger = logging.getLogger("ranvier.listen")


class Listener:
    """Serves one ASGI application on one address.

    ``desk`` gives the finished answers and the error bodies; it is usually the
    :class:`~ranvier.faces.asgi.FederationApp` inside ``app``, or ``app`` itself.
    Without ``tls`` it speaks plain HTTP: only behind a proxy that ends TLS.
    ``proxies`` are those that we believe (see :mod:`ranvier.net.proxies`).
    ``grace_seconds``: how long :meth:`stop` waits for answers under way.
    """

    def __init__(
        self,
        app: Asgi,
        desk: Desk,
        *,
        host: str,
        port: int,
        clock: Clock,
        limits: Limits,
        tls: ServerTls | None = None,
        proxies: Iterable[TrustedProxy] = (),
        grace_seconds: float = 10.0,
    ) -> None:
        self._at = (host, port)
        self._clock = clock
        self._limits = limits
        self._tls = tls
        self._grace = grace_seconds
        self.hall = Hall(desk, clock, limits, Proxies(proxies))
        self._config = uvicorn_config(JsonErrors(app, desk))
        self._lifespan: LifespanOn | LifespanOff | None = None
        self._socket: socket.socket | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._greetings: dict[asyncio.Task[None], None] = {}  # oldest first

    async def start(self) -> Address:
        """Bind, start the application's lifespan, and serve. Returns the bound address.

        Raises: BadConfiguration (busy port, foreign address, the application's
        start failed).
        """
        self._socket = self._bind()
        self._config.load()
        self._lifespan = self._config.lifespan_class(self._config)
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            self._socket.close()
            raise BadConfiguration("listen-app-failed", "the application did not start")
        ip, port = self._socket.getsockname()[:2]
        for work in (self._accept(self._socket), self._sweep()):
            self._work.add(asyncio.get_running_loop().create_task(work))
        logger.info("listening on %s", Address(ip, port))
        return Address(ip, port)

    async def stop(self) -> None:
        """Accept no more, let answers under way finish, close. Never raises; may be repeated."""
        work, self._work = self._work, set()
        for task in (*work, *self._greetings):
            task.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        await asyncio.gather(*work, *self._greetings, return_exceptions=True)
        for guest in tuple(self.hall.guests):
            guest.shutdown()
        await self._emptied(LINGER_SECONDS)
        for guest in tuple(self.hall.guests):
            if guest.stay.phase is Phase.ENDING:  # nothing is owed; it does not say good-bye
                guest.transport.abort()
        await self._emptied(self._grace)
        for guest in tuple(self.hall.guests):
            guest.transport.abort()
        await self.hall.empty.wait()
        for answer in tuple(self.hall.state.tasks):
            answer.cancel()
        await asyncio.gather(*self.hall.state.tasks, return_exceptions=True)
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None:
            await lifespan.shutdown()

    async def _emptied(self, seconds: float) -> None:
        """Wait until everybody is gone, or so long."""
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(seconds):
                await self.hall.empty.wait()

    def _bind(self) -> socket.socket:
        host, port = self._at
        try:
            return _listening(host, port)
        except OSError as error:
            raise _no_bind(host, port, error) from None

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:  # out of descriptors, or the peer was gone already
                room = error.errno in _SHORT and self._make_room()
                if not room:
                    logger.warning("a connection could not be accepted: %s", error)
                await self._clock.sleep(0.0 if room else SWEEP_SECONDS)
                continue
            turn += 1
            if turn % TURN == 0:
                await self._clock.sleep(0)
            believed = self.hall.proxies.header_of(peer[0])
            client = client_of(peer[0]) if believed is None else MANY
            refused = self._why_no_seat(client)
            if refused:
                self.hall.refused[refused] += 1
                accepted.close()
            else:
                self._welcome(accepted, client, believed)

    def _why_no_seat(self, client: str) -> str:
        """The code of the refusal; empty if there is a seat, or one could be made free."""
        if self.hall.seats.full(client) and not self.hall.make_room(client):
            return "no-seat-for-client"
        taken = len(self.hall.guests) + len(self._greetings)
        if taken >= self._limits.listen_connections and not self._make_room():
            return "no-seat"
        return ""

    def _make_room(self) -> bool:
        """Handshakes give way if they take half of the seats, or if nobody idles."""
        crowded = len(self._greetings) * 2 >= self._limits.listen_connections
        if not crowded and self.hall.make_room():
            return True
        oldest = next(iter(self._greetings), None)
        if oldest is not None:
            oldest.cancel()
        return oldest is not None

    def _welcome(self, accepted: socket.socket, client: str, believed: bytes | None) -> None:
        def done(task: asyncio.Task[None]) -> None:
            self._greetings.pop(task, None)
            self.hall.seats.leave(client, task)
            if task.cancelled():  # before it began
                accepted.close()

        work = self._greet(accepted, client, believed)
        greeting = asyncio.get_running_loop().create_task(work)
        self._greetings[greeting] = None
        self.hall.seats.sit(client, greeting)
        greeting.add_done_callback(done)

    async def _greet(self, accepted: socket.socket, client: str, believed: bytes | None) -> None:
        """The TLS handshake; the connection lives on by itself."""
        context, leaf = self._tls.current() if self._tls else (None, None)
        arrival = Arrival(client=client, leaf=leaf, believed=believed)
        assert self._lifespan is not None
        state = self._lifespan.state
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: GuardedProtocol(self._config, self.hall, state, arrival),
                accepted,
                ssl=context,
                ssl_handshake_timeout=self._limits.listen_head_seconds if context else None,
                ssl_shutdown_timeout=self._limits.listen_head_seconds if context else None,
            )
        except (OSError, asyncio.CancelledError) as error:
            self.hall.refused["no-handshake"] += 1
            logger.debug("no TLS handshake: %s", error)
            accepted.close()

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            try:
                self.hall.sweep()
            except Exception:
                logger.exception("a sweep failed; the next one is in %s s", SWEEP_SECONDS)


class JsonErrors:
    """Whatever the application does, what leaves the listener is JSON."""

    def __init__(self, app: Asgi, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        head: Any = None
        whole = scope["extensions"]["ranvier"].pop("whole")  # between us and the connection

        async def sending(message: Any) -> None:
            nonlocal started, head
            if head is None and message["type"] == "http.response.start":
                head = message  # as ASGI has it: the answer starts with its body
                return
            if not started and head is not None:
                started, more = True, message.get("more_body")
                if not more and whole(head["status"], head["headers"], message.get("body", b"")):
                    return
                await send(head)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            return  # the listener stops, and has waited long enough
        except Exception:
            path = shown(scope["path"], 200)  # decoded by now: it may hold line ends
            logger.exception("the application failed at %s %s", scope["method"], path)
            if started:
                raise
        if not started:
            await _send_failure(self._desk.refusal(500, "the server failed"), send)


async def _send_failure(body: bytes, send: Any) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def uvicorn_config(app: Asgi) -> Config:
    """Nothing of uvicorn's own: no log set-up, no proxy headers (D20), no web sockets."""
    return Config(
        app=app,
        http=GuardedProtocol,
        ws="none",
        lifespan="auto",
        interface="asgi3",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise BadConfiguration(
            "listen-host-not-ip", f"{host!r} is not an IP address to listen on"
        ) from None
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    # Named TCP, or asyncio leaves Nagle's algorithm on: 40 ms for every answer in two pieces.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not ip.is_unspecified))
        made.bind((str(ip), port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _no_bind(host: str, port: int, error: OSError) -> BadConfiguration:
    if error.errno == errno.EADDRINUSE:
        return BadConfiguration(
            "listen-port-busy",
            f"port {port} on {host} is taken by another program; stop it or choose another port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return BadConfiguration(
            "listen-port-forbidden",
            f"port {port} needs rights that this process does not have; use one above 1023",
        )
    return BadConfiguration(
        "listen-not-possible", f"cannot listen on {host} port {port}: {error.strerror or error}"
    )
