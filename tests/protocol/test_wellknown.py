"""The well-known file: what counts, for how long, and where redirects may lead."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.limits import Limits, Ms
from ranvier.protocol.names import ServerName
from ranvier.protocol.wellknown import (
    Headers,
    Place,
    WellKnownFound,
    WellKnownInvalid,
    build_well_known,
    examine_well_known,
    lifetime,
    next_redirect,
    well_known_place,
)

LIMITS = Limits()
JSON = (("content-type", "application/json"),)


def found(body: bytes, headers: Headers = JSON) -> str:
    verdict = examine_well_known(200, headers, body, LIMITS)
    assert isinstance(verdict, WellKnownFound)
    return verdict.delegated


def invalid(status: int, body: bytes) -> WellKnownInvalid:
    verdict = examine_well_known(status, JSON, body, LIMITS)
    assert isinstance(verdict, WellKnownInvalid)
    return verdict


@pytest.mark.req("WK-03", "WK-05")
@pytest.mark.parametrize(
    ("body", "delegated"),
    [
        (b'{"m.server":"matrix.example.org"}', "matrix.example.org"),
        (b'{"m.server":"matrix.example.org:443"}', "matrix.example.org:443"),
        (b'{"m.server":"192.0.2.1"}', "192.0.2.1"),
        (b'{"m.server":"[2001:db8::1]:8448"}', "[2001:db8::1]:8448"),
        (b'{"m.server":"127.0.0.1:1"}', "127.0.0.1:1"),  # D29: an answer; the wire refuses it
        (b'\n {"m.server" : "a.example" , "other": 1.5e3} \n', "a.example"),  # members of others
    ],
)
def test_a_valid_file_names_the_delegated_server(body: bytes, delegated: str) -> None:
    assert found(body) == delegated


@pytest.mark.req("WK-03")
@pytest.mark.parametrize("headers", [(), (("content-type", "text/plain; charset=utf-8"),)])
def test_the_content_type_is_noted_but_does_not_matter(headers: Headers) -> None:
    verdict = examine_well_known(200, headers, b'{"m.server":"a.example"}', LIMITS)
    assert isinstance(verdict, WellKnownFound)
    broken = [each for each in verdict.conditions if each.failed]
    assert [each.id for each in broken] == ["well-known-content-type"]
    assert not broken[0].fatal


@pytest.mark.req("WK-05", "WK-06", "SEC-07", "AMB-12")
@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b'{"m.server":"a.example"}', "well-known-status"),
        (204, b"", "well-known-status"),
        (200, b"", "well-known-json"),
        (200, b"<!doctype html>", "well-known-json"),
        (200, b'"a.example"', "well-known-json"),  # JSON, but no object
        (200, b"\xff{}", "well-known-json"),
        (200, b'{"m.server":"' + b"a" * 60_000 + b'"}', "well-known-json"),  # more than 50 KiB
        (200, b"[" * 10_000, "well-known-json"),
        (200, b'{"m.server":' + b"[" * 10_000, "well-known-json"),
        (200, b'{"a":NaN,"m.server":"a.example"}', "well-known-json"),
        (200, b'{"m.server":"a.example","m.server":"b.example"}', "well-known-json"),  # which?
        (200, b"{}", "well-known-member"),
        (200, b'{"m.server":8448}', "well-known-member"),
        (200, b'{"m.server":null}', "well-known-member"),
        (200, b'{"m.server":["a.example"]}', "well-known-member"),
        (200, b'{"m.server":""}', "well-known-server-name"),
        (200, b'{"m.server":"https://a.example"}', "well-known-server-name"),
        (200, b'{"m.server":"a.example/"}', "well-known-server-name"),
        (200, b'{"m.server":"a.example/path"}', "well-known-server-name"),
        (200, b'{"m.server":"a.example:"}', "well-known-server-name"),
        (200, b'{"m.server":"a.example:99999"}', "well-known-server-name"),
        (200, b'{"m.server":" a.example"}', "well-known-server-name"),
        (200, b'{"m.server":"a.example\\n"}', "well-known-server-name"),
        (200, '{"m.server":"bücher.example"}'.encode(), "well-known-server-name"),
    ],
)
def test_every_fault_has_its_own_code(status: int, body: bytes, code: str) -> None:
    verdict = invalid(status, body)
    assert verdict.code == code
    assert verdict.reason
    assert verdict.conditions


@pytest.mark.req("WK-11")
@pytest.mark.parametrize(
    ("status", "temporary"), [(404, False), (403, False), (429, True), (500, True), (503, True)]
)
def test_only_some_faults_may_pass_by_themselves(status: int, temporary: bool) -> None:
    assert invalid(status, b"").temporary is temporary


@pytest.mark.req("WK-04", "WK-05")
def test_what_we_publish_is_what_we_read() -> None:
    body = build_well_known(ServerName("matrix.example.org:443"))
    assert body == b'{"m.server":"matrix.example.org:443"}'
    assert found(body) == "matrix.example.org:443"


NOW = Ms(1_767_225_600_000)  # Thu, 01 Jan 2026 00:00:00 GMT
HOUR, DAY = 3600, 86_400


def cache(*values: str) -> Headers:
    return tuple(("cache-control", value) for value in values)


@pytest.mark.req("WK-08", "WK-09", "WK-11", "D30")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), DAY),  # nothing said
        (cache("public"), DAY),
        (cache("max-age=7200"), 7200),
        (cache("public, MAX-AGE=7200"), 7200),
        (cache('max-age="7200"'), 7200),
        (cache("public", "max-age=7200"), 7200),  # two headers
        (cache("max-age=31536000"), 48 * HOUR),  # WK-09
        (cache("max-age=99999999999999999999999"), DAY),  # no number of seconds
        (cache("max-age=0"), 300),  # the floor
        (cache("max-age=-1"), DAY),
        (cache("no-store"), 300),
        (cache("no-cache, max-age=7200"), 300),
        (cache("s-maxage=9999"), DAY),  # for shared caches
        ((("expires", "Thu, 01 Jan 2026 02:00:00 GMT"),), 7200),
        ((("expires", "Thu, 01 Jan 2026 02:00:00"),), 7200),
        ((("expires", "Thu, 01 Jan 2099 02:00:00 GMT"),), 48 * HOUR),
        ((("expires", "Wed, 31 Dec 2025 02:00:00 GMT"),), 300),  # in the past
        ((("expires", "0"),), 300),
        ((("expires", ""),), 300),
        ((("expires", "Thu, 01 Jan 99999999999 02:00:00 GMT"),), 300),
        ((*cache("max-age=600"), ("expires", "Thu, 01 Jan 2026 02:00:00 GMT")), 600),  # D30
    ],
)
def test_a_found_file_holds_as_its_headers_say_within_bounds(
    headers: Headers, seconds: int
) -> None:
    assert lifetime(headers, NOW, True, LIMITS) == seconds


@pytest.mark.req("WK-10", "WK-12")
@pytest.mark.parametrize(
    ("headers", "failures", "seconds"),
    [
        ((), 0, 60),
        ((), 1, 120),
        ((), 3, 480),
        ((), 5, 1920),
        ((), 6, HOUR),
        ((), 10_000, HOUR),
        (cache("max-age=600"), 0, 600),
        (cache("max-age=86400"), 0, HOUR),
        (cache("no-store"), 7, 60),
    ],
)
def test_a_failure_holds_longer_each_time_but_never_more_than_an_hour(
    headers: Headers, failures: int, seconds: int
) -> None:
    assert lifetime(headers, NOW, False, LIMITS, failures=failures) == seconds


@pytest.mark.req("WK-01")
def test_the_file_is_asked_at_the_bare_hostname_on_port_443() -> None:
    place = well_known_place("example.org")
    assert (place.host, place.port, place.host_header) == ("example.org", 443, "example.org")
    assert place.url == "https://example.org/.well-known/matrix/server"
    assert place.tls_name.text == "example.org"


START = well_known_place("example.org")


@pytest.mark.req("WK-02", "AMB-18")
@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://www.example.org/x", "https://www.example.org/x"),
        ("/other?a=b", "https://example.org/other?a=b"),
        ("server.json", "https://example.org/.well-known/matrix/server.json"),
        ("//cdn.example.net", "https://cdn.example.net/"),
        ("https://www.example.org:443/x#part", "https://www.example.org/x"),
        ("https://www.example.org:8443/x", "https://www.example.org:8443/x"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]/x"),
        ("https:///x", "https://example.org/x"),  # no host: this one
        ("https://192.0.2.1/x", "https://192.0.2.1/x"),
        ("HTTPS://WWW.example.org/X", "https://WWW.example.org/X"),
    ],
)
def test_a_redirect_leads_where_it_says(location: str, url: str) -> None:
    assert next_redirect(START, location).url == url


def test_a_redirect_to_an_address_has_no_name_to_indicate() -> None:
    place = next_redirect(START, "https://[2001:db8::1]:444/x")
    assert (place.host, place.port, place.is_ip) == ("2001:db8::1", 444, True)
    assert place.tls_name.is_ip


@pytest.mark.req("WK-02", "AMB-18", "SEC-05", "D30")
@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("", "redirect-unreadable"),
        ("https://a.example/\r\nX: y", "redirect-unreadable"),
        ("https://a.example/ x", "redirect-unreadable"),
        ("https://bücher.example/", "redirect-unreadable"),
        ("https://a.example/" + "x" * 3000, "redirect-unreadable"),
        ("http://a.example/", "redirect-not-https"),
        ("ftp://a.example/", "redirect-not-https"),
        ("javascript:alert(1)", "redirect-not-https"),
        ("https://[::1", "redirect-malformed"),
        ("https://user:pw@a.example/", "name-port"),
        ("https://user@a.example/", "name-dns"),
        ("https://a.example:0/", "name-port-range"),
        ("https://127.1/", "redirect-not-resolvable"),
        ("https://0x7f000001/", "redirect-not-resolvable"),
    ],
)
def test_a_redirect_that_leads_astray_is_refused(location: str, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        next_redirect(START, location)
    assert caught.value.code == code


@given(st.text())
def test_any_location_leads_to_a_place_or_is_refused(location: str) -> None:
    try:
        place: Place = next_redirect(START, location)
    except Malformed:
        return
    assert 1 <= place.port <= 65535
    assert place.target.startswith("/")
    assert place.target.isascii()
    assert not set(place.target) & set(" \r\n\t#")


JSONS = st.dictionaries(
    st.sampled_from(["m.server", "x"]),
    st.one_of(st.none(), st.floats(), st.text(), st.sampled_from(["a.example", "b:1", "[::1]"])),
)


@pytest.mark.req("SEC-07")
@given(
    st.integers(0, 999), st.one_of(st.binary(), JSONS.map(lambda each: json.dumps(each).encode()))
)
def test_any_answer_is_found_or_invalid(status: int, body: bytes) -> None:
    verdict = examine_well_known(status, JSON, body, LIMITS)
    if isinstance(verdict, WellKnownFound):
        ServerName(verdict.delegated)
        assert status == 200
    else:
        assert verdict.code.startswith("well-known-")


@given(st.lists(st.tuples(st.sampled_from(["cache-control", "expires"]), st.text()), max_size=4))
def test_any_headers_give_a_lifetime_within_bounds(headers: list[tuple[str, str]]) -> None:
    assert 300 <= lifetime(tuple(headers), NOW, True, LIMITS) <= 48 * HOUR
    assert 60 <= lifetime(tuple(headers), NOW, False, LIMITS) <= HOUR
