"""Any name and any answers, through both machines."""

from __future__ import annotations

from typing import Any

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.discovery import discover
from ranvier.protocol.names import ServerName, parse_server_name, parse_server_name_2014
from ranvier.protocol.questions import FetchWellKnown, Question, drive
from ranvier.protocol.records import DnsAnswer, Failed, RecordKind, SrvRecord
from ranvier.protocol.routes import Mode
from ranvier.protocol.wellknown import examine_well_known

INVARIANT = (
    "Discovery ends after at most three questions in routes or in one reason;"
    " certificates are for the name or its delegate, never for what DNS said."
)

SEEDS = (
    b"Aexample.org\nwmatrix.example.net\ns\x01\x21\x00a.example\n",
    b"Aexample.org\nwmatrix.example.net:443",
    b"Aexample.org\n{}\n\ns\x01\x21\x00a.example",
    b"Aexample.org\n{}\n?",
    b"A[::1]:8448",
    b"0example.org:\ns\x01\x21\x00a.example",
    b"0example.org\n!",
)

_LIMITS = Limits()


def check(data: bytes) -> None:
    lines = [*data.split(b"\n"), b"", b"", b"", b""]
    mode = Mode.SEED if data[:1] < b"@" else Mode.CURRENT
    try:
        text = lines[0][1:].decode("utf-8", "replace")
        name = (parse_server_name if mode is Mode.CURRENT else parse_server_name_2014)(text)
    except Malformed:
        return
    answers = lines[1:]
    count = 0

    def answer(question: Question[Any]) -> Any:
        nonlocal count
        count += 1
        return _answer(question, answers.pop(0))

    discovery = drive(discover(name, mode), answer)
    assert count <= 3
    assert bool(discovery.routes) != bool(discovery.stopped)
    assert len(discovery.routes) <= _LIMITS.srv_targets
    ours = name if discovery.delegated is None else ServerName(discovery.delegated)
    for route in discovery.routes:
        assert route.tls_name == ours.tls_name
        assert route.host_header in (ours.text, ours.hostname)
        assert 1 <= route.port <= 65535


def _answer(question: Question[Any], line: bytes) -> Any:
    if isinstance(question, FetchWellKnown):
        body = b'{"m.server":"%s"}' % line[1:] if line[:1] == b"w" else line
        return examine_well_known(200, (), body, _LIMITS)
    if line[:1] == b"!":
        return Failed(code="dns-silent", reason="fuzz")
    target = line[4:].decode("utf-8", "replace")
    record = SrvRecord(int.from_bytes(line[1:2]), 1, int.from_bytes(line[2:4]), target)
    return DnsAnswer(
        name=question.name,
        kind=RecordKind.SRV,
        rcode="SERVFAIL" if line[:1] == b"?" else "NOERROR",
        services=(record,) if line[:1] == b"s" else (),
    )
