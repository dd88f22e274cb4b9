"""A TLS listener for tests: it says what it saw, and answers as it is told.

Real sockets on a loopback address, in threads of its own. Of every connection it
keeps the ClientHello's SNI, what the handshake came to, and **every application
byte** received; ``listener.application_bytes`` is what a test of "nothing was
sent before the judgement" compares with ``b""``. ``listener.accepted`` counts TCP
connections, for tests of "no connection was made"::

    with TlsListener(certs.good("a.test"), answering(b"{}")) as listener:
        listener.address, listener.connections[0].sni

A handler is called with the :class:`Peer` once the handshake is done and may do
anything to it. :func:`answering` and :func:`responding` speak HTTP with keep-alive.
Without an identity the listener speaks plain TCP (garbage for a TLS client).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ranvier.protocol.addresses import Address
from tests.rigs.certs import Identity


@dataclass(frozen=True)
class Seen:
    """A request as it came: ``raw`` is its head, byte for byte."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class Peer:
    """One connection, seen from the listener."""

    client: Address
    local: Address
    sni: str | None = None
    handshake: str = ""
    """``done``, or how it failed."""
    version: str = ""
    cipher: str = ""
    presented: bytes = b""
    """The client certificate (DER), if the listener asked and got one."""
    received: bytearray = field(default_factory=bytearray)
    """Every application byte."""
    requests: list[Seen] = field(default_factory=list)
    ended: str = ""
    sock: Any = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def receive(self, most: int = 65536) -> bytes:
        """Application bytes; empty at the end."""
        try:
            data: bytes = self.sock.recv(most)
        except OSError as error:
            self.ended = type(error).__name__
            return b""
        if not data:
            self.ended = "closed"
        self.received += data
        return data

    def send(self, data: bytes) -> bool:
        """Send all; whether the client took it."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.ended = type(error).__name__
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait unless the listener stops; whether to go on."""
        return not self.stopping.wait(seconds)

    def read_request(self, before: bytes = b"") -> tuple[Seen | None, bytes]:
        """The next request and what came after it; ``None`` at the end."""
        data = before
        while b"\r\n\r\n" not in data:
            more = self.receive()
            if not more:
                return None, data
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = tuple(
            (key, value.strip()) for key, _, value in (line.partition(":") for line in lines[1:])
        )
        length = next((int(v) for k, v in headers if k.lower() == "content-length"), 0)
        while len(rest) < length:
            more = self.receive()
            if not more:
                return None, rest
            rest += more
        seen = Seen(method, target, headers, rest[:length], head + b"\r\n\r\n")
        self.requests.append(seen)
        return seen, rest[length:]

    def half_close(self) -> None:
        """End our side with TLS's end mark and TCP's, and go on reading."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.settimeout(0.5)
                self.sock.unwrap()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End TCP without TLS's end mark."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the TCP connection."""
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.sock.close()


Handler = Callable[[Peer], None]


def http(
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    reason: str = "Whatever",
) -> bytes:
    """One HTTP/1.1 answer with its length."""
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{key}: {value}" for key, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def responding(answer: Callable[[Seen, Peer], bytes]) -> Handler:
    """Answer each request with the raw bytes that ``answer`` gives, on one connection."""

    def handle(peer: Peer) -> None:
        rest = b""
        while True:
            seen, rest = peer.read_request(rest)
            if seen is None or not peer.send(answer(seen, peer)):
                return

    return handle


def answering(
    body: bytes = b"{}", status: int = 200, headers: Mapping[str, str] | None = None
) -> Handler:
    """Answer every request alike."""
    return responding(lambda seen, peer: http(status, body, headers))


def raw(data: bytes) -> Handler:
    """Read one request, send exactly these bytes, close properly."""

    def handle(peer: Peer) -> None:
        if peer.read_request()[0] is not None:
            peer.send(data)
            peer.half_close()

    return handle


