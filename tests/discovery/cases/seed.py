"""The rules of November 2014 ``[2014:resolving-server-names]``: A records, one SRV name."""

from __future__ import annotations

from ranvier.protocol.routes import Mode
from tests.discovery.cases.steps import BAIT
from tests.discovery.scenario import (
    APEX,
    APEX6,
    FED,
    FED2,
    FED6,
    OLD,
    SRV_FED,
    SRV_OLD,
    Nowhere,
    Reached,
    Scenario,
    Stopped,
    at,
    fed,
    host,
    srv,
    trap,
    web,
)
from tests.rigs.certs import Kind
from tests.rigs.dns import Name, Trouble

BOTH = host(APEX, APEX6)
WEB = web("old.example.net:8451")  # a well-known file that nobody may fetch
ONLY_SRV = frozenset({"SRV _matrix._tcp.example.org"})
ONLY_A = frozenset({"A example.org"})
AT_8448 = Reached(at=at(APEX, 8448), step="2014:8448", host="example.org", sni="example.org")
BY_SRV = Reached(at=at(FED, 8450), step="2014:srv", host="example.org", sni="example.org")
ZONE = {
    "example.org": BOTH,
    "fed.example.net": host(FED, FED6),
    "old.example.net": host(OLD),
    SRV_OLD + "example.org": srv("fed.example.net", 8450),
    SRV_FED + "example.org": srv("old.example.net", 8451),
}


def literal(id: str, name: str, where: str, step: str, ip: str) -> Scenario:
    """An address has no SRV record and no A record."""
    return Scenario(
        id=f"2014-{id}",
        rows=("SEED-04", "SEED-05"),
        mode=Mode.SEED,
        name=name,
        listens=(fed(where, ip), trap(at(ip, 443), ip)),
        ends=Reached(at=where, step=step, host=name, sni=None),
        asks=frozenset(),
    )


def unknown(id: str, trouble: Trouble, **hasty: float) -> Scenario:
    """Not knowing is not "no record"."""
    return Scenario(
        id=f"2014-srv-{id}",
        rows=("SEED-05", "SRV-05"),
        mode=Mode.SEED,
        zone=ZONE | {SRV_OLD + "example.org": trouble},
        listens=(trap(at(APEX, 8448)), trap(at(OLD, 8451))),
        ends=Stopped(code="srv-unknown"),
        asks=ONLY_SRV,
        hasty=hasty,
    )


def no_record(id: str, entry: Name | Trouble) -> Scenario:
    """D3: the text is silent, the reference server took 8448; the note says so."""
    return Scenario(
        id=f"2014-no-record-{id}-means-8448",
        rows=("REF14-16",),
        mode=Mode.SEED,
        zone=ZONE | {SRV_OLD + "example.org": entry},
        listens=(
            fed(at(APEX, 8448), "example.org"),
            WEB,
            trap(at(OLD, 8451)),
            trap(at(APEX6, 8448)),
        ),
        ends=AT_8448,
        asks=ONLY_SRV | ONLY_A,
        notes=("reference server, not the text",),
    )


