"""Every step of ``[s2s:resolving-server-names]``: address, Host, SNI, certificate name."""

from __future__ import annotations

from tests.discovery.scenario import (
    APEX,
    APEX6,
    FED,
    FED6,
    HS,
    HS6,
    OLD,
    SRV_FED,
    SRV_OLD,
    Nowhere,
    Reached,
    Scenario,
    addresses,
    alias,
    at,
    fed,
    host,
    page,
    services,
    srv,
    trap,
    web,
)
from tests.rigs.dns import Name

BAIT = {
    "example.org": host(APEX),
    "hs.example.org": host(HS),
    "fed.example.net": host(FED),
    "old.example.net": host(OLD),
    SRV_FED + "example.org": srv("fed.example.net", 8450),
    SRV_OLD + "example.org": srv("old.example.net", 8451),
}
"""Everything there is to find, so that what must not be used could be."""
BAITED = (trap(at(FED, 8450)), trap(at(OLD, 8451)))
SRV_TRAPS = (trap(at(FED, 8450), "hs.example.org"), trap(at(OLD, 8451), "hs.example.org"))
NO_FILE = web(page({}, 404))
PLAIN_ZONE = {"example.org": host(APEX), "hs.example.org": host(HS)}


def literal(id: str, name: str, where: str, ip: str) -> Scenario:
    """Step 1: the address itself; DNS and port 443 are left alone."""
    return Scenario(
        id=f"1-{id}",
        rows=("DISC-01", "TLS-07", "TLS-10"),
        name=name,
        listens=(fed(where, ip), trap(at(ip, 443), ip)),
        ends=Reached(at=where, step="1", host=name, sni=None),
        asks=frozenset(),
    )


STEP_1 = (
    literal("ipv4", "192.0.2.1", "192.0.2.1:8448", APEX),
    literal("ipv4-port", "192.0.2.1:8449", "192.0.2.1:8449", APEX),
    literal("ipv4-port-8448", "192.0.2.1:8448", "192.0.2.1:8448", APEX),
    literal("ipv6", "[2001:db8::1]", "[2001:db8::1]:8448", APEX6),
    literal("ipv6-port", "[2001:db8::1]:8449", "[2001:db8::1]:8449", APEX6),
    literal("ipv6-written-out", "[2001:0DB8:0::0001]", "[2001:db8::1]:8448", APEX6),
)


def with_port(id: str, name: str, port: int, zone: dict[str, Name] | None = None) -> Scenario:
    """Step 2: the hostname's addresses, that port; no well-known file, no SRV."""
    file_server = () if port == 443 else (trap(at(APEX, 443)),)
    return Scenario(
        id=f"2-{id}",
        rows=("DISC-02", "TLS-06"),
        name=name,
        zone=BAIT | (zone or {}),
        listens=(fed(at(APEX, port), "example.org"), *BAITED, *file_server),
        ends=Reached(at=at(APEX, port), step="2", host=name, sni="example.org"),
        asks=addresses("example.org"),
    )


STEP_2 = (
    with_port("port", "example.org:8449", 8449),
    with_port("port-443-stays-in-host", "example.org:443", 443),
    with_port("port-8448-stays-in-host", "example.org:8448", 8448),
    with_port(
        "cname",
        "example.org:8449",
        8449,
        {"example.org": alias("a.hosting.test"), "a.hosting.test": host(APEX)},
    ),
    Scenario(
        id="2-ipv6-only",
        rows=("DISC-02", "DISC-15"),
        name="example.org:8449",
        zone={"example.org": host(APEX6)},
        listens=(fed(at(APEX6, 8449), "example.org"),),
        ends=Reached(at=at(APEX6, 8449), step="2", host="example.org:8449", sni="example.org"),
    ),
)


