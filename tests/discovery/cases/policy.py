"""The address policy: whoever chooses where we connect, an inner address is never reached.

At every inner address listens a trap in good order, and each of these scenarios is
played once more with every address open (``control``): then the trap *is* reached,
so what kept us from it was the policy.
"""

from __future__ import annotations

import ipaddress

from ranvier.protocol.routes import Mode
from tests.discovery.cases.files import APEX_HOST
from tests.discovery.cases.srvs import AT_6
from tests.discovery.cases.steps import NO_FILE, PLAIN_ZONE
from tests.discovery.scenario import (
    APEX,
    FED,
    FILE,
    SRV_FED,
    SRV_OLD,
    Nowhere,
    Page,
    Policy,
    Reached,
    Scenario,
    Stopped,
    alias,
    at,
    fed,
    host,
    moved,
    srv,
    trap,
    web,
)
from tests.rigs.dns import Name

ROWS = ("SEC-05",)
REFUSED = Nowhere(faults=("address-refused",))

INNER = {
    "this-network": "0.0.0.0",
    "unspecified-6": "::",
    "loopback": "127.0.0.1",
    "loopback-2": "127.1.2.3",
    "private-10": "10.0.0.1",
    "private-172": "172.16.0.1",
    "private-192": "192.168.0.1",
    "metadata": "169.254.169.254",
    "carrier-nat": "100.64.0.1",
    "loopback-6": "::1",
    "unique-local": "fd00::1",
    "site-local": "fec0::1",
    "ipv4-mapped": "::ffff:10.0.0.1",
    "ipv4-mapped-loopback": "::ffff:127.0.0.1",
    "nat64": "64:ff9b::a00:1",
    "nat64-local": "64:ff9b:1::a00:1",
    "6to4": "2002:a00:1::1",
    "teredo": "2001:0:a00:1::1",
}
"""Addresses that nobody outside may make us connect to."""


def socket_ip(ip: str) -> str:
    """Where a connection to ``ip`` ends up: here, or at the IPv4 address that it maps."""
    if ip in ("0.0.0.0", "::"):
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}[ip]
    address = ipaddress.ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def literal(id: str, ip: str, mode: Mode = Mode.CURRENT) -> Scenario:
    """The server name itself is such an address."""
    name = f"[{ip}]:8449" if ":" in ip else f"{ip}:8449"
    return Scenario(
        id=f"policy-name-is-{id}{'-2014' if mode is Mode.SEED else ''}",
        rows=ROWS,
        name=name,
        mode=mode,
        listens=(trap(at(socket_ip(ip), 8449), ip),),
        ends=REFUSED,
        policy=Policy.DEFAULT,
        control=True,
        asks=frozenset(),
    )


def resolves(id: str, ip: str) -> Scenario:
    """The server name's records are such an address (port 443 and 8448 alike)."""
    return Scenario(
        id=f"policy-host-at-{id}",
        rows=ROWS,
        zone={"example.org": host(ip)},
        listens=(trap(at(socket_ip(ip), 8448)), trap(at(socket_ip(ip), 443))),
        ends=REFUSED,
        file="address-refused",
        policy=Policy.DEFAULT,
        control=True,
    )


def service(id: str, ip: str, mode: Mode = Mode.CURRENT) -> Scenario:
    """An SRV target is such an address."""
    seed = mode is Mode.SEED
    return Scenario(
        id=f"policy-srv-target-at-{id}{'-2014' if seed else ''}",
        rows=ROWS,
        mode=mode,
        zone=PLAIN_ZONE
        | {
            (SRV_OLD if seed else SRV_FED) + "example.org": srv("inner.example.net", 8450),
            "inner.example.net": host(ip),
        },
        listens=(NO_FILE, trap(at(socket_ip(ip), 8450)), trap(at(APEX, 8448))),
        ends=REFUSED,
        file=None if seed else "well-known-status",
        control=True,
    )


def delegated(id: str, ip: str) -> Scenario:
    """D29: a valid file that names such an address *is* the answer; no fallback."""
    inner = f"[{ip}]:8449" if ":" in ip else f"{ip}:8449"
    return Scenario(
        id=f"policy-file-names-{id}",
        rows=ROWS,
        zone=PLAIN_ZONE
        | {SRV_FED + "example.org": srv("fed.example.net", 8450), "fed.example.net": host(FED)},
        listens=(
            web(inner),
            trap(at(socket_ip(ip), 8449), ip),
            trap(at(FED, 8450)),
            trap(at(APEX, 8448)),
        ),
        ends=REFUSED,
        file="",
        control=True,
    )


