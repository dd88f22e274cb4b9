"""What is remembered: each answer for as long as it said (more by the world's own clock)."""

from __future__ import annotations

from tests.discovery.cases.steps import NO_FILE, PLAIN_ZONE
from tests.discovery.scenario import (
    APEX,
    FED,
    FED2,
    FILE,
    HS,
    SRV_FED,
    Reached,
    Scenario,
    addresses,
    at,
    fed,
    host,
    services,
    trap,
    web,
)
from tests.rigs.dns import Name

SCENARIOS = (
    Scenario(
        id="memory-the-second-and-third-time-ask-nobody",
        rows=("WK-07", "SRV-07"),
        zone=PLAIN_ZONE,
        listens=(web("hs.example.org"), fed(at(HS, 8448), "hs.example.org")),
        ends=Reached(at=at(HS, 8448), step="3.5", host="hs.example.org", sni="hs.example.org"),
        file="",
        gets=(f"example.org {FILE}",),
        asks=addresses("example.org", "hs.example.org") | services("hs.example.org"),
        times=3,
    ),
    Scenario(
        id="memory-a-missing-file-is-remembered-too",
        rows=("WK-07", "WK-10"),
        zone=PLAIN_ZONE,
        listens=(NO_FILE, fed(at(APEX, 8448), "example.org")),
        ends=Reached(at=at(APEX, 8448), step="6", host="example.org", sni="example.org"),
        file="well-known-status",
        gets=(f"example.org {FILE}",),
        times=3,
    ),
    Scenario(
        id="memory-a-ttl-of-one-second-ends",
        rows=("SRV-07",),
        zone=PLAIN_ZONE
        | {
            "fed.example.net": host(FED),
            "fed2.example.net": host(FED2),
            SRV_FED + "example.org": [
                Name(srv=[(0, 0, 8450, "fed.example.net")], ttl=1),
                Name(srv=[(0, 0, 8450, "fed2.example.net")], ttl=1),
            ],
        },
        listens=(
            NO_FILE,
            fed(at(FED, 8450), "example.org"),
            fed(at(FED2, 8450), "example.org"),
            trap(at(APEX, 8448)),
        ),
        ends=Reached(at=at(FED2, 8450), step="4", host="example.org", sni="example.org"),
        file="well-known-status",
        gets=(f"example.org {FILE}",),
        times=2,
        pause=1.2,
    ),
)
