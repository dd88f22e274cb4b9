"""The well-known file: what is a valid one, and that anything else leads on to step 4."""

from __future__ import annotations

import json

from tests.discovery.cases.srvs import AT_3_5, AT_6, BAD_KINDS, CODES
from tests.discovery.cases.steps import PLAIN_ZONE
from tests.discovery.scenario import (
    APEX,
    APEX6,
    FED,
    HS,
    OLD,
    SRV_FED,
    SRV_OLD,
    Listener,
    Mood,
    Page,
    Reached,
    Scenario,
    at,
    fed,
    host,
    page,
    srv,
    trap,
    web,
)
from tests.rigs.certs import Kind
from tests.rigs.dns import Trouble

HS_HOST = fed(at(HS, 8448), "hs.example.org")
APEX_HOST = fed(at(APEX, 8448), "example.org")
GOOD = b'{"m.server": "hs.example.org"}'


def valid(id: str, answer: Page) -> Scenario:
    """The file counts."""
    return Scenario(
        id=f"file-{id}-counts",
        rows=("WK-03", "DISC-03"),
        zone=PLAIN_ZONE,
        listens=(web(answer), HS_HOST, trap(at(APEX, 8448))),
        ends=AT_3_5,
        file="",
    )


VALID = (
    valid("text-plain", Page(body=GOOD, headers={"Content-Type": "text/plain"})),
    valid("octet-stream", Page(body=GOOD, headers={"Content-Type": "application/octet-stream"})),
    valid("without-a-type", Page(body=GOOD)),
    valid("other-members", page({"m.server": "hs.example.org", "x": [1.5, None], "m.y": {}})),
    valid("at-the-size-limit", page(GOOD.ljust(51_200))),
    valid(
        "chunked",
        Page(
            raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n"
            + GOOD
            + b"\r\n0\r\n\r\n"
        ),
    ),
    valid("until-the-end-of-the-connection", Page(raw=b"HTTP/1.0 200 OK\r\n\r\n" + GOOD)),
    valid(
        "after-an-interim-answer",
        Page(
            raw=b"HTTP/1.1 103 Early Hints\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n" + GOOD
        ),
    ),
)


def invalid(id: str, code: str, answer: Page, **hasty: float) -> Scenario:
    """The file does not count, which is no failure: here it leads on to step 6."""
    return Scenario(
        id=f"file-{id}",
        rows=("WK-05", "WK-06", "DISC-09", "DISC-10"),
        zone=PLAIN_ZONE,
        listens=(web(answer), APEX_HOST, trap(at(HS, 8448), "hs.example.org")),
        ends=AT_6,
        file=code,
        hasty=hasty,
    )


def names(id: str, value: object) -> Scenario:
    """``m.server`` is not a server name."""
    code = "well-known-server-name" if isinstance(value, str) else "well-known-member"
    return invalid(f"m.server-{id}", code, page({"m.server": value}))


BODIES = (
    names("number", 8448),
    names("null", None),
    names("list", ["hs.example.org"]),
    names("object", {"host": "hs.example.org"}),
    names("true", True),
    names("empty", ""),
    names("url", "https://hs.example.org"),
    names("url-with-port", "https://hs.example.org:8448/"),
    names("path", "hs.example.org/_matrix"),
    names("trailing-slash", "hs.example.org/"),
    names("port-and-slash", "hs.example.org:8448/"),
    names("port-0", "hs.example.org:0"),
    names("port-65536", "hs.example.org:65536"),
    names("empty-port", "hs.example.org:"),
    names("only-a-port", ":8448"),
    names("space", " hs.example.org"),
    names("newline", "hs.example.org\n"),
    names("header-injection", "hs.example.org\r\nX: y"),
    names("user", "user@hs.example.org"),
    names("unicode", "hß.example.org"),
    names("ipv6-without-brackets", HS.replace(".", ":")),
    names("ipv6-with-zone", "[fe80::1%lo]"),
    names("ipv4-out-of-range", "198.51.100.256"),
    names("too-long", "a" * 300 + ".example.org"),
    invalid("m.server-missing", "well-known-member", page({"m.homeserver": {}})),
    invalid("empty-body", "well-known-json", page(b"")),
    invalid("bad-json", "well-known-json", page(b'{"m.server": "hs.example.org"')),
    invalid("m.server-twice", "well-known-json", page(b'{"m.server": "a.test", ' + GOOD[1:])),
    invalid("array", "well-known-json", page([{"m.server": "hs.example.org"}])),
    invalid("string", "well-known-json", page("hs.example.org")),
    invalid("html", "well-known-json", page(b"<!doctype html><p>{}", Content_Type="text/html")),
    invalid("not-utf-8", "well-known-json", page(GOOD + b"\xff")),
    invalid("deep-json", "well-known-json", page(b'{"a":' + b"[" * 10_000)),
)

