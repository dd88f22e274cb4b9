"""Redirects of the well-known file: https only, a few hops, each judged like the first."""

from __future__ import annotations

from collections.abc import Mapping

from tests.discovery.cases.files import APEX_HOST, HS_HOST
from tests.discovery.cases.srvs import AT_3_5, AT_6
from tests.discovery.cases.steps import PLAIN_ZONE
from tests.discovery.scenario import (
    APEX,
    FED,
    FED2,
    FILE,
    Listener,
    Page,
    Scenario,
    at,
    host,
    moved,
    page,
    trap,
    web,
)
from tests.rigs.certs import Kind

ZONE = PLAIN_ZONE | {"www.example.org": host(FED), "cdn.example.net": host(FED2)}
ANSWER = page({"m.server": "hs.example.org"})
START = f"example.org {FILE}"


def follows(
    id: str, first: Page, gets: tuple[str, ...], *others: Listener, **pages: Page
) -> Scenario:
    """The chain ends at a file that counts."""
    return Scenario(
        id=f"redirect-{id}",
        rows=("WK-02",),
        zone=ZONE,
        listens=(web({FILE: first, **_paths(pages)}), *others, HS_HOST, trap(at(APEX, 8448))),
        ends=AT_3_5,
        file="",
        gets=(START, *gets),
    )


def ends(id: str, code: str, first: Page, *others: Listener, **pages: Page) -> Scenario:
    """The chain ends badly: there is no file."""
    return Scenario(
        id=f"redirect-{id}",
        rows=("WK-02", "WK-06", "SEC-06"),
        zone=ZONE,
        listens=(web({FILE: first, **_paths(pages)}), *others, APEX_HOST),
        ends=AT_6,
        file=code,
    )


def _paths(pages: Mapping[str, Page]) -> dict[str, Page]:
    return {f"/{name}": each for name, each in pages.items()}


def www(where: str = at(FED, 443), kind: Kind = Kind.GOOD, **pages: Page) -> Listener:
    return web(_paths(pages), host="www.example.org", where=where, kind=kind)


def cdn(**pages: Page) -> Listener:
    return web(_paths(pages), host="cdn.example.net", where=at(FED2, 443))


CHAIN = {f"hop{each}": moved(f"/hop{each + 1}") for each in range(1, 12)}

SCENARIOS = (
    follows(
        "three-hops-over-three-hosts",
        moved("https://www.example.org/a", 301),
        ("www.example.org /a", "cdn.example.net /b?x=1", "example.org /c"),
        www(a=moved("https://cdn.example.net/b?x=1", 302)),
        web(
            {"/b?x=1": moved("https://example.org/c", 307)},
            host="cdn.example.net",
            where=at(FED2, 443),
        ),
        c=ANSWER,
    ),
    follows(
        "to-another-host-by-two-slashes",
        moved("//www.example.org/a"),
        ("www.example.org /a",),
        www(a=ANSWER),
    ),
    follows("308-relative", moved("../../file", 308), ("example.org /file",), file=ANSWER),
    follows(
        "to-another-port",
        moved("https://www.example.org:8443/a"),
        ("www.example.org:8443 /a",),
        www(at(FED, 8443), a=ANSWER),
    ),
    follows(
        "to-port-443-as-written",
        moved("https://www.example.org:443/a"),
        ("www.example.org /a",),
        www(a=ANSWER),
    ),
    follows(
        "to-an-address",
        moved(f"https://{FED2}/a"),
        (f"{FED2} /a",),
        web({"/a": ANSWER}, host=FED2, where=at(FED2, 443)),
    ),
    follows(
        "ten-hops",
        moved("/hop2"),
        tuple(f"example.org /hop{each}" for each in range(2, 12)),
        **(CHAIN | {"hop11": ANSWER}),
    ),
    ends("eleven-hops", "redirect-too-many", moved("/hop1"), **(CHAIN | {"hop11": ANSWER})),
    ends("loop-of-one", "redirect-loop", moved(FILE)),
    ends(
        "loop-of-three",
        "redirect-loop",
        moved("https://www.example.org/a"),
        www(a=moved("https://cdn.example.net/b")),
        cdn(b=moved(f"https://example.org{FILE}")),
    ),
    ends(
        "to-http",
        "redirect-not-https",
        moved("http://www.example.org/a"),
        trap(at(FED, 80), "www.example.org"),
        trap(at(FED, 443), "www.example.org"),
    ),
    ends("to-http-of-itself", "redirect-not-https", moved("http:/a"), trap(at(APEX, 80))),
    ends("to-a-file", "redirect-not-https", moved("file:///etc/passwd")),
    ends("to-a-name-that-is-a-number", "redirect-not-resolvable", moved("https://127.1/a")),
    ends("to-a-user-at-a-host", "name-dns", moved("https://user@www.example.org/a")),
    ends(
        "to-a-host-behind-a-backslash",
        "name-dns",
        moved("https://www.example.org\\@127.0.0.1/a"),
        trap("127.0.0.1:443"),
        www(a=ANSWER),
    ),
    ends(
        "to-an-address-with-leading-zeros",
        "name-ipv4",
        moved("https://0177.0.0.1/a"),
        trap("127.0.0.1:443"),
    ),
    ends("to-nothing", "redirect-unreadable", moved("")),
    ends("to-a-refused-port", "connect-refused", moved("https://www.example.org:9/a"), www()),
    ends(
        "to-a-bad-certificate",
        "tls-name-mismatch",
        moved("https://www.example.org/a"),
        www(kind=Kind.WRONG_NAME, a=ANSWER),
    ),
    ends(
        "to-a-host-without-address",
        "well-known-no-address",
        moved("https://nobody.example.net/a"),
    ),
    ends("to-a-404", "well-known-status", moved("https://www.example.org/b"), www(a=ANSWER)),
)
