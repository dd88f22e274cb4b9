"""Any bytes as the records of an SRV answer."""

from __future__ import annotations

import random
from collections import Counter

from ranvier.protocol.records import DnsAnswer, RecordKind, SrvRecord
from ranvier.protocol.srv import NoService, SrvTargets, SrvUnknown, judge_srv, weighted_order

INVARIANT = (
    "An SRV answer means one of four things; targets that stay can be looked up,"
    " and each is ordered once, by priority."
)

SEEDS = (
    b"\x00\x01\x00\x05\x21\x00a.example\n\x01\x00\x00\x21\x00b.example",
    b"\x00\x00\x00\x00\x00\x00.",
    b"\x02\x01\x00\x05\x21\x00a.example",
    b"\x00\x01\x00\x05\x21\x00127.1",
)

_RCODES = ("NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED")


def _records(data: bytes) -> tuple[SrvRecord, ...]:
    return tuple(
        SrvRecord(
            int.from_bytes(part[:1]),
            int.from_bytes(part[1:3]),
            int.from_bytes(part[3:5]),
            part[5:].decode("utf-8", "replace"),
        )
        for part in data.split(b"\n")
        if part
    )


def check(data: bytes) -> None:
    rcode = _RCODES[data[0] % 4] if data else "NOERROR"
    records = _records(data[1:])
    verdict = judge_srv(
        DnsAnswer(name="x", kind=RecordKind.SRV, rcode=rcode, services=records), most=8
    )
    if rcode in ("SERVFAIL", "REFUSED"):
        assert isinstance(verdict, SrvUnknown)
        return
    assert isinstance(verdict, NoService) == (not records)
    if not isinstance(verdict, SrvTargets):
        return
    assert 0 < len(verdict.records) <= 8
    assert all(1 <= each.port <= 65535 and each.target != "." for each in verdict.records)
    assert all(each.target.isascii() for each in verdict.records)
    places = weighted_order(
        [(each.priority, each.weight) for each in verdict.records], random.Random(data).randrange
    )
    ordered = tuple(verdict.records[place] for place in places)
    assert Counter(ordered) == Counter(verdict.records)
    assert [each.priority for each in ordered] == sorted(each.priority for each in ordered)
