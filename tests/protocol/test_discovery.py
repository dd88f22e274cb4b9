"""The two machines against the specification's table, and what holds for every world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.discovery import discover, discover_2014, discover_current, replay
from ranvier.protocol.names import ServerName, parse_server_name_2014
from ranvier.protocol.questions import (
    Expect,
    FetchWellKnown,
    LookupSrv,
    Question,
    SrvAnswer,
    answers_in,
    drive,
    seconds_of,
)
from ranvier.protocol.records import DnsAnswer, Failed, RecordKind, SrvRecord
from ranvier.protocol.routes import Discovery, Mode
from ranvier.protocol.wellknown import WellKnown, WellKnownFound, WellKnownInvalid
from ranvier.trail import Outcome, Step, Trail

VECTORS = Path(__file__).parents[2] / "vectors"
NOT_THERE = WellKnownInvalid(code="well-known-status", reason="404", seconds=60)


def vectors() -> list[Any]:
    """Each vector, carrying its requirement rows."""
    return [
        pytest.param(case, id=f"{path.stem}-{case['id']}", marks=pytest.mark.req(*case["rows"]))
        for path in sorted(VECTORS.glob("discovery*.json"))
        for case in json.loads(path.read_text())["cases"]
    ]


def name_of(case: dict[str, Any]) -> ServerName:
    if case["mode"] == "2014":
        return parse_server_name_2014(case["name"])
    return ServerName(case["name"])


def answer_of(question: Question[Any], raw: dict[str, Any]) -> Any:
    if isinstance(question, FetchWellKnown):
        return msgspec.convert(raw, WellKnownFound | WellKnownInvalid)
    if raw["type"] == "dns-answer":
        raw = {"name": question.name, "kind": "SRV", **raw}
    return msgspec.convert(raw, DnsAnswer | Failed)


class Asked:
    """Answers a vector's questions, and remembers which were asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.subjects: list[str] = []
        self.steps: list[Step] = []

    def __call__(self, question: Question[Any]) -> Any:
        subject = " ".join(question.subject)
        self.subjects.append(subject)
        answer = answer_of(question, self.answers[subject])
        self.steps.append(
            Step(
                what="any",
                question="",
                answer="",
                outcome=Outcome.OK,
                evidence={
                    "asked": msgspec.to_builtins(question),
                    "answered": msgspec.to_builtins(answer),
                },
            )
        )
        return answer


def flat(discovery: Discovery) -> list[dict[str, Any]]:
    return [
        {
            "step": route.step,
            "connect": route.connect,
            "port": route.port,
            "host_header": route.host_header,
            "tls_name": route.tls_name.text,
            "is_ip": route.is_ip and route.tls_name.is_ip,
            "families": [str(each) for each in route.families],
            "priority": route.priority,
            "weight": route.weight,
        }
        for route in discovery.routes
    ]


@pytest.mark.parametrize("case", vectors())
def test_the_machine_asks_and_concludes_as_the_table_says(case: dict[str, Any]) -> None:
    asked = Asked(case["answers"])
    discovery = drive(discover(name_of(case), Mode(case["mode"])), asked)
    expected = case["expected"]
    assert asked.subjects == expected["asked"]
    assert flat(discovery) == expected["routes"]
    assert discovery.delegated == expected["delegated"]
    assert (discovery.stopped.code if discovery.stopped else None) == expected["stopped"]
    assert {route.clause for route in discovery.routes} <= {case["clause"], *clauses(discovery)}
    if discovery.stopped:
        assert discovery.stopped.clause == case["clause"]
    assert discovery.server_name == case["name"]


def clauses(discovery: Discovery) -> set[str]:
    return {f"[s2s:resolving-server-names {route.step}]" for route in discovery.routes}


@pytest.mark.req("DISC-16")
@pytest.mark.parametrize("case", vectors())
def test_a_trail_replays_to_the_same_end(case: dict[str, Any]) -> None:
    asked = Asked(case["answers"])
    mode = Mode(case["mode"])
    discovery = drive(discover(name_of(case), mode), asked)
    saved = msgspec.json.encode(Trail(tuple(asked.steps)))
    trail = msgspec.json.decode(saved, type=Trail)
    assert replay(trail, name_of(case), mode) == discovery


