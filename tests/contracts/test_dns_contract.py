"""Every name service keeps the Dns plug's word: answers, codes, aliases, lifetimes, silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dns import DnsResolver
from ranvier.plugs import Clock, Dns
from ranvier.protocol.records import DnsAnswer, RecordKind, SrvRecord
from ranvier.world import DnsSays, World
from tests.rigs.dns import DnsRig, Name, Query, Trouble

A, AAAA, SRV, CNAME = RecordKind.A, RecordKind.AAAA, RecordKind.SRV, RecordKind.CNAME
LIMITS = Limits(dns_seconds=0.5, dns_tries=2, records_per_answer=40)

Entry = Name | DnsSays | list[Name | DnsSays]
Zone = Mapping[str, Entry]

ZONE: Zone = {
    "one.test": Name(a=["10.0.0.1"], ttl=300),
    "both.test": Name(a=["10.0.0.3", "10.0.0.1", "10.0.0.2"], aaaa=["fd00::2", "fd00::1"], ttl=77),
    "zero.test": Name(a=["10.0.0.1"], ttl=0),
    "mixedCASE.test": Name(a=["10.0.0.9"]),
    "www.test": Name(cname="both.test", ttl=9999),
    "long.test": Name(cname="www.test", ttl=5),
    "dangling.test": Name(cname="nowhere.test"),
    "hollow.test": Name(cname="one.test"),
    "loop.test": Name(cname="pool.test"),
    "pool.test": Name(cname="loop.test"),
    "_matrix-fed._tcp.one.test": Name(
        srv=[(10, 5, 8448, "fed1.one.test"), (0, 0, 443, "Fed2.one.test"), (10, 0, 1, "one.test")],
        ttl=60,
    ),
    "_matrix._tcp.one.test": Name(srv=[(0, 0, 0, ".")]),
    "_matrix._tcp.www.test": Name(cname="_matrix-fed._tcp.one.test", ttl=10),
    "servfail.test": DnsSays.SERVFAIL,
    "refused.test": DnsSays.REFUSED,
    "nothing.test": DnsSays.NOTHING,
    "silent.test": DnsSays.SILENT,
    "garbage.test": DnsSays.GARBAGE,
    "late.test": Name(a=["10.0.0.1"], delay=0.05),
    "too-late.test": Name(a=["10.0.0.1"], delay=1.2),
    "crowd.test": Name(a=[f"10.0.1.{each}" for each in range(40)]),
    "mob.test": Name(a=[f"10.0.1.{each}" for each in range(41)]),
    "rebound.test": [Name(a=["10.0.0.1"]), Name(a=["127.0.0.1"])],
    "secure.test": Name(a=["10.0.0.1"], authentic=True),
    "printer.test": Name(a=["10.0.0.1"]),
}
HOSTS = {"printer.test": ("192.168.1.9",), "both.hosts": ("10.0.0.1", "fd00::1")}


class Stage(Protocol):
    """A name service that was given the zone, and what was asked of it."""

    @property
    def clock(self) -> Clock: ...

    @property
    def dns(self) -> Dns: ...

    def asked(self, name: str) -> int:
        """How often a question for the name came to a name server."""


class WorldStage(msgspec.Struct):
    world: World

    @property
    def clock(self) -> Clock:
        return self.world.clock

    @property
    def dns(self) -> Dns:
        return self.world.dns

    def asked(self, name: str) -> int:
        return len(self.world.dns.asked_for(name))


class NetStage(msgspec.Struct):
    clock: Clock
    dns: Dns
    rig: DnsRig

    def asked(self, name: str) -> int:
        return len(self.rig.asked(name))


def _world(scratch: Path) -> Iterator[Stage]:
    world = World(limits=LIMITS)
    for name, entry in ZONE.items():
        _tell(world, name, entry)
    world.dns.hosts.update(HOSTS)
    yield WorldStage(world)


def _tell(world: World, name: str, entry: Entry) -> None:
    if isinstance(entry, list):
        world.dns.turns(name, *(_records(each) for each in entry))
    else:
        world.dns.set(name, *_records(entry))
    if isinstance(entry, Name):
        world.dns.set(name, *_records(entry), ttl=entry.ttl, authentic=entry.authentic)
        world.dns.delays(name, entry.delay)


def _records(
    entry: Name | DnsSays,
) -> list[str | tuple[int, int, int, str] | SrvRecord | DnsSays]:
    if isinstance(entry, DnsSays):
        return [entry]
    return [*entry.a, *entry.aaaa, *entry.srv, *([entry.cname] if entry.cname else [])]


def _garbage(query: Query, data: bytes) -> bytes:
    """The right id, one record announced, and then nothing that makes sense."""
    return data[:2] + bytes.fromhex("81800001000100000000") + b"\xff" * 40


def _net(follow: bool) -> Callable[[Path], Iterator[Stage]]:
    troubles = {
        DnsSays.SERVFAIL: Trouble.SERVFAIL,
        DnsSays.REFUSED: Trouble.REFUSED,
        DnsSays.NOTHING: Name(),
        DnsSays.SILENT: Trouble.SILENCE,
        DnsSays.GARBAGE: _garbage,
    }

    def stage(scratch: Path) -> Iterator[Stage]:
        lines = [f"{ip} {name}" for name, ips in HOSTS.items() for ip in ips]
        (scratch / "hosts").write_text("\n".join(lines))
        zone = {
            name: troubles[entry] if isinstance(entry, DnsSays) else entry
            for name, entry in ZONE.items()
        }
        with DnsRig(zone, follow=follow) as rig:  # type: ignore[arg-type] # joined of both
            clock = SystemClock()
            dns = DnsResolver(clock, LIMITS, (rig.address,), str(scratch / "hosts"))
            yield NetStage(clock, dns, rig)

    return stage


STAGES: dict[str, Callable[[Path], Iterator[Stage]]] = {
    "world": _world,
    "net": _net(True),
    "net-not-following": _net(False),
}


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    yield from STAGES[request.param](tmp_path)


async def code_of(stage: Stage, name: str, kind: RecordKind = A) -> str:
    with pytest.raises(DnsFault) as raised:
        await stage.dns.ask(name, kind)
    return raised.value.code


# Answers


async def test_addresses_come_in_the_servers_order(stage: Stage) -> None:
    answer = await stage.dns.ask("both.test", A)
    assert answer == DnsAnswer(
        name="both.test",
        kind=A,
        addresses=("10.0.0.3", "10.0.0.1", "10.0.0.2"),
        ttl=77,
        server=answer.server,
    )
    assert answer.answered
    assert answer.server
    assert (await stage.dns.ask("both.test", AAAA)).addresses == ("fd00::2", "fd00::1")


async def test_services_come_whole_and_in_the_letters_they_have(stage: Stage) -> None:
    answer = await stage.dns.ask("_matrix-fed._tcp.one.test", SRV)
    assert answer.services == (
        SrvRecord(10, 5, 8448, "fed1.one.test"),
        SrvRecord(0, 0, 443, "Fed2.one.test"),
        SrvRecord(10, 0, 1, "one.test"),
    )
    assert (answer.rcode, answer.ttl, answer.addresses) == ("NOERROR", 60, ())


@pytest.mark.req("SRV-04")
async def test_the_root_as_a_target_stays_a_dot(stage: Stage) -> None:
    answer = await stage.dns.ask("_matrix._tcp.one.test", SRV)
    assert answer.services == (SrvRecord(0, 0, 0, "."),)


@pytest.mark.req("DISC-17")
@pytest.mark.parametrize("name", ["MixedCase.Test", "mixedcase.test", "MIXEDCASE.TEST."])
async def test_names_are_found_without_letter_case_and_final_dot(stage: Stage, name: str) -> None:
    answer = await stage.dns.ask(name, A)
    assert answer.addresses == ("10.0.0.9",)
    assert answer.name == name.removesuffix(".")


async def test_a_lifetime_of_nothing_stays_nothing(stage: Stage) -> None:
    assert (await stage.dns.ask("zero.test", A)).ttl == 0


async def test_the_authentic_bit_is_passed_on(stage: Stage) -> None:
    assert (await stage.dns.ask("secure.test", A)).authentic
    assert not (await stage.dns.ask("one.test", A)).authentic


# Aliases


@pytest.mark.req("SRV-03", "SRV-07")
async def test_aliases_are_followed_shown_and_the_least_lifetime_counts(stage: Stage) -> None:
    answer = await stage.dns.ask("long.test", A)
    assert answer.name == "long.test"
    assert answer.aliases == ("www.test", "both.test")
    assert answer.addresses == ("10.0.0.3", "10.0.0.1", "10.0.0.2")
    assert answer.ttl == 5


async def test_a_service_behind_an_alias_is_found(stage: Stage) -> None:
    answer = await stage.dns.ask("_matrix._tcp.www.test", SRV)
    assert answer.aliases == ("_matrix-fed._tcp.one.test",)
    assert len(answer.services) == 3
    assert answer.ttl == 10


async def test_an_alias_is_an_answer_when_asked_for(stage: Stage) -> None:
    answer = await stage.dns.ask("www.test", CNAME)
    assert (answer.rcode, answer.aliases, answer.addresses) == ("NOERROR", ("both.test",), ())
    assert (await stage.dns.ask("one.test", CNAME)).aliases == ()


async def test_an_alias_to_nowhere_is_nxdomain_with_the_alias_shown(stage: Stage) -> None:
    answer = await stage.dns.ask("dangling.test", A)
    assert (answer.rcode, answer.aliases) == ("NXDOMAIN", ("nowhere.test",))


async def test_an_alias_to_a_name_without_the_kind_is_empty(stage: Stage) -> None:
    answer = await stage.dns.ask("hollow.test", AAAA)
    assert (answer.rcode, answer.aliases, answer.addresses) == ("NOERROR", ("one.test",), ())


@pytest.mark.req("SEC-06")
async def test_a_loop_of_aliases_is_a_fault(stage: Stage) -> None:
    assert await code_of(stage, "loop.test") == "dns-alias-loop"


# No


@pytest.mark.req("SRV-05")
@pytest.mark.parametrize(
    ("name", "rcode", "answered"),
    [
        ("nowhere.test", "NXDOMAIN", True),
        ("nothing.test", "NOERROR", True),
        ("servfail.test", "SERVFAIL", False),
        ("refused.test", "REFUSED", False),
    ],
)
@pytest.mark.parametrize("kind", [A, AAAA, SRV])
async def test_every_no_has_its_code(
    stage: Stage, name: str, rcode: str, answered: bool, kind: RecordKind
) -> None:
    answer = await stage.dns.ask(name, kind)
    assert (answer.rcode, answer.answered) == (rcode, answered)
    assert (answer.addresses, answer.services, answer.aliases) == ((), (), ())


async def test_a_name_without_the_kind_exists(stage: Stage) -> None:
    answer = await stage.dns.ask("one.test", AAAA)
    assert (answer.rcode, answer.addresses) == ("NOERROR", ())


@pytest.mark.req("SRV-07")
async def test_those_who_know_that_there_is_nothing_say_for_how_long(stage: Stage) -> None:
    assert (await stage.dns.ask("nowhere.test", A)).ttl == 60
    assert (await stage.dns.ask("one.test", AAAA)).ttl == 60
    assert (await stage.dns.ask("servfail.test", A)).ttl == 0


# Nobody


@pytest.mark.parametrize("name", ["silent.test", "too-late.test"])
async def test_silence_is_a_fault_once_patience_is_at_its_end(stage: Stage, name: str) -> None:
    began = stage.clock.tick()
    assert await code_of(stage, name) == "dns-silent"
    patience = LIMITS.dns_seconds * LIMITS.dns_tries
    assert patience * 0.9 <= stage.clock.tick() - began < patience + 1


async def test_an_unreadable_answer_is_a_fault_at_once(stage: Stage) -> None:
    began = stage.clock.tick()
    assert await code_of(stage, "garbage.test") == "dns-garbage"
    assert stage.clock.tick() - began < LIMITS.dns_seconds


async def test_a_late_answer_within_the_patience_is_taken(stage: Stage) -> None:
    began = stage.clock.tick()
    assert (await stage.dns.ask("late.test", A)).addresses == ("10.0.0.1",)
    assert stage.clock.tick() - began >= 0.045


@pytest.mark.req("SEC-06")
async def test_more_records_than_we_take_are_a_fault(stage: Stage) -> None:
    assert len((await stage.dns.ask("crowd.test", A)).addresses) == 40
    assert await code_of(stage, "mob.test") == "dns-too-many-records"


# Never asked


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("127.1", "dns-name-numeric"),
        ("2130706433", "dns-name-numeric"),
        ("0x7f.1", "dns-name-numeric"),
        ("a.0x7F", "dns-name-numeric"),
        ("127.0.0.1", "dns-name-numeric"),
        ("", "dns-name-unusable"),
        (".", "dns-name-unusable"),
        ("a..test", "dns-name-unusable"),
        (".a.test", "dns-name-unusable"),
        ("a.test..", "dns-name-unusable"),
        ("a" * 64 + ".test", "dns-name-unusable"),
        ("a." * 127 + "test", "dns-name-unusable"),
        ("a b.test", "dns-name-unusable"),
        ("a\0b.test", "dns-name-unusable"),
        ("é.test", "dns-name-unusable"),
        ("::1", "dns-name-unusable"),
        ("a.test\n", "dns-name-unusable"),
    ],
)
@pytest.mark.req("SEC-05")
async def test_what_is_no_name_is_never_asked(stage: Stage, name: str, code: str) -> None:
    for kind in (A, AAAA, SRV):
        assert await code_of(stage, name, kind) == code
    assert stage.asked(name) == 0


@pytest.mark.req("D28")
@pytest.mark.parametrize("name", ["localhost", "LocalHost.", "a.localhost"])
async def test_localhost_is_a_rule_and_not_a_question(stage: Stage, name: str) -> None:
    answer = await stage.dns.ask(name, A)
    assert (answer.addresses, answer.server) == (("127.0.0.1",), "localhost rule")
    assert (await stage.dns.ask(name, AAAA)).addresses == ("::1",)
    assert (await stage.dns.ask(name, SRV)).rcode == "NXDOMAIN"
    assert stage.asked(name) == 0


@pytest.mark.req("D28")
async def test_the_hosts_file_comes_first_and_says_so(stage: Stage) -> None:
    answer = await stage.dns.ask("Printer.test", A)
    assert (answer.addresses, answer.server) == (("192.168.1.9",), "hosts file")
    assert (await stage.dns.ask("printer.test", AAAA)).addresses == ()
    assert (await stage.dns.ask("both.hosts", AAAA)).addresses == ("fd00::1",)
    assert stage.asked("printer.test") == 0
    assert (await stage.dns.ask("printer.test", SRV)).server != "hosts file"


# Again and again


@pytest.mark.req("SEC-05")
async def test_each_question_is_asked_anew_so_a_name_may_be_rebound(stage: Stage) -> None:
    assert (await stage.dns.ask("rebound.test", A)).addresses == ("10.0.0.1",)
    assert (await stage.dns.ask("rebound.test", A)).addresses == ("127.0.0.1",)
    assert stage.asked("rebound.test") == 2


async def test_many_questions_at_once_do_not_mix(stage: Stage) -> None:
    names = ["one.test", "both.test", "nowhere.test", "servfail.test", "long.test"] * 6
    answers = await asyncio.gather(*(stage.dns.ask(name, A) for name in names))
    assert [answer.name for answer in answers] == names
    assert {answer.rcode for answer in answers[2::5]} == {"NXDOMAIN"}
    assert {answer.addresses for answer in answers[0::5]} == {("10.0.0.1",)}


async def test_a_question_can_be_cancelled(stage: Stage) -> None:
    task = asyncio.create_task(stage.dns.ask("silent.test", A))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
