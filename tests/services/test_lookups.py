"""DNS as the services see it: what holds how long, and addresses as they come."""

from __future__ import annotations

import pytest

from ranvier.limits import Limits
from ranvier.protocol.names import TlsName
from ranvier.protocol.records import DnsAnswer, Failed, RecordKind
from ranvier.protocol.routes import Route
from ranvier.services.lookups import Lookups
from ranvier.trail import Outcome, Recorder
from ranvier.world import DnsSays, World

A, AAAA = RecordKind.A, RecordKind.AAAA


class Setting:
    """A world's DNS and lookups over it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.world = World(limits=limits)
        self.lookups = Lookups(self.world.dns, self.world.clock, self.world.limits)
        self.recorder = Recorder(self.world.clock.tick)

    def route(self, host: str, *families: RecordKind) -> Route:
        return Route(
            step="6",
            connect=host,
            port=8448,
            host_header=host,
            tls_name=TlsName(host),
            families=families or (AAAA, A),
            clause="x",
        )

    async def addresses(self, host: str, *families: RecordKind) -> list[tuple[str, float]]:
        """Each address and when it came."""
        self.recorder = Recorder(self.world.clock.tick)
        began = self.world.clock.tick()
        return [
            (address.ip, self.world.clock.tick() - began)
            async for address in self.lookups.addresses(
                self.route(host, *families), recorder=self.recorder
            )
        ]

    async def times_asked(self, name: str, *, after: float) -> int:
        """How often DNS is asked for two lookups, ``after`` seconds apart."""
        await self.lookups.lookup(name, A)
        self.world.clock.advance(after)
        await self.lookups.lookup(name, A)
        return len(self.world.dns.asked_for(name))


@pytest.fixture
def at() -> Setting:
    return Setting()


@pytest.mark.req("SRV-07", "DISC-17")
async def test_an_answer_holds_for_its_ttl_whatever_the_letters(at: Setting) -> None:
    at.world.dns.address("a.test", "10.0.0.1", ttl=30)
    assert await at.times_asked("a.test", after=29) == 1
    await at.lookups.lookup("A.Test", A)
    assert len(at.world.dns.asked) == 1
    at.world.clock.advance(1)
    await at.lookups.lookup("a.test", A)
    assert len(at.world.dns.asked) == 2


@pytest.mark.req("SRV-07")
async def test_no_ttl_is_longer_than_a_day() -> None:
    at = Setting(Limits(dns_ttl_max_seconds=100))
    at.world.dns.address("a.test", "10.0.0.1", ttl=10_000)
    assert await at.times_asked("a.test", after=100) == 2


async def test_no_record_is_remembered_for_a_minute_at_most(at: Setting) -> None:
    assert await at.times_asked("nothing.test", after=59) == 1
    at.world.clock.advance(1)
    assert await at.times_asked("nothing.test", after=60) == 3


@pytest.mark.req("SRV-05")
async def test_no_record_never_stands_in_for_not_knowing(at: Setting) -> None:
    await at.lookups.lookup("a.test", A)
    at.world.clock.advance(60)
    at.world.dns.says("a.test", DnsSays.SERVFAIL)
    known = await at.lookups.lookup("a.test", A)
    assert isinstance(known.answer, DnsAnswer)
    assert known.answer.rcode == "SERVFAIL"


async def test_failures_are_remembered_longer_and_longer_up_to_a_minute(at: Setting) -> None:
    at.world.dns.says("a.test", DnsSays.GARBAGE)
    moments = []
    for _ in range(200):
        before = len(at.world.dns.asked)
        known = await at.lookups.lookup("a.test", A)
        assert isinstance(known.answer, Failed)
        if len(at.world.dns.asked) > before:
            moments.append(at.world.clock.tick())
        at.world.clock.advance(1)
    assert moments == [0, 5, 15, 35, 75, 135, 195]


@pytest.mark.req("DISC-15")
async def test_both_families_are_asked_at_once_and_taken_in_turn(at: Setting) -> None:
    at.world.dns.address("a.test", "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2")
    at.world.dns.delays("a.test", 1.0)
    assert await at.addresses("a.test") == [
        ("fd00::1", 1.0),
        ("10.0.0.1", 1.0),
        ("fd00::2", 1.0),
        ("10.0.0.2", 1.0),
        ("10.0.0.3", 1.0),
    ]


@pytest.mark.req("DISC-15")
async def test_a_records_wait_only_a_moment_for_late_aaaa_records(at: Setting) -> None:
    at.world.dns.address("a.test", "10.0.0.1", "fd00::1")
    at.world.dns.delays("a.test", 3.0, AAAA)
    assert await at.addresses("a.test") == [("10.0.0.1", 0.05), ("fd00::1", 3.0)]
    again = Setting()
    again.world.dns.address("a.test", "10.0.0.1", "fd00::1")
    again.world.dns.delays("a.test", 0.04, AAAA)
    assert await again.addresses("a.test") == [("fd00::1", 0.04), ("10.0.0.1", 0.04)]


@pytest.mark.req("DISC-15")
async def test_aaaa_records_do_not_wait_at_all(at: Setting) -> None:
    at.world.dns.address("a.test", "10.0.0.1", "fd00::1")
    at.world.dns.delays("a.test", 3.0, A)
    assert await at.addresses("a.test") == [("fd00::1", 0.0), ("10.0.0.1", 3.0)]


async def test_an_empty_family_is_waited_for_by_nobody(at: Setting) -> None:
    at.world.dns.address("a.test", "fd00::1")
    at.world.dns.delays("a.test", 3.0, AAAA)
    assert await at.addresses("a.test") == [("fd00::1", 3.0)]


async def test_who_has_enough_gives_up_what_is_under_way(at: Setting) -> None:
    at.world.dns.address("a.test", "10.0.0.1", "fd00::1")
    at.world.dns.delays("a.test", 3.0, A)
    addresses = at.lookups.addresses(at.route("a.test"), recorder=at.recorder)
    assert (await anext(addresses)).ip == "fd00::1"
    await addresses.aclose()
    outcomes = [step.outcome for step in at.recorder.trail.of("address")]
    assert outcomes == [Outcome.OK, Outcome.UNUSED]


@pytest.mark.req("SEC-06")
async def test_the_same_address_twice_counts_once_and_too_many_are_left_out() -> None:
    at = Setting(Limits(addresses_per_name=3))
    at.world.dns.set("a.test", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    found = [ip for ip, _ in await at.addresses("a.test", A)]
    assert found == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


async def test_the_trail_says_who_answered_and_by_which_aliases(at: Setting) -> None:
    at.world.dns.alias("www.test", "a.test")
    at.world.dns.address("a.test", "10.0.0.1")
    await at.addresses("www.test", A)
    step = at.recorder.trail.of("address")[0]
    assert step.answer == "10.0.0.1"
    assert step.evidence["aliases"] == ["a.test"]
    assert step.evidence["server"] == "world"
    assert step.evidence["source"] == "asked"
    assert await at.addresses("localhost", A) == [("127.0.0.1", 0.0)]
    assert at.recorder.trail.of("address")[0].evidence["server"] == "localhost rule"


async def test_an_address_literal_is_its_own_answer(at: Setting) -> None:
    route = Route(
        step="1",
        connect="fd00::9",
        port=1,
        host_header="[fd00::9]",
        tls_name=TlsName("fd00::9", is_ip=True),
        families=(),
        clause="x",
        is_ip=True,
    )
    found = [each async for each in at.lookups.addresses(route, recorder=at.recorder)]
    assert [str(each) for each in found] == ["[fd00::9]:1"]
    assert not at.recorder.trail


@pytest.mark.req("D28")
async def test_what_this_machine_says_instead_of_dns_is_shown_as_such(at: Setting) -> None:
    at.world.dns.hosts["printer.test"] = ("10.0.0.9",)
    at.world.dns.address("a.test", "10.0.0.1")
    for host, said in (
        ("printer.test", "10.0.0.9, by the hosts file"),
        ("a.localhost", "127.0.0.1, by the localhost rule"),
        ("a.test", "10.0.0.1"),
    ):
        await at.addresses(host, A)
        (step,) = at.recorder.trail.of("address")
        assert step.answer == said
    assert at.world.dns.asked_for("printer.test") == at.world.dns.asked_for("a.localhost") == []
