"""Which addresses we may connect to ``[ranvier:address-policy]``.

Strangers choose where we connect: by their name, their well-known file, its
redirects, their SRV and address records. Without a rule they could make us
talk to our own machine, our local network, or a cloud's metadata service. The
rule is applied to the final address, right before the socket, so that nothing
can be changed between the check and its use.

The specification is silent; the table below is ours, written out from the IANA
registries of special-purpose addresses, because :attr:`ipaddress.IPv4Address.is_global`
says yes to NAT64 and 6to4 forms of private addresses, to multicast and to ``fec0::/10``.
An address that carries an IPv4 address inside is judged by that one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NamedTuple, TypeAlias

import msgspec

from ranvier.errors import AddressRefused, BadConfiguration, Malformed
from ranvier.protocol.text import shown

_POLICY = "[ranvier:address-policy]"

_Ip: TypeAlias = IPv4Address | IPv6Address
_Network: TypeAlias = IPv4Network | IPv6Network


class _Range(NamedTuple):
    network: _Network
    name: str
    private: bool
    """Whether ``allow_private`` opens it; the rest opens only by ``networks`` or ``allowed``."""


def _range(network: str, name: str, *, private: bool = False) -> _Range:
    return _Range(ip_network(network), name, private)


# Read from the top; the first that holds the address names it.
_SPECIAL: tuple[_Range, ...] = (
    # IPv4 [rfc6890] and the IANA IPv4 Special-Purpose Address Registry
    _range("0.0.0.0/8", "this network"),  # connects to the local machine on some systems
    _range("10.0.0.0/8", "private", private=True),
    _range("100.64.0.0/10", "shared by a carrier's NAT", private=True),
    _range("127.0.0.0/8", "loopback", private=True),
    _range("169.254.0.0/16", "link-local"),  # cloud metadata lives here
    _range("172.16.0.0/12", "private", private=True),
    _range("192.0.0.0/24", "protocol assignments"),
    _range("192.0.2.0/24", "documentation", private=True),
    _range("192.88.99.0/24", "6to4 relays"),
    _range("192.168.0.0/16", "private", private=True),
    _range("198.18.0.0/15", "benchmarking", private=True),
    _range("198.51.100.0/24", "documentation", private=True),
    _range("203.0.113.0/24", "documentation", private=True),
    _range("224.0.0.0/4", "multicast"),
    _range("255.255.255.255/32", "broadcast"),
    _range("240.0.0.0/4", "reserved"),
    # IPv6, and the IANA IPv6 Special-Purpose Address Registry
    _range("::/128", "unspecified"),
    _range("::1/128", "loopback", private=True),
    _range("64:ff9b:1::/48", "local NAT64"),  # where the IPv4 address sits is the operator's choice
    _range("100::/64", "discard only"),
    _range("2001::/32", "Teredo"),
    _range("2001::/23", "protocol assignments"),
    _range("2001:db8::/32", "documentation", private=True),
    _range("3fff::/20", "documentation", private=True),
    _range("fc00::/7", "unique local", private=True),
    _range("fe80::/10", "link-local"),
    _range("fec0::/10", "site-local", private=True),
    _range("ff00::/8", "multicast"),
    # Only 2000::/3 is given out; the other seven eighths come last.
    *(_range(f"{first:x}::/3", "unassigned") for first in (0, *range(0x4000, 0x10000, 0x2000))),
)

# Where an IPv4 address sits inside an IPv6 one: the lowest bit of it, and what flips it.
_EMBEDDINGS: tuple[tuple[IPv6Network, tuple[tuple[int, int], ...]], ...] = (
    (IPv6Network("::ffff:0:0/96"), ((0, 0),)),  # IPv4-mapped [rfc4291 2.5.5.2]
    (IPv6Network("64:ff9b::/96"), ((0, 0),)),  # NAT64 [rfc6052]
    (IPv6Network("2002::/16"), ((80, 0),)),  # 6to4 [rfc3056]
    (IPv6Network("2001::/32"), ((64, 0), (0, 0xFFFFFFFF))),  # Teredo: server, client [rfc4380 4]
)


class Address(msgspec.Struct, frozen=True, order=True):
    """An IP address in text (no brackets) and a port: what a socket connects to."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class AddressVerdict(msgspec.Struct, frozen=True):
    """What the policy says; ``range`` is the table's word, ``public`` if none holds it."""

    allowed: bool
    range: str
    reason: str


