"""What a zone may say, as people write it and as it is kept.

A record is an IP address, another name (CNAME), a tuple of four (SRV) or a fault;
a name has one or several.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

import msgspec

from ranvier.protocol.records import RecordKind, SrvRecord
from ranvier.world.faults import DnsSays

Record: TypeAlias = str | tuple[int, int, int, str] | SrvRecord | DnsSays
"""An IP address, another name (CNAME), an SRV record, or a fault."""

Zone: TypeAlias = Mapping[str, Record | Iterable[Record]]
"""Name to record or records."""


class Entry(msgspec.Struct):
    """What a name says once: records by kind, or a fault."""

    records: dict[RecordKind, list[str | SrvRecord]] = {}
    says: DnsSays | None = None


class Turns(msgspec.Struct):
    """What a name says in successive turns."""

    entries: list[Entry]
    again: bool
    place: int = 0

    def next(self) -> Entry:
        """Take a turn: the last one stays, or all begin anew."""
        entry = self.entries[self.place]
        if self.place + 1 < len(self.entries):
            self.place += 1
        elif self.again:
            self.place = 0
        return entry


class Name(msgspec.Struct):
    """One name of the zone; tables by kind, ``None`` for all kinds."""

    exists: bool = False
    entry: Entry = msgspec.field(default_factory=Entry)
    ttl: int | None = None
    authentic: bool = False
    says: dict[RecordKind | None, DnsSays] = {}
    delays: dict[RecordKind | None, float] = {}
    turns: dict[RecordKind | None, Turns] = {}


def key_of(name: str) -> str:
    """The name as it is compared."""
    return name.removesuffix(".").lower()


def listed(value: Record | Iterable[Record]) -> tuple[Record, ...]:
    """One record or several, as several."""
    if isinstance(value, str | SrvRecord):
        return (value,)
    several = tuple(value)
    if several and isinstance(several[0], int):
        return (cast("tuple[int, int, int, str]", several),)
    return cast("tuple[Record, ...]", several)


def entry_of(records: Iterable[Record]) -> Entry:
    """The records by kind, in their order; IP addresses in their usual short form."""
    entry = Entry(records={})
    for record in records:
        if isinstance(record, DnsSays):
            entry.says = record
        elif isinstance(record, SrvRecord):
            entry.records.setdefault(RecordKind.SRV, []).append(record)
        elif isinstance(record, str):
            kind = address_kind(record)
            text = str(ipaddress.ip_address(record)) if kind else record.removesuffix(".")
            entry.records.setdefault(kind or RecordKind.CNAME, []).append(text)
        else:
            priority, weight, port, target = record
            service = SrvRecord(priority, weight, port, target.removesuffix(".") or ".")
            entry.records.setdefault(RecordKind.SRV, []).append(service)
    return entry


def address_kind(text: str) -> RecordKind | None:
    """A or AAAA if it is an IP address."""
    try:
        return RecordKind.A if ipaddress.ip_address(text).version == 4 else RecordKind.AAAA
    except ValueError:
        return None
