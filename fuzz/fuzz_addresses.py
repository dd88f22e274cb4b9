"""Addresses from any bytes, and the policy's verdict on them."""

from __future__ import annotations

import ipaddress

from ranvier.errors import Malformed
from ranvier.protocol.addresses import Address, AddressPolicy, parse_address

INVARIANT = (
    "Any text is Malformed or an address that reads back as itself, and none that leads to a"
    " private, loopback, link-local or multicast address is open, whatever it is wrapped in."
)

POLICY = AddressPolicy()


def check(data: bytes) -> None:
    try:
        address = parse_address(data.decode("utf-8", "surrogateescape"), 8448)
    except Malformed:
        pass
    else:
        assert parse_address(str(address), 1) == address
        judge(ipaddress.ip_address(address.ip))
    if len(data) in (4, 16):
        judge(ipaddress.ip_address(data))


def judge(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if not POLICY.judge(Address(str(ip), 8448)).allowed:
        return
    assert not any((ip.is_loopback, ip.is_link_local, ip.is_multicast, ip.is_unspecified))
    if isinstance(ip, ipaddress.IPv6Address):
        assert not ip.is_site_local
        hidden = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        for inner in hidden:
            assert inner is None or inner.is_global
    else:
        assert ip.is_global