class AddressPolicy(msgspec.Struct, frozen=True):
    """Public addresses are open; special ones only as far as the three members say.

    ``allow_private`` opens networks that people build (private, loopback, unique
    local, carrier NAT, documentation), never link-local, multicast or reserved
    addresses. ``allowed`` opens exact addresses, which is how our own listener is
    reached (D28). ``networks`` opens whole networks, as ``10.1.0.0/16``.
    Raises BadConfiguration when made with what is no network or no address.
    """

    allow_private: bool = False
    allowed: frozenset[Address] = frozenset()
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in self.networks:
            _network(each)
        for address in self.allowed:
            _configured(address)

    def judge(self, address: Address) -> AddressVerdict:
        """The verdict, and why. Raises Malformed if ``address.ip`` is no IP address."""
        ip = parse_ip(address.ip)
        if any(address.port == each.port and ip == ip_address(each.ip) for each in self.allowed):
            return AddressVerdict(True, _name_of(ip), "allowed by its exact address and port")
        return self._judge(ip)

    def insist(self, address: Address) -> None:
        """Raise AddressRefused unless it is allowed; Malformed as :meth:`judge`."""
        verdict = self.judge(address)
        if not verdict.allowed:
            raise AddressRefused(
                "address-refused",
                f"we do not connect to {address}: {verdict.reason}",
                clause=_POLICY,
            )

    def _judge(self, ip: _Ip) -> AddressVerdict:
        if any(ip in _network(each) for each in self.networks):
            return AddressVerdict(True, _name_of(ip), "in a network that is allowed")
        inner = [self._judge(each) for each in _embedded(ip)]
        if inner:
            return next((each for each in inner if not each.allowed), inner[0])
        special = _special(ip)
        if special is None:
            return AddressVerdict(True, "public", "a public address")
        reason = f"{ip} is in {special.network} ({special.name})"
        return AddressVerdict(special.private and self.allow_private, special.name, reason)


def parse_ip(text: str) -> _Ip:
    """An IP address without zone id, brackets or leading zeros. Raises Malformed."""
    if "%" in text:
        raise Malformed("address-zone", f"{shown(text)} has a zone id", clause=_POLICY)
    try:
        return ip_address(text)
    except ValueError:
        pass
    raise Malformed("address-ip", f"{shown(text)} is no IP address", clause=_POLICY)


# IPv4 ":" port / "[" IPv6 "]" ":" port; anything else is an address without a port
_WITH_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*):(?P<port>[^:]*)", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def parse_address(text: str, default_port: int) -> Address:
    """``192.0.2.1``, ``192.0.2.1:53``, ``::1``, ``[::1]`` or ``[::1]:53``. Raises Malformed.

    The IP comes out in its usual short form, so that equal addresses are equal.
    """
    parts = _WITH_PORT.fullmatch(text)
    if parts is None:
        return Address(_short(text), default_port)
    if not _PORT.fullmatch(parts["port"]) or not 1 <= int(parts["port"]) <= 65535:
        raise Malformed(
            "address-port", f"the port in {shown(text)} is not 1 to 65535", clause=_POLICY
        )
    return Address(_short(parts["host"]), int(parts["port"]))


def _short(host: str) -> str:
    if not host.startswith("["):
        return str(parse_ip(host))
    if not host.endswith("]") or ":" not in host:
        raise Malformed(
            "address-brackets", f"{shown(host)} is no IPv6 address in brackets", clause=_POLICY
        )
    return str(parse_ip(host[1:-1]))


@lru_cache(maxsize=256)
def _network(text: str) -> _Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise BadConfiguration(
            "policy-network", f"{shown(text)} is no network such as 10.1.0.0/16: {error}"
        ) from None


def _configured(address: Address) -> None:
    try:
        parse_ip(address.ip)
    except Malformed as error:
        raise BadConfiguration(
            "policy-address", f"an address to allow is wrong: {error.message}"
        ) from None


def _special(ip: _Ip) -> _Range | None:
    return next((each for each in _SPECIAL if ip in each.network), None)


def _embedded(ip: _Ip) -> Iterator[IPv4Address]:
    for network, places in _EMBEDDINGS:
        if ip in network:
            for shift, mask in places:
                yield IPv4Address((int(ip) >> shift) & 0xFFFFFFFF ^ mask)


def _name_of(ip: _Ip) -> str:
    special = _special(ip)
    return "public" if special is None else special.name