def delegated_literal(id: str, m_server: str, where: str, ip: str) -> Scenario:
    """Step 3.1: the delegated address; SRV records of the hostname are not asked."""
    return Scenario(
        id=f"3.1-{id}",
        rows=("DISC-03", "DISC-04", "TLS-07", "WK-01"),
        zone=BAIT,
        listens=(web(m_server), fed(where, ip), *BAITED, trap(at(APEX, 8448))),
        ends=Reached(at=where, step="3.1", host=m_server, sni=None),
        file="",
        gets=("example.org /.well-known/matrix/server",),
        asks=addresses("example.org"),
    )


STEP_3_1 = (
    delegated_literal("ipv4", "198.51.100.1", at(HS, 8448), HS),
    delegated_literal("ipv4-port", "198.51.100.1:8449", at(HS, 8449), HS),
    delegated_literal("ipv6", "[2001:db8:1::1]", at(HS6, 8448), HS6),
    delegated_literal("ipv6-port", "[2001:db8:1::1]:8449", at(HS6, 8449), HS6),
)


def delegated_port(id: str, m_server: str, port: int) -> Scenario:
    """Step 3.2: the delegated host and port; no SRV record is asked at all."""
    # The delegated host has a file of its own, which nobody may fetch.
    own_file = () if port == 443 else (trap(at(HS, 443), "hs.example.org"),)
    return Scenario(
        id=f"3.2-{id}",
        rows=("DISC-03", "DISC-05", "DISC-14", "TLS-06"),
        zone=BAIT | {SRV_FED + "hs.example.org": srv("fed.example.net", 8450)},
        listens=(web(m_server), fed(at(HS, port), "hs.example.org"), *BAITED, *own_file),
        ends=Reached(at=at(HS, port), step="3.2", host=m_server, sni="hs.example.org"),
        file="",
        asks=addresses("example.org", "hs.example.org"),
    )


STEP_3_2 = (
    delegated_port("port", "hs.example.org:8449", 8449),
    delegated_port("port-443-stays-in-host", "hs.example.org:443", 443),
    delegated_port("port-8448-stays-in-host", "hs.example.org:8448", 8448),
)

DELEGATED = Reached(at=at(FED, 8460), step="3.3", host="hs.example.org", sni="hs.example.org")
NEW_AND_OLD = {
    SRV_FED + "hs.example.org": srv("fed.example.net", 8460),
    SRV_OLD + "hs.example.org": srv("old.example.net", 8461),
}