def listening(peer: Peer) -> None:
    """Only read, until the client ends."""
    while peer.receive():
        pass


class TlsListener:
    """See the module's text. ``identity`` and ``handler`` may be changed while it runs.

    ``before`` is called with the raw socket ahead of the handshake; if it returns
    true, the connection is left at that (silence, garbage, a reset).
    """

    def __init__(
        self,
        identity: Identity | None,
        handler: Handler = listening,
        *,
        ip: str = "127.0.0.1",
        port: int = 0,
        before: Callable[[socket.socket, threading.Event], bool] | None = None,
        tweak: Callable[[ssl.SSLContext], None] | None = None,
    ) -> None:
        self.handler = handler
        self.connections: list[Peer] = []
        self.accepted = 0
        self._before = before
        self._tweak = tweak
        self._ip, self._port = ip, port
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: list[Any] = []
        self.identity = identity

    @property
    def identity(self) -> Identity | None:
        """What new connections are shown."""
        return self._identity

    @identity.setter
    def identity(self, identity: Identity | None) -> None:
        context = None
        if identity is not None:
            context = identity.context()
            context.sni_callback = self._note_sni
            if self._tweak is not None:
                self._tweak(context)
        self._identity, self._context = identity, context

    def __enter__(self) -> TlsListener:
        family = socket.AF_INET6 if ":" in self._ip else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self._ip, self._port))
        self._listener.listen(128)
        self._listener.settimeout(1.0)
        self.address = Address(self._ip, self._listener.getsockname()[1])
        self._start(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    @property
    def application_bytes(self) -> bytes:
        """All application bytes of all connections, in the order of the connections."""
        return b"".join(bytes(each.received) for each in self.connections)

    @property
    def requests(self) -> list[Seen]:
        """All requests that were read."""
        return [seen for each in self.connections for seen in each.requests]

    def settle(self, seconds: float = 5.0) -> None:
        """Wait until every accepted connection has ended, so that nothing is missed."""
        for thread in self._threads[1:]:
            thread.join(seconds)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _note_sni(self, sock: Any, name: str | None, _: ssl.SSLContext) -> None:
        sock.peer_of_test.sni = name

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, client = self._listener.accept()
            except OSError:
                continue
            self.accepted += 1
            peer = Peer(Address(client[0], client[1]), self.address, stopping=self._stopping)
            self.connections.append(peer)
            self._start(self._connection, sock, peer)

    def _connection(self, sock: socket.socket, peer: Peer) -> None:
        sock.settimeout(30)
        with contextlib.suppress(OSError):  # it may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.append(sock)
        with contextlib.closing(sock):
            if self._before is not None and self._before(sock, self._stopping):
                peer.handshake = "never"
                return
            peer.sock = sock
            if self._context is None:
                peer.handshake = "plain"
                self._handle(peer)
                return
            with contextlib.suppress(OSError):
                self._secure(sock, peer, self._context)

    def _secure(self, sock: socket.socket, peer: Peer, context: ssl.SSLContext) -> None:
        tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        tls.peer_of_test = peer  # type: ignore[attr-defined] # our own mark
        self._open.append(tls)
        with contextlib.closing(tls):
            peer.sock = tls
            try:
                tls.do_handshake()
            except OSError as error:
                peer.handshake = f"{type(error).__name__}: {error}"
                return
            peer.handshake, peer.version = "done", tls.version() or ""
            peer.cipher = (tls.cipher() or ("",))[0]
            peer.presented = tls.getpeercert(binary_form=True) or b""
            self._handle(peer)
            self._drain(tls, peer)

    def _handle(self, peer: Peer) -> None:
        with contextlib.suppress(OSError):
            self.handler(peer)

    def _drain(self, tls: ssl.SSLSocket, peer: Peer) -> None:
        """Keep whatever still comes in the moment before we close."""
        with contextlib.suppress(OSError, ValueError):
            tls.settimeout(0.05)
            while not peer.ended and peer.receive():
                pass
