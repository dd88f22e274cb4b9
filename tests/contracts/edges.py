"""The same stage for every edge set: hosts with certificates, handlers and faults.

``WorldEdge`` sets it up in memory, ``NetEdge`` on loopback with real sockets. Both
use the same credentials (``ranvier.world.certs``) and the same names for faults.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.plugs import Clock, HttpRequest, HttpResponse, Wire
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.world import Authority, Credential, Fault, Host, World
from tests.rigs.certs import Identity
from tests.rigs.tls import Peer, TlsListener, http

Serve = Callable[[str], HttpResponse | Fault]
"""A handler: target to answer."""

PATIENT = Limits()
IMPATIENT = Limits(connect_seconds=0.4)


def fine(target: str) -> HttpResponse:
    return HttpResponse(status=200, body=b"{}")


class Stand(Protocol):
    """A host on the stage."""

    @property
    def address(self) -> Address: ...

    @property
    def connections(self) -> int:
        """TCP connections that were accepted."""

    @property
    def names(self) -> list[str | None]:
        """The SNI of each handshake."""

    @property
    def received(self) -> bytes:
        """Every application byte."""

    @property
    def presented(self) -> list[bytes]:
        """The client certificate (DER) of each handshake, empty where there was none."""

    def change(
        self, credential: Credential | None = None, *, fault: Fault | None = None
    ) -> None: ...

    def settle(self) -> None:
        """All that is under way has been seen."""


class Edge(Protocol):
    """An edge set: its wire, its authority, and a way to put hosts on the stage."""

    authority: Authority
    clock: Clock

    def wire(
        self,
        policy: AddressPolicy | None = None,
        limits: Limits = PATIENT,
        client: Credential | None = None,
    ) -> Wire: ...

    def stand(
        self,
        credential: Credential | None,
        serves: Serve = fine,
        *,
        fault: Fault | None = None,
        sni: Mapping[str, Credential] | None = None,
        keeps_alive: bool = True,
        asks_client: bool = False,
    ) -> Stand: ...


class WorldStand(msgspec.Struct):
    host: Host
    world: World

    @property
    def address(self) -> Address:
        return self.host.address

    @property
    def connections(self) -> int:
        return sum(each.address == self.host.address for each in self.world.wire.attempts)

    @property
    def names(self) -> list[str | None]:
        attempts = self.world.wire.attempts
        return [each.sni for each in attempts if each.address == self.host.address]

    @property
    def received(self) -> bytes:
        requests = self.world.wire.requests
        return b"".join(each.raw for each in requests if each.address == self.host.address)

    @property
    def presented(self) -> list[bytes]:
        attempts = self.world.wire.attempts
        return [each.presented for each in attempts if each.address == self.host.address]

    def change(self, credential: Credential | None = None, *, fault: Fault | None = None) -> None:
        if credential is not None:
            self.host.certificates = {None: credential.certificates}
        self.host.fault = fault

    def settle(self) -> None:
        pass


class WorldEdge:
    """In memory. The world has one wire, always impatient: its time is virtual."""

    def __init__(self) -> None:
        self.world = World(limits=IMPATIENT)
        self.authority = self.world.authority
        self.clock: Clock = self.world.clock
        self._ports = iter(range(1024, 65536))

    def wire(
        self,
        policy: AddressPolicy | None = None,
        limits: Limits = PATIENT,
        client: Credential | None = None,
    ) -> Wire:
        self.world.wire.policy = policy or AddressPolicy(allow_private=True)
        self.world.wire.client_certificate = client
        return self.world.wire

    def stand(
        self,
        credential: Credential | None,
        serves: Serve = fine,
        *,
        fault: Fault | None = None,
        sni: Mapping[str, Credential] | None = None,
        keeps_alive: bool = True,
        asks_client: bool = False,
    ) -> WorldStand:
        async def handler(request: HttpRequest) -> HttpResponse | Fault:
            return serves(request.target)

        host = self.world.host(
            "127.0.0.1",
            next(self._ports),
            certificate=credential,
            sni=sni,
            serves=handler,
            fault=fault,
        )
        host.keeps_alive, host.asks_client = keeps_alive, asks_client
        return WorldStand(host, self.world)


class LaxIdentity(Identity):
    """Shows any certificate: OpenSSL would not let a server show a weak one."""

    def context(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.set_ciphers("DEFAULT:@SECLEVEL=0")
        made.load_cert_chain(*self.files)
        return made


class NetStand:
    def __init__(self, listener: TlsListener, address: Address | None = None) -> None:
        self._listener = listener
        self.address = address or listener.address
        self.fault: Fault | None = None

    @property
    def connections(self) -> int:
        return self._listener.accepted

    @property
    def names(self) -> list[str | None]:
        return [each.sni for each in self._listener.connections]

    @property
    def received(self) -> bytes:
        return self._listener.application_bytes

    @property
    def presented(self) -> list[bytes]:
        self._listener.settle()
        return [each.presented for each in self._listener.connections]

    def change(self, credential: Credential | None = None, *, fault: Fault | None = None) -> None:
        if credential is not None:
            self._listener.identity = LaxIdentity(credential.chain, credential.key)
        self.fault = fault

    def settle(self) -> None:
        self._listener.settle()


class NetEdge:
    """On loopback."""

    def __init__(self, stack: contextlib.ExitStack, scratch: Path) -> None:
        self.clock: Clock = SystemClock()
        self.authority = Authority(now=self.clock.now())
        self._stack = stack
        self._ca_file = scratch / "ca.pem"
        self._ca_file.write_bytes(self.authority.root_pem)

    def wire(
        self,
        policy: AddressPolicy | None = None,
        limits: Limits = PATIENT,
        client: Credential | None = None,
    ) -> Wire:
        policy = policy or AddressPolicy(allow_private=True)
        files = LaxIdentity(client.chain, client.key).files if client else None
        return NetWire(self.clock, limits, policy, str(self._ca_file), client_certificate=files)

    def stand(
        self,
        credential: Credential | None,
        serves: Serve = fine,
        *,
        fault: Fault | None = None,
        sni: Mapping[str, Credential] | None = None,
        keeps_alive: bool = True,
        asks_client: bool = False,
    ) -> NetStand:
        identity = LaxIdentity(credential.chain, credential.key) if credential else None
        stand: NetStand

        def handle(peer: Peer) -> None:
            rest = b""
            while True:
                seen, rest = peer.read_request(rest)
                if seen is None:
                    return
                if not _answer(peer, stand.fault or serves(seen.target)) or not keeps_alive:
                    return

        def tweak(context: ssl.SSLContext) -> None:
            _by_sni(context, sni or {}, fault)
            if asks_client:
                context.load_verify_locations(cafile=self._ca_file)
                context.verify_mode = ssl.CERT_OPTIONAL
            if fault is Fault.REFUSES_CLIENT:
                context.verify_mode = ssl.CERT_REQUIRED

        listener = TlsListener(
            identity,
            handle,
            before=lambda sock, stopping: _before(sock, stopping, stand.fault),
            tweak=tweak,
        )
        stand = NetStand(self._stack.enter_context(listener))
        stand.fault = fault
        if fault in (Fault.REFUSE, Fault.BLACK_HOLE):
            stand.address = self._stack.enter_context(_nobody(fault))
        return stand


@contextlib.contextmanager
def _nobody(fault: Fault) -> Iterator[Address]:
    """A port that refuses, or one whose queue is full so that packets vanish."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        if fault is Fault.BLACK_HOLE:
            sock.listen(0)
            for _ in range(4):
                other = stack.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(("127.0.0.1", port))
        yield Address("127.0.0.1", port)


