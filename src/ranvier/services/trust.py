"""Who is trusted how: the default rule, and the names that are listed by hand.

Everybody is judged by the web's authorities and found by today's discovery.
Another rule holds only for names that the operator listed; nothing that a
stranger says, and no failure, ever moves a name from one rule to another (D1,
D2, SEC-20).

A rule lists exact server names, ``*.suffix`` patterns, or networks. Networks
match only server names that *are* IP addresses: a name that merely resolves
into a network would let whoever answers its DNS choose how it is judged.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum

import msgspec

from ranvier.protocol.canonical import decode_base64, encode_base64
from ranvier.protocol.keys import KeyVersion
from ranvier.protocol.names import HostKind, ServerName
from ranvier.protocol.routes import Mode
from ranvier.protocol.signing import VerifyKey


class TrustMode(StrEnum):
    """The two rules a name can live under."""

    WEB_PKI = "web-pki"
    PUBLISHED_CERTIFICATE = "published-certificate"


class TrustRule(msgspec.Struct, frozen=True, kw_only=True):
    """How the listed names are found and judged.

    ``leaves`` (lower-case hex SHA-256 of a certificate's DER) and
    ``verify_keys`` say by what a name enters under ``published-certificate``;
    with neither, it enters by first use, and every report says so.
    """

    names: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    trust: TrustMode = TrustMode.WEB_PKI
    mode: Mode = Mode.CURRENT
    leaves: frozenset[str] = frozenset()
    verify_keys: tuple[VerifyKey, ...] = ()

    @property
    def key_version(self) -> KeyVersion:
        """Version 1 only for names that are listed as of 2014 (D2)."""
        seed = self.mode is Mode.SEED or self.trust is TrustMode.PUBLISHED_CERTIFICATE
        return KeyVersion.V1 if seed else KeyVersion.V2

    def lists(self, name: ServerName) -> bool:
        """Whether this rule is about ``name``."""
        return any(_matches(pattern, name) for pattern in self.names) or any(
            _within(network, name) for network in self.networks
        )


DEFAULT_RULE = TrustRule()


class TrustBook(msgspec.Struct, frozen=True):
    """The listed rules; the first that lists a name holds."""

    rules: tuple[TrustRule, ...] = ()

    def rule_for(self, name: ServerName) -> TrustRule:
        """The rule for ``name``; the default for everybody unlisted."""
        return next((rule for rule in self.rules if rule.lists(name)), DEFAULT_RULE)


class Pins(msgspec.Struct, frozen=True, kw_only=True):
    """What has been accepted for one name under ``published-certificate``.

    ``entered`` says how the name came in. ``leaves`` are kept oldest first;
    ``keys`` are (key id, unpadded base64).
    """

    entered: str = ""
    leaves: tuple[str, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()

    def verify_keys(self) -> dict[str, VerifyKey]:
        """The accepted keys by key id."""
        return {
            key_id: VerifyKey(key_id=key_id, key=decode_base64(text)) for key_id, text in self.keys
        }

    def accepting(self, leaf: str, keys: tuple[VerifyKey, ...], *, most: int) -> Pins:
        """These pins with one more leaf (the last used is last; the oldest fall off)
        and with the document's keys."""
        leaves = (*(each for each in self.leaves if each != leaf), leaf)[-most:]
        return msgspec.structs.replace(self, leaves=leaves).accepting_keys(keys)

    def accepting_keys(self, keys: tuple[VerifyKey, ...]) -> Pins:
        """These pins with more keys. A known key id never takes other bytes (D8)."""
        known = dict(self.keys)
        for key in keys:
            known.setdefault(key.key_id, encode_base64(key.key))
        return msgspec.structs.replace(self, keys=tuple(known.items()))


def _matches(pattern: str, name: ServerName) -> bool:
    if pattern.startswith("*."):
        return name.kind is HostKind.DNS and name.host.endswith(pattern[1:])
    return pattern == name.text


def _within(network: str, name: ServerName) -> bool:
    if name.kind not in (HostKind.IPV4, HostKind.IPV6):
        return False
    return ipaddress.ip_address(name.host) in ipaddress.ip_network(network)