SCENARIOS = (
    Scenario(
        id="2014-port-asks-an-a-record-alone",
        rows=("SEED-02", "SEED-04", "ERR14-02"),
        mode=Mode.SEED,
        name="example.org:8449",
        zone=ZONE,
        listens=(
            fed(at(APEX, 8449), "example.org"),
            WEB,
            trap(at(APEX6, 8449)),
            trap(at(FED, 8450)),
            trap(at(OLD, 8451)),
        ),
        ends=Reached(
            at=at(APEX, 8449), step="2014:port", host="example.org:8449", sni="example.org"
        ),
        asks=ONLY_A,
    ),
    Scenario(
        id="2014-port-8448-stays-in-host",
        rows=("SEED-04", "REF14-15"),
        mode=Mode.SEED,
        name="example.org:8448",
        zone=ZONE,
        listens=(fed(at(APEX, 8448), "example.org"), trap(at(FED, 8450))),
        ends=Reached(
            at=at(APEX, 8448), step="2014:port", host="example.org:8448", sni="example.org"
        ),
        asks=ONLY_A,
    ),
    Scenario(
        id="2014-port-without-an-a-record",
        rows=("SEED-04", "ERR14-02"),
        mode=Mode.SEED,
        name="example.org:8449",
        zone=ZONE | {"example.org": host(APEX6)},
        listens=(trap(at(APEX6, 8449)), trap(at(FED, 8450))),
        ends=Nowhere(code="no-address"),
        asks=ONLY_A,
    ),
    Scenario(
        id="2014-srv",
        rows=("SEED-05", "ERR14-02"),
        mode=Mode.SEED,
        zone=ZONE,
        listens=(
            fed(at(FED, 8450), "example.org"),
            WEB,
            trap(at(FED6, 8450)),
            trap(at(OLD, 8451)),
            trap(at(APEX, 8448)),
        ),
        ends=BY_SRV,
        asks=ONLY_SRV | {"A fed.example.net"},
    ),
    Scenario(
        id="2014-srv-for-an-empty-port",
        rows=("SEED-03", "SEED-05"),
        mode=Mode.SEED,
        name="example.org:",
        zone=ZONE,
        listens=(fed(at(FED, 8450), "example.org"), trap(at(APEX, 8448))),
        ends=BY_SRV,
        asks=ONLY_SRV | {"A fed.example.net"},
        notes=("the port is empty",),
    ),
    Scenario(
        id="2014-srv-certificate-for-the-target-alone-is-refused",
        rows=("SEED-05", "SEC-11"),
        mode=Mode.SEED,
        zone=ZONE,
        listens=(fed(at(FED, 8450), "fed.example.net"), trap(at(APEX, 8448))),
        ends=Nowhere(faults=("tls-name-mismatch",)),
    ),
    Scenario(
        id="2014-srv-failover",
        rows=("SEED-06", "SEED-07", "SRV-02"),
        mode=Mode.SEED,
        zone=ZONE
        | {
            "fed2.example.net": host(FED2),
            SRV_OLD + "example.org": Name(
                srv=[
                    (3, 0, 8452, "fed2.example.net"),
                    (2, 0, 8451, "old.example.net"),
                    (1, 0, 8450, "fed.example.net"),
                ]
            ),
        },
        listens=(
            fed(at(OLD, 8451), "example.org", kind=Kind.EXPIRED),
            fed(at(FED2, 8452), "example.org"),
        ),
        ends=Reached(at=at(FED2, 8452), step="2014:srv", host="example.org", sni="example.org"),
        tries=(
            f"{FED}:8450 connect-refused",
            f"{OLD}:8451 tls-expired",
            f"{FED2}:8452 ok",
        ),
    ),
    Scenario(
        id="2014-srv-not-offered",
        rows=("REF14-16", "SRV-04"),
        mode=Mode.SEED,
        zone=ZONE | {SRV_OLD + "example.org": srv(".", 0)},
        listens=(trap(at(APEX, 8448)), WEB),
        ends=Stopped(code="srv-not-offered"),
        asks=ONLY_SRV,
    ),
    Scenario(
        id="2014-a-host-name-with-an-underscore",
        rows=("SEED-03",),
        mode=Mode.SEED,
        name="home_server.example.org:8449",
        zone=BAIT | {"home_server.example.org": host(APEX)},
        listens=(fed(at(APEX, 8449), "home_server.example.org"),),
        ends=Reached(
            at=at(APEX, 8449),
            step="2014:port",
            host="home_server.example.org:8449",
            sni="home_server.example.org",
        ),
        asks=frozenset({"A home_server.example.org"}),
    ),
    no_record("nxdomain", Trouble.NXDOMAIN),
    no_record("nodata", Name()),
    unknown("servfail", Trouble.SERVFAIL),
    unknown("refused", Trouble.REFUSED),
    unknown("silence", Trouble.SILENCE, dns_seconds=0.2),
    literal("ipv4", "192.0.2.1", at(APEX, 8448), "2014:8448", APEX),
    literal("ipv4-port", "192.0.2.1:8449", at(APEX, 8449), "2014:port", APEX),
    literal("ipv6-port", "[2001:db8::1]:8449", at(APEX6, 8449), "2014:port", APEX6),
)
