"""Discovery and connecting over real DNS, TCP and TLS on loopback.

Only two things are arranged: names lead to loopback addresses, and the ports
443 and 8448 of those addresses stand at high ports, because nobody here is root.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from ranvier.errors import Unreachable
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.net.dns import DnsResolver
from ranvier.plugs import HttpRequest, Link
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.certificates import Certificates
from ranvier.protocol.discovery import replay
from ranvier.protocol.names import ServerName, TlsName, parse_server_name_2014
from ranvier.protocol.routes import Mode
from ranvier.protocol.trust import Trust, WebPki
from ranvier.services.connector import Connection, Connector
from ranvier.services.resolver import Resolver
from ranvier.trail import Recorder
from tests.rigs import certs
from tests.rigs.dns import DnsRig, Name, Trouble
from tests.rigs.tls import TlsListener, answering, http, responding

NAME = ServerName("example.test")
FED, OLD = "_matrix-fed._tcp.", "_matrix._tcp."
LIMITS = Limits(dns_seconds=1.0, connect_seconds=5.0, total_seconds=20.0)


Page = tuple[int, Mapping[str, str], str]
"""Status, headers, body."""
WELL_KNOWN = "/.well-known/matrix/server"


class Forwarding:
    """A wire on which some addresses stand at another port."""

    def __init__(self, wire: NetWire) -> None:
        self.wire = wire
        self.stands: dict[Address, Address] = {}

    async def look(self, to: Address, name: TlsName) -> Certificates:
        return await self.wire.look(self.stands.get(to, to), name)

    async def dial(
        self, to: Address, name: TlsName, trust: Trust, *, present: bool = False
    ) -> Link:
        return await self.wire.dial(self.stands.get(to, to), name, trust, present=present)


class Loopback:
    """A name server, listeners, and a connector that knows nothing of it."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.zone: dict[str, Name | Trouble] = {
            "example.test": Name(a=["127.0.0.1"]),
            "m.test": Name(a=["127.0.0.8"]),
            "target.test": Name(a=["127.0.0.9"]),
        }
        self.dns = stack.enter_context(DnsRig(self.zone))
        self.clock = SystemClock()
        policy = AddressPolicy(allow_private=True)
        wire = NetWire(self.clock, LIMITS, policy, certs.authority().file)
        self.wire = Forwarding(wire)
        dns = DnsResolver(self.clock, LIMITS, (self.dns.address,), None)
        self.resolver = Resolver(dns, self.wire, self.clock, LIMITS)
        self.connector = Connector(self.resolver, self.wire, self.clock, LIMITS)
        self.recorder = Recorder(self.clock.tick)

    def stand(self, ip: str, port: int, identity: certs.Identity) -> TlsListener:
        """Something that answers ``{}`` stands at this address."""
        return self._at(ip, port, TlsListener(identity, answering(), ip=ip))

    def web(self, body: str = "", pages: Mapping[str, Page] | None = None) -> TlsListener:
        """The web server of example.test; ``body`` is its well-known file."""
        answers = {WELL_KNOWN: (200 if body else 404, {}, body), **(pages or {})}

        handler = responding(
            lambda seen, _: http(*_in_order(*answers.get(seen.target, (404, {}, ""))))
        )
        listener = TlsListener(certs.good("example.test"), handler, ip="127.0.0.1")
        return self._at("127.0.0.1", 443, listener)

    def delegate(self, to: str) -> TlsListener:
        return self.web(json.dumps({"m.server": to}))

    def silent(self, ip: str, port: int) -> None:
        """Connections are taken there and never answered."""

        def hold(_sock: socket.socket, stopping: threading.Event) -> bool:
            stopping.wait(10)
            return True

        self._at(ip, port, TlsListener(certs.good("example.test"), ip=ip, before=hold))

    def _at(self, ip: str, port: int, listener: TlsListener) -> TlsListener:
        try:
            self.stack.enter_context(listener)
        except OSError:
            pytest.skip(f"{ip} is not an address of this machine")
        self.wire.stands[Address(ip, port)] = listener.address
        return listener

    async def connect(self, name: ServerName = NAME, mode: Mode = Mode.CURRENT) -> Connection:
        """Connect, and send one request as the route says."""
        connection = await self.connector.connect(
            name, trust=WebPki(), mode=mode, recorder=self.recorder
        )
        request = HttpRequest(method="GET", target="/x", host=connection.route.host_header)
        await connection.link.exchange(request, LIMITS.exchange(body_bytes=1000))
        await connection.link.close()
        return connection

    async def refused(self, name: ServerName = NAME) -> Unreachable:
        with pytest.raises(Unreachable) as caught:
            await self.connect(name)
        return caught.value

    def dials(self) -> list[tuple[str, str]]:
        return [
            (step.evidence["address"], step.code or str(step.outcome))
            for step in self.recorder.trail.of("dial")
        ]


def _in_order(
    status: int, headers: Mapping[str, str], body: str
) -> tuple[int, bytes, Mapping[str, str]]:
    return status, body.encode(), headers


