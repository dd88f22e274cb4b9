"""What DNS can be asked and can say. NXDOMAIN and SERVFAIL are answers; silence is not.

``rcode`` is the response code's usual name (``NOERROR``, ``NXDOMAIN``,
``SERVFAIL``, ``REFUSED``). Names are without the final dot, in the letter case
they came in; the SRV target ``.`` stays ``.``.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from ranvier.errors import DnsFault
from ranvier.protocol.names import NUMERIC_LABEL
from ranvier.protocol.text import shown

# label = 1*63( ALPHA / DIGIT / "-" / "_" )
_LABEL = re.compile(r"[a-z0-9_-]{1,63}", re.ASCII | re.IGNORECASE)

BY_HOSTS_FILE = "hosts file"
BY_LOCALHOST_RULE = "localhost rule"
"""Who answers instead of DNS (D28), as :attr:`DnsAnswer.server` names them."""


class RecordKind(StrEnum):
    """The record types that discovery asks for."""

    A = "A"
    AAAA = "AAAA"
    SRV = "SRV"
    CNAME = "CNAME"


class SrvRecord(msgspec.Struct, frozen=True):
    """One SRV record ``[rfc2782]``."""

    priority: int
    weight: int
    port: int
    target: str


class DnsAnswer(msgspec.Struct, frozen=True, kw_only=True, tag="dns-answer"):
    """An answer, whatever it says.

    ``addresses`` is filled for A and AAAA (textual IPs, in the server's order),
    ``services`` for SRV. ``aliases`` is the CNAME chain that was followed, the
    asked name left out. ``ttl`` is the least of all records involved, in
    seconds (for a negative answer the SOA's, 0 if it had none). ``server`` says
    who answered: ``127.0.0.53:53``, ``hosts file``, ``localhost rule``.
    """

    name: str
    kind: RecordKind
    rcode: str = "NOERROR"
    addresses: tuple[str, ...] = ()
    services: tuple[SrvRecord, ...] = ()
    aliases: tuple[str, ...] = ()
    ttl: int = 0
    authentic: bool = False
    server: str = ""

    @property
    def local(self) -> bool:
        """Whether this machine said so and DNS was not asked (D28)."""
        return self.server in (BY_HOSTS_FILE, BY_LOCALHOST_RULE)

    @property
    def answered(self) -> bool:
        """Whether the response code lets us conclude anything (SRV-05)."""
        return self.rcode in ("NOERROR", "NXDOMAIN")


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """An answer that did not come: failure as a value, for the step machines."""

    code: str
    reason: str


def checked_name(name: str) -> str:
    """``name`` without final dot, if DNS can be asked for it. Raises: DnsFault.

    A last label that is numeric (``127.1``, ``0x7f.1``) is an address to other
    resolvers, so it is never asked (D27).
    """
    bare = name.removesuffix(".")
    labels = bare.split(".")
    if len(bare) > 253 or not all(_LABEL.fullmatch(each) for each in labels):
        raise DnsFault("dns-name-unusable", f"{shown(name, 300)} cannot be a name in DNS")
    if NUMERIC_LABEL.fullmatch(labels[-1]):
        raise DnsFault(
            "dns-name-numeric",
            f"{shown(name, 300)} ends in a number and is never asked: it could mean an address",
            clause="[ranvier:numeric-names]",
        )
    return bare
