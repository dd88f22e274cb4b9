"""DNS messages as values: what is read, and what any bytes come to."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.net.dnsmessage import (
    PAYLOAD,
    Reply,
    parse_message,
    question,
    read_reply,
    write_question,
)
from ranvier.protocol.records import RecordKind, SrvRecord, checked_name

A, SRV = RecordKind.A, RecordKind.SRV
LIMITS = Limits()
SOA = "test. 600 IN SOA ns.test. admin.test. 1 2 3 4 77"


def reply_of(kind: RecordKind, *answer: str, authority: tuple[str, ...] = ()) -> Reply:
    """The reply to ``a.test`` with these records in text."""
    asked = question("a.test", kind, 7)
    made = dns.message.make_response(asked)
    for section, lines in ((made.answer, answer), (made.authority, authority)):
        for line in lines:
            name, ttl, *rest = line.split(" ", 4)
            section.append(dns.rrset.from_text(name, int(ttl), *rest))
    return read_reply(parse_message(made.to_wire(), asked, LIMITS), "a.test", kind, 3)


def test_a_question_is_small_and_says_what_it_wants() -> None:
    sent = dns.message.from_wire(write_question("a.test", SRV, 0xABCD))
    assert (sent.id, sent.payload) == (0xABCD, PAYLOAD)
    assert dns.flags.to_text(sent.flags) == "RD AD"
    assert str(sent.question[0]) == "a.test. IN SRV"
    bare = dns.message.from_wire(write_question("a.test", SRV, 1, edns=False))
    assert bare.edns == -1


@pytest.mark.parametrize(
    ("answer", "authority", "ttl", "settled"),
    [
        (("a.test. 50 IN A 10.0.0.1",), (), 50, True),
        (("a.test. 9 IN CNAME b.test.", "b.test. 50 IN A 10.0.0.1"), (), 9, True),
        (("a.test. 9 IN CNAME b.test.",), (), 9, False),
        (("a.test. 90 IN CNAME b.test.",), (SOA,), 77, True),
        ((), (SOA,), 77, True),
        ((), ("test. 5 IN SOA ns.test. admin.test. 1 2 3 4 77",), 5, True),
        ((), ("test. 5 IN NS ns.test.",), None, True),
        ((), (), None, True),
    ],
)
def test_the_least_ttl_counts_and_an_open_chain_is_not_settled(
    answer: tuple[str, ...], authority: tuple[str, ...], ttl: int | None, settled: bool
) -> None:
    reply = reply_of(A, *answer, authority=authority)
    assert (reply.ttl, reply.settled) == (ttl, settled)
    assert reply.final == ("b.test" if len(reply.aliases) else "a.test")


def test_records_of_other_names_and_kinds_are_not_read() -> None:
    reply = reply_of(
        A,
        "other.test. 5 IN A 10.6.6.6",
        "a.test. 5 IN TXT x",
        "a.test. 50 IN A 10.0.0.1",
        authority=("a.test. 5 IN A 10.6.6.6",),
    )
    assert (reply.addresses, reply.ttl) == (("10.0.0.1",), 50)


def test_services_keep_their_letters_and_odd_bytes_come_out_escaped() -> None:
    reply = reply_of(SRV, r"a.test. 5 IN SRV 1 2 3 B\.C.Test.", "a.test. 5 IN SRV 0 0 0 .")
    assert set(reply.services) == {SrvRecord(1, 2, 3, r"B\.C.Test"), SrvRecord(0, 0, 0, ".")}
    with pytest.raises(DnsFault):
        checked_name(r"B\.C.Test")


def test_another_question_another_id_and_a_query_are_strays() -> None:
    asked = question("a.test", A, 7)
    other = question("b.test", A, 7)
    later = question("a.test", A, 8)
    for wire in (
        dns.message.make_response(other).to_wire(),
        dns.message.make_response(later).to_wire(),
        asked.to_wire(),
        b"\0\7\0",
        b"",
    ):
        with pytest.raises(DnsFault) as failed:
            parse_message(wire, asked, LIMITS)
        assert failed.value.code == "dns-stray"


@given(st.binary(max_size=400))
def test_any_bytes_after_our_id_are_a_fault_or_a_reply(data: bytes) -> None:
    asked = question("a.test", A, 7)
    try:
        message = parse_message(b"\0\7" + data, asked, LIMITS)
        reply = read_reply(message, "a.test", A, LIMITS.alias_hops)
    except DnsFault:
        return
    assert reply.ttl is None or reply.ttl >= 0


@given(st.text(max_size=300))
def test_a_checked_name_can_always_be_asked(text: str) -> None:
    try:
        name = checked_name(text)
    except DnsFault:
        return
    sent = dns.message.from_wire(write_question(name, A, 1))
    assert sent.question[0].name.to_text(omit_final_dot=True) == name