ANSWERS = (
    *(
        invalid(f"status-{status}", "well-known-status", page(json.loads(GOOD), status))
        for status in (201, 400, 401, 403, 404, 410, 429, 500, 503)
    ),
    invalid("status-204", "well-known-status", Page(raw=b"HTTP/1.1 204 No Content\r\n\r\n")),
    invalid("redirect-without-location", "well-known-status", page(json.loads(GOOD), 302)),
    invalid("oversize", "body-too-large", page(GOOD.ljust(51_201))),
    invalid(
        "oversize-by-its-length",
        "body-too-large",
        Page(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{"),
    ),
    invalid("endless", "body-too-large", Page(endless=True)),
    invalid(
        "cut-short",
        "connection-lost",
        Page(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + GOOD),
    ),
    invalid("no-http", "not-http", Page(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n")),
    invalid("no-answer", "no-answer", Page(raw=b"")),
    invalid(
        "header-flood",
        "head-too-large",
        Page(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n"),
    ),
    invalid("slow-head", "well-known-timeout", Page(slow_head=1.5), wellknown_seconds=0.5),
    invalid(
        "slow-body", "well-known-timeout", Page(slow_body=1.5, body=GOOD), wellknown_seconds=0.5
    ),
)


def behind(id: str, code: str, kind: Kind = Kind.GOOD, mood: Mood = Mood.SERVES) -> Scenario:
    """No HTTP on port 443, or not for us; the request for the file is not even sent."""
    return Scenario(
        id=f"file-behind-{id}",
        rows=("WK-01", "WK-06", "DISC-09", "TLS-09"),
        zone=PLAIN_ZONE,
        listens=(
            web("hs.example.org", kind=kind, mood=mood),
            APEX_HOST,
            trap(at(HS, 8448), "hs.example.org"),
        ),
        ends=AT_6,
        file=code,
        gets=(),
        hasty={} if mood in (Mood.SERVES, Mood.PLAIN, Mood.RESETS) else {"wellknown_seconds": 0.5},
    )


BEHIND = (
    *(behind(kind, CODES[kind], kind) for kind in BAD_KINDS),
    Scenario(
        id="file-behind-a-dead-address-comes-from-the-live-one",
        rows=("DISC-03", "DISC-15"),
        zone=PLAIN_ZONE | {"example.org": host(APEX, APEX6)},
        listens=(
            web("hs.example.org", where=at(APEX6, 443), mood=Mood.DEAF),
            web("hs.example.org"),
            HS_HOST,
        ),
        ends=AT_3_5,
        file="",
        seconds=(0.25, 5.0),
    ),
    behind("plain-http", "tls-not-tls", mood=Mood.PLAIN),
    behind("a-reset", "tls-closed", mood=Mood.RESETS),
    behind("a-hanging-handshake", "well-known-timeout", mood=Mood.HANGS),
    behind("a-black-hole", "well-known-timeout", mood=Mood.DEAF),
    Scenario(
        id="file-behind-a-refused-port",
        rows=("WK-06", "DISC-09"),
        zone=PLAIN_ZONE,
        listens=(APEX_HOST, trap(at(APEX, 80))),
        ends=AT_6,
        file="connect-refused",
    ),
    Scenario(
        id="file-of-a-host-without-address",
        rows=("WK-06", "DISC-09"),
        zone={
            SRV_FED + "example.org": srv("fed.example.net", 8450),
            "fed.example.net": host(FED),
        },
        listens=(fed(at(FED, 8450), "example.org"),),
        ends=Reached(at=at(FED, 8450), step="4", host="example.org", sni="example.org"),
        file="well-known-no-address",
    ),
    Scenario(
        id="file-of-a-host-whose-addresses-nobody-knows",
        rows=("WK-06", "DISC-09", "SRV-05"),
        zone={
            "example.org": Trouble.SERVFAIL,
            SRV_FED + "example.org": srv("fed.example.net", 8450),
            "fed.example.net": host(FED),
        },
        listens=(fed(at(FED, 8450), "example.org"),),
        ends=Reached(at=at(FED, 8450), step="4", host="example.org", sni="example.org"),
        file="well-known-no-address",
        tells=("address-unknown",),
    ),
)

# DISC-09: whatever ends step 3, step 4 comes next, and after that step 5.
FAILURES: tuple[tuple[str, str, Listener, dict[str, float]], ...] = (
    ("404", "well-known-status", web(page({}, 404)), {}),
    ("bad-json", "well-known-json", web(page(b"{")), {}),
    ("timeout", "well-known-timeout", web(Page(slow_head=1.5)), {"wellknown_seconds": 0.5}),
    ("tls-error", "tls-expired", web("hs.example.org", kind=Kind.EXPIRED), {}),
    ("refused", "connect-refused", trap(at(APEX, 1)), {}),
)
LEADS_ON = tuple(
    Scenario(
        id=f"file-{label}-leads-to-step-{step}",
        rows=("DISC-09", "WK-06"),
        zone=PLAIN_ZONE
        | {"fed.example.net": host(ip), prefix + "example.org": srv("fed.example.net", 8450)},
        listens=(listener, fed(at(ip, 8450), "example.org"), trap(at(APEX, 8448))),
        ends=Reached(at=at(ip, 8450), step=step, host="example.org", sni="example.org"),
        file=code,
        hasty=hasty,
    )
    for label, code, listener, hasty in FAILURES
    for step, prefix, ip in (("4", SRV_FED, FED), ("5", SRV_OLD, OLD))
)

SCENARIOS = (*VALID, *BODIES, *ANSWERS, *BEHIND, *LEADS_ON)