def script(*answers: SrvAnswer | WellKnown) -> Any:
    """Answers in order."""
    rest = list(answers)
    return lambda _question: rest.pop(0)


def services(*records: SrvRecord, ttl: int = 300) -> DnsAnswer:
    return DnsAnswer(name="x", kind=RecordKind.SRV, services=records, ttl=ttl)


NO_RECORD = DnsAnswer(name="x", kind=RecordKind.SRV, rcode="NXDOMAIN", ttl=60)
FOUND = WellKnownFound(delegated="matrix.example.net", seconds=86_400)


@pytest.mark.req("DISC-05")
def test_only_the_deprecated_srv_name_is_ever_expected_and_only_beside_the_other() -> None:
    machine = discover_current(ServerName("example.org"))
    assert machine.send(None) == FetchWellKnown("3", "example.org")
    assert machine.send(FOUND) == Expect(LookupSrv("3.4", "_matrix._tcp.matrix.example.net"))
    assert machine.send(None) == LookupSrv("3.3", "_matrix-fed._tcp.matrix.example.net")
    assert machine.send(NO_RECORD) == LookupSrv("3.4", "_matrix._tcp.matrix.example.net")


@pytest.mark.req("DISC-13")
def test_delegation_changes_the_routes_and_never_the_name() -> None:
    file = WellKnownFound(delegated="matrix.example.net:443")
    discovery = drive(discover_current(ServerName("Example.org")), script(file))
    assert discovery.server_name == "Example.org"
    assert discovery.routes[0].host_header == "matrix.example.net:443"


@pytest.mark.req("DISC-14")
def test_no_machine_asks_for_a_second_well_known_file() -> None:
    asked: list[Question[Any]] = []

    def answer(question: Question[Any]) -> Any:
        asked.append(question)
        return FOUND if isinstance(question, FetchWellKnown) else NO_RECORD

    assert drive(discover_current(ServerName("example.org")), answer).routes[0].step == "3.5"
    files = [each.name for each in asked if isinstance(each, FetchWellKnown)]
    assert files == ["example.org"]


@pytest.mark.req("WK-13")
def test_a_valid_well_known_file_notes_what_it_puts_out_of_use() -> None:
    discovery = drive(
        discover_current(ServerName("example.org")), script(FOUND, NO_RECORD, NO_RECORD)
    )
    assert any("WK-13" in note for note in discovery.notes)
    itself = WellKnownFound(delegated="example.org:443")
    discovery = drive(discover_current(ServerName("example.org")), script(itself))
    assert not discovery.notes


def test_the_deprecated_record_is_noted_once() -> None:
    record = SrvRecord(0, 0, 8448, "a.example.com")
    discovery = drive(
        discover_current(ServerName("example.org")),
        script(NOT_THERE, NO_RECORD, services(record)),
    )
    assert len([note for note in discovery.notes if "deprecated" in note]) == 1


@pytest.mark.req("SRV-03", "SEC-06")
def test_more_targets_than_the_limit_are_noted_and_left_out() -> None:
    records = [SrvRecord(place, 0, 8448, f"t{place}.example.com") for place in range(9)]
    discovery = drive(
        discover_current(ServerName("example.org"), Limits(srv_targets=3)),
        script(NOT_THERE, services(*records)),
    )
    assert [route.connect for route in discovery.routes] == [
        "t0.example.com",
        "t1.example.com",
        "t2.example.com",
    ]
    assert discovery.notes == ("SRV: more than 3 targets: the others are ignored",)
    assert all(route.is_srv for route in discovery.routes)


def test_a_route_that_no_srv_record_gave_says_so() -> None:
    discovery = drive(
        discover_current(ServerName("example.org")), script(NOT_THERE, NO_RECORD, NO_RECORD)
    )
    assert [route.is_srv for route in discovery.routes] == [False]


@pytest.mark.req("ERR14-02", "D3")
def test_where_the_2014_text_is_silent_the_route_says_whose_rule_it_is() -> None:
    discovery = drive(discover_2014(parse_server_name_2014("example.org")), script(NO_RECORD))
    assert discovery.notes == ("port 8448: reference server, not the text",)