def redirected(id: str, ip: str, location: str, zone: dict[str, Name] | None = None) -> Scenario:
    """D29: a redirect to such an address means that there is no file."""
    return Scenario(
        id=f"policy-redirect-to-{id}",
        rows=(*ROWS, "WK-02", "WK-06"),
        zone=PLAIN_ZONE | (zone or {}),
        listens=(
            web({FILE: moved(location)}),
            trap(at(socket_ip(ip), 443), ip if not zone else "inner.example.net"),
            APEX_HOST,
        ),
        ends=AT_6,
        file="address-refused",
        control=True,
    )


def numeric(id: str, host_name: str, port: str = "", mode: Mode = Mode.CURRENT) -> Scenario:
    """D27: a name that getaddrinfo reads as 127.0.0.1 is not even asked for."""
    return Scenario(
        id=f"policy-numeric-{id}",
        rows=(*ROWS, "NAME-09"),
        name=host_name + port,
        mode=mode,
        zone={host_name: host("127.0.0.1")},
        listens=(
            trap("127.0.0.1:8448", host_name),
            trap("127.0.0.1:8449", host_name),
            trap("127.0.0.1:443", host_name),
        ),
        ends=Stopped(code="name-not-resolvable"),
        policy=Policy.DEFAULT,
        asks=frozenset(),
    )


def numeric_file(id: str, m_server: str) -> Scenario:
    """The same, named by a well-known file: the answer, and it leads nowhere (D29)."""
    return Scenario(
        id=f"policy-file-names-numeric-{id}",
        rows=ROWS,
        zone=PLAIN_ZONE | {m_server: host("127.0.0.1")},
        listens=(web(m_server), trap("127.0.0.1:8448"), trap(at(APEX, 8448))),
        ends=Stopped(code="name-not-resolvable"),
        file="",
    )


BEYOND = {
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "link-local-6": "fe80::1",
    "multicast-6": "ff02::1",
    "ipv4-compatible": "::10.0.0.1",
    "discard-only": "100::1",
}
"""Where nothing can listen in the namespace; refused before the system is asked."""


def beyond(id: str, ip: str) -> Scenario:
    """As :func:`literal`, by the address alone."""
    return Scenario(
        id=f"policy-name-is-{id}",
        rows=ROWS,
        name=f"[{ip}]:8449" if ":" in ip else f"{ip}:8449",
        ends=REFUSED,
        policy=Policy.DEFAULT,
        asks=frozenset(),
    )


NUMBERS = {
    "127.1": "127.1",
    "2130706433": "2130706433",
    "0x7f.1": "0x7f.1",
    "0x7f000001": "0x7f000001",
    "127.0.1": "127.0.1",
}