def _before(sock: socket.socket, stopping: threading.Event, fault: Fault | None) -> bool:
    """What happens to a connection ahead of the handshake; whether that was all."""
    if fault is Fault.TLS_SILENT:
        stopping.wait(30)
        return True
    if fault is Fault.TLS_GARBAGE:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return True
    if fault is Fault.RESET:
        sock.recv(65536)
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return True
    return False


def _by_sni(context: ssl.SSLContext, sni: Mapping[str, Credential], fault: Fault | None) -> None:
    note: Any = context.sni_callback

    def choose(sock: Any, name: str | None, given: ssl.SSLContext) -> int | None:
        note(sock, name, given)
        if fault is Fault.TLS_ALERT:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        found = sni.get(name.lower()) if name else None
        if found is not None:
            sock.context = LaxIdentity(found.chain, found.key).context()
        return None

    context.sni_callback = choose


def _answer(peer: Peer, answer: HttpResponse | Fault) -> bool:
    """Send an answer; whether another request may follow."""
    if isinstance(answer, HttpResponse):
        close = answer.header("connection") == "close"
        return peer.send(http(answer.status, answer.body, dict(answer.headers))) and not close
    _misbehave(peer, answer)
    return False


_HEAD = b"HTTP/1.1 200 OK\r\n"

# What is sent before closing, and what is sent again and again.
_SENT: dict[Fault, bytes] = {
    Fault.CLOSES: b"",
    Fault.GARBAGE: b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    Fault.HALF: _HEAD + b"content-length: 100\r\n\r\nhalf",
    Fault.HALF_HEAD: _HEAD + b"content-le",
    Fault.TOO_LARGE: _HEAD + b"content-length: 999999999999\r\n\r\n",
}
_REPEATED: dict[Fault, tuple[bytes, bytes]] = {
    Fault.ENDLESS: (
        _HEAD + b"transfer-encoding: chunked\r\n\r\n",
        b"8000\r\n" + b"x" * 0x8000 + b"\r\n",
    ),
    Fault.ENDLESS_HEAD: (_HEAD, b"x-more: " + b"x" * 1000 + b"\r\n"),
}


def _misbehave(peer: Peer, fault: Fault) -> None:
    if fault in _SENT:
        peer.send(_SENT[fault])
        peer.half_close()
    elif fault in _REPEATED:
        first, again = _REPEATED[fault]
        peer.send(first)
        while peer.send(again):
            pass
    elif fault is Fault.HANGS:
        peer.wait(30)
    elif fault is Fault.SLOW:
        peer.send(_HEAD + b"content-length: 100000\r\n\r\n")
        while peer.wait(0.05) and peer.send(b"x"):
            pass
    else:
        raise AssertionError(f"{fault} is no fault of HTTP")