@pytest.fixture
def at() -> Iterator[Loopback]:
    with ExitStack() as stack:
        yield Loopback(stack)


TABLE = [
    # server name, m.server, SRV at, ip, port, Host, certificate, SNI, step
    ("127.0.0.7", "", "", "127.0.0.7", 8448, "127.0.0.7", "127.0.0.7", None, "1"),
    ("[::1]:99", "", "", "::1", 99, "[::1]:99", "::1", None, "1"),
    ("example.test:99", "", "", "127.0.0.1", 99, "example.test:99", "example.test", "=", "2"),
    ("example.test", "127.0.0.7", "", "127.0.0.7", 8448, "127.0.0.7", "127.0.0.7", None, "3.1"),
    ("example.test", "[::1]:99", "", "::1", 99, "[::1]:99", "::1", None, "3.1"),
    ("example.test", "m.test:443", "", "127.0.0.8", 443, "m.test:443", "m.test", "=", "3.2"),
    ("example.test", "m.test", FED, "127.0.0.9", 98, "m.test", "m.test", "=", "3.3"),
    ("example.test", "m.test", OLD, "127.0.0.9", 98, "m.test", "m.test", "=", "3.4"),
    ("example.test", "m.test", "", "127.0.0.8", 8448, "m.test", "m.test", "=", "3.5"),
    ("example.test", "", FED, "127.0.0.9", 98, "example.test", "example.test", "=", "4"),
    ("example.test", "", OLD, "127.0.0.9", 98, "example.test", "example.test", "=", "5"),
    ("example.test", "", "", "127.0.0.1", 8448, "example.test", "example.test", "=", "6"),
    ("EXAMPLE.test", "", "", "127.0.0.1", 8448, "EXAMPLE.test", "example.test", "=", "6"),
]


@pytest.mark.req(
    "DISC-01", "DISC-02", "DISC-03", "DISC-04", "DISC-05", "DISC-06", "DISC-07", "DISC-08",
    "DISC-09", "DISC-10", "DISC-11", "DISC-12", "DISC-16", "DISC-17", "TLS-06", "TLS-07",
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "file", "srv", "ip", "port", "host", "certificate", "sni", "step"), TABLE
)
async def test_each_step_reaches_its_address_with_its_host_bytes_sni_and_certificate(
    at: Loopback,
    name: str,
    file: str,
    srv: str,
    ip: str,
    port: int,
    host: str,
    certificate: str,
    sni: str | None,
    step: str,
) -> None:
    if file:
        at.delegate(file)
    if srv:
        at.zone[srv + (file or "example.test")] = Name(srv=[(1, 1, 98, "target.test")])
    listener = at.stand(ip, port, certs.good(certificate))
    connection = await at.connect(ServerName(name))
    assert connection.route.step == step
    assert at.dials() == [(str(Address(ip, port)), "ok")]
    assert f"\r\nHost: {host}\r\n".encode() in listener.application_bytes
    assert listener.connections[0].sni == (certificate if sni else None)
    trail = at.recorder.trail
    assert replay(trail, ServerName(name)).routes == connection.discovery.routes


@pytest.mark.req("DISC-01", "DISC-02", "DISC-05")
@pytest.mark.parametrize(
    ("name", "file"), [("127.0.0.7", ""), ("example.test:99", ""), ("example.test", "m.test:99")]
)
async def test_where_a_step_forbids_srv_and_files_none_is_asked(
    at: Loopback, name: str, file: str
) -> None:
    web = at.delegate(file or "elsewhere.test")
    await at.refused(ServerName(name))
    assert not [query for query in at.dns.queries if query.kind == "SRV"]
    assert bool(web.requests) == bool(file)


@pytest.mark.req("DISC-11", "SEC-11", "TLS-09")
async def test_a_certificate_for_the_srv_target_gets_no_byte(at: Loopback) -> None:
    at.zone[FED + "example.test"] = Name(srv=[(1, 1, 98, "target.test")])
    listener = at.stand("127.0.0.9", 98, certs.good("target.test"))
    await at.refused()
    listener.settle()
    assert at.dials() == [("127.0.0.9:98", "tls-name-mismatch")]
    assert listener.application_bytes == b""


@pytest.mark.req("SRV-01", "SRV-02", "SEED-07")
@pytest.mark.parametrize(
    "kind", [None, certs.Kind.EXPIRED, certs.Kind.UNKNOWN_AUTHORITY, certs.Kind.COMMON_NAME_ONLY]
)
async def test_the_next_target_serves_if_the_first_refuses_or_shows_a_bad_certificate(
    at: Loopback, kind: certs.Kind | None
) -> None:
    at.zone[FED + "example.test"] = Name(srv=[(2, 1, 98, "m.test"), (1, 1, 98, "target.test")])
    if kind is None:
        at.wire.stands[Address("127.0.0.9", 98)] = Address("127.0.0.9", 1)
    else:
        bad = at.stand("127.0.0.9", 98, certs.certificate(kind, "example.test"))
    at.stand("127.0.0.8", 98, certs.good("example.test"))
    await at.connect()
    first, second = at.dials()
    assert first[0] == "127.0.0.9:98"
    assert first[1] == "connect-refused" if kind is None else first[1].startswith("tls-")
    assert second == ("127.0.0.8:98", "ok")
    if kind is not None:
        bad.settle()
        assert bad.application_bytes == b""