MIXED = (
    Scenario(
        id="policy-file-host-inside-leads-to-step-4",
        rows=(*ROWS, "WK-06"),
        zone={
            "example.org": host("10.0.0.1"),
            SRV_FED + "example.org": srv("fed.example.net", 8450),
            "fed.example.net": host(FED),
        },
        listens=(
            trap("10.0.0.1:443"),
            trap("10.0.0.1:8448"),
            fed(at(FED, 8450), "example.org"),
        ),
        ends=Reached(at=at(FED, 8450), step="4", host="example.org", sni="example.org"),
        file="address-refused",
        control=True,
    ),
    Scenario(
        id="policy-one-inner-address-beside-a-public-one",
        rows=ROWS,
        name="example.org:8449",
        zone={"example.org": host("fd00::1", APEX)},
        listens=(trap("[fd00::1]:8449"), fed(at(APEX, 8449), "example.org")),
        ends=Reached(at=at(APEX, 8449), step="2", host="example.org:8449", sni="example.org"),
        tries=("[fd00::1]:8449 address-refused", f"{APEX}:8449 ok"),
        control=True,
    ),
    Scenario(
        id="policy-file-names-a-host-that-is-inside",
        rows=ROWS,
        zone=PLAIN_ZONE | {"hs.example.org": host("192.168.0.1")},
        listens=(
            web("hs.example.org"),
            trap("192.168.0.1:8448", "hs.example.org"),
            trap(at(APEX, 8448)),
        ),
        ends=REFUSED,
        file="",
        control=True,
    ),
    Scenario(
        id="policy-rebinding-between-two-answers",
        rows=ROWS,
        zone={"example.org": [host(APEX, ttl=0)] * 2 + [host("127.0.0.1", ttl=0)]},
        listens=(NO_FILE, trap("127.0.0.1:8448"), trap("127.0.0.1:443"), trap(at(APEX, 8448))),
        ends=REFUSED,
        file="well-known-status",
        control=True,
        gets=(f"example.org {FILE}",),
    ),
    Scenario(
        id="policy-rebinding-under-a-redirect",
        rows=ROWS,
        zone=PLAIN_ZONE | {"www.example.org": [host(FED, ttl=0)] * 2 + [host("10.0.0.1", ttl=0)]},
        listens=(
            web({FILE: moved("https://www.example.org/a")}),
            web({"/a": moved("/b")}, host="www.example.org", where=at(FED, 443)),
            trap("10.0.0.1:443", "www.example.org"),
            APEX_HOST,
        ),
        ends=AT_6,
        file="address-refused",
        control=True,
    ),
    Scenario(
        id="policy-host-is-an-alias-of-one-inside",
        rows=ROWS,
        name="example.org:8449",
        zone={"example.org": alias("inner.example.net"), "inner.example.net": host("10.0.0.1")},
        listens=(trap("10.0.0.1:8449"),),
        ends=REFUSED,
        policy=Policy.DEFAULT,
        control=True,
    ),
    Scenario(
        id="policy-own-listener-is-allowed-by-address-and-port",
        rows=ROWS,
        name="127.0.0.1:8448",
        listens=(fed("127.0.0.1:8448", "127.0.0.1"),),
        ends=Reached(at="127.0.0.1:8448", step="1", host="127.0.0.1:8448", sni=None),
        policy=Policy.OWN,
    ),
    Scenario(
        id="policy-own-listener-opens-no-other-port",
        rows=ROWS,
        name="127.0.0.1:8449",
        listens=(trap("127.0.0.1:8449", "127.0.0.1"), trap("127.0.0.1:8448", "127.0.0.1")),
        ends=REFUSED,
        policy=Policy.OWN,
        control=True,
    ),
    Scenario(
        id="policy-allow-private-opens-private-networks",
        rows=ROWS,
        name="10.0.0.1",
        listens=(fed("10.0.0.1:8448", "10.0.0.1"),),
        ends=Reached(at="10.0.0.1:8448", step="1", host="10.0.0.1", sni=None),
        policy=Policy.PRIVATE,
    ),
    Scenario(
        id="policy-allow-private-opens-no-metadata-service",
        rows=ROWS,
        name="169.254.169.254:80",
        listens=(trap("169.254.169.254:80", "169.254.169.254"),),
        ends=REFUSED,
        policy=Policy.PRIVATE,
        control=True,
    ),
    Scenario(
        id="policy-public-only-by-the-opening",
        rows=ROWS,
        name="192.0.2.1:8449",
        listens=(trap(at(APEX, 8449), APEX),),
        ends=REFUSED,
        policy=Policy.DEFAULT,
        control=True,
    ),
    Scenario(
        id="policy-redirect-answer-is-judged-before-any-byte",
        rows=(*ROWS, "TLS-09"),
        zone=PLAIN_ZONE | {"inner.example.net": host("::1")},
        listens=(
            web({FILE: Page(status=301, headers={"Location": "https://inner.example.net:8449/"})}),
            trap("[::1]:8449", "inner.example.net"),
            APEX_HOST,
        ),
        ends=AT_6,
        file="address-refused",
        control=True,
    ),
)

SCENARIOS = (
    *(literal(label, ip) for label, ip in INNER.items()),
    *(beyond(label, ip) for label, ip in BEYOND.items()),
    *(literal(label, INNER[label], Mode.SEED) for label in ("loopback", "ipv4-mapped")),
    *(resolves(label, ip) for label, ip in INNER.items()),
    *(service(label, ip) for label, ip in INNER.items()),
    *(service(label, INNER[label], Mode.SEED) for label in ("loopback", "metadata")),
    *(delegated(label, ip) for label, ip in INNER.items()),
    *(
        redirected(label, ip, f"https://[{ip}]/a" if ":" in ip else f"https://{ip}/a")
        for label, ip in INNER.items()
    ),
    redirected(
        "a-host-that-is-inside",
        "10.0.0.1",
        "https://inner.example.net/a",
        {"inner.example.net": host("10.0.0.1")},
    ),
    *(numeric(label, name) for label, name in NUMBERS.items()),
    numeric("127.1-with-port", "127.1", ":8449"),
    numeric("127.1-2014", "127.1", "", Mode.SEED),
    numeric("127.1-with-port-2014", "127.1", ":8449", Mode.SEED),
    numeric("0177.0.0.1-2014", "0177.0.0.1", "", Mode.SEED),
    *(numeric_file(label, name) for label, name in NUMBERS.items()),
    *MIXED,
)
