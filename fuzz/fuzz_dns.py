"""Any bytes as the answer of a name server."""

from __future__ import annotations

import dns.message
import dns.rrset

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.net.dnsmessage import parse_message, question, read_reply, write_question
from ranvier.protocol.records import RecordKind, checked_name

INVARIANT = (
    "Any bytes are a DnsFault, or a reply to our own question with no more records, aliases and"
    " seconds than the limits allow, of the asked kind alone."
)

LIMITS = Limits()
NAME = "_matrix-fed._tcp.a.test"
ASKED = {kind: question(NAME, kind, 0x1234) for kind in RecordKind}


def _template(kind: RecordKind) -> bytes:
    """A good answer: two aliases, two records, an SOA."""
    reply = dns.message.make_response(ASKED[kind])
    records = {
        RecordKind.A: ("10.0.0.1", "10.0.0.2"),
        RecordKind.AAAA: ("fd00::1", "fd00::2"),
        RecordKind.SRV: ("10 5 8448 b.test.", "0 0 0 ."),
        RecordKind.CNAME: ("d.test.",),
    }
    for name, target in ((f"{NAME}.", "b.test."), ("b.test.", "c.test.")):
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target))
    reply.answer.append(dns.rrset.from_text("c.test.", 30, "IN", kind.value, *records[kind]))
    soa = "ns.test. admin.test. 1 2 3 4 5"
    reply.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", soa))
    return reply.to_wire()


TEMPLATES = {kind: _template(kind) for kind in RecordKind}


def _mutated(template: bytes, data: bytes) -> bytes:
    """``data`` read as (place, value) pairs that overwrite the template."""
    made = bytearray(template)
    for place, value in zip(data[::2], data[1::2], strict=False):
        made[2 + place % (len(made) - 2)] = value
    return bytes(made)


def _judge(wire: bytes, kind: RecordKind) -> None:
    try:
        message = parse_message(wire, ASKED[kind], LIMITS)
        reply = read_reply(message, NAME, kind, LIMITS.alias_hops)
    except DnsFault:
        return
    most = LIMITS.records_per_answer
    assert len(reply.addresses) <= most
    assert len(reply.services) <= most
    assert len(reply.aliases) <= LIMITS.alias_hops + 1
    assert reply.ttl is None or reply.ttl >= 0
    assert not reply.addresses or kind in (RecordKind.A, RecordKind.AAAA)
    assert all((":" in ip) == (kind is RecordKind.AAAA) for ip in reply.addresses)
    assert not reply.services or kind is RecordKind.SRV
    assert all(0 <= each.port <= 65535 and each.target for each in reply.services)


def check(data: bytes) -> None:
    for kind in RecordKind:
        _judge(data, kind)
        _judge(b"\x12\x34" + data, kind)
        _judge(_mutated(TEMPLATES[kind], data), kind)
        _judge(TEMPLATES[kind][: len(data)] + data, kind)
    try:
        name = checked_name(data.decode("latin-1"))
    except DnsFault:
        return
    assert len(write_question(name, RecordKind.A, 1)) < 512
