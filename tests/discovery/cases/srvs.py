"""SRV records: order, failover, ``.``, aliases, and what a name server may say instead."""

from __future__ import annotations

from collections.abc import Sequence

from tests.discovery.cases.steps import BAIT, NO_FILE, PLAIN_ZONE
from tests.discovery.scenario import (
    APEX,
    FED,
    FED2,
    HS,
    OLD,
    SRV_FED,
    SRV_OLD,
    Kinds,
    Listener,
    Mood,
    Nowhere,
    Reached,
    Scenario,
    Shares,
    Stopped,
    alias,
    at,
    fed,
    host,
    srv,
    trap,
    web,
)
from tests.rigs.certs import BAD_FOR_WEB_PKI, Kind
from tests.rigs.dns import Entry, Name, Trouble

NO_RECORD = ("DISC-10", "SRV-05")
TARGETS = {
    "fed.example.net": host(FED),
    "fed2.example.net": host(FED2),
    "old.example.net": host(OLD),
}
ORDERED = Name(
    srv=[
        (30, 0, 8452, "old.example.net"),
        (10, 0, 8450, "fed.example.net"),
        (20, 65535, 8451, "fed2.example.net"),
    ]
)
SECOND = Reached(at=at(FED2, 8451), step="4", host="example.org", sni="example.org")
AT_6 = Reached(at=at(APEX, 8448), step="6", host="example.org", sni="example.org")
AT_3_5 = Reached(at=at(HS, 8448), step="3.5", host="hs.example.org", sni="hs.example.org")


def over(id: str, code: str, *first: Listener, **hasty: float) -> Scenario:
    """The first target fails by ``code``, the second one holds, the third is left alone."""
    return Scenario(
        id=f"srv-failover-{id}",
        rows=("SEED-07", "SRV-01", "SRV-02"),
        zone=PLAIN_ZONE | TARGETS | {SRV_FED + "example.org": ORDERED},
        listens=(
            NO_FILE,
            *first,
            fed(at(FED2, 8451), "example.org"),
            trap(at(OLD, 8452)),
            trap(at(APEX, 8448)),
        ),
        ends=SECOND,
        file="well-known-status",
        tries=(f"{FED}:8450 {code}", f"{FED2}:8451 ok"),
        hasty=hasty,
    )


CODES = {
    Kind.MISSING_INTERMEDIATE: "tls-unknown-authority",
    Kind.WRONG_NAME: "tls-name-mismatch",
    Kind.UNKNOWN_AUTHORITY: "tls-unknown-authority",
    Kind.SELF_SIGNED: "tls-self-signed",
    Kind.EXPIRED: "tls-expired",
    Kind.NOT_YET_VALID: "tls-not-yet-valid",
    Kind.COMMON_NAME_ONLY: "tls-common-name-only",
    Kind.V1_SELF_SIGNED: "tls-self-signed",
    Kind.CLIENT_ONLY: "tls-certificate-purpose",
    Kind.WEAK_KEY: "tls-weak",
}
"""By which code each bad certificate is refused."""

BAD_KINDS = tuple(kind for kind in BAD_FOR_WEB_PKI if kind is not Kind.IP_TEXT_AS_DNS)

FAILOVER = (
    over("refused", "connect-refused"),
    *(
        over(kind, CODES[kind], fed(at(FED, 8450), "example.org", kind=kind))
        for kind in (Kind.WRONG_NAME, Kind.EXPIRED, Kind.SELF_SIGNED, Kind.COMMON_NAME_ONLY)
    ),
    over("not-tls", "tls-not-tls", fed(at(FED, 8450), mood=Mood.PLAIN)),
    over("reset", "tls-closed", fed(at(FED, 8450), mood=Mood.RESETS)),
    Scenario(
        id="srv-failover-silence-waits-only-the-stagger",
        rows=("SEED-07", "SRV-02", "DISC-15"),
        zone=PLAIN_ZONE | TARGETS | {SRV_FED + "example.org": ORDERED},
        listens=(
            NO_FILE,
            fed(at(FED, 8450), mood=Mood.DEAF),
            fed(at(FED2, 8451), "example.org"),
        ),
        ends=SECOND,
        file="well-known-status",
        tells=("stagger",),
        seconds=(0.25, 5.0),
    ),
    Scenario(
        id="srv-failover-a-target-without-address",
        rows=("SRV-02",),
        zone=PLAIN_ZONE
        | TARGETS
        | {SRV_FED + "example.org": ORDERED, "fed.example.net": Trouble.NXDOMAIN},
        listens=(NO_FILE, fed(at(FED2, 8451), "example.org"), trap(at(OLD, 8452))),
        ends=SECOND,
        file="well-known-status",
        tries=(f"{FED2}:8451 ok",),
    ),
    Scenario(
        id="srv-all-targets-dead-ends-it",
        rows=("SRV-02", "SRV-06"),
        zone=PLAIN_ZONE | TARGETS | {SRV_FED + "example.org": ORDERED},
        listens=(
            NO_FILE,
            fed(at(FED2, 8451), "fed2.example.net"),
            trap(at(APEX, 8448)),
            trap(at(FED, 8448)),
        ),
        ends=Nowhere(faults=("connect-refused", "tls-name-mismatch", "connect-refused")),
        file="well-known-status",
    ),
)