STEPS_3_3_TO_3_5 = (
    Scenario(
        id="3.3-both-names-only-the-new-one-is-used",
        rows=("DISC-03", "DISC-06", "DISC-07", "DISC-11", "DISC-12", "DISC-14", "SRV-06", "TLS-06"),
        zone=BAIT | NEW_AND_OLD,
        listens=(
            web("hs.example.org"),
            fed(at(FED, 8460), "hs.example.org"),
            trap(at(OLD, 8461), "hs.example.org"),
            *BAITED,
            trap(at(HS, 443), "hs.example.org"),
            trap(at(HS, 8448), "hs.example.org"),
            trap(at(APEX, 8448)),
        ),
        ends=DELEGATED,
        file="",
        asks=addresses("example.org", "fed.example.net") | services("hs.example.org"),
    ),
    Scenario(
        id="3.3-over-ipv6",
        rows=("DISC-06", "DISC-15"),
        zone={
            "example.org": host(APEX6),
            "fed.example.net": host(FED6),
            SRV_FED + "hs.example.org": srv("fed.example.net", 8460),
        },
        listens=(
            web("hs.example.org", where=at(APEX6, 443)),
            fed(at(FED6, 8460), "hs.example.org"),
        ),
        ends=Reached(at=at(FED6, 8460), step="3.3", host="hs.example.org", sni="hs.example.org"),
        file="",
    ),
    Scenario(
        id="3.4-only-the-deprecated-name",
        rows=("DISC-07", "DISC-11", "DISC-12"),
        zone=BAIT | {SRV_OLD + "hs.example.org": srv("old.example.net", 8461)},
        listens=(
            web("hs.example.org"),
            fed(at(OLD, 8461), "hs.example.org"),
            trap(at(HS, 8448), "hs.example.org"),
            *BAITED,
        ),
        ends=Reached(at=at(OLD, 8461), step="3.4", host="hs.example.org", sni="hs.example.org"),
        file="",
        notes=("deprecated",),
        asks=addresses("example.org", "old.example.net") | services("hs.example.org"),
    ),
    Scenario(
        id="3.5-no-srv-of-the-delegated-host",
        rows=("DISC-03", "DISC-08", "DISC-12", "DISC-14", "TLS-06"),
        zone=BAIT,
        listens=(
            web("hs.example.org"),
            fed(at(HS, 8448), "hs.example.org"),
            trap(at(HS, 443), "hs.example.org"),
            trap(at(APEX, 8448)),
            *BAITED,
        ),
        ends=Reached(at=at(HS, 8448), step="3.5", host="hs.example.org", sni="hs.example.org"),
        file="",
        notes=("while the well-known file is valid",),
        asks=addresses("example.org", "hs.example.org") | services("hs.example.org"),
    ),
    Scenario(
        id="3.5-cname",
        rows=("DISC-08",),
        zone=BAIT | {"hs.example.org": alias("a.hosting.test"), "a.hosting.test": host(HS)},
        listens=(web("hs.example.org"), fed(at(HS, 8448), "hs.example.org")),
        ends=Reached(at=at(HS, 8448), step="3.5", host="hs.example.org", sni="hs.example.org"),
        file="",
    ),
    Scenario(
        id="3.5-delegated-to-itself-is-fetched-once",
        rows=("DISC-14",),
        zone=PLAIN_ZONE,
        listens=(web("example.org"), fed(at(APEX, 8448), "example.org")),
        ends=Reached(at=at(APEX, 8448), step="3.5", host="example.org", sni="example.org"),
        file="",
        gets=("example.org /.well-known/matrix/server",),
    ),
    Scenario(
        id="3.5-case-of-m.server-is-kept",
        rows=("DISC-17",),
        zone=PLAIN_ZONE,
        listens=(web("HS.Example.org"), fed(at(HS, 8448), "hs.example.org")),
        ends=Reached(at=at(HS, 8448), step="3.5", host="HS.Example.org", sni="hs.example.org"),
        file="",
    ),
)

STEPS_4_TO_6 = (
    Scenario(
        id="4-both-names-only-the-new-one-is-used",
        rows=("DISC-07", "DISC-09", "DISC-11", "DISC-12", "SRV-06", "TLS-06", "WK-06"),
        zone=BAIT,
        listens=(
            NO_FILE,
            fed(at(FED, 8450), "example.org"),
            trap(at(OLD, 8451)),
            trap(at(APEX, 8448)),
        ),
        ends=Reached(at=at(FED, 8450), step="4", host="example.org", sni="example.org"),
        file="well-known-status",
        asks=addresses("example.org", "fed.example.net") | services("example.org"),
    ),
    Scenario(
        id="5-only-the-deprecated-name",
        rows=("DISC-09", "DISC-11", "DISC-12"),
        zone=PLAIN_ZONE
        | {
            "old.example.net": host(OLD),
            SRV_OLD + "example.org": srv("old.example.net", 8451),
        },
        listens=(NO_FILE, fed(at(OLD, 8451), "example.org"), trap(at(APEX, 8448))),
        ends=Reached(at=at(OLD, 8451), step="5", host="example.org", sni="example.org"),
        file="well-known-status",
        notes=("deprecated",),
        asks=addresses("example.org", "old.example.net") | services("example.org"),
    ),
    Scenario(
        id="6-nothing-else",
        rows=("DISC-09", "DISC-10", "DISC-12", "TLS-06"),
        zone=PLAIN_ZONE,
        listens=(NO_FILE, fed(at(APEX, 8448), "example.org")),
        ends=Reached(at=at(APEX, 8448), step="6", host="example.org", sni="example.org"),
        file="well-known-status",
        asks=addresses("example.org") | services("example.org"),
    ),
    Scenario(
        id="6-cname",
        rows=("DISC-10",),
        zone={"example.org": alias("a.hosting.test"), "a.hosting.test": host(APEX)},
        listens=(NO_FILE, fed(at(APEX, 8448), "example.org")),
        ends=Reached(at=at(APEX, 8448), step="6", host="example.org", sni="example.org"),
        file="well-known-status",
    ),
    Scenario(
        id="6-case-of-the-name-is-kept",
        rows=("DISC-17",),
        name="EXAMPLE.org",
        zone=PLAIN_ZONE,
        listens=(NO_FILE, fed(at(APEX, 8448), "example.org")),
        ends=Reached(at=at(APEX, 8448), step="6", host="EXAMPLE.org", sni="example.org"),
        file="well-known-status",
        asks=addresses("example.org") | services("example.org"),
    ),
)

