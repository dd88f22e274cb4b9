"""The address policy: its table, what is hidden inside addresses, and its three doors."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import AddressRefused, BadConfiguration, Malformed
from ranvier.protocol.addresses import Address, AddressPolicy, parse_address, parse_ip

STRICT = AddressPolicy()
PRIVATE = AddressPolicy(allow_private=True)


def case(ip: str, name: str, reason: str, *, private: bool = False) -> Any:
    return pytest.param(ip, name, private, id=f"{ip}-{reason}")


REFUSED = [
    case("0.0.0.0", "this network", "means the local machine to connect()"),
    case("0.255.255.255", "this network", "its last"),
    case("10.0.0.1", "private", "rfc1918", private=True),
    case("100.64.0.1", "shared by a carrier's NAT", "rfc6598", private=True),
    case("100.127.255.255", "shared by a carrier's NAT", "its last", private=True),
    case("127.0.0.1", "loopback", "ourselves", private=True),
    case("127.255.255.255", "loopback", "ourselves to the end", private=True),
    case("169.254.169.254", "link-local", "cloud metadata"),
    case("172.16.0.1", "private", "rfc1918", private=True),
    case("172.31.255.255", "private", "its last", private=True),
    case("192.0.0.9", "protocol assignments", "rfc6890"),
    case("192.0.2.1", "documentation", "TEST-NET-1", private=True),
    case("192.88.99.1", "6to4 relays", "rfc7526"),
    case("192.168.1.1", "private", "rfc1918", private=True),
    case("198.18.0.1", "benchmarking", "rfc2544", private=True),
    case("198.19.255.255", "benchmarking", "its last", private=True),
    case("198.51.100.1", "documentation", "TEST-NET-2", private=True),
    case("203.0.113.1", "documentation", "TEST-NET-3", private=True),
    case("224.0.0.1", "multicast", "all hosts"),
    case("239.255.255.255", "multicast", "its last"),
    case("240.0.0.1", "reserved", "rfc1112"),
    case("255.255.255.255", "broadcast", "rfc919"),
    case("::", "unspecified", "means the local machine"),
    case("::1", "loopback", "ourselves", private=True),
    case("::ffff:10.0.0.1", "private", "IPv4-mapped", private=True),
    case("::ffff:169.254.169.254", "link-local", "IPv4-mapped metadata"),
    case("::ffff:0:127.0.0.1", "unassigned", "IPv4-translated"),
    case("::127.0.0.1", "unassigned", "IPv4-compatible"),
    case("64:ff9b::10.0.0.1", "private", "NAT64", private=True),
    case("64:ff9b::127.0.0.1", "loopback", "NAT64", private=True),
    case("64:ff9b:1::8.8.8.8", "local NAT64", "where the address sits is not ours to know"),
    case("64:ff9b:2::1", "unassigned", "beside NAT64"),
    case("100::1", "discard only", "rfc6666"),
    case("100:0:0:1::1", "unassigned", "dummy prefix"),
    case("2001:0:7f00:1::f7f7:f7f7", "loopback", "Teredo server inside", private=True),
    case("2001:0:808:808::f5ff:fffe", "private", "Teredo client inside", private=True),
    case("2001:2::1", "protocol assignments", "benchmarking"),
    case("2001:20::1", "protocol assignments", "ORCHIDv2"),
    case("2001:db8::1", "documentation", "rfc3849", private=True),
    case("2002:a00:1::1", "private", "6to4", private=True),
    case("2002:a9fe:a9fe::1", "link-local", "6to4 metadata"),
    case("3fff::1", "documentation", "rfc9637", private=True),
    case("4000::1", "unassigned", "outside 2000::/3"),
    case("5f00::1", "unassigned", "segment routing"),
    case("e000::1", "unassigned", "the last eighth"),
    case("fc00::1", "unique local", "rfc4193", private=True),
    case("fd12::1", "unique local", "rfc4193", private=True),
    case("fe80::1", "link-local", "rfc4291"),
    case("febf::1", "link-local", "its end"),
    case("fec0::1", "site-local", "rfc3879", private=True),
    case("ff02::1", "multicast", "all nodes"),
]

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.20.0.0",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2001:0:808:808::f7f7:f7f7",
]


@pytest.mark.req("SEC-05")
@pytest.mark.parametrize(("ip", "name", "private"), REFUSED)
def test_special_addresses_are_refused_and_some_opened_by_allow_private(
    ip: str, name: str, private: bool
) -> None:
    verdict = STRICT.judge(Address(ip, 8448))
    assert (verdict.allowed, verdict.range) == (False, name)
    assert verdict.reason
    assert PRIVATE.judge(Address(ip, 8448)).allowed is private
    with pytest.raises(AddressRefused) as caught:
        STRICT.insist(Address(ip, 8448))
    assert caught.value.code == "address-refused"
    assert verdict.reason in caught.value.message


@pytest.mark.req("SEC-05")
@pytest.mark.parametrize("ip", PUBLIC)
def test_public_addresses_and_public_ones_inside_others_are_open(ip: str) -> None:
    assert STRICT.judge(Address(ip, 443)).allowed
    STRICT.insist(Address(ip, 443))


@pytest.mark.req("SEC-05", "D28")
def test_an_exact_address_and_port_opens_nothing_beside_it() -> None:
    policy = AddressPolicy(allowed=frozenset({Address("127.0.0.1", 8448), Address("0::1", 8448)}))
    assert policy.judge(Address("127.0.0.1", 8448)).allowed
    assert policy.judge(Address("::1", 8448)).allowed
    assert not policy.judge(Address("127.0.0.1", 8449)).allowed
    assert not policy.judge(Address("127.0.0.2", 8448)).allowed
    assert policy.judge(Address("127.0.0.1", 8448)).range == "loopback"


@pytest.mark.req("SEC-05")
def test_a_network_opens_its_addresses_also_inside_others() -> None:
    policy = AddressPolicy(networks=("10.1.0.0/16", "fe80::/10", "8.8.8.0/24"))
    assert policy.judge(Address("10.1.2.3", 1)).allowed
    assert policy.judge(Address("::ffff:10.1.2.3", 1)).allowed
    assert policy.judge(Address("fe80::1", 1)).allowed
    assert policy.judge(Address("8.8.8.8", 1)).range == "public"
    assert not policy.judge(Address("10.2.0.1", 1)).allowed
    assert not policy.judge(Address("::ffff:10.2.0.1", 1)).allowed


@pytest.mark.parametrize("text", ["10.1.0.0/33", "10.1.2.3/16", "lan", "", "fe80::%1/64x"])
def test_what_is_no_network_is_a_wrong_configuration(text: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        AddressPolicy(networks=(text,))
    assert caught.value.code == "policy-network"


def test_an_allowed_address_that_is_none_is_a_wrong_configuration() -> None:
    with pytest.raises(BadConfiguration) as caught:
        AddressPolicy(allowed=frozenset({Address("localhost", 1)}))
    assert caught.value.code == "policy-address"


@pytest.mark.req("D27", "SEC-05")
@pytest.mark.parametrize(
    ("ip", "code"),
    [
        ("fe80::1%eth0", "address-zone"),
        ("127.1", "address-ip"),
        ("0177.0.0.1", "address-ip"),
        ("2130706433", "address-ip"),
        ("0x7f.0.0.1", "address-ip"),
        ("[::1]", "address-ip"),
        ("127.0.0.1 ", "address-ip"),
        ("", "address-ip"),
        ("example.org", "address-ip"),
    ],
)
def test_only_plain_addresses_are_judged(ip: str, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        AddressPolicy(allow_private=True).judge(Address(ip, 1))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:5353", Address("127.0.0.1", 5353)),
        ("127.0.0.1", Address("127.0.0.1", 53)),
        ("::1", Address("::1", 53)),
        ("[0:0::1]", Address("::1", 53)),
        ("[::1]:65535", Address("::1", 65535)),
        ("2001:DB8::1", Address("2001:db8::1", 53)),
    ],
)
def test_addresses_with_and_without_a_port(text: str, expected: Address) -> None:
    assert parse_address(text, 53) == expected
    assert parse_address(str(expected), 1) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("127.0.0.1:", "address-port"),
        ("127.0.0.1:0", "address-port"),
        ("127.0.0.1:65536", "address-port"),
        ("127.0.0.1:+1", "address-port"),
        ("127.0.0.1:123456", "address-port"),
        ("[::1]:x", "address-port"),
        ("[127.0.0.1]", "address-brackets"),
        ("[127.0.0.1]:53", "address-brackets"),
        ("[::1", "address-brackets"),
        ("[::1]x:53", "address-brackets"),
        ("[fe80::1%1]:53", "address-zone"),
        (":53", "address-ip"),
        ("localhost:53", "address-ip"),
        ("127.0.0.1:53\n", "address-port"),
        ("", "address-ip"),
    ],
)
def test_what_is_no_address(text: str, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_address(text, 53)
    assert caught.value.code == code


@pytest.mark.req("SEC-05")
@given(st.ip_addresses(v=4))
def test_whatever_python_calls_not_global_is_refused_in_every_disguise(
    ip: ipaddress.IPv4Address,
) -> None:
    disguises = [
        str(ip),
        f"::ffff:{ip}",
        f"64:ff9b::{ip}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (int(ip) << 80) | 1)),
        str(
            ipaddress.IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (int(ip) ^ 0xFFFFFFFF))
        ),
    ]
    verdicts = {STRICT.judge(Address(each, 1)).allowed for each in disguises}
    assert len(verdicts) == 1
    if not ip.is_global or ip.is_multicast:
        assert verdicts == {False}


@pytest.mark.req("SEC-05")
@given(st.ip_addresses(v=6))
def test_nothing_outside_global_unicast_is_open(ip: ipaddress.IPv6Address) -> None:
    if STRICT.judge(Address(str(ip), 1)).allowed and not ip.ipv4_mapped:
        assert ip in ipaddress.ip_network("2000::/3") or ip in ipaddress.ip_network("64:ff9b::/96")
        assert not ip.is_private or ip.teredo or ip.sixtofour


@given(st.text(max_size=30) | st.text(alphabet="0123456789abcdef:.[]%", max_size=45))
def test_any_text_is_an_address_or_malformed(text: str) -> None:
    try:
        address = parse_address(text, 1)
    except Malformed:
        return
    assert parse_address(str(address), 2) == address
    assert str(parse_ip(address.ip)) == address.ip