@pytest.mark.req("SRV-07", "WK-08")
def test_a_discovery_lives_as_long_as_its_shortest_answer() -> None:
    name = ServerName("example.org")
    record = SrvRecord(0, 0, 8448, "a.example.com")
    assert drive(discover_current(name), script(FOUND, services(record))).lifetime_seconds == 300
    failed = Failed(code="dns-silent", reason="nobody answered")
    assert drive(discover_current(name), script(NOT_THERE, failed)).lifetime_seconds == 0
    literal = drive(discover_current(ServerName("192.0.2.1")), script())
    assert literal.lifetime_seconds == Limits().wellknown_max_seconds
    assert seconds_of(NOT_THERE) == 60


def step(**evidence: Any) -> Trail:
    return Trail((Step(what="x", question="", answer="", outcome=Outcome.OK, evidence=evidence),))


ASKED = {"type": "fetch-well-known", "step": "3", "name": "example.org"}


@pytest.mark.parametrize(
    ("trail", "code"),
    [
        (Trail(), "trail-incomplete"),
        (step(asked=ASKED), "trail-incomplete"),
        (step(other="thing"), "trail-incomplete"),
        (step(asked={"type": "nobody-asks-this"}, answered={}), "trail-not-replayable"),
        (step(asked=ASKED, answered={"type": "dns-answer"}), "trail-not-replayable"),
        (step(asked=ASKED, answered=17), "trail-not-replayable"),
    ],
)
def test_a_trail_that_does_not_hold_the_answers_is_refused(trail: Trail, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        replay(trail, ServerName("example.org"))
    assert caught.value.code == code


def test_the_last_answer_of_a_subject_counts() -> None:
    first = step(asked=ASKED, answered={"type": "found", "delegated": "a.example"})
    second = step(asked=ASKED, answered={"type": "found", "delegated": "b.example"})
    assert answers_in(first + second) == {
        ("fetch-well-known", "example.org"): WellKnownFound(delegated="b.example")
    }


HOSTS = st.sampled_from(
    ["example.org", "a.example.net:8448", "192.0.2.1", "[2001:db8::1]:443", "127.1", "x", "A.b"]
)
RECORDS = st.builds(
    SrvRecord,
    priority=st.integers(0, 3),
    weight=st.integers(0, 65535),
    port=st.integers(0, 65535),
    target=st.one_of(st.sampled_from([".", "a.example.com", "10.0.0.1", "_x.y", ""]), st.text()),
)
SRV_ANSWERS = st.one_of(
    st.builds(Failed, code=st.just("dns-silent"), reason=st.text(max_size=5)),
    st.builds(
        DnsAnswer,
        name=st.just("x"),
        kind=st.just(RecordKind.SRV),
        rcode=st.sampled_from(["NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"]),
        services=st.lists(RECORDS, max_size=5).map(tuple),
        ttl=st.integers(0, 1000),
    ),
)
FILES = st.one_of(
    st.just(NOT_THERE), st.builds(WellKnownFound, delegated=HOSTS, seconds=st.integers(0, 9))
)


@pytest.mark.req("DISC-11", "SEC-11")
@given(HOSTS, st.sampled_from(list(Mode)), FILES, st.lists(SRV_ANSWERS, min_size=2, max_size=2))
def test_whatever_dns_says_the_certificate_is_for_the_name_or_the_delegated_name(
    text: str, mode: Mode, file: WellKnown, answers: list[SrvAnswer]
) -> None:
    rest = list(answers)

    def answer(question: Question[Any]) -> Any:
        return file if isinstance(question, FetchWellKnown) else rest.pop(0)

    name = ServerName(text)
    discovery = drive(discover(name, mode), answer)
    assert bool(discovery.routes) != bool(discovery.stopped)
    delegated = discovery.delegated
    allowed = ServerName(delegated) if delegated is not None else name
    for route in discovery.routes:
        assert route.tls_name == allowed.tls_name
        assert 1 <= route.port <= 65535
        assert route.host_header in (allowed.text, allowed.hostname)
