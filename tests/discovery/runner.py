"""Plays scenarios inside a private network namespace and writes a report (JSON).

``python -m tests.discovery.runner REPORT [ID ...]``; without ids, all of them. One
after the other, because each has the whole internet to itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from ranvier.errors import RanvierError
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.net.dns import DnsResolver
from ranvier.protocol.names import ServerName, parse_server_name, parse_server_name_2014
from ranvier.protocol.routes import Mode
from ranvier.protocol.trust import WebPki
from ranvier.services.connector import Connector
from ranvier.services.keyring import Keyring
from ranvier.services.resolver import Resolver
from ranvier.services.trust import TrustBook, TrustRule
from ranvier.services.version import fetch_version
from ranvier.trail import Recorder, Trail
from ranvier.world.store import MemoryStore
from tests.discovery.cases.everything import SCENARIOS, SHARES
from tests.discovery.loopback import add_addresses, insist_private
from tests.discovery.scenario import SRV_FED, Policy, Scenario, Shares, at, fed, host
from tests.discovery.seen import Deed, Report, Seen, Spread
from tests.discovery.stage import Stage, own_addresses
from tests.rigs import certs
from tests.rigs.dns import Name

_KEPT = ("address", "tls_name", "source", "delegated", "code", "routes", "notes")


class Ours:
    """Our side, as in production: real edges, the system's name server, one authority."""

    def __init__(self, name: ServerName, mode: Mode, policy: Policy, limits: Limits) -> None:
        self.name, self.mode, self.limits = name, mode, limits
        self.clock = SystemClock()
        dns = DnsResolver(self.clock, limits)
        wire = NetWire(self.clock, limits, policy.made(), certs.authority().file)
        self.resolver = Resolver(dns, wire, self.clock, limits)
        self.connector = Connector(self.resolver, wire, self.clock, limits)
        book = TrustBook((TrustRule(names=(name.text,), mode=mode),))
        store: Any = MemoryStore()
        self.keyring = Keyring(self.connector, store, self.clock, limits, book)

    async def version(self, times: int, pause: float) -> tuple[str, Trail]:
        """Ask for the version; the error's code, if it ends in one, and the last trail."""
        for _ in range(times - 1):
            await self._version(Recorder(self.clock.tick))
            await self.clock.sleep(pause)
        recorder = Recorder(self.clock.tick)
        return await self._version(recorder), recorder.trail

    async def _version(self, recorder: Recorder) -> str:
        try:
            await fetch_version(
                self.name,
                connector=self.connector,
                keyring=self.keyring,
                limits=self.limits,
                recorder=recorder,
            )
        except RanvierError as error:
            return error.code
        return ""


def parsed(name: str, mode: Mode) -> ServerName:
    return parse_server_name_2014(name) if mode is Mode.SEED else parse_server_name(name)


def play(scenario: Scenario, policy: Policy) -> Seen:
    """One scenario, whatever comes of it."""
    seen = Seen()
    began = time.monotonic()
    try:
        with Stage(scenario.zone, scenario.listens) as stage:
            limits = msgspec.structs.replace(Limits(), **scenario.hasty)
            ours = Ours(parsed(scenario.name, scenario.mode), scenario.mode, policy, limits)
            began = time.monotonic()
            seen.code, trail = asyncio.run(ours.version(scenario.times, scenario.pause))
            seen.seconds = time.monotonic() - began
            seen.steps = deeds(trail)
            seen.asked, seen.questions = stage.asked(), len(stage.dns.queries)
            seen.heard = stage.heard()
    except Exception:
        seen.crash = traceback.format_exc()
    return seen


def deeds(trail: Trail) -> list[Deed]:
    """The trail without what nobody here looks at."""
    return [
        Deed(
            what=step.what,
            number=step.number,
            outcome=str(step.outcome),
            code=step.code,
            answer=step.answer,
            evidence={key: step.evidence[key] for key in _KEPT if key in step.evidence},
            started=step.started,
            took=step.took,
        )
        for step in trail.steps
    ]


def share(shares: Shares) -> Spread:
    """First picks of one SRV answer, and where real connections went."""
    spread = Spread()
    targets = {ip: f"t{place}.example.net" for place, ip in enumerate(shares.weights)}
    records = [(10, weight, 8450, targets[ip]) for ip, weight in shares.weights.items()]
    zone = {target: host(ip) for ip, target in targets.items()}
    listens = [fed(at(ip, 8450), "example.org") for ip in targets]

    async def run(stage: Stage) -> None:
        ours = Ours(parsed("example.org", shares.mode), shares.mode, Policy.INTERNET, Limits())
        found = await ours.resolver.resolve(ours.name, mode=shares.mode)
        firsts = Counter(
            ours.resolver.ordered(found.discovery.routes)[0].connect for _ in range(shares.picks)
        )
        spread.picks = {ip: firsts[target] for ip, target in targets.items()}
        for _ in range(shares.connects):
            made = await ours.connector.connect(ours.name, trust=WebPki(), mode=shares.mode)
            await made.link.close()
        heard = stage.heard()
        spread.connects = {ip: heard[at(ip, 8450)].accepted for ip in targets}

    try:
        with Stage(zone | {SRV_FED + "example.org": Name(srv=records)}, listens) as stage:
            asyncio.run(run(stage))
    except Exception:
        spread.crash = traceback.format_exc()
    return spread


def main(report: Path, ids: list[str]) -> None:
    insist_private()
    began = time.monotonic()
    scenarios = [each for each in SCENARIOS if not ids or each.id in ids]
    spreads = [each for each in SHARES if not ids or each.id in ids]
    listens = [plan for each in scenarios for plan in each.listens]
    add_addresses(own_addresses(listens) | {ip for each in spreads for ip in each.weights})
    made = Report()
    for each in scenarios:
        made.plays[each.id] = play(each, each.policy)
        if each.control:
            made.control[each.id] = play(each, Policy.OPEN)
    for shares in spreads:
        made.spreads[shares.id] = share(shares)
    made.seconds = time.monotonic() - began
    report.write_bytes(msgspec.json.encode(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
