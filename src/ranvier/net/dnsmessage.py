"""DNS messages: our question as bytes, and any bytes as an answer.

Pure (no socket, no clock): :func:`write_question` and :func:`read_reply` are what the
fuzz harness feeds. dnspython is the parser; this room decides what counts as the
answer to *our* question, follows aliases within one message, and bounds counts
before the parser sees them.
"""

from __future__ import annotations

import struct

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import msgspec

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.protocol.records import RecordKind, SrvRecord

PAYLOAD = 1232
"""The UDP payload that we offer by EDNS: fits everywhere without fragments."""

_HEADER = struct.Struct("!6H")
_KINDS = {kind: dns.rdatatype.from_text(kind.value) for kind in RecordKind}


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What one message says of one question.

    ``final`` is the name at which its alias chain ends; ``settled`` is whether it says
    something of that name (records, or that there are none), or must be asked again.
    ``ttl`` in seconds is the least of what was used, ``None`` if nothing had one.
    """

    rcode: str
    addresses: tuple[str, ...] = ()
    services: tuple[SrvRecord, ...] = ()
    aliases: tuple[str, ...] = ()
    final: str
    settled: bool
    ttl: int | None
    authentic: bool


def write_question(name: str, kind: RecordKind, ident: int, *, edns: bool = True) -> bytes:
    """The question as bytes. ``name`` is a checked one, ``ident`` 16 random bits."""
    return question(name, kind, ident, edns=edns).to_wire()


def question(name: str, kind: RecordKind, ident: int, *, edns: bool = True) -> dns.message.Message:
    """The question as a message: recursion wanted, and AD to hear of validation."""
    qname = dns.name.Name([*(label.encode("ascii") for label in name.split(".")), b""])
    made = dns.message.make_query(qname, _KINDS[kind], id=ident)
    made.flags = dns.flags.Flag(dns.flags.RD | dns.flags.AD)
    made.use_edns(0 if edns else -1, payload=PAYLOAD)
    return made


def parse_message(data: bytes, asked: dns.message.Message, limits: Limits) -> dns.message.Message:
    """Any bytes as the answer to ``asked``. Raises: DnsFault.

    ``dns-stray`` means that it does not even carry our id or our question: somebody
    else's, perhaps forged, so the real answer may still come.
    """
    if len(data) < _HEADER.size:
        raise DnsFault("dns-stray", f"{len(data)} bytes are no DNS message")
    ident, _, *counts = _HEADER.unpack_from(data)
    if ident != asked.id:
        raise DnsFault("dns-stray", "an answer to something else")
    if max(counts) > limits.records_per_answer:
        reason = f"an answer with more than {limits.records_per_answer} records"
        raise DnsFault("dns-too-many-records", reason)
    try:
        message = dns.message.from_wire(data)
    except Exception as error:  # a stranger's bytes in another's parser: its errors have no root
        raise DnsFault("dns-garbage", f"no readable DNS message: {error!s:.100}") from error
    if not asked.is_response(message):
        raise DnsFault("dns-stray", "an answer to something else")
    return message


def is_truncated(message: dns.message.Message) -> bool:
    """Whether the whole answer must be fetched by TCP."""
    return bool(message.flags & dns.flags.TC)


def response_code(message: dns.message.Message) -> str:
    """``NOERROR``, ``NXDOMAIN``, ``SERVFAIL``, ``RCODE42`` ..."""
    return dns.rcode.to_text(message.rcode())


def read_reply(message: dns.message.Message, name: str, kind: RecordKind, hops: int) -> Reply:
    """Follow at most ``hops`` aliases within the message. Raises: DnsFault."""
    current = message.question[0].name if message.question else dns.name.from_text(name)
    aliases: list[str] = []
    ttls: list[int] = []
    found = _rrset(message, current, kind)
    while found is None and (alias := _rrset(message, current, RecordKind.CNAME)) is not None:
        ttls.append(alias.ttl)
        current = alias[0].target
        aliases.append(_text(current))
        if len(aliases) > hops:
            raise DnsFault("dns-alias-loop", f"{name!r}: more aliases than we follow")
        found = _rrset(message, current, kind)
    addresses, services, targets = _values(found, kind)
    negative = _negative_ttl(message) if found is None else found.ttl
    ttls += [] if negative is None else [negative]
    rcode = response_code(message)
    settled = found is not None or not aliases or negative is not None or rcode != "NOERROR"
    return Reply(
        rcode=rcode,
        addresses=addresses,
        services=services,
        aliases=tuple(aliases) + targets,
        final=_text(current),
        settled=settled,
        ttl=min(ttls) if ttls else None,
        authentic=bool(message.flags & dns.flags.AD),
    )


def _rrset(
    message: dns.message.Message, name: dns.name.Name, kind: RecordKind
) -> dns.rrset.RRset | None:
    found = message.get_rrset(message.answer, name, dns.rdataclass.IN, _KINDS[kind])
    return found if found else None


def _values(
    found: dns.rrset.RRset | None, kind: RecordKind
) -> tuple[tuple[str, ...], tuple[SrvRecord, ...], tuple[str, ...]]:
    """Addresses, services, alias targets."""
    records = list(found) if found is not None else []
    match kind:
        case RecordKind.SRV:
            return (), tuple(_service(each) for each in records), ()
        case RecordKind.CNAME:
            return (), (), tuple(_text(each.target) for each in records[:1])
        case _:
            return tuple(str(each.address) for each in records), (), ()


def _service(record: object) -> SrvRecord:
    priority, weight, port = (getattr(record, each) for each in ("priority", "weight", "port"))
    return SrvRecord(priority, weight, port, _text(record.target))  # type: ignore[attr-defined] # made at run time


def _text(name: dns.name.Name) -> str:
    """Without final dot; the root stays ``.``; odd bytes come out escaped."""
    return name.to_text(omit_final_dot=True)


def _negative_ttl(message: dns.message.Message) -> int | None:
    """[rfc2308 5]: the lesser of the SOA's own TTL and its last field."""
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA and len(rrset):
            return int(min(rrset.ttl, rrset[0].minimum))
    return None