def stops(id: str, code: str, records: Sequence[tuple[int, int, int, str]]) -> Scenario:
    """Records that lead nowhere end discovery: 8448 is not tried, nor the old name."""
    return Scenario(
        id=f"srv-{id}",
        rows=("SRV-04", "SRV-06"),
        zone=BAIT | {SRV_FED + "example.org": Name(srv=records)},
        listens=(NO_FILE, trap(at(APEX, 8448)), trap(at(OLD, 8451)), trap(at(FED, 8448))),
        ends=Stopped(code=code),
        file="well-known-status",
    )


TARGET_KINDS = (
    stops("not-offered", "srv-not-offered", [(0, 0, 0, ".")]),
    stops("port-0", "srv-not-usable", [(0, 0, 0, "fed.example.net")]),
    stops("target-is-an-address", "srv-not-usable", [(0, 0, 8450, FED)]),
    stops("target-is-a-number", "srv-not-usable", [(0, 0, 8450, "127.1"), (0, 0, 8450, "0x7f.1")]),
    Scenario(
        id="srv-not-offered-by-the-deprecated-name",
        rows=("SRV-04",),
        zone=PLAIN_ZONE | {SRV_OLD + "example.org": srv(".", 0)},
        listens=(NO_FILE, trap(at(APEX, 8448))),
        ends=Stopped(code="srv-not-offered"),
        file="well-known-status",
    ),
    Scenario(
        id="srv-not-offered-by-the-delegated-host",
        rows=("SRV-04",),
        zone=BAIT | {SRV_FED + "hs.example.org": srv(".", 0)},
        listens=(web("hs.example.org"), trap(at(HS, 8448), "hs.example.org"), trap(at(FED, 8450))),
        ends=Stopped(code="srv-not-offered"),
        file="",
    ),
    Scenario(
        id="srv-a-dot-beside-another-target-is-passed-over",
        rows=("SRV-04",),
        zone=PLAIN_ZONE
        | TARGETS
        | {SRV_FED + "example.org": Name(srv=[(0, 0, 0, "."), (1, 0, 8451, "fed2.example.net")])},
        listens=(NO_FILE, fed(at(FED2, 8451), "example.org")),
        ends=SECOND,
        file="well-known-status",
        notes=("beside other targets",),
    ),
    Scenario(
        id="srv-target-is-an-alias-works-and-is-told",
        rows=("SRV-03",),
        zone=PLAIN_ZONE
        | {
            SRV_FED + "example.org": srv("alias.example.net", 8451),
            "alias.example.net": alias("fed2.example.net"),
            "fed2.example.net": host(FED2),
        },
        listens=(NO_FILE, fed(at(FED2, 8451), "example.org")),
        ends=SECOND,
        file="well-known-status",
        tells=("srv-target-alias",),
    ),
    Scenario(
        id="srv-name-is-an-alias",
        rows=("SRV-03",),
        zone=PLAIN_ZONE
        | TARGETS
        | {
            SRV_FED + "example.org": alias("srv.hosting.test"),
            "srv.hosting.test": srv("fed2.example.net", 8451),
        },
        listens=(NO_FILE, fed(at(FED2, 8451), "example.org")),
        ends=SECOND,
        file="well-known-status",
    ),
    Scenario(
        id="srv-sixty-targets-are-tried-up-to-the-limit",
        rows=("SEC-06",),
        zone=PLAIN_ZONE
        | {f"t{each}.example.net": host(f"203.0.113.{100 + each}") for each in range(60)}
        | {
            SRV_FED + "example.org": Name(
                srv=[(each, 0, 8450, f"t{each}.example.net") for each in range(60)]
            )
        },
        listens=(NO_FILE, trap("203.0.113.120:8450"), trap("203.0.113.159:8450")),
        ends=Nowhere(faults=("connect-unreachable",) * 20),
        file="well-known-status",
        notes=("more than 20 targets",),
    ),
)


