"""The zone reads like a zone, and every fault of it has a name."""

from __future__ import annotations

from ranvier.errors import DnsFault
from ranvier.protocol.records import RecordKind, SrvRecord
from ranvier.world import DnsSays, World

A, AAAA, SRV, CNAME = RecordKind.A, RecordKind.AAAA, RecordKind.SRV, RecordKind.CNAME


async def said(world: World, name: str, kind: RecordKind = A) -> tuple[str, ...] | str:
    """Addresses, or the response code, or the fault's code."""
    try:
        answer = await world.dns.ask(name, kind)
    except DnsFault as fault:
        return fault.code
    return answer.addresses or answer.rcode


async def test_every_form_of_a_zone_entry() -> None:
    world = World(
        {
            "one.test": "10.0.0.1",
            "many.test": ["10.0.0.1", "fd00::1", (0, 1, 2, "x.test.")],
            "alias.test": "one.test.",
            "srv.test": (10, 5, 8448, "one.test"),
            "srvs.test": [(10, 5, 8448, "one.test"), SrvRecord(20, 5, 443, ".")],
            "one-record.test": SrvRecord(1, 2, 3, "one.test"),
            "broken.test": DnsSays.SERVFAIL,
            "empty.test": [],
        }
    )
    assert await said(world, "one.test") == ("10.0.0.1",)
    assert await said(world, "many.test", AAAA) == ("fd00::1",)
    assert (await world.dns.ask("many.test", SRV)).services[0].target == "x.test"
    assert await said(world, "alias.test") == ("10.0.0.1",)
    assert (await world.dns.ask("srv.test", SRV)).services == (SrvRecord(10, 5, 8448, "one.test"),)
    assert [each.target for each in (await world.dns.ask("srvs.test", SRV)).services] == [
        "one.test",
        ".",
    ]
    assert (await world.dns.ask("one-record.test", SRV)).services[0].port == 3
    assert await said(world, "broken.test") == "SERVFAIL"
    assert await said(world, "empty.test") == "NOERROR"


async def test_a_name_above_existing_names_exists() -> None:
    world = World({"a.b.test": "10.0.0.1"})
    assert await said(world, "b.test") == "NOERROR"
    assert await said(world, "c.test") == "NXDOMAIN"


async def test_the_vocabulary_builds_and_takes_back() -> None:
    world = World()
    world.dns.address("a.test", "10.0.0.1", ttl=30)
    world.dns.address("a.test", "10.0.0.2")
    world.dns.srv("_x._tcp.a.test", (1, 2, 3, "a.test"), ttl=7)
    world.dns.alias("b.test", "a.test", ttl=9)
    assert await said(world, "a.test") == ("10.0.0.1", "10.0.0.2")
    assert (await world.dns.ask("a.test", A)).ttl == 30
    assert (await world.dns.ask("_x._tcp.a.test", SRV)).ttl == 7
    assert (await world.dns.ask("b.test", A)).ttl == 9
    assert world.dns.knows("A.test.")
    world.dns.remove("_x._tcp.a.test")
    world.dns.remove("a.test")
    assert not world.dns.knows("a.test")
    assert await said(world, "b.test") == "NXDOMAIN"


async def test_a_fault_may_strike_one_kind_alone_and_heal() -> None:
    world = World({"a.test": ["10.0.0.1", "fd00::1"]})
    world.dns.says("a.test", DnsSays.SILENT, AAAA)
    assert await said(world, "a.test") == ("10.0.0.1",)
    assert await said(world, "a.test", AAAA) == "dns-silent"
    assert world.clock.tick() == world.limits.dns_seconds * world.limits.dns_tries
    world.dns.says("a.test", DnsSays.REFUSED)
    assert await said(world, "a.test") == "REFUSED"
    world.dns.heals("a.test")
    assert await said(world, "a.test", AAAA) == ("fd00::1",)
    world.dns.heals("never-ill.test")


async def test_a_fault_of_an_unknown_name_does_not_make_it_exist() -> None:
    world = World()
    world.dns.says("a.test", DnsSays.GARBAGE)
    assert await said(world, "a.test") == "dns-garbage"
    world.dns.heals("a.test")
    assert await said(world, "a.test") == "NXDOMAIN"


async def test_turns_rebind_and_flap() -> None:
    world = World()
    world.dns.turns("rebound.test", "10.0.0.1", "127.0.0.1")
    assert [await said(world, "rebound.test") for _ in range(3)] == [
        ("10.0.0.1",),
        ("127.0.0.1",),
        ("127.0.0.1",),
    ]
    world.dns.turns("flapping.test", ["10.0.0.1", "10.0.0.2"], DnsSays.SERVFAIL, again=True)
    assert [await said(world, "flapping.test") for _ in range(4)] == [
        ("10.0.0.1", "10.0.0.2"),
        "SERVFAIL",
        ("10.0.0.1", "10.0.0.2"),
        "SERVFAIL",
    ]
    world.dns.turns("kinds.test", "10.0.0.1", "10.0.0.2", kind=A)
    assert await said(world, "kinds.test", AAAA) == "NOERROR"
    assert await said(world, "kinds.test") == ("10.0.0.1",)


async def test_delays_pass_in_virtual_time() -> None:
    world = World({"a.test": "10.0.0.1"})
    world.dns.delays("a.test", 2.5)
    assert await said(world, "a.test") == ("10.0.0.1",)
    assert world.clock.tick() == 2.5


async def test_every_question_is_kept() -> None:
    world = World({"a.test": "10.0.0.1"})
    await said(world, "a.test")
    await world.clock.sleep(1)
    await said(world, "A.test", SRV)
    await said(world, "localhost")
    assert world.dns.asked_for("a.test") == [A, SRV]
    assert [(each.name, each.at) for each in world.dns.asked] == [("a.test", 0), ("A.test", 1)]
