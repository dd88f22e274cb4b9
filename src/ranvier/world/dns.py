"""A name service in memory: a zone that reads like a zone, and faults by name.

::

    zone = {
        "example.org": "10.0.0.1",                                  # A
        "fed1.example.org": ["10.0.0.2", "fd00::2"],                # A and AAAA
        "www.example.org": "example.org",                           # CNAME
        "_matrix-fed._tcp.example.org": (10, 5, 8448, "fed1.example.org"),   # SRV
        "broken.example": DnsSays.SERVFAIL,
    }

Names are compared without letter case. A name that is not in the zone does not
exist (NXDOMAIN); a name that exists without the kind asked for gives an empty
answer. Every question is kept in :attr:`WorldDns.asked`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

import msgspec

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.protocol.records import DnsAnswer, RecordKind, SrvRecord
from ranvier.world.clock import VirtualClock
from ranvier.world.faults import DnsSays

Record: TypeAlias = str | tuple[int, int, int, str] | SrvRecord | DnsSays
"""An IP address, another name (CNAME), an SRV record, or a fault."""

Zone: TypeAlias = Mapping[str, Record | Iterable[Record]]
"""Name to record or records."""

SERVER = "world"
"""What ``DnsAnswer.server`` says."""


class Question(msgspec.Struct, frozen=True):
    """One question that was asked, and when (virtual seconds)."""

    name: str
    kind: RecordKind
    at: float


class _Entry(msgspec.Struct):
    """What a name says once: records by kind, or a fault."""

    records: dict[RecordKind, list[str | SrvRecord]] = {}
    says: DnsSays | None = None


class _Turns(msgspec.Struct):
    """What a name says in successive turns."""

    entries: list[_Entry]
    again: bool
    place: int = 0

    def next(self) -> _Entry:
        entry = self.entries[self.place]
        if self.place + 1 < len(self.entries):
            self.place += 1
        elif self.again:
            self.place = 0
        return entry


class _Name(msgspec.Struct):
    """One name of the zone; tables by kind, ``None`` for all kinds."""

    exists: bool = False
    entry: _Entry = msgspec.field(default_factory=_Entry)
    ttl: int | None = None
    says: dict[RecordKind | None, DnsSays] = {}
    delays: dict[RecordKind | None, float] = {}
    turns: dict[RecordKind | None, _Turns] = {}


class WorldDns:
    """The Dns plug in memory.

    ``hosts`` stands for the hosts file: name to addresses, asked first.
    ``authentic`` is what the AD bit says. ``ttl`` is the lifetime of all that
    has none of its own; ``negative_ttl`` that of negative answers.
    """

    def __init__(
        self,
        clock: VirtualClock,
        limits: Limits,
        zone: Zone | None = None,
        *,
        ttl: int = 300,
        negative_ttl: int = 60,
    ) -> None:
        self.asked: list[Question] = []
        self.hosts: dict[str, tuple[str, ...]] = {}
        self.authentic = False
        self._clock = clock
        self._limits = limits
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._names: dict[str, _Name] = {}
        for name, value in (zone or {}).items():
            self.set(name, *_listed(value))

    # The vocabulary of set-ups

    def set(self, name: str, *records: Record, ttl: int | None = None) -> None:
        """Make ``records`` all that is known of ``name``; none makes it an existing, empty name."""
        known = self._name(name)
        known.exists, known.entry, known.ttl = True, _entry(records), ttl

    def add(self, name: str, *records: Record, ttl: int | None = None) -> None:
        """Add records to a name; ``ttl`` in seconds is then that of all its records."""
        known = self._name(name)
        known.exists = True
        known.ttl = known.ttl if ttl is None else ttl
        for kind, values in _entry(records).records.items():
            known.entry.records.setdefault(kind, []).extend(values)

    def address(self, name: str, *ips: str, ttl: int | None = None) -> None:
        """A and AAAA records, in this order."""
        self.add(name, *ips, ttl=ttl)

    def srv(self, name: str, *records: tuple[int, int, int, str], ttl: int | None = None) -> None:
        """SRV records: (priority, weight, port, target)."""
        self.add(name, *records, ttl=ttl)

    def alias(self, name: str, target: str, *, ttl: int | None = None) -> None:
        """A CNAME record."""
        self.add(name, target, ttl=ttl)

    def says(self, name: str, fault: DnsSays, kind: RecordKind | None = None) -> None:
        """From now on ``name`` (for one kind or all) does this instead."""
        self._name(name).says[kind] = fault

    def heals(self, name: str) -> None:
        """Take back all faults, delays and turns of ``name``."""
        known = self._name(name)
        known.says, known.delays, known.turns = {}, {}, {}

    def delays(self, name: str, seconds: float, kind: RecordKind | None = None) -> None:
        """Answers come ``seconds`` late (beyond the resolver's patience: never)."""
        self._name(name).delays[kind] = seconds

    def turns(
        self,
        name: str,
        *answers: Record | Iterable[Record],
        kind: RecordKind | None = None,
        again: bool = False,
    ) -> None:
        """Another answer each time: rebinding, flapping. The last one stays, or it begins anew.

        Give ``kind`` where several kinds are asked, for each question takes a turn.
        """
        known = self._name(name)
        known.exists = True
        known.turns[kind] = _Turns([_entry(_listed(answer)) for answer in answers], again)

    def remove(self, name: str) -> None:
        """The name no longer exists, nor do its faults."""
        self._names.pop(_key(name), None)

    def asked_for(self, name: str) -> list[RecordKind]:
        """The kinds that were asked of one name, in order."""
        return [each.kind for each in self.asked if _key(each.name) == _key(name)]

    # The plug

    async def ask(self, name: str, kind: RecordKind) -> DnsAnswer:
        """Answer from the hosts table, the localhost rule or the zone.

        Raises: DnsFault.
        """
        name = name.removesuffix(".")
        local = self._local(name, kind)
        if local is not None:
            return local
        self.asked.append(Question(name, kind, self._clock.tick()))
        return await self._follow(name, kind)

    def _local(self, name: str, kind: RecordKind) -> DnsAnswer | None:
        if kind not in (RecordKind.A, RecordKind.AAAA):
            return None
        if _key(name) in self.hosts:
            ips, server = self.hosts[_key(name)], "hosts file"
        elif _key(name) == "localhost" or _key(name).endswith(".localhost"):
            ips, server = ("127.0.0.1", "::1"), "localhost rule"
        else:
            return None
        found = tuple(ip for ip in ips if _address_kind(ip) is kind)
        return DnsAnswer(name=name, kind=kind, addresses=found, server=server)

    async def _follow(self, name: str, kind: RecordKind) -> DnsAnswer:
        aliases: list[str] = []
        ttls: list[int] = []
        current = name
        while True:
            entry = await self._one(current, kind)
            alias = entry.records.get(RecordKind.CNAME, [])
            if kind is RecordKind.CNAME or entry.says is not None or not alias:
                break
            ttls.append(self._ttl_of(current))
            current = str(alias[0])
            aliases.append(current)
            if len(aliases) > self._limits.alias_hops:
                raise DnsFault("dns-alias-loop", f"{name!r}: more aliases than we follow")
        found = entry.records.get(kind, [])
        ttls.append(self._ttl_of(current) if found else self._negative_ttl)
        texts = tuple(each for each in found if isinstance(each, str))
        is_alias = kind is RecordKind.CNAME
        return DnsAnswer(
            name=name,
            kind=kind,
            rcode=_rcode(entry.says),
            addresses=() if is_alias else texts,
            services=tuple(each for each in found if isinstance(each, SrvRecord)),
            aliases=texts if is_alias else tuple(aliases),
            ttl=min(ttls),
            authentic=self.authentic,
            server=SERVER,
        )

    async def _one(self, name: str, kind: RecordKind) -> _Entry:
        """What one name says of one kind, in its own time."""
        known = self._names.get(_key(name), _Name())
        entry = self._entry_of(name, kind, known)
        says = known.says.get(kind, known.says.get(None, entry.says))
        delay = known.delays.get(kind, known.delays.get(None, 0.0))
        patience = self._limits.dns_seconds * self._limits.dns_tries
        if says is DnsSays.SILENT or delay > patience:
            await self._clock.sleep(patience)
            raise DnsFault("dns-silent", f"nobody answered the question for {name!r} {kind}")
        if delay:
            await self._clock.sleep(delay)
        if says is DnsSays.GARBAGE:
            raise DnsFault("dns-garbage", f"the answer for {name!r} {kind} cannot be read")
        return entry if says is None else _Entry(says=says)

    def _entry_of(self, name: str, kind: RecordKind, known: _Name) -> _Entry:
        turns = known.turns.get(kind, known.turns.get(None))
        if turns is not None:
            return turns.next()
        if known.exists:
            return known.entry
        below = "." + _key(name)
        within = any(each.endswith(below) for each, one in self._names.items() if one.exists)
        return _Entry(says=DnsSays.NOTHING if within else DnsSays.NXDOMAIN)

    def _name(self, name: str) -> _Name:
        return self._names.setdefault(_key(name), _Name())

    def _ttl_of(self, name: str) -> int:
        known = self._names.get(_key(name), _Name()).ttl
        return min(self._ttl if known is None else known, self._limits.dns_ttl_max_seconds)


def _key(name: str) -> str:
    return name.removesuffix(".").lower()


def _rcode(says: DnsSays | None) -> str:
    return "NOERROR" if says in (None, DnsSays.NOTHING) else str(says).upper()


def _listed(value: Record | Iterable[Record]) -> tuple[Record, ...]:
    """One record or several, as several."""
    if isinstance(value, str | SrvRecord):
        return (value,)
    several = tuple(value)
    if several and isinstance(several[0], int):
        return (cast("tuple[int, int, int, str]", several),)
    return cast("tuple[Record, ...]", several)


def _entry(records: Iterable[Record]) -> _Entry:
    entry = _Entry(records={})
    for record in records:
        if isinstance(record, DnsSays):
            entry.says = record
        elif isinstance(record, SrvRecord):
            entry.records.setdefault(RecordKind.SRV, []).append(record)
        elif isinstance(record, str):
            kind = _address_kind(record) or RecordKind.CNAME
            entry.records.setdefault(kind, []).append(record.removesuffix(".") or ".")
        else:
            priority, weight, port, target = record
            service = SrvRecord(priority, weight, port, target.removesuffix(".") or ".")
            entry.records.setdefault(RecordKind.SRV, []).append(service)
    return entry


def _address_kind(text: str) -> RecordKind | None:
    try:
        return RecordKind.A if ipaddress.ip_address(text).version == 4 else RecordKind.AAAA
    except ValueError:
        return None
