"""Addresses of a host: both families, dead ones, and what a name server may say instead."""

from __future__ import annotations

from tests.discovery.cases.steps import PLAIN_ZONE
from tests.discovery.scenario import (
    APEX,
    APEX6,
    Kinds,
    Listener,
    Mood,
    Nowhere,
    Reached,
    Scenario,
    addresses,
    alias,
    at,
    fed,
    host,
    trap,
)
from tests.rigs.dns import Entry, Name, Trouble

NAME = "example.org:8449"
A_HOST = fed(at(APEX, 8449), "example.org")
AAAA_HOST = fed(at(APEX6, 8449), "example.org")
BY_A = Reached(at=at(APEX, 8449), step="2", host=NAME, sni="example.org")
BY_AAAA = Reached(at=at(APEX6, 8449), step="2", host=NAME, sni="example.org")
TRIED_6 = at(APEX6, 8449)


def found(
    id: str,
    entry: Entry | Kinds,
    ends: Reached,
    *listens: Listener,
    tries: tuple[str, ...] | None = None,
    tells: tuple[str, ...] = (),
    seconds: tuple[float, float] = (0.0, 4.0),
    **hasty: float,
) -> Scenario:
    """One live address is enough, whatever is the matter with the other family."""
    return Scenario(
        id=f"host-{id}",
        rows=("DISC-02", "DISC-15"),
        name=NAME,
        zone=PLAIN_ZONE | {"example.org": entry},
        listens=listens,
        ends=ends,
        tries=tries,
        tells=tells,
        seconds=seconds,
        hasty=hasty,
    )


def lost(id: str, entry: Entry | Kinds, *tells: str, **hasty: float) -> Scenario:
    """No address, and the trail says why; nothing is tried in its stead."""
    return Scenario(
        id=f"host-{id}",
        rows=("DISC-02", "DISC-16"),
        name=NAME,
        zone=PLAIN_ZONE | {"example.org": entry},
        listens=(trap(at(APEX, 8449)), trap(at(APEX, 8448)), trap(at(APEX, 443))),
        ends=Nowhere(code="no-address"),
        asks=addresses("example.org"),
        tells=tells,
        hasty=hasty,
    )


SCENARIOS = (
    found("both-ipv6-first", host(APEX, APEX6), BY_AAAA, AAAA_HOST, trap(at(APEX, 8449))),
    found(
        "dead-ipv6-costs-only-the-stagger",
        host(APEX, APEX6),
        BY_A,
        fed(TRIED_6, mood=Mood.DEAF),
        A_HOST,
        tells=("stagger",),
        seconds=(0.25, 5.0),
    ),
    found(
        "hanging-ipv6-costs-only-the-stagger",
        host(APEX, APEX6),
        BY_A,
        fed(TRIED_6, mood=Mood.HANGS),
        A_HOST,
        tells=("stagger",),
        seconds=(0.25, 5.0),
    ),
    found(
        "refusing-ipv6",
        host(APEX, APEX6),
        BY_A,
        A_HOST,
        trap(at(APEX6, 1)),
        tries=(f"{TRIED_6} connect-refused", f"{at(APEX, 8449)} ok"),
    ),
    found(
        "unreachable-ipv6",
        host(APEX, "2001:db8:dead::1"),
        BY_A,
        A_HOST,
        tries=("[2001:db8:dead::1]:8449 connect-unreachable", f"{at(APEX, 8449)} ok"),
    ),
    found(
        "ipv6-with-another-certificate",
        host(APEX, APEX6),
        BY_A,
        fed(TRIED_6, "somebody-else.test"),
        A_HOST,
        tries=(f"{TRIED_6} tls-name-mismatch", f"{at(APEX, 8449)} ok"),
    ),
    found("aaaa-servfail", Kinds(a=host(APEX), aaaa=Trouble.SERVFAIL), BY_A, A_HOST),
    found("aaaa-silence", Kinds(a=host(APEX), aaaa=Trouble.SILENCE), BY_A, A_HOST),
    found("aaaa-nxdomain-is-a-lie", Kinds(a=host(APEX), aaaa=Trouble.NXDOMAIN), BY_A, A_HOST),
    found("a-servfail", Kinds(aaaa=host(APEX6), a=Trouble.SERVFAIL), BY_AAAA, AAAA_HOST),
    found("a-silence", Kinds(aaaa=host(APEX6), a=Trouble.SILENCE), BY_AAAA, AAAA_HOST),
    lost("nxdomain", Trouble.NXDOMAIN),
    lost("nodata", Name()),
    lost("servfail", Trouble.SERVFAIL, "address-unknown"),
    lost("refused", Trouble.REFUSED, "address-unknown"),
    lost("silence", Trouble.SILENCE, "dns-silent", dns_seconds=0.2),
    lost("a-cut-message", Trouble.CUT, "dns-garbage", dns_seconds=0.2),
    lost("alias-of-itself", alias("example.org"), "dns-alias-loop"),
    Scenario(
        id="host-with-forty-addresses-is-tried-up-to-the-limit",
        rows=("SEC-06",),
        name=NAME,
        zone={"example.org": host(*(f"203.0.113.{each}" for each in range(100, 140)))},
        listens=(trap("203.0.113.120:8449"),),
        ends=Nowhere(faults=("connect-unreachable",) * 16),
    ),
    Scenario(
        id="host-with-two-hundred-addresses-is-no-answer",
        rows=("SEC-06",),
        name=NAME,
        zone={"example.org": host(*(f"203.0.113.{each}" for each in range(1, 201)))},
        listens=(trap("203.0.113.1:8449"),),
        ends=Nowhere(code="no-address"),
        tells=("dns-too-many-records",),
    ),
    Scenario(
        id="host-localhost-is-not-asked-of-dns",
        rows=("SEC-05",),
        name="localhost:8449",
        zone={"localhost": host(APEX)},
        listens=(
            trap("127.0.0.1:8449", "localhost"),
            trap("[::1]:8449", "localhost"),
            trap(at(APEX, 8449), "localhost"),
        ),
        ends=Nowhere(faults=("address-refused", "address-refused")),
        asks=frozenset(),
        control=True,
    ),
)