@pytest.mark.req("DISC-15")
async def test_a_silent_ipv6_address_does_not_stop_ipv4(at: Loopback) -> None:
    at.zone["example.test"] = Name(a=["127.0.0.1"], aaaa=["::1"])
    at.silent("::1", 99)
    at.stand("127.0.0.1", 99, certs.good("example.test"))
    connection = await at.connect(ServerName("example.test:99"))
    assert connection.link.facts.address.ip == "127.0.0.1"
    assert [step.outcome for step in at.recorder.trail.of("dial")] == ["unused", "ok"]


@pytest.mark.req("SRV-03")
async def test_a_target_that_is_an_alias_is_told_and_tried(at: Loopback) -> None:
    at.zone[FED + "example.test"] = Name(srv=[(1, 1, 98, "alias.test")])
    at.zone["alias.test"] = Name(cname="target.test")
    at.stand("127.0.0.9", 98, certs.good("example.test"))
    await at.connect()
    assert at.recorder.trail.of("srv-target-alias")


@pytest.mark.req("SRV-04", "SRV-05", "AMB-19")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Name(srv=[(0, 0, 0, ".")]), "srv-not-offered"),
        (Trouble.SERVFAIL, "srv-unknown"),
        (Trouble.REFUSED, "srv-unknown"),
        (Trouble.SILENCE, "srv-unknown"),
        (Trouble.NXDOMAIN, ""),
        (Name(), ""),
    ],
)
async def test_no_service_no_record_and_no_answer_are_three_things(
    at: Loopback, answer: Name | Trouble, code: str
) -> None:
    at.zone[FED + "example.test"] = answer
    discovery = (await at.resolver.resolve(NAME)).discovery
    assert (discovery.stopped.code if discovery.stopped else "") == code
    if not code:
        assert discovery.routes[0].step == "6"


@pytest.mark.req("WK-01", "WK-02", "WK-03")
async def test_redirects_are_followed_over_tls(at: Loopback) -> None:
    web = at.web(
        pages={
            WELL_KNOWN: (302, {"Location": "/a"}, ""),
            "/a": (301, {"Location": "https://example.test/b?c"}, ""),
            "/b?c": (200, {"Content-Type": "text/plain"}, '{"m.server":"m.test:443"}'),
        }
    )
    discovery = (await at.resolver.resolve(NAME)).discovery
    assert discovery.delegated == "m.test:443"
    assert [seen.target for seen in web.requests] == [WELL_KNOWN, "/a", "/b?c"]
    assert {seen.header("Host") for seen in web.requests} == {"example.test"}


@pytest.mark.req("WK-02", "WK-06")
async def test_a_redirect_loop_ends_and_leads_on(at: Loopback) -> None:
    at.web(
        pages={
            WELL_KNOWN: (302, {"Location": "/a"}, ""),
            "/a": (302, {"Location": WELL_KNOWN}, ""),
        }
    )
    resolution = await at.resolver.resolve(NAME)
    assert resolution.discovery.routes[0].step == "6"
    assert resolution.trail.of("well-known")[0].code == "redirect-loop"


@pytest.mark.req("WK-07", "DISC-16")
async def test_a_second_resolution_asks_nobody(at: Loopback) -> None:
    web = at.delegate("m.test")
    await at.resolver.resolve(NAME)
    queries = len(at.dns.queries)
    again = await at.resolver.resolve(NAME)
    assert again.from_cache
    assert (len(at.dns.queries), len(web.requests)) == (queries, 1)


@pytest.mark.req("SEED-04", "SEED-05", "ERR14-02", "ERR14-03", "REF14-16")
@pytest.mark.parametrize(
    ("name", "srv", "ip", "port", "host", "step"),
    [
        ("example.test:99", True, "127.0.0.1", 99, "example.test:99", "2014:port"),
        ("example.test", True, "127.0.0.9", 98, "example.test", "2014:srv"),
        ("example.test:", True, "127.0.0.9", 98, "example.test", "2014:srv"),
        ("example.test", False, "127.0.0.1", 8448, "example.test", "2014:8448"),
    ],
)
async def test_the_rules_of_2014_use_a_records_one_srv_name_and_no_file(
    at: Loopback, name: str, srv: bool, ip: str, port: int, host: str, step: str
) -> None:
    web = at.delegate("elsewhere.test")
    at.zone["example.test"] = Name(a=["127.0.0.1"], aaaa=["::1"])
    if srv:
        at.zone[OLD + "example.test"] = Name(srv=[(1, 1, 98, "target.test")])
    listener = at.stand(ip, port, certs.good("example.test"))
    connection = await at.connect(parse_server_name_2014(name), Mode.SEED)
    assert connection.route.step == step
    assert f"\r\nHost: {host}\r\n".encode() in listener.application_bytes
    assert {query.kind for query in at.dns.queries} <= {"A", "SRV"}
    assert not web.requests
