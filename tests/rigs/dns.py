"""A name server for tests: a zone as a dict, faults by name, every query recorded.

It listens on a high port of a loopback address, over UDP and TCP, in threads of
its own, so that it serves tests of any colour. It answers as a recursive resolver
does (aliases within the zone are followed) unless ``follow`` is off::

    with DnsRig({"a.test": Name(a=["127.0.0.1"])}) as rig:
        rig.address, rig.asked("a.test")

A name that is not in the zone does not exist (NXDOMAIN); one that is there without
records of the asked kind is NODATA. A value of the zone may also be a list of
names, used one after the other (the last one stays): that is how a name is rebound.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import dnslib

from ranvier.protocol.addresses import Address


class Trouble(StrEnum):
    """What is the matter with a name's answers."""

    SERVFAIL = "SERVFAIL"
    NXDOMAIN = "NXDOMAIN"
    REFUSED = "REFUSED"
    FORMERR = "FORMERR"
    SILENCE = "silence"
    GARBAGE = "garbage"
    EMPTY = "empty"
    """A datagram without a byte."""
    WRONG_ID = "wrong-id"
    WRONG_QUESTION = "wrong-question"
    TRUNCATED = "truncated"
    """The truncation flag over UDP; whole over TCP."""
    TRUNCATED_ALWAYS = "truncated-always"
    """The truncation flag over UDP, and TCP closes without an answer."""
    CUT = "cut"
    """Half of a message, over UDP and TCP."""


@dataclass(frozen=True)
class Name:
    """What is known of a name. ``srv`` is (priority, weight, port, target)."""

    a: Sequence[str] = ()
    aaaa: Sequence[str] = ()
    srv: Sequence[tuple[int, int, int, str]] = ()
    cname: str | None = None
    ttl: int = 300
    trouble: Trouble | None = None
    authentic: bool = False
    delay: float = 0.0
    """Seconds before the answer."""


@dataclass(frozen=True)
class Query:
    """A question that came in. ``name`` is as it was written, without the final dot."""

    name: str
    kind: str
    transport: str
    ident: int
    port: int
    at: float


Answerer = Callable[[Query, bytes], bytes | None]
Entry = Name | Trouble | Sequence[Name | Trouble] | Answerer


