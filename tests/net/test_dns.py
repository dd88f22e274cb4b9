"""DNS over real sockets against a name server of our own, in every mood."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from pathlib import Path

import dnslib
import pytest

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dns import DnsResolver, read_resolv_conf
from ranvier.protocol.addresses import Address
from ranvier.protocol.records import DnsAnswer, RecordKind, SrvRecord
from tests.rigs.dns import DnsRig, Entry, Name, Query, Trouble

A, AAAA, SRV, CNAME = RecordKind.A, RecordKind.AAAA, RecordKind.SRV, RecordKind.CNAME


def resolver(*rigs: DnsRig, hosts_file: str | None = None, **limits: float) -> DnsResolver:
    given = {"dns_seconds": 2.0, **limits}
    servers = tuple(each.address for each in rigs)
    return DnsResolver(SystemClock(), Limits(**given), servers, hosts_file)  # type: ignore[arg-type] # any field


async def ask(
    zone: dict[str, Entry], name: str, kind: RecordKind = A, *, seconds: float = 2.0
) -> DnsAnswer:
    with DnsRig(zone) as rig:
        return await resolver(rig, dns_seconds=seconds).ask(name, kind)


async def fault(zone: dict[str, Entry], name: str, kind: RecordKind = A) -> str:
    with pytest.raises(DnsFault) as failed:
        await ask(zone, name, kind, seconds=0.2)
    return failed.value.code


# Answers


async def test_addresses_come_in_the_servers_order_with_the_least_ttl() -> None:
    zone: dict[str, Entry] = {"a.test": Name(a=["10.0.0.2", "10.0.0.1"], aaaa=["fd00::1"], ttl=77)}
    with DnsRig(zone) as rig:
        v4, v6 = await resolver(rig).ask("a.test", A), await resolver(rig).ask("a.test", AAAA)
    assert (v4.addresses, v4.ttl, v4.rcode) == (("10.0.0.2", "10.0.0.1"), 77, "NOERROR")
    assert v6.addresses == ("fd00::1",)
    assert v4.server == str(rig.address)
    assert not v4.authentic
    assert v4.answered


@pytest.mark.req("SRV-01")
async def test_services_are_read_whole() -> None:
    records = [(10, 5, 8448, "Target.test"), (0, 0, 0, ".")]
    answer = await ask(
        {"_matrix-fed._tcp.a.test": Name(srv=records)}, "_matrix-fed._tcp.a.test", SRV
    )
    assert answer.services == (SrvRecord(10, 5, 8448, "Target.test"), SrvRecord(0, 0, 0, "."))


@pytest.mark.req("DISC-17")
async def test_the_asked_name_keeps_its_case_and_case_does_not_matter() -> None:
    answer = await ask({"a.test": Name(a=["10.0.0.1"])}, "A.Test.")
    assert (answer.name, answer.addresses) == ("A.Test", ("10.0.0.1",))


async def test_the_ad_bit_is_asked_for_and_told() -> None:
    def echo(query: Query, data: bytes) -> bytes:
        asked.append(dnslib.DNSRecord.parse(data))
        return bytes(asked[0].reply().pack())

    asked: list[dnslib.DNSRecord] = []
    await ask({"b.test": echo}, "b.test")
    assert asked[0].header.ad == 1
    assert asked[0].header.rd == 1
    answer = await ask({"a.test": Name(a=["10.0.0.1"], authentic=True)}, "a.test")
    assert answer.authentic


@pytest.mark.req("SRV-05")
@pytest.mark.parametrize(
    ("entry", "rcode", "answered"),
    [
        (None, "NXDOMAIN", True),
        (Name(), "NOERROR", True),
        (Trouble.SERVFAIL, "SERVFAIL", False),
        (Trouble.REFUSED, "REFUSED", False),
        (Trouble.FORMERR, "FORMERR", False),
    ],
)
async def test_response_codes_are_answers(entry: Entry | None, rcode: str, answered: bool) -> None:
    zone = {} if entry is None else {"a.test": entry}
    answer = await ask(zone, "a.test", SRV)
    assert (answer.rcode, answer.answered, answer.services) == (rcode, answered, ())


async def test_a_negative_answer_lives_as_long_as_the_soa_says() -> None:
    with DnsRig({"a.test": Name()}, negative_ttl=42) as rig:
        assert (await resolver(rig).ask("none.test", A)).ttl == 42
        assert (await resolver(rig).ask("a.test", A)).ttl == 42
    with DnsRig({"a.test": Name()}, soa=False) as rig:
        assert (await resolver(rig).ask("a.test", A)).ttl == 0


async def test_no_answer_lives_longer_than_the_limit() -> None:
    with DnsRig({"a.test": Name(a=["10.0.0.1"], ttl=2**31 - 1)}) as rig:
        assert (await resolver(rig).ask("a.test", A)).ttl == Limits().dns_ttl_max_seconds


# Aliases


CHAIN: dict[str, Entry] = {
    "a.test": Name(cname="b.test", ttl=50),
    "b.test": Name(cname="c.test", ttl=9),
    "c.test": Name(a=["10.0.0.1"], ttl=70),
}


@pytest.mark.parametrize("follow", [True, False])
async def test_aliases_are_followed_within_and_across_answers(follow: bool) -> None:
    with DnsRig(CHAIN, follow=follow) as rig:
        answer = await resolver(rig).ask("a.test", A)
        asked = [each.name for each in rig.queries]
    assert answer.aliases == ("b.test", "c.test")
    assert (answer.addresses, answer.ttl, answer.name) == (("10.0.0.1",), 9, "a.test")
    assert asked == (["a.test"] if follow else ["a.test", "b.test", "c.test"])


async def test_an_alias_to_nothing_is_told_with_its_chain() -> None:
    answer = await ask({"a.test": Name(cname="gone.test")}, "a.test")
    assert (answer.rcode, answer.aliases, answer.addresses) == ("NXDOMAIN", ("gone.test",), ())


async def test_an_alias_may_be_asked_for_itself() -> None:
    answer = await ask(CHAIN, "a.test", CNAME)
    assert (answer.aliases, answer.addresses) == (("b.test",), ())
    assert (await ask(CHAIN, "c.test", CNAME)).aliases == ()


@pytest.mark.parametrize("follow", [True, False])
async def test_a_loop_of_aliases_ends(follow: bool) -> None:
    zone: dict[str, Entry] = {"a.test": Name(cname="b.test"), "b.test": Name(cname="a.test")}
    with DnsRig(zone, follow=follow) as rig:
        with pytest.raises(DnsFault) as failed:
            await resolver(rig).ask("a.test", A)
        assert len(rig.queries) <= Limits().alias_hops + 1
    assert failed.value.code == "dns-alias-loop"


@pytest.mark.parametrize("follow", [True, False])
async def test_a_chain_of_exactly_the_limit_is_followed(follow: bool) -> None:
    zone: dict[str, Entry] = {f"n{i}.test": Name(cname=f"n{i + 1}.test") for i in range(3)}
    zone["n3.test"] = Name(a=["10.0.0.1"])
    with DnsRig(zone, follow=follow) as rig:
        assert (await resolver(rig, alias_hops=3).ask("n0.test", A)).addresses == ("10.0.0.1",)
        with pytest.raises(DnsFault):
            await resolver(rig, alias_hops=2).ask("n0.test", A)


@pytest.mark.parametrize("target", ["127.1", "0x7f.1", "2130706433", "a b.test", ""])
async def test_an_alias_that_cannot_be_asked_is_a_fault(target: str) -> None:
    with DnsRig({"a.test": Name(cname=target or ".")}, follow=False, soa=False) as rig:
        with pytest.raises(DnsFault) as failed:
            await resolver(rig).ask("a.test", A)
        assert len(rig.queries) == 1
    assert failed.value.code in ("dns-name-numeric", "dns-name-unusable")


# Names that are never asked


NEVER = [
    ("127.1", "dns-name-numeric"),
    ("2130706433", "dns-name-numeric"),
    ("0x7f.1", "dns-name-numeric"),
    ("1.0x7f", "dns-name-numeric"),
    ("0177.0.0.1", "dns-name-numeric"),
    ("10.0.0.1", "dns-name-numeric"),
    ("_matrix-fed._tcp.127.1", "dns-name-numeric"),
    ("a.0X", "dns-name-numeric"),
    ("a..b.test", "dns-name-unusable"),
    ("", "dns-name-unusable"),
    (".", "dns-name-unusable"),
    (".a.test", "dns-name-unusable"),
    ("a.test..", "dns-name-unusable"),
    ("x" * 64 + ".test", "dns-name-unusable"),
    (".".join(["x" * 60] * 5), "dns-name-unusable"),
    ("a\\.b.test", "dns-name-unusable"),
    ("b\u00fccher.test", "dns-name-unusable"),
    ("::1", "dns-name-unusable"),
    ("a.test\n", "dns-name-unusable"),
]


@pytest.mark.req("SEC-05")
@pytest.mark.parametrize(("name", "code"), NEVER)
async def test_a_name_that_could_mean_something_else_is_never_asked(name: str, code: str) -> None:
    with DnsRig({}) as rig:
        with pytest.raises(DnsFault) as failed:
            await resolver(rig).ask(name, A)
        assert rig.queries == []
    assert failed.value.code == code


async def test_names_that_end_in_letters_are_asked() -> None:
    for name in ("1.2.3.4a", "127.1.test", "-x.test", "_x._y.test", "x" * 63 + ".test", "0xg.0xg"):
        assert (await ask({name: Name(a=["10.0.0.1"])}, name)).addresses == ("10.0.0.1",)


@pytest.mark.req("D28")
async def test_the_hosts_file_and_localhost_come_first(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("10.9.9.9 a.test\n")
    with DnsRig({"a.test": Name(a=["10.0.0.1"])}) as rig:
        dns = resolver(rig, hosts_file=str(file))
        assert (await dns.ask("a.test", A)).server == "hosts file"
        assert (await dns.ask("localhost", AAAA)).server == "localhost rule"
        assert rig.queries == []
        assert (await dns.ask("a.test", SRV)).server == str(rig.address)


# Trouble


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Trouble.SILENCE, "dns-silent"),
        (Trouble.WRONG_ID, "dns-silent"),
        (Trouble.WRONG_QUESTION, "dns-silent"),
        (Trouble.EMPTY, "dns-silent"),
        (Trouble.CUT, "dns-garbage"),
        (Trouble.TRUNCATED_ALWAYS, "dns-garbage"),
    ],
)
async def test_what_is_no_answer_is_a_fault_in_time(trouble: Trouble, code: str) -> None:
    began = time.monotonic()
    assert await fault({"a.test": trouble}, "a.test") == code
    assert time.monotonic() - began < 3


async def test_garbage_is_a_fault() -> None:
    assert await fault({"a.test": Trouble.GARBAGE}, "a.test") in (
        "dns-garbage", "dns-too-many-records", "dns-silent",
    )  # fmt: skip


async def test_a_flood_of_records_is_a_fault() -> None:
    zone: dict[str, Entry] = {"a.test": Name(a=[f"10.0.{i}.1" for i in range(101)])}
    assert await fault(zone, "a.test") == "dns-too-many-records"


async def test_a_cut_answer_is_fetched_whole_by_tcp() -> None:
    with DnsRig({"a.test": Trouble.TRUNCATED}) as rig:
        answer = await resolver(rig).ask("a.test", A)
        assert [each.transport for each in rig.queries] == ["udp", "tcp"]
    assert answer.addresses == ("127.0.0.1",)


async def test_a_cut_answer_without_tcp_is_a_fault() -> None:
    with DnsRig({"a.test": Trouble.TRUNCATED}, tcp=False) as rig:
        rig._listener.close()
        with pytest.raises(DnsFault) as failed:
            await resolver(rig).ask("a.test", A)
    assert failed.value.code == "dns-silent"


async def test_noise_on_the_port_is_passed_over_within_limits() -> None:
    def noisy(query: Query, data: bytes) -> bytes | None:
        good = dnslib.DNSRecord.parse(data).reply()
        good.add_answer(dnslib.RR("a.test", dnslib.QTYPE.A, ttl=5, rdata=dnslib.A("10.0.0.1")))
        stray = dnslib.DNSRecord.parse(data).reply()
        stray.header.id ^= 1
        for each in (stray.pack(), b"", b"x", stray.pack()):
            rig._udp.sendto(each, (rig.ip, query.port))
        return bytes(good.pack())

    with DnsRig({"a.test": noisy}) as rig:
        assert (await resolver(rig).ask("a.test", A)).addresses == ("10.0.0.1",)
        with pytest.raises(DnsFault) as failed:
            await resolver(rig, dns_strays=3, dns_seconds=0.2).ask("a.test", A)
    assert failed.value.code == "dns-silent"


async def test_a_closed_port_is_a_fault_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        to = Address("127.0.0.1", closed.getsockname()[1])
    dns = DnsResolver(SystemClock(), Limits(dns_seconds=5.0), (to,), None)
    began = time.monotonic()
    with pytest.raises(DnsFault, match="refused") as failed:
        await dns.ask("a.test", A)
    assert time.monotonic() - began < 4
    assert failed.value.code == "dns-silent"


# Several servers


async def test_the_next_server_is_asked_when_one_is_out_of_order() -> None:
    for trouble in (Trouble.SERVFAIL, Trouble.REFUSED, Trouble.SILENCE, Trouble.CUT):
        with DnsRig({"a.test": trouble}) as bad, DnsRig({"a.test": Name(a=["10.0.0.1"])}) as good:
            answer = await resolver(bad, good, dns_seconds=0.4).ask("a.test", A)
            assert (answer.addresses, answer.server) == (("10.0.0.1",), str(good.address))
            assert (len(bad.queries), len(good.queries)) == (1, 1)


async def test_nxdomain_is_an_answer_and_no_other_server_is_asked() -> None:
    with DnsRig({}) as first, DnsRig({"a.test": Name(a=["10.0.0.1"])}) as second:
        assert (await resolver(first, second).ask("a.test", A)).rcode == "NXDOMAIN"
        assert second.queries == []


async def test_servfail_is_the_answer_if_nobody_does_better() -> None:
    with DnsRig({"a.test": Trouble.SERVFAIL}) as one, DnsRig({"a.test": Trouble.SILENCE}) as two:
        answer = await resolver(two, one, dns_seconds=0.2).ask("a.test", A)
        assert (answer.rcode, answer.server) == ("SERVFAIL", str(one.address))
        assert len(one.queries) == Limits().dns_tries


async def test_a_second_try_may_succeed() -> None:
    zone: dict[str, Entry] = {"a.test": [Trouble.SILENCE, Name(a=["10.0.0.1"])]}
    assert (await ask(zone, "a.test", seconds=0.4)).addresses == ("10.0.0.1",)


async def test_a_server_that_knows_no_edns_is_asked_without() -> None:
    def old(query: Query, data: bytes) -> bytes:
        request = dnslib.DNSRecord.parse(data)
        reply = request.reply()
        if request.ar:
            reply.header.rcode = dnslib.RCODE.FORMERR
        else:
            reply.add_answer(dnslib.RR("a.test", dnslib.QTYPE.A, rdata=dnslib.A("10.0.0.1")))
        return bytes(reply.pack())

    assert (await ask({"a.test": old}, "a.test")).addresses == ("10.0.0.1",)


async def test_ids_and_ports_are_drawn_anew_for_every_question() -> None:
    with DnsRig({"a.test": Name(a=["10.0.0.1"])}) as rig:
        dns = resolver(rig)
        await asyncio.gather(*(dns.ask("a.test", A) for _ in range(30)))
        assert len({each.ident for each in rig.queries}) > 25
        assert len({each.port for each in rig.queries}) > 25


async def test_ipv6_servers_are_asked() -> None:
    with DnsRig({"a.test": Name(a=["10.0.0.1"])}, ip="::1") as rig:
        answer = await resolver(rig).ask("a.test", A)
    assert answer.server == f"[::1]:{rig.port}"


@pytest.mark.req("SEC-05")
async def test_a_name_may_be_rebound_between_two_answers() -> None:
    """DNS tells what it is told; the wire judges each final address (test_dial)."""
    zone: dict[str, Entry] = {"a.test": [Name(a=["192.0.2.1"]), Name(a=["127.0.0.1"])]}
    with DnsRig(zone) as rig:
        answers = [(await resolver(rig).ask("a.test", A)).addresses for _ in range(3)]
    assert answers == [("192.0.2.1",), ("127.0.0.1",), ("127.0.0.1",)]


async def test_a_cancelled_question_leaves_no_socket() -> None:
    with DnsRig({"a.test": Trouble.SILENCE}) as rig:
        asking = asyncio.create_task(resolver(rig, dns_seconds=10.0).ask("a.test", A))
        while not rig.queries:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_random_bytes_after_our_id_never_break_the_resolver() -> None:
    def junk(query: Query, data: bytes) -> bytes:
        draw = random.Random(len(rig.queries))
        return data[:2] + draw.randbytes(draw.randrange(200))

    with DnsRig({"a.test": junk}) as rig:
        dns = resolver(rig, dns_seconds=0.02, dns_tries=1)
        for _ in range(50):
            try:
                await dns.ask("a.test", A)
            except DnsFault:
                continue


# The system's servers


def test_resolv_conf_is_read_as_the_system_does(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# x\nsearch a.test\nnameserver 192.0.2.1\nnameserver ::1\nnameserver fe80::1%lo\n"
        "nameserver nonsense\nnameserver\noptions edns0\nnameserver 192.0.2.9\n"
    )
    assert read_resolv_conf(file) == (
        Address("192.0.2.1", 53),
        Address("::1", 53),
        Address("fe80::1%lo", 53),
    )
    for empty in ("", "search a.test\n"):
        file.write_text(empty)
        assert read_resolv_conf(file) == (Address("127.0.0.1", 53),)
    file.unlink()
    assert read_resolv_conf(file) == (Address("127.0.0.1", 53),)


async def test_the_systems_servers_are_asked_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.1\n")
    with DnsRig({"a.test": Name(a=["10.0.0.1"])}) as rig:
        monkeypatch.setattr("ranvier.net.dns._DNS_PORT", rig.port)
        dns = DnsResolver(SystemClock(), Limits(), hosts_file=None, resolv_conf=str(file))
        assert (await dns.ask("a.test", A)).addresses == ("10.0.0.1",)