# What was found is the answer: nothing further down is tried in its stead.
NO_WAY_BACK = (
    Scenario(
        id="3.5-dead-is-not-made-good-by-step-4",
        rows=("DISC-08", "TLS-01"),
        zone=BAIT,
        listens=(
            web("hs.example.org"),
            *BAITED,
            trap(at(APEX, 8448)),
            trap(at(HS, 443), "hs.example.org"),
            trap(at(HS, 80), "hs.example.org"),
            trap(at(HS, 8008), "hs.example.org"),
        ),
        ends=Nowhere(faults=("connect-refused",)),
        file="",
        asks=addresses("example.org", "hs.example.org") | services("hs.example.org"),
    ),
    Scenario(
        id="4-dead-is-not-made-good-by-5-or-6",
        rows=("DISC-09", "SRV-06", "TLS-01"),
        zone=BAIT,
        listens=(
            NO_FILE,
            trap(at(FED, 8448)),
            trap(at(OLD, 8451)),
            trap(at(APEX, 8448)),
            trap(at(APEX, 80)),
            trap(at(APEX, 8008)),
        ),
        ends=Nowhere(faults=("connect-refused",)),
        file="well-known-status",
    ),
    Scenario(
        id="4-a-certificate-for-the-target-alone-is-refused",
        rows=("DISC-11", "SEC-11"),
        zone=BAIT,
        listens=(NO_FILE, fed(at(FED, 8450), "fed.example.net"), trap(at(APEX, 8448))),
        ends=Nowhere(faults=("tls-name-mismatch",)),
        file="well-known-status",
    ),
    Scenario(
        id="3.3-a-certificate-for-the-target-alone-is-refused",
        rows=("DISC-11", "SEC-11"),
        zone=BAIT | NEW_AND_OLD,
        listens=(web("hs.example.org"), fed(at(FED, 8460), "fed.example.net")),
        ends=Nowhere(faults=("tls-name-mismatch",)),
        file="",
    ),
    Scenario(
        id="3.3-a-certificate-for-the-server-name-alone-is-refused",
        rows=("DISC-06", "DISC-11", "TLS-02"),
        zone=BAIT | NEW_AND_OLD,
        listens=(web("hs.example.org"), fed(at(FED, 8460), "example.org")),
        ends=Nowhere(faults=("tls-name-mismatch",)),
        file="",
    ),
    Scenario(
        id="3.5-a-certificate-for-the-server-name-alone-is-refused",
        rows=("DISC-08", "TLS-02"),
        zone=BAIT,
        listens=(web("hs.example.org"), fed(at(HS, 8448), "example.org")),
        ends=Nowhere(faults=("tls-name-mismatch",)),
        file="",
    ),
)

SCENARIOS = (
    *STEP_1,
    *STEP_2,
    *STEP_3_1,
    *STEP_3_2,
    *STEPS_3_3_TO_3_5,
    *STEPS_4_TO_6,
    *NO_WAY_BACK,
)
