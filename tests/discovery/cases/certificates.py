"""Bad certificates: refused by their own code, and not one application byte was sent."""

from __future__ import annotations

from tests.discovery.cases.srvs import AT_6, BAD_KINDS, CODES
from tests.discovery.cases.steps import NO_FILE, PLAIN_ZONE
from tests.discovery.scenario import (
    APEX,
    APEX6,
    HS,
    Mood,
    Nowhere,
    Reached,
    Scenario,
    at,
    fed,
    web,
)
from tests.rigs.certs import Kind

ROWS = ("TLS-02", "TLS-09", "SEED-18")


def refused(kind: Kind) -> Scenario:
    """At the home server itself."""
    return Scenario(
        id=f"certificate-{kind}",
        rows=ROWS,
        zone=PLAIN_ZONE,
        listens=(NO_FILE, fed(at(APEX, 8448), "example.org", kind=kind)),
        ends=Nowhere(faults=(CODES[kind],)),
        file="well-known-status",
    )


def at_an_address(id: str, ip: str, name: str, kind: Kind, code: str) -> Scenario:
    """TLS-10: for an address only an iPAddress SAN counts."""
    return Scenario(
        id=f"certificate-{id}",
        rows=("TLS-10", *ROWS),
        name=name,
        listens=(fed(at(ip, 8448), ip, kind=kind),),
        ends=Nowhere(faults=(code,)),
    )


def mute(id: str, mood: Mood, code: str, **hasty: float) -> Scenario:
    """What listens there does not get as far as a certificate."""
    return Scenario(
        id=f"certificate-never-shown-{id}",
        rows=("TLS-01", "TLS-09"),
        zone=PLAIN_ZONE,
        listens=(NO_FILE, fed(at(APEX, 8448), "example.org", mood=mood)),
        ends=Nowhere(faults=(code,)),
        file="well-known-status",
        hasty=hasty,
    )


SCENARIOS = (
    *(refused(kind) for kind in BAD_KINDS),
    at_an_address(
        "ipv4-text-as-a-name", APEX, "192.0.2.1", Kind.IP_TEXT_AS_DNS, "tls-name-mismatch"
    ),
    at_an_address(
        "ipv6-text-as-a-name", APEX6, "[2001:db8::1]", Kind.IP_TEXT_AS_DNS, "tls-name-mismatch"
    ),
    at_an_address(
        "ipv4-common-name-only", APEX, "192.0.2.1", Kind.COMMON_NAME_ONLY, "tls-common-name-only"
    ),
    Scenario(
        id="certificate-for-a-name-does-not-cover-its-address",
        rows=("TLS-10", *ROWS),
        name="192.0.2.1",
        listens=(fed(at(APEX, 8448), "example.org"),),
        ends=Nowhere(faults=("tls-name-mismatch",)),
    ),
    Scenario(
        id="certificate-with-an-intermediate-is-good",
        rows=("TLS-02",),
        zone=PLAIN_ZONE,
        listens=(NO_FILE, fed(at(APEX, 8448), "example.org", kind=Kind.WITH_INTERMEDIATE)),
        ends=AT_6,
        file="well-known-status",
    ),
    Scenario(
        id="certificate-with-a-wildcard-covers-one-label",
        rows=("TLS-02",),
        zone=PLAIN_ZONE,
        listens=(web("hs.example.org:8449"), fed(at(HS, 8449), "*.example.org")),
        ends=Reached(at=at(HS, 8449), step="3.2", host="hs.example.org:8449", sni="hs.example.org"),
        file="",
    ),
    Scenario(
        id="certificate-with-a-wildcard-covers-no-more",
        rows=ROWS,
        zone=PLAIN_ZONE,
        listens=(NO_FILE, fed(at(APEX, 8448), "*.org", "*.example.org")),
        ends=Nowhere(faults=("tls-name-mismatch",)),
        file="well-known-status",
    ),
    mute("plain-http", Mood.PLAIN, "tls-not-tls"),
    mute("reset", Mood.RESETS, "tls-closed"),
    mute("hanging", Mood.HANGS, "tls-timeout", connect_seconds=0.5),
    mute("black-hole", Mood.DEAF, "connect-timeout", connect_seconds=0.5),
)