def answers(id: str, entry: Entry | Kinds, code: str = "", **hasty: float) -> tuple[Scenario, ...]:
    """What ``_matrix-fed`` answers, below the hostname and below the delegated host.

    With a code discovery stops, although ``_matrix`` has a record and 8448 listens.
    Without one there is no such record, and that other record or 8448 is used.
    """
    old = {"old.example.net": host(OLD)}
    if code:
        more = {SRV_OLD + each: srv("old.example.net", 8451) for each in PLAIN_ZONE}
        zone = PLAIN_ZONE | old | more
    else:
        zone = PLAIN_ZONE
    name, hs = "example.org", "hs.example.org"
    return (
        Scenario(
            id=f"srv-says-{id}",
            rows=NO_RECORD,
            zone=zone | {SRV_FED + name: entry},
            listens=(NO_FILE, trap(at(APEX, 8448)), trap(at(OLD, 8451)))
            if code
            else (NO_FILE, fed(at(APEX, 8448), name)),
            ends=Stopped(code=code) if code else AT_6,
            file="well-known-status",
            hasty=hasty,
        ),
        Scenario(
            id=f"srv-says-{id}-delegated",
            rows=("DISC-08", "SRV-05"),
            zone=zone | {SRV_FED + hs: entry},
            listens=(web(hs), trap(at(HS, 8448), hs), trap(at(OLD, 8451), hs), trap(at(APEX, 8448)))
            if code
            else (web(hs), fed(at(HS, 8448), hs), trap(at(APEX, 8448))),
            ends=Stopped(code=code) if code else AT_3_5,
            file="",
            hasty=hasty,
        ),
    )


ANSWERS = (
    *answers("nxdomain", Trouble.NXDOMAIN),
    *answers("nodata", Name()),
    *answers("servfail", Trouble.SERVFAIL, "srv-unknown"),
    *answers("refused", Trouble.REFUSED, "srv-unknown"),
    *answers("garbage", Trouble.GARBAGE, "srv-unknown", dns_seconds=0.2),
    *answers("silence", Trouble.SILENCE, "srv-unknown", dns_seconds=0.2),
    *answers("a-forged-id", Trouble.WRONG_ID, "srv-unknown", dns_seconds=0.2),
    Scenario(
        id="srv-deprecated-name-says-servfail",
        rows=("SRV-05",),
        zone=PLAIN_ZONE | {SRV_OLD + "example.org": Trouble.SERVFAIL},
        listens=(NO_FILE, trap(at(APEX, 8448))),
        ends=Stopped(code="srv-unknown"),
        file="well-known-status",
    ),
    Scenario(
        id="srv-found-beside-a-silent-deprecated-name",
        rows=("DISC-07", "SRV-05"),
        zone=BAIT | {SRV_OLD + "example.org": Trouble.SILENCE},
        listens=(NO_FILE, fed(at(FED, 8450), "example.org")),
        ends=Reached(at=at(FED, 8450), step="4", host="example.org", sni="example.org"),
        file="well-known-status",
        seconds=(0.0, 4.0),
    ),
)

SCENARIOS = (*FAILOVER, *TARGET_KINDS, *ANSWERS)

SHARES = (
    Shares(
        id="weights-1-to-3",
        rows=("SEED-06", "SRV-01"),
        weights={FED: 1, FED2: 3},
        picks=1000,
        connects=400,
    ),
    Shares(
        id="weights-alike",
        rows=("SRV-01",),
        weights={FED: 1, FED2: 1, OLD: 1},
        picks=1000,
        connects=0,
    ),
    Shares(
        id="weight-0-keeps-a-small-chance",
        rows=("SRV-01",),
        weights={FED: 0, FED2: 1},
        picks=4000,
        connects=0,
    ),
)
