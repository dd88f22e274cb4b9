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
from contextlib import suppress
from enum import StrEnum

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.canonical import decode_base64, encode_base64
from ranvier.protocol.keys import KeyVersion
from ranvier.protocol.names import (
    HostKind,
    ServerName,
    parse_server_name,
    parse_server_name_2014,
)
from ranvier.protocol.routes import Mode
from ranvier.protocol.signing import VerifyKey


class TrustMode(StrEnum):
    """The two rules a name can live under."""

    WEB_PKI = "web-pki"
    PUBLISHED_CERTIFICATE = "published-certificate"


class ClientCertificate(StrEnum):
    """What a name's client certificate means for its requests to us (SEED-21)."""

    IGNORE = "ignore"
    RECORD = "record"
    """Say whether it is the name's own; refuse nothing."""
    REQUIRE = "require"
    """Refuse requests without the name's own certificate."""


class TrustRule(msgspec.Struct, frozen=True, kw_only=True):
    """How the listed names are found and judged.

    ``leaves`` (lower-case hex SHA-256 of a certificate's DER) and
    ``verify_keys`` say by what a name enters under ``published-certificate``;
    with neither, it enters by first use, and every report says so. Under either
    rule a name's client certificate is compared with ``leaves`` too. ``present``:
    offer ours to these names, if they ask (D24).
    """

    names: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    trust: TrustMode = TrustMode.WEB_PKI
    mode: Mode = Mode.CURRENT
    leaves: frozenset[str] = frozenset()
    verify_keys: tuple[VerifyKey, ...] = ()
    present: bool = False
    client_certificate: ClientCertificate = ClientCertificate.IGNORE

    @property
    def key_version(self) -> KeyVersion:
        """Version 1 only for names that are listed as of 2014 (D2)."""
        seed = self.mode is Mode.SEED or self.trust is TrustMode.PUBLISHED_CERTIFICATE
        return KeyVersion.V1 if seed else KeyVersion.V2

    @property
    def entry(self) -> tuple[str, ...]:
        """What the names are configured to enter by; empty is first use."""
        keys = [f"{each.key_id}={encode_base64(each.key)}" for each in self.verify_keys]
        return (*sorted(self.leaves), *sorted(keys))

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

    def parse_name(self, text: str) -> ServerName:
        """By today's grammar, or by 2014's a name that is listed as of 2014. Raises: Malformed."""
        if any(rule.mode is Mode.SEED for rule in self.rules):
            with suppress(Malformed):
                seed = parse_server_name_2014(text)
                if self.rule_for(seed).mode is Mode.SEED:
                    return seed
        return parse_server_name(text)


class Pins(msgspec.Struct, frozen=True, kw_only=True):
    """What has been accepted for one name under ``published-certificate``.

    ``entered`` says how the name came in, ``configured`` is the rule's
    :attr:`~TrustRule.entry` of then. ``leaves`` are kept oldest first, and so are
    ``keys``: (key id, unpadded base64).
    """

    entered: str = ""
    configured: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()

    def verify_keys(self) -> dict[str, VerifyKey]:
        """The accepted keys by key id."""
        return {
            key_id: VerifyKey(key_id=key_id, key=decode_base64(text)) for key_id, text in self.keys
        }

    def under(self, rule: TrustRule) -> Pins:
        """These pins with what ``rule`` configures, which always counts.

        If that is news, it counts alone: whoever was let in by first use, or by a
        certificate that is configured no more, does not stay beside it.
        """
        pins = self
        if rule.entry and rule.entry != self.configured:
            pins = Pins(configured=rule.entry)
        leaves = (*sorted(rule.leaves - set(pins.leaves)), *pins.leaves)
        own = {each.key_id: encode_base64(each.key) for each in rule.verify_keys}
        keys = tuple((own | dict(pins.keys) | own).items())
        return msgspec.structs.replace(pins, leaves=leaves, keys=keys)

    def accepting(self, leaf: str, keys: tuple[VerifyKey, ...], limits: Limits) -> Pins:
        """These pins with one more leaf and with a document's keys.

        The last used are last, and the oldest fall off. A known key id never takes
        other bytes (D8).
        """
        leaves = (*(each for each in self.leaves if each != leaf), leaf)
        known = dict(self.keys)
        for key in keys:
            known[key.key_id] = known.pop(key.key_id, encode_base64(key.key))
        return msgspec.structs.replace(
            self,
            leaves=leaves[-limits.pins_per_name :],
            keys=tuple(known.items())[-limits.keys_per_document :],
        )


def _matches(pattern: str, name: ServerName) -> bool:
    if pattern.startswith("*."):
        return name.kind is HostKind.DNS and name.host.endswith(pattern[1:])
    return pattern == name.text


def _within(network: str, name: ServerName) -> bool:
    if not name.is_ip:
        return False
    return ipaddress.ip_address(name.host) in ipaddress.ip_network(network)