@dataclass
class DnsRig:
    """See the module's text. ``zone`` may be changed while the server runs."""

    zone: Mapping[str, Entry] = field(default_factory=dict)
    ip: str = "127.0.0.1"
    port: int = 0
    negative_ttl: int = 60
    soa: bool = True
    follow: bool = True
    tcp: bool = True
    queries: list[Query] = field(default_factory=list)

    def __enter__(self) -> DnsRig:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._turns: dict[str, int] = {}
        self._lock = threading.Lock()
        self._bind()
        self._start(self._serve_udp)
        if self.tcp:
            self._start(self._serve_tcp)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._udp.sendto(b"", (self.ip, self.port))  # wakes the thread that waits there
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._listener.close()

    @property
    def address(self) -> Address:
        """Where it listens (UDP and TCP alike)."""
        return Address(self.ip, self.port)

    def asked(self, name: str, kind: str | None = None) -> list[Query]:
        """The queries for a name (case is folded)."""
        wanted = name.lower()
        return [q for q in self.queries if q.name.lower() == wanted and kind in (None, q.kind)]

    def _bind(self) -> None:
        family = socket.AF_INET6 if ":" in self.ip else socket.AF_INET
        for _ in range(50):
            self._udp = socket.socket(family, socket.SOCK_DGRAM)
            self._listener = socket.socket(family, socket.SOCK_STREAM)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self._udp.bind((self.ip, self.port))
                port = self._udp.getsockname()[1]
                self._listener.bind((self.ip, port))
            except OSError:
                self._udp.close()
                self._listener.close()
                if self.port:
                    raise
                continue
            self.port = port
            self._listener.listen(64)
            self._udp.settimeout(1.0)
            self._listener.settimeout(1.0)
            return
        raise AssertionError("no port is free for both UDP and TCP")

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve_udp(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):
                data, client = self._udp.recvfrom(65535)
                if data:
                    self._start(self._answer_udp, data, client)

    def _answer_udp(self, data: bytes, client: Any) -> None:
        answer = self.answer(data, "udp", client[1])
        if answer is not None:
            with contextlib.suppress(OSError):
                self._udp.sendto(answer, client)

    def _serve_tcp(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):
                conn, client = self._listener.accept()
                self._start(self._answer_tcp, conn, client)

    def _answer_tcp(self, conn: socket.socket, client: Any) -> None:
        with conn, contextlib.suppress(OSError):
            conn.settimeout(5)
            head = conn.recv(2, socket.MSG_WAITALL)
            data = conn.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            answer = self.answer(data, "tcp", client[1])
            if answer is None:
                self._stopping.wait(30)
            elif answer:
                conn.sendall(len(answer).to_bytes(2, "big") + answer)

    def _entry(self, name: str) -> Name | Answerer | None:
        entry = {key.lower(): value for key, value in self.zone.items()}.get(name.lower())
        if isinstance(entry, Sequence) and not isinstance(entry, str):
            with self._lock:
                place = self._turns.get(name.lower(), 0)
                self._turns[name.lower()] = place + 1
            entry = entry[min(place, len(entry) - 1)]
        if isinstance(entry, Trouble):
            return Name(trouble=entry)
        return entry

    def answer(self, data: bytes, transport: str, port: int) -> bytes | None:
        """The answer to one message, or ``None`` for silence."""
        request = dnslib.DNSRecord.parse(data)
        asked = str(request.q.qname).rstrip(".")
        kind = dnslib.QTYPE[request.q.qtype]
        query = Query(asked, kind, transport, request.header.id, port, time.monotonic())
        self.queries.append(query)
        entry = self._entry(asked)
        if callable(entry):
            return entry(query, data)
        if entry is not None and entry.delay:
            self._stopping.wait(entry.delay)
        if entry is not None and entry.trouble is not None:
            return self._troubled(request, entry.trouble, transport)
        return bytes(self._reply(request, asked, entry, kind).pack())

    def _reply(self, request: Any, asked: str, entry: Name | None, kind: str) -> Any:
        reply = request.reply(ra=1, aa=0)
        reply.header.ad = 0
        for _ in range(32):
            if entry is None:
                reply.header.rcode = dnslib.RCODE.NXDOMAIN
                break
            reply.header.ad = int(entry.authentic)
            if entry.trouble is not None:
                reply.header.rcode = getattr(dnslib.RCODE, entry.trouble, dnslib.RCODE.SERVFAIL)
                break
            if entry.cname is None or kind == "CNAME":
                self._records(reply, asked, entry, kind)
                break
            self._add(reply, asked, "CNAME", dnslib.CNAME(entry.cname), entry.ttl)
            if not self.follow:
                return reply
            asked = entry.cname
            following = self._entry(asked)
            entry = following if isinstance(following, Name) else None
        if self.soa and not any(dnslib.QTYPE[rr.rtype] == kind for rr in reply.rr):
            self._add_soa(reply)
        return reply

    def _records(self, reply: Any, asked: str, entry: Name, kind: str) -> None:
        if kind == "CNAME" and entry.cname is not None:
            self._add(reply, asked, "CNAME", dnslib.CNAME(entry.cname), entry.ttl)
        for ip in entry.a if kind == "A" else ():
            self._add(reply, asked, "A", dnslib.A(ip), entry.ttl)
        for ip in entry.aaaa if kind == "AAAA" else ():
            self._add(reply, asked, "AAAA", dnslib.AAAA(ip), entry.ttl)
        for priority, weight, port, target in entry.srv if kind == "SRV" else ():
            rdata = dnslib.SRV(priority, weight, port, target)
            self._add(reply, asked, "SRV", rdata, entry.ttl)

    def _add(self, reply: Any, name: str, kind: str, rdata: Any, ttl: int) -> None:
        number = getattr(dnslib.QTYPE, kind)
        reply.add_answer(dnslib.RR(name, number, ttl=ttl, rdata=rdata))

    def _add_soa(self, reply: Any) -> None:
        times = (1, 3600, 600, 86400, self.negative_ttl)
        rdata = dnslib.SOA("ns.test", "hostmaster.test", times)
        reply.add_auth(dnslib.RR("test", dnslib.QTYPE.SOA, ttl=3600, rdata=rdata))

    def _troubled(self, request: Any, trouble: Trouble, transport: str) -> bytes | None:
        reply = request.reply(ra=1, aa=0)
        reply.header.ad = 0
        match trouble:
            case Trouble.SILENCE:
                return None
            case Trouble.GARBAGE:
                return bytes(request.header.id.to_bytes(2, "big")) + os.urandom(60)
            case Trouble.EMPTY:
                return b""
            case Trouble.WRONG_ID:
                reply.header.id ^= 1
            case Trouble.WRONG_QUESTION:
                reply.q.qname = dnslib.DNSLabel("somebody-else.test")
            case Trouble.TRUNCATED_ALWAYS if transport == "tcp":
                return b""
            case Trouble.TRUNCATED if transport == "tcp":
                self._add(reply, str(request.q.qname), "A", dnslib.A("127.0.0.1"), 300)
            case Trouble.TRUNCATED | Trouble.TRUNCATED_ALWAYS:
                reply.header.tc = 1
            case Trouble.CUT:
                self._add(reply, str(request.q.qname), "A", dnslib.A("127.0.0.1"), 300)
                return bytes(reply.pack()[:-6])
            case _:
                reply.header.rcode = getattr(dnslib.RCODE, trouble)
        return bytes(reply.pack())
