"""Names that are not asked of DNS: the hosts file and ``localhost`` (D28).

The system's own resolver asks them first, so people expect it of us too; dnspython
does neither. A name that the hosts file knows is answered from it alone, as the
system does: with only an IPv4 address there, AAAA is an empty answer, not a question.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from ranvier.protocol.records import BY_HOSTS_FILE, BY_LOCALHOST_RULE, DnsAnswer, RecordKind

HOSTS_FILE = "/etc/hosts"

_MOST_BYTES = 1_048_576
_ADDRESSES = (RecordKind.A, RecordKind.AAAA)


class Hosts:
    """A hosts file, read again when it changes; ``None``, or no such file: empty."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._stamp: tuple[int, int] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def answer(self, name: str, kind: RecordKind) -> DnsAnswer | None:
        """The answer, if it is not DNS's business. ``name`` has no final dot."""
        folded = name.lower()
        if kind in _ADDRESSES:
            found = self._read().get(folded)
            if found is not None:
                return _answer(name, kind, found, BY_HOSTS_FILE)
        if folded != "localhost" and not folded.endswith(".localhost"):
            return None
        if kind in _ADDRESSES:
            return _answer(name, kind, ("127.0.0.1", "::1"), BY_LOCALHOST_RULE)
        # [rfc6761 6.3]: never sent on. Only names of this machine live below localhost.
        return DnsAnswer(name=name, kind=kind, rcode="NXDOMAIN", server=BY_LOCALHOST_RULE)

    def _read(self) -> dict[str, tuple[str, ...]]:
        if self._path is None:
            return {}
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                with self._path.open("rb") as file:
                    text = file.read(_MOST_BYTES).decode("utf-8", "replace")
                self._names, self._stamp = parse_hosts(text), stamp
        except OSError:
            self._names, self._stamp = {}, None
        return self._names


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Lower-case name to addresses, in the file's order; lines that make no sense are skipped."""
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        ip, *written = line.partition("#")[0].split() or [""]
        try:
            address = str(ipaddress.ip_address(ip))
        except ValueError:
            continue
        for name in written:
            known = names.setdefault(name.lower().removesuffix("."), [])
            if address not in known and "%" not in address:
                known.append(address)
    return {name: tuple(addresses) for name, addresses in names.items()}


def _answer(name: str, kind: RecordKind, ips: tuple[str, ...], server: str) -> DnsAnswer:
    version = 4 if kind is RecordKind.A else 6
    found = tuple(ip for ip in ips if ipaddress.ip_address(ip).version == version)
    return DnsAnswer(name=name, kind=kind, addresses=found, server=server)
