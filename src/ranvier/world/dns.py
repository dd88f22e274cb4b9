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

from collections.abc import Iterable

import msgspec

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.protocol.records import (
    BY_HOSTS_FILE,
    BY_LOCALHOST_RULE,
    DnsAnswer,
    RecordKind,
    SrvRecord,
    checked_name,
)
from ranvier.world.clock import VirtualClock
from ranvier.world.faults import DnsSays
from ranvier.world.zone import (
    Entry,
    Name,
    Record,
    Turns,
    Zone,
    address_kind,
    entry_of,
    key_of,
    listed,
)

SERVER = "world"
"""What ``DnsAnswer.server`` says."""


class Question(msgspec.Struct, frozen=True):
    """One question that was asked, and when (virtual seconds)."""

    name: str
    kind: RecordKind
    at: float


class WorldDns:
    """The Dns plug in memory.

    ``hosts`` stands for the hosts file: name to addresses, asked first.
    ``ttl`` (seconds) is the lifetime of all that has none of its own, ``negative_ttl``
    that of negative answers.
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
        self._clock = clock
        self._limits = limits
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._names: dict[str, Name] = {}
        for name, value in (zone or {}).items():
            self.set(name, *listed(value))

    # The vocabulary of set-ups

    def set(
        self, name: str, *records: Record, ttl: int | None = None, authentic: bool = False
    ) -> None:
        """Make ``records`` all that is known of ``name``; none makes it an existing, empty name.

        ``authentic`` is the AD bit of its answers.
        """
        known = self._name(name)
        known.exists, known.entry = True, entry_of(records)
        known.ttl, known.authentic = ttl, authentic

    def add(self, name: str, *records: Record, ttl: int | None = None) -> None:
        """Add records to a name; ``ttl`` in seconds is then that of all its records."""
        known = self._name(name)
        known.exists = True
        known.ttl = known.ttl if ttl is None else ttl
        for kind, values in entry_of(records).records.items():
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
        """Answers come ``seconds`` late; later than ``Limits.dns_seconds`` is never."""
        self._name(name).delays[kind] = seconds

    def turns(
        self,
        name: str,
        *answers: Record | Iterable[Record],
        kind: RecordKind | None = None,
        again: bool = False,
    ) -> None:
        """Another answer at each ``ask``: rebinding, flapping. The last stays, or all begin anew.

        Give ``kind`` where several kinds are asked, for each question takes a turn.
        """
        known = self._name(name)
        known.exists = True
        known.turns[kind] = Turns([entry_of(listed(answer)) for answer in answers], again)

    def remove(self, name: str) -> None:
        """The name no longer exists, nor do its faults."""
        self._names.pop(key_of(name), None)

    def knows(self, name: str) -> bool:
        """Whether the zone holds the name."""
        known = self._names.get(key_of(name))
        return known is not None and known.exists

    def asked_for(self, name: str) -> list[RecordKind]:
        """The kinds that were asked of one name, in order."""
        return [each.kind for each in self.asked if key_of(each.name) == key_of(name)]

    # The plug

    async def ask(self, name: str, kind: RecordKind) -> DnsAnswer:
        """Answer from the hosts table, the localhost rule or the zone.

        Raises: DnsFault: ``dns-silent``, ``dns-garbage``, ``dns-alias-loop``,
        ``dns-too-many-records``, ``dns-name-unusable``, ``dns-name-numeric``.
        """
        bare = checked_name(name)
        local = self._local(bare, kind)
        if local is not None:
            return local
        self.asked.append(Question(bare, kind, self._clock.tick()))
        return await self._follow(bare, kind)

    def _local(self, name: str, kind: RecordKind) -> DnsAnswer | None:
        has_address = kind in (RecordKind.A, RecordKind.AAAA)
        ips, server = self.hosts.get(key_of(name)), BY_HOSTS_FILE
        if ips is None or not has_address:
            ips, server = ("127.0.0.1", "::1"), BY_LOCALHOST_RULE
            if key_of(name) != "localhost" and not key_of(name).endswith(".localhost"):
                return None
        found = tuple(ip for ip in ips if address_kind(ip) is kind)
        rcode = "NOERROR" if has_address else "NXDOMAIN"
        return DnsAnswer(name=name, kind=kind, rcode=rcode, addresses=found, server=server)

    async def _follow(self, name: str, kind: RecordKind) -> DnsAnswer:
        aliases: list[str] = []
        ttls: list[int] = []
        current = name
        while True:
            entry = await self._one(current, kind)
            found = entry.records.get(kind, [])
            alias = entry.records.get(RecordKind.CNAME, [])
            if found or not alias:
                break
            ttls.append(self._ttl_of(current))
            current = str(alias[0])
            aliases.append(current)
            if len(aliases) > self._limits.alias_hops:
                raise DnsFault("dns-alias-loop", f"{name!r}: more aliases than we follow")
        if len(found) + len(aliases) > self._limits.records_per_answer:
            most = self._limits.records_per_answer
            raise DnsFault("dns-too-many-records", f"an answer with more than {most} records")
        ttls.append(self._ttl_of(current) if found else self._negative_ttl_of(entry))
        texts = tuple(each for each in found if isinstance(each, str))
        is_alias = kind is RecordKind.CNAME
        return DnsAnswer(
            name=name,
            kind=kind,
            rcode=_rcode(entry.says),
            addresses=() if is_alias else texts,
            services=tuple(each for each in found if isinstance(each, SrvRecord)),
            aliases=texts[:1] if is_alias else tuple(aliases),
            ttl=min(ttls),
            authentic=self._known(name).authentic,
            server=SERVER,
        )

    async def _one(self, name: str, kind: RecordKind) -> Entry:
        """What one name says of one kind, in its own time."""
        known = self._known(name)
        entry = self._entry_of(name, kind, known)
        says = known.says.get(kind, known.says.get(None, entry.says))
        delay = known.delays.get(kind, known.delays.get(None, 0.0))
        if says is DnsSays.SILENT or delay > self._limits.dns_seconds:
            await self._clock.sleep(self._limits.dns_seconds * self._limits.dns_tries)
            raise DnsFault("dns-silent", f"no answer to {name!r} {kind}")
        if delay:
            await self._clock.sleep(delay)
        if says is DnsSays.GARBAGE:
            raise DnsFault("dns-garbage", f"the answer to {name!r} {kind} is unreadable")
        return entry if says is None else Entry(says=says)

    def _entry_of(self, name: str, kind: RecordKind, known: Name) -> Entry:
        turns = known.turns.get(kind, known.turns.get(None))
        if turns is not None:
            return turns.next()
        if known.exists:
            return known.entry
        below = "." + key_of(name)
        within = any(each.endswith(below) for each, one in self._names.items() if one.exists)
        return Entry(says=DnsSays.NOTHING if within else DnsSays.NXDOMAIN)

    def _name(self, name: str) -> Name:
        return self._names.setdefault(key_of(name), Name())

    def _known(self, name: str) -> Name:
        return self._names.get(key_of(name), Name())

    def _ttl_of(self, name: str) -> int:
        known = self._known(name).ttl
        return self._ttl if known is None else known

    def _negative_ttl_of(self, entry: Entry) -> int:
        """Only those who know that there is nothing say for how long."""
        return 0 if entry.says in (DnsSays.SERVFAIL, DnsSays.REFUSED) else self._negative_ttl


def _rcode(says: DnsSays | None) -> str:
    return "NOERROR" if says in (None, DnsSays.NOTHING) else str(says).upper()
