"""The discovery matrix on real DNS and real TLS, one test for each scenario.

The scenarios (:mod:`tests.discovery.cases`) say what the internet is like; they are
played in a private network namespace by :mod:`tests.discovery.runner`, with our own
name server on port 53 and our own listeners on ports 443 and 8448; what they saw is
judged here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from ranvier.limits import Limits
from tests.discovery.cases.everything import SCENARIOS, SHARES
from tests.discovery.scenario import (
    SRV_FED,
    SRV_OLD,
    Listener,
    Mood,
    Nowhere,
    Reached,
    Scenario,
    Shares,
    Stopped,
)
from tests.discovery.seen import Heard, Report, Seen
from tests.peers.namespace import Namespace
from tests.rigs.certs import BAD_FOR_WEB_PKI

pytestmark = [pytest.mark.peer("namespace"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
_VERSION = "GET /_matrix/federation/v1/version HTTP/1.1\r\nHost: {host}\r\n"


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """All scenarios that were selected, played."""
    place = tmp_path_factory.mktemp("discovery")
    written = place / "report.json"
    ids = [
        item.callspec.id
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == Path(__file__)
        if hasattr(item, "callspec")
    ]
    inside = Namespace(place / "namespace")
    try:
        done = inside.run(
            [sys.executable, "-m", "tests.discovery.runner", str(written), *ids],
            cwd=ROOT,
            timeout=240,
        )
    finally:
        inside.close()
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(written.read_bytes(), type=Report)


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(each, id=each.id, marks=pytest.mark.req(*each.rows)) for each in SCENARIOS],
)
def test_the_matrix(scenario: Scenario, report: Report) -> None:
    seen = report.plays[scenario.id]
    assert not seen.crash, seen.crash
    check_end(scenario, seen)
    check_file(scenario, seen)
    check_questions(scenario, seen)
    check_attempts(scenario, seen)
    for plan in scenario.listens:
        if plan.mood is not Mood.DEAF:
            check_listener(plan, seen.heard[plan.at])
    least, most = scenario.seconds
    assert least <= seen.seconds <= most
    if scenario.control:
        opened = report.control[scenario.id]
        assert not opened.crash, opened.crash
        reached = [
            plan.at for plan in scenario.listens if plan.trap and opened.heard[plan.at].accepted
        ]
        assert reached, "even with every address open no trap was reached"


def check_end(scenario: Scenario, seen: Seen) -> None:
    """The code, or where it led: address, Host byte for byte, SNI, certificate name, step."""
    match scenario.ends:
        case Stopped(code=code):
            assert (seen.code, ended(seen)) == ("no-route", code)
            assert not seen.of("dial")
        case Nowhere(code=code, faults=faults):
            assert seen.code == code
            assert not [step for step in seen.of("dial") if step.outcome == "ok"]
            if faults is not None:
                assert tuple(step.code for step in seen.of("dial")) == faults
        case Reached() as ends:
            assert seen.code == ""
            heard = seen.heard[ends.at]
            first = _VERSION.format(host=ends.host)
            assert heard.application.startswith(first)
            assert (
                "\r\nhost:" not in heard.application.removeprefix(first).partition("GET")[0].lower()
            )
            assert heard.sni[-1] == ends.sni
            [dial] = [step for step in seen.of("dial") if step.outcome == "ok"]
            assert dial.evidence["address"] == ends.at
            assert dial.evidence["tls_name"] == (ends.sni or ends.at.rpartition(":")[0].strip("[]"))
            assert dial.number == seen.of("routes")[-1].number == ends.step


def ended(seen: Seen) -> str:
    """The code by which discovery stopped."""
    return str(seen.of("routes")[-1].evidence.get("code", ""))


def check_file(scenario: Scenario, seen: Seen) -> None:
    """What became of the well-known file, and which requests that took."""
    steps = seen.of("well-known")
    if scenario.file is None:
        assert not steps
    else:
        [step] = steps
        assert (step.code, step.outcome) == (scenario.file, "failed" if scenario.file else "ok")
    if scenario.gets is not None:
        requests = [
            request
            for plan in scenario.listens
            if plan.pages and plan.mood is not Mood.DEAF
            for request in seen.heard[plan.at].requests
        ]
        assert sorted(requests) == sorted(scenario.gets)
    for plan in scenario.listens:
        if plan.pages and plan.mood is Mood.SERVES:
            check_web(plan, seen.heard[plan.at])


def check_web(plan: Listener, heard: Heard) -> None:
    """WK-01: an ordinary request, for the host whose certificate it is."""
    name = plan.names[0]
    for request in heard.requests:
        host, _, _ = request.partition(" ")
        assert host.rpartition(":")[0] == name if ":" in host else host == name
    if heard.requests and not name.replace(".", "").isdigit():
        assert set(heard.sni) == {name}


def check_questions(scenario: Scenario, seen: Seen) -> None:
    """Exactly these questions; ``_matrix`` may be asked ahead, beside ``_matrix-fed``."""
    if scenario.times > 1 and not scenario.pause:
        assert seen.questions == len(seen.asked)
    if scenario.asks is None:
        return
    asked = set(seen.asked)
    ahead = {each.replace(SRV_FED, SRV_OLD) for each in asked if SRV_FED in each}
    assert asked - ahead == scenario.asks - ahead


def check_attempts(scenario: Scenario, seen: Seen) -> None:
    """Every attempt in order, and what the trail must tell."""
    dials = seen.of("dial")
    if scenario.tries is not None:
        assert [f"{step.evidence['address']} {step.code or 'ok'}" for step in dials] == list(
            scenario.tries
        )
    told = {step.what for step in seen.steps} | {step.code for step in seen.steps}
    for each in scenario.tells:
        if each == "stagger":
            assert 0.2 <= dials[1].started - dials[0].started <= 2.0
            assert dials[0].outcome == "unused"
        else:
            assert each in told
    notes = " ".join(str(note) for note in seen.of("routes")[-1].evidence.get("notes", ()))
    for words in scenario.notes:
        assert words in notes


def check_listener(plan: Listener, heard: Heard) -> None:
    """Nobody in a trap; no application byte over a certificate that was refused."""
    if plan.trap:
        assert heard.accepted == 0
    elif plan.kind in BAD_FOR_WEB_PKI:
        assert heard.accepted >= 1
        assert heard.application == ""
        assert heard.requests == []
    elif plan.mood is Mood.PLAIN:
        assert heard.accepted >= 1
        assert "GET" not in heard.application


@pytest.mark.parametrize(
    "shares",
    [pytest.param(each, id=each.id, marks=pytest.mark.req(*each.rows)) for each in SHARES],
)
def test_weights_are_shares(shares: Shares, report: Report) -> None:
    spread = report.spreads[shares.id]
    assert not spread.crash, spread.crash
    check_shares(shares, spread.picks, shares.picks)
    check_shares(shares, spread.connects, shares.connects)


def check_shares(shares: Shares, drawn: dict[str, int], count: int) -> None:
    """Within five standard deviations; weight 0 counts as a hundredth."""
    assert sum(drawn.values()) == count
    parts = {ip: weight or 0.01 for ip, weight in shares.weights.items()}
    for ip, part in parts.items():
        share = part / sum(parts.values())
        width = 5 * (count * share * (1 - share)) ** 0.5
        assert count * share - width <= drawn[ip] <= count * share + width
        assert drawn[ip] > 0 or count == 0


def test_every_scenario_has_a_name_of_its_own() -> None:
    ids = [each.id for each in SCENARIOS] + [each.id for each in SHARES]
    assert sorted(set(ids)) == sorted(ids)


def test_production_limits_are_the_ones_that_the_scenarios_assume() -> None:
    limits = Limits()
    assert limits.stagger_seconds == 0.25
    assert (limits.srv_targets, limits.addresses_per_name) == (20, 16)
