"""Any bytes as a well-known answer: status, headers, body and redirect."""

from __future__ import annotations

from ranvier.errors import Malformed
from ranvier.limits import Limits, Ms
from ranvier.protocol.names import ServerName
from ranvier.protocol.wellknown import (
    WellKnownFound,
    examine_well_known,
    lifetime,
    next_redirect,
    well_known_place,
)

INVARIANT = (
    "A well-known answer is a server name or a coded refusal, holds 1 min to 48 h,"
    " and redirects only to https names."
)

SEEDS = (
    b' {"m.server":"matrix.example.org:443"}',
    b"Ahttps://www.example.org:8443/x?y#z",
    b"Apublic, max-age=7200",
    b"AThu, 01 Jan 2026 02:00:00 GMT",
    b"\xd1",
)

_LIMITS = Limits()
_START = well_known_place("example.org")


def check(data: bytes) -> None:
    status = 200 if data[:1] < b"\xc0" else int.from_bytes(data[:1]) + 300
    text = data[1:].decode("latin-1")
    headers = (("cache-control", text), ("expires", text), ("content-type", text))
    verdict = examine_well_known(status, headers, data[1:], _LIMITS)
    if isinstance(verdict, WellKnownFound):
        assert status == 200
        assert ServerName(verdict.delegated).text == verdict.delegated
    else:
        assert verdict.code.startswith("well-known-")
        assert verdict.reason
        assert len(verdict.reason) < 1000
    assert 300 <= lifetime(headers, Ms(0), True, _LIMITS) <= 172_800
    assert 60 <= lifetime(headers, Ms(0), False, _LIMITS) <= 3600
    try:
        place = next_redirect(_START, text)
    except Malformed:
        return
    assert place.url.startswith("https://")
    assert 1 <= place.port <= 65535
    assert not set(place.target + place.host_header) & set(" \r\n\t\0")
