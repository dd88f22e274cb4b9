"""A scenario's internet while it is played: its name server and its listeners."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ranvier.protocol.addresses import parse_address
from tests.discovery.scenario import Kinds, Listener, Mood, Page
from tests.discovery.seen import Heard
from tests.rigs import certs
from tests.rigs.dns import Answerer, DnsRig, Entry, Query
from tests.rigs.tls import Handler, Peer, TlsListener, http

RESOLVER = "127.0.0.53"
VERSION = b'{"server": {"name": "Stage", "version": "1"}}'
_PIECE = b"4000\r\n" + b" " * 0x4000 + b"\r\n"


class Stage:
    """Open while the block runs; :meth:`heard` says what came in."""

    def __init__(self, zone: Mapping[str, Entry | Kinds], listens: Iterable[Listener]) -> None:
        self._zone = {name: _entry(entry) for name, entry in zone.items()}
        self._plans = {plan.at: plan for plan in listens}
        self._listeners: dict[str, TlsListener] = {}
        self._open = contextlib.ExitStack()
        self.dns = DnsRig(self._zone, ip=RESOLVER, port=53)

    def __enter__(self) -> Stage:
        self._open.enter_context(self.dns)
        for where, plan in self._plans.items():
            if plan.mood is Mood.DEAF:
                self._open.enter_context(deaf(where))
            else:
                self._listeners[where] = self._open.enter_context(listener(plan))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def heard(self) -> dict[str, Heard]:
        """What each listener saw, once it has seen all there was."""
        return {where: _heard(each) for where, each in self._listeners.items()}

    def asked(self) -> list[str]:
        """The questions, each once, as ``A example.org``."""
        return sorted({f"{query.kind} {query.name}" for query in self.dns.queries})


def _entry(entry: Entry | Kinds) -> Entry:
    return by_kind(entry) if isinstance(entry, Kinds) else entry


def by_kind(kinds: Kinds) -> Answerer:
    """An answer for each kind of question."""

    def answer(query: Query, data: bytes) -> bytes | None:
        one = DnsRig({query.name: kinds.of(query.kind)})
        return one.answer(data, query.transport, query.port)

    return answer


def listener(plan: Listener) -> TlsListener:
    """A listener as planned, not started yet."""
    address = parse_address(plan.at, 0)
    identity = None
    if plan.mood is Mood.SERVES:
        good = plan.kind is certs.Kind.GOOD
        identity = certs.good(*plan.names) if good else certs.certificate(plan.kind, plan.names[0])
    handler = plain if plan.mood is Mood.PLAIN else answering(plan.pages)
    before = {Mood.HANGS: hang, Mood.RESETS: reset}.get(plan.mood)
    return TlsListener(identity, handler, ip=address.ip, port=address.port, before=before)


def answering(pages: Mapping[str, Page]) -> Handler:
    """The pages of a web server, or the version of a home server everywhere."""

    def handle(peer: Peer) -> None:
        rest = b""
        while True:
            seen, rest = peer.read_request(rest)
            if seen is None:
                return
            page = pages.get(seen.target) if pages else Page(body=VERSION)
            if not serve(peer, page or Page(status=404)):
                return

    return handle


def serve(peer: Peer, page: Page) -> bool:
    """Answer one request; whether the connection goes on."""
    if page.raw is not None:
        peer.send(page.raw)
        peer.half_close()
        return False
    if page.endless:
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while peer.send(_PIECE):
            pass
        return False
    if page.slow_head and not peer.wait(page.slow_head):
        return False
    whole = http(page.status, page.body, page.headers)
    if page.slow_body:
        head = whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return peer.send(head) and peer.wait(page.slow_body) and peer.send(page.body)
    return peer.send(whole)


def plain(peer: Peer) -> None:
    """What a web server says on its clear-text port when TLS comes in."""
    peer.receive()
    peer.send(http(400))
    peer.half_close()


def hang(sock: socket.socket, stopping: threading.Event) -> bool:
    """Say nothing until the client leaves."""
    with contextlib.suppress(OSError):
        while not stopping.is_set() and sock.recv(65536):
            pass
    return True


def reset(sock: socket.socket, stopping: threading.Event) -> bool:
    """End it at once, the hard way."""
    sock.recv(1)
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    sock.close()
    return True


@contextlib.contextmanager
def deaf(where: str) -> Iterator[None]:
    """A black hole: the queue of connections is full, so the system drops what comes."""
    address = parse_address(where, 0)
    family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sink.bind((address.ip, address.port))
        sink.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            filler.setblocking(False)
            filler.connect_ex((address.ip, address.port))
        yield


def _heard(listener: TlsListener) -> Heard:
    """Connections are taken in order, so when ours comes through, all before it have."""
    address = listener.address
    with socket.create_connection((address.ip, address.port), timeout=5) as mine:
        port = mine.getsockname()[1]
    _until(lambda: any(p.handshake for p in listener.connections if p.client.port == port))
    listener.settle(5)
    peers = [each for each in listener.connections if each.client.port != port]
    return Heard(
        accepted=len(peers),
        handshakes=[each.handshake for each in peers],
        sni=[each.sni for each in peers],
        application="".join(bytes(each.received).decode("latin-1") for each in peers),
        requests=[f"{seen.header('host')} {seen.target}" for p in peers for seen in p.requests],
    )


def _until(done: Callable[[], Any], seconds: float = 5.0) -> None:
    ends = time.monotonic() + seconds
    while not done() and time.monotonic() < ends:
        time.sleep(0.001)


def own_addresses(listens: Iterable[Listener]) -> set[str]:
    """The addresses that must be ours before listeners can be there."""
    ips = {parse_address(plan.at, 0).ip for plan in listens}
    return {ip for ip in ips if not ipaddress.ip_address(ip).is_loopback}
