"""The whole matrix."""

from __future__ import annotations

from tests.discovery.cases import (
    certificates,
    files,
    hosts,
    memory,
    policy,
    redirects,
    seed,
    srvs,
    steps,
)

SCENARIOS = (
    *steps.SCENARIOS,
    *seed.SCENARIOS,
    *srvs.SCENARIOS,
    *hosts.SCENARIOS,
    *files.SCENARIOS,
    *redirects.SCENARIOS,
    *certificates.SCENARIOS,
    *policy.SCENARIOS,
    *memory.SCENARIOS,
)
SHARES = srvs.SHARES
