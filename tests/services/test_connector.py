"""Connecting in a world: where, as whom, in which order, and what never happens."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from ranvier.errors import Unreachable
from ranvier.limits import Limits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.names import ServerName, parse_server_name_2014
from ranvier.protocol.records import RecordKind
from ranvier.protocol.routes import Mode
from ranvier.protocol.trust import FirstContact, Pinned, Trust, WebPki
from ranvier.services.connector import Connection, Connector
from ranvier.services.resolver import Resolver
from ranvier.trail import Outcome, Recorder
from ranvier.world import DnsSays, Fault, Flaw, World

NAME = ServerName("example.org")
FED, OLD = "_matrix-fed._tcp.", "_matrix._tcp."


class Setting:
    """A world with example.org at 10.0.0.1 and nothing on its port 443."""

    def __init__(self, limits: Limits | None = None, seed: int = 0) -> None:
        self.world = World({"example.org": "10.0.0.1"}, limits=limits, seed=seed)
        world = self.world
        self.resolver = Resolver(world.dns, world.wire, world.clock, world.limits)
        self.connector = Connector(self.resolver, world.wire, world.clock, world.limits)
        self.recorder = Recorder(world.clock.tick)

    def delegate(self, to: str) -> None:
        body = json.dumps({"m.server": to}).encode()

        async def serve(_request: HttpRequest) -> HttpResponse:
            return HttpResponse(status=200, body=body)

        certificate = self.world.certificate("example.org")
        self.world.host("10.0.0.1", 443, certificate=certificate, serves=serve)

    def stands(
        self, ip: str, port: int, name: str, *, flaw: Flaw | None = None, fault: Fault | None = None
    ) -> None:
        certificate = self.world.certificate(name, flaw=flaw)
        self.world.host(ip, port, certificate=certificate, fault=fault)

    async def connect(
        self,
        name: ServerName = NAME,
        *,
        trust: Trust | None = None,
        mode: Mode = Mode.CURRENT,
        fresh: bool = False,
    ) -> Connection:
        self.recorder = Recorder(self.world.clock.tick)
        return await self.connector.connect(
            name, trust=trust or WebPki(), mode=mode, recorder=self.recorder, fresh=fresh
        )

    async def refused(self, name: ServerName = NAME, *, trust: Trust | None = None) -> Unreachable:
        with pytest.raises(Unreachable) as caught:
            await self.connect(name, trust=trust)
        assert caught.value.trail == self.recorder.trail
        return caught.value

    def dials(self) -> list[tuple[str, str]]:
        """Address and code of each attempt, in order."""
        return [
            (step.evidence["address"], step.code or str(step.outcome))
            for step in self.recorder.trail.of("dial")
        ]


@pytest.fixture
def at() -> Setting:
    return Setting()


TABLE = [
    # server name, m.server, SRV (at which name), address, Host, certificate, SNI
    ("10.0.0.7", "", "", "10.0.0.7:8448", "10.0.0.7", "10.0.0.7", None),
    ("10.0.0.7:99", "", "", "10.0.0.7:99", "10.0.0.7:99", "10.0.0.7", None),
    ("[fd00::7]:99", "", "", "[fd00::7]:99", "[fd00::7]:99", "fd00::7", None),
    ("example.org:99", "", "", "10.0.0.1:99", "example.org:99", "example.org", "example.org"),
    ("example.org", "10.0.0.7", "", "10.0.0.7:8448", "10.0.0.7", "10.0.0.7", None),
    ("example.org", "[fd00::7]:9", "", "[fd00::7]:9", "[fd00::7]:9", "fd00::7", None),
    ("example.org", "m.test:443", "", "10.0.0.8:443", "m.test:443", "m.test", "m.test"),
    ("example.org", "m.test", FED + "m.test", "10.0.0.9:98", "m.test", "m.test", "m.test"),
    ("example.org", "m.test", OLD + "m.test", "10.0.0.9:98", "m.test", "m.test", "m.test"),
    ("example.org", "m.test", "", "10.0.0.8:8448", "m.test", "m.test", "m.test"),
    (
        "example.org", "", FED + "example.org",
        "10.0.0.9:98", "example.org", "example.org", "example.org",
    ),
    (
        "example.org", "", OLD + "example.org",
        "10.0.0.9:98", "example.org", "example.org", "example.org",
    ),
    ("example.org", "", "", "10.0.0.1:8448", "example.org", "example.org", "example.org"),
    ("EXAMPLE.org", "", "", "10.0.0.1:8448", "EXAMPLE.org", "example.org", "example.org"),
]  # fmt: skip


@pytest.mark.req(
    "DISC-01", "DISC-02", "DISC-04", "DISC-05", "DISC-06", "DISC-07", "DISC-08", "DISC-09",
    "DISC-10", "DISC-11", "DISC-12", "DISC-17", "SRV-06", "D25",
)  # fmt: skip
@pytest.mark.parametrize(("name", "file", "srv", "address", "host", "certificate", "sni"), TABLE)
async def test_each_kind_of_route_reaches_the_right_address_as_the_right_name(
    name: str, file: str, srv: str, address: str, host: str, certificate: str, sni: str | None
) -> None:
    at = Setting()
    at.world.dns.address("m.test", "10.0.0.8")
    at.world.dns.address("target.test", "10.0.0.9")
    if file:
        at.delegate(file)
    if srv:
        at.world.dns.srv(srv, (1, 1, 98, "target.test"))
    ip, port = address.rsplit(":", 1)
    at.stands(ip.strip("[]"), int(port), certificate)
    connection = await at.connect(ServerName(name))
    assert str(connection.link.facts.address) == address
    assert at.world.wire.attempts[-1].sni == sni
    request = HttpRequest(method="GET", target="/x", host=connection.route.host_header)
    await connection.link.exchange(request, at.world.limits.exchange(body_bytes=1000))
    assert f"\r\nHost: {host}\r\n".encode() in at.world.wire.requests[-1].raw


@pytest.mark.req("DISC-11", "SEC-11")
@pytest.mark.parametrize("delegated", ["", "m.test"])
async def test_a_certificate_for_the_srv_target_alone_is_refused(
    at: Setting, delegated: str
) -> None:
    if delegated:
        at.delegate(delegated)
    at.world.dns.srv(FED + (delegated or "example.org"), (1, 1, 98, "target.test"))
    at.world.dns.address("target.test", "10.0.0.9")
    at.stands("10.0.0.9", 98, "target.test")
    assert (await at.refused()).code == "no-connection"
    assert at.dials() == [("10.0.0.9:98", "tls-name-mismatch")]


@pytest.mark.req("SRV-02", "SEED-07", "DISC-15")
@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.UNREACHABLE, Fault.RESET, Fault.TLS_ALERT])
async def test_a_target_that_fails_gives_way_to_the_next_at_once(at: Setting, fault: Fault) -> None:
    at.world.dns.srv(FED + "example.org", (1, 0, 98, "one.test"), (2, 0, 98, "two.test"))
    at.world.dns.address("one.test", "10.0.0.8")
    at.world.dns.address("two.test", "10.0.0.9")
    at.stands("10.0.0.8", 98, "example.org", fault=fault)
    at.stands("10.0.0.9", 98, "example.org")
    connection = await at.connect()
    assert connection.route.connect == "two.test"
    assert at.world.clock.tick() == 0.0
    assert [code == "ok" for _, code in at.dials()] == [False, True]


@pytest.mark.req("SRV-02", "SEED-07", "TLS-02", "TLS-09", "D31", "SEED-17")
@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        (Flaw.EXPIRED, "tls-expired"),
        (Flaw.SELF_SIGNED, "tls-self-signed"),
        (Flaw.UNKNOWN_AUTHORITY, "tls-unknown-authority"),
        (Flaw.CN_ONLY, "tls-common-name-only"),
    ],
)
async def test_a_bad_certificate_gives_way_too_and_is_reported_and_gets_no_byte(
    at: Setting, flaw: Flaw, code: str
) -> None:
    at.world.dns.srv(FED + "example.org", (1, 0, 98, "one.test"), (2, 0, 98, "two.test"))
    at.world.dns.address("one.test", "10.0.0.8")
    at.world.dns.address("two.test", "10.0.0.9")
    at.stands("10.0.0.8", 98, "example.org", flaw=flaw)
    at.stands("10.0.0.9", 98, "example.org")
    await at.connect()
    assert at.dials() == [("10.0.0.8:98", code), ("10.0.0.9:98", "ok")]
    bad, good = at.recorder.trail.of("dial")
    assert len(bad.evidence["certificate"]) == 64
    assert bad.evidence["certificate"] != good.evidence["certificate"]
    assert at.world.wire.requests == []


@pytest.mark.req("DISC-15")
async def test_a_dead_aaaa_address_delays_a_live_a_address_only_a_little(at: Setting) -> None:
    at.world.dns.address("example.org", "fd00::1")
    at.world.dark("fd00::1")
    at.stands("10.0.0.1", 8448, "example.org")
    connection = await at.connect(ServerName("example.org:8448"))
    assert connection.link.facts.address.ip == "10.0.0.1"
    assert at.world.clock.tick() == at.world.limits.stagger_seconds
    lost = at.recorder.trail.of("dial")[0]
    assert (lost.outcome, lost.answer) == (Outcome.UNUSED, "no longer needed")
    assert at.world.wire.attempts[0].outcome == "cancelled"


@pytest.mark.req("DISC-15")
@pytest.mark.parametrize("says", [DnsSays.SILENT, DnsSays.SERVFAIL, DnsSays.GARBAGE])
async def test_aaaa_records_that_cannot_be_had_do_not_stop_the_a_records(
    at: Setting, says: DnsSays
) -> None:
    at.world.dns.says("example.org", says, RecordKind.AAAA)
    at.stands("10.0.0.1", 8448, "example.org")
    await at.connect(ServerName("example.org:8448"))
    assert at.world.clock.tick() < 0.1


async def test_of_two_silent_addresses_and_one_slow_one_the_slow_one_wins(at: Setting) -> None:
    at.world.dns.address("example.org", "10.0.0.2", "10.0.0.3")
    at.world.dark("10.0.0.1", "10.0.0.3")
    at.stands("10.0.0.2", 8448, "example.org")
    at.world.wire.hosts[next(iter(at.world.wire.hosts))].handshake_seconds = 2.0
    await at.connect(ServerName("example.org:8448"))
    assert [each.started for each in at.recorder.trail.of("dial")] == [0.0, 0.25, 0.5]
    assert at.world.clock.tick() == 2.25


async def test_a_later_failure_starts_the_next_attempt_without_waiting(at: Setting) -> None:
    at.world.dns.address("example.org", "10.0.0.2")
    at.stands("10.0.0.1", 8448, "example.org", fault=Fault.RESET)
    at.world.wire.hosts[next(iter(at.world.wire.hosts))].connect_seconds = 0.1
    at.stands("10.0.0.2", 8448, "example.org")
    await at.connect(ServerName("example.org:8448"))
    assert at.world.clock.tick() == pytest.approx(0.1)


@pytest.mark.req("SRV-03")
async def test_an_srv_target_that_is_an_alias_is_tried_and_told(at: Setting) -> None:
    at.world.dns.srv(FED + "example.org", (1, 0, 98, "alias.test"))
    at.world.dns.alias("alias.test", "real.test")
    at.world.dns.address("real.test", "10.0.0.9")
    at.stands("10.0.0.9", 98, "example.org")
    await at.connect()
    note = at.recorder.trail.of("srv-target-alias")[0]
    assert note.evidence == {"target": "alias.test", "alias": "real.test"}


async def test_an_alias_of_the_hostname_itself_is_nothing_odd(at: Setting) -> None:
    at.world.dns.alias("alias.test", "example.org")
    at.stands("10.0.0.1", 8448, "alias.test")
    await at.connect(ServerName("alias.test:8448"))
    assert not at.recorder.trail.of("srv-target-alias")


@pytest.mark.req("SEED-06", "SRV-01")
async def test_equal_priority_weights_one_and_three_share_four_hundred_connections(
    at: Setting,
) -> None:
    at.world.dns.srv(OLD + "example.org", (1, 1, 98, "one.test"), (1, 3, 98, "two.test"), ttl=9000)
    at.world.dns.address("one.test", "10.0.0.8")
    at.world.dns.address("two.test", "10.0.0.9")
    at.stands("10.0.0.8", 98, "example.org")
    at.stands("10.0.0.9", 98, "example.org")
    counted: Counter[str] = Counter()
    for _ in range(400):
        connection = await at.connect(parse_server_name_2014("example.org"), mode=Mode.SEED)
        counted[connection.route.connect] += 1
        await connection.link.close()
    assert counted["one.test"] == pytest.approx(100, abs=30)


@pytest.mark.req("SEED-04", "ERR14-02")
async def test_the_rules_of_2014_connect_to_a_records_only(at: Setting) -> None:
    at.world.dns.address("example.org", "fd00::1")
    at.stands("10.0.0.1", 8449, "example.org")
    name = parse_server_name_2014("example.org:8449")
    connection = await at.connect(name, mode=Mode.SEED, trust=FirstContact())
    assert connection.link.facts.address.ip == "10.0.0.1"
    assert at.world.dns.asked_for("example.org") == [RecordKind.A]


async def test_a_pin_is_held_against_every_address(at: Setting) -> None:
    at.world.dns.address("example.org", "10.0.0.2")
    at.stands("10.0.0.1", 8448, "example.org", flaw=Flaw.SELF_SIGNED)
    at.stands("10.0.0.2", 8448, "example.org", flaw=Flaw.SELF_SIGNED)
    second = at.world.wire.hosts[[*at.world.wire.hosts][1]].shows(None)
    pinned = Pinned(frozenset({fingerprint(second.leaf)}))
    connection = await at.connect(ServerName("example.org:8448"), trust=pinned)
    assert connection.link.facts.address.ip == "10.0.0.2"
    assert at.dials()[0][1] == "tls-pin-mismatch"


# --- The address policy ---

INNER = [
    "127.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "::1",
    "fe80::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]


@pytest.mark.req("SEC-05")
@pytest.mark.parametrize("ip", INNER)
@pytest.mark.parametrize("way", ["name", "srv", "file", "literal", "literal-file", "redirect"])
async def test_no_way_leads_to_an_inner_address(ip: str, way: str) -> None:
    at = Setting()
    literal = f"[{ip}]" if ":" in ip else ip
    at.world.dns.address("inner.test", ip)
    name = NAME
    if way == "name":
        name = ServerName("inner.test")
    elif way == "srv":
        at.world.dns.srv(FED + "example.org", (1, 1, 8448, "inner.test"))
    elif way == "file":
        at.delegate("inner.test:8448")
    elif way == "literal":
        name = ServerName(literal)
    elif way == "literal-file":
        at.delegate(literal)
    else:
        await redirected(at, f"https://{literal}/x")
    at.world.host(ip, 8448, certificate=at.world.certificate("example.org", "inner.test"))
    at.world.host(ip, 443, certificate=at.world.certificate("example.org", "inner.test"))
    await at.refused(name)
    assert at.world.wire.refused
    assert not [each for each in at.world.wire.attempts if each.address.ip == ip]


async def redirected(at: Setting, location: str) -> None:
    async def serve(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=302, headers=(("location", location),))

    certificate = at.world.certificate("example.org")
    at.world.host("10.0.0.1", 443, certificate=certificate, serves=serve)


@pytest.mark.req("SEC-05")
async def test_a_name_that_changes_its_address_between_two_answers_gains_nothing(
    at: Setting,
) -> None:
    at.world.dns.turns("example.org", "10.0.0.1", "127.0.0.1", kind=RecordKind.A)
    at.stands("127.0.0.1", 8448, "example.org")
    error = await at.refused()
    assert error.code == "no-connection"
    assert {each.address.ip for each in at.world.wire.attempts} == {"10.0.0.1"}


@pytest.mark.req("SEC-05", "D29")
async def test_a_delegation_to_an_inner_address_is_the_answer_without_fallback(
    at: Setting,
) -> None:
    at.delegate("127.0.0.1:8448")
    at.stands("10.0.0.1", 8448, "example.org")
    assert (await at.refused()).code == "no-connection"
    assert at.dials() == [("127.0.0.1:8448", "address-refused")]


@pytest.mark.req("SEC-05", "WK-06", "D29")
async def test_a_file_at_an_inner_address_is_no_file(at: Setting) -> None:
    await redirected(at, "https://inner.test/x")
    at.world.dns.address("inner.test", "127.0.0.1")
    at.stands("10.0.0.1", 8448, "example.org")
    connection = await at.connect()
    assert connection.route.step == "6"
    assert at.recorder.trail.of("well-known")[0].code == "address-refused"


@pytest.mark.req("SEC-05")
@pytest.mark.parametrize("text", ["127.1", "2130706433", "0x7f.1", "0x7f000001:443"])
async def test_a_name_that_is_a_number_is_never_looked_up(at: Setting, text: str) -> None:
    error = await at.refused(ServerName(text))
    assert error.code == "no-route"
    assert not at.world.dns.asked
    assert not at.world.wire.attempts


# --- How it fails ---


@pytest.mark.req("SRV-04", "SRV-05")
async def test_no_route_says_why_and_tries_nothing(at: Setting) -> None:
    at.world.dns.srv(FED + "example.org", (0, 0, 0, "."))
    error = await at.refused()
    assert error.code == "no-route"
    assert "not offered" in error.message
    assert not at.dials()


async def test_no_address_says_so(at: Setting) -> None:
    assert (await at.refused(ServerName("nowhere.test:1"))).code == "no-address"
    assert {step.answer for step in at.recorder.trail.of("address")} == {"no record (NXDOMAIN)"}
    at.world.dns.says("nowhere.test", DnsSays.SERVFAIL)
    at.world.clock.advance(100)
    assert (await at.refused(ServerName("nowhere.test:1"))).code == "no-address"
    assert {step.code for step in at.recorder.trail.of("address")} == {"address-unknown"}
    at.world.dns.says("silent.test", DnsSays.SILENT)
    assert (await at.refused(ServerName("silent.test:1"))).code == "no-address"
    assert {step.code for step in at.recorder.trail.of("address")} == {"dns-silent"}


@pytest.mark.req("SEC-06")
async def test_many_addresses_are_tried_only_up_to_the_limits() -> None:
    at = Setting(Limits(attempts_per_request=5, addresses_per_name=4))
    for host in ("one.test", "two.test"):
        at.world.dns.address(host, *(f"10.0.{host == 'one.test':d}.{n}" for n in range(20)))
    at.world.dns.srv(FED + "example.org", (1, 0, 98, "one.test"), (2, 0, 98, "two.test"))
    error = await at.refused()
    assert error.code == "no-connection"
    assert "after 5 attempts: connect-refused (5)" in error.message
    assert [address.split(".")[2] for address, _ in at.dials()] == ["1", "1", "1", "1", "0"]


@pytest.mark.req("SEC-06")
async def test_all_of_it_ends_in_time_with_every_attempt_in_the_trail() -> None:
    at = Setting(Limits(total_seconds=1.0))
    at.world.dns.address("example.org", "10.0.0.2")
    at.world.dark("10.0.0.1", "10.0.0.2")
    error = await at.refused(ServerName("example.org:8448"))
    assert error.code == "connect-out-of-time"
    assert at.world.clock.tick() == 1.0
    assert at.dials() == [("10.0.0.1:8448", "given-up"), ("10.0.0.2:8448", "given-up")]


@pytest.mark.req("SEC-06")
async def test_a_discovery_without_end_ends_in_the_same_error() -> None:
    at = Setting(Limits(total_seconds=4.0))
    at.world.dns.says("example.org", DnsSays.SILENT)
    error = await at.refused()
    assert error.code == "connect-out-of-time"
    assert {step.code for step in error.trail.of("address")} == {"given-up"}
    assert at.world.clock.tick() == 4.0


async def test_fresh_looks_everything_up_again(at: Setting) -> None:
    at.stands("10.0.0.1", 8448, "example.org")
    await at.connect()
    asked = len(at.world.dns.asked)
    await at.connect()
    assert len(at.world.dns.asked) == asked
    await at.connect(fresh=True)
    anew = [(each.name, each.kind) for each in at.world.dns.asked[asked:]]
    assert len(anew) == len(set(anew)) == 4, "each question once, though two steps need A and AAAA"


@pytest.mark.req("API-09", "D25")
async def test_a_redirect_on_a_federation_endpoint_is_an_answer_like_any_other(
    at: Setting,
) -> None:
    async def serve(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=302, headers=(("location", "https://10.0.0.2/"),))

    certificate = at.world.certificate("example.org")
    at.world.host("10.0.0.1", 8448, certificate=certificate, serves=serve)
    connection = await at.connect()
    request = HttpRequest(method="GET", target="/_matrix/key/v2/server", host="example.org")
    response = await connection.link.exchange(request, at.world.limits.exchange(body_bytes=10))
    assert response.status == 302
    assert len(at.world.wire.requests) == 1


async def test_a_connector_makes_its_own_recorder_if_it_is_given_none(at: Setting) -> None:
    with pytest.raises(Unreachable) as caught:
        await at.connector.connect(ServerName("example.org:8448"), trust=WebPki())
    assert caught.value.trail.of("dial")[0].code == "connect-refused"
