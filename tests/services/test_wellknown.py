"""Fetching the well-known file in a world: hops, limits, and who judges whom."""

from __future__ import annotations

import pytest

from ranvier.limits import Limits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.wellknown import WellKnown, WellKnownFound, WellKnownInvalid
from ranvier.services.lookups import Lookups
from ranvier.services.wellknown import WellKnownFiles
from ranvier.trail import Recorder
from ranvier.world import Fault, Flaw, World

PATH = "/.well-known/matrix/server"
GOOD = HttpResponse(status=200, body=b'{"m.server":"matrix.example.net:443"}')


def to(location: str, status: int = 302) -> HttpResponse:
    return HttpResponse(status=status, headers=(("location", location),))


class Web:
    """Web servers in a world, and what their paths answer."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.world = World(limits=limits)
        world = self.world
        self.recorder = Recorder(world.clock.tick)
        lookups = Lookups(world.dns, world.clock, world.limits)
        self.files = WellKnownFiles(lookups, world.wire, world.clock, world.limits)

    def site(
        self,
        name: str,
        ip: str,
        port: int = 443,
        *,
        flaw: Flaw | None = None,
        **paths: HttpResponse,
    ) -> None:
        """``paths``: ``wk`` is the well-known path, ``x`` is ``/x``."""
        answers = {PATH if path == "wk" else f"/{path}": paths[path] for path in paths}

        async def serve(request: HttpRequest) -> HttpResponse:
            return answers.get(request.target, HttpResponse(status=404))

        if not name.startswith("10."):
            self.world.dns.set(name, ip)
        certificate = self.world.certificate(name, flaw=flaw)
        self.world.host(ip, port, certificate=certificate, serves=serve)

    async def fetch(self, host: str = "example.org") -> WellKnown:
        self.recorder = Recorder(self.world.clock.tick)
        return (await self.files.fetch(host, recorder=self.recorder)).answer

    async def code(self, host: str = "example.org") -> str:
        answer = await self.fetch(host)
        assert isinstance(answer, WellKnownInvalid)
        return answer.code


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.mark.req("WK-01")
async def test_the_file_is_fetched_by_ordinary_https(web: Web) -> None:
    web.site("example.org", "10.0.0.1", wk=GOOD)
    answer = await web.fetch()
    assert isinstance(answer, WellKnownFound)
    assert answer.delegated == "matrix.example.net:443"
    got = web.world.wire.requests[0]
    assert got.raw.startswith(b"GET /.well-known/matrix/server HTTP/1.1\r\nHost: example.org\r\n")
    assert web.world.wire.attempts[0].trusted == "web-pki"
    assert web.recorder.trail.of("well-known-get")[0].evidence["status"] == 200


@pytest.mark.req("WK-01", "TLS-09")
@pytest.mark.parametrize("flaw", [Flaw.SELF_SIGNED, Flaw.EXPIRED, Flaw.CN_ONLY])
async def test_a_web_server_that_cannot_prove_itself_is_asked_nothing(web: Web, flaw: Flaw) -> None:
    web.site("example.org", "10.0.0.1", flaw=flaw, wk=GOOD)
    assert (await web.code()).startswith("tls-")
    assert web.world.wire.requests == []


@pytest.mark.req("WK-02")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_three_redirects_are_followed_with_a_host_and_a_name_for_each(
    web: Web, status: int
) -> None:
    web.site("example.org", "10.0.0.1", wk=to("https://www.example.org/x", status))
    web.site("www.example.org", "10.0.0.2", x=to("/y", status), y=to("https://10.0.0.3:8/z"))
    web.site("10.0.0.3", "10.0.0.3", 8, z=GOOD)
    assert isinstance(await web.fetch(), WellKnownFound)
    seen = [(each.request.host, each.request.target, each.sni) for each in web.world.wire.requests]
    assert seen == [
        ("example.org", PATH, "example.org"),
        ("www.example.org", "/x", "www.example.org"),
        ("www.example.org", "/y", "www.example.org"),
        ("10.0.0.3:8", "/z", None),
    ]


@pytest.mark.req("WK-02", "AMB-18", "SEC-06")
async def test_a_loop_ends_and_is_no_file(web: Web) -> None:
    web.site("example.org", "10.0.0.1", wk=to("/x"), x=to("https://example.org" + PATH))
    assert await web.code() == "redirect-loop"
    assert len(web.world.wire.requests) == 2


@pytest.mark.req("WK-02", "AMB-18", "SEC-06")
async def test_an_endless_chain_ends_after_ten_redirects(web: Web) -> None:
    count = 0

    async def serve(_request: HttpRequest) -> HttpResponse:
        nonlocal count
        count += 1
        return to(f"/{count}")

    certificate = web.world.certificate("example.org")
    web.world.dns.set("example.org", "10.0.0.1")
    web.world.host("10.0.0.1", 443, certificate=certificate, serves=serve)
    assert await web.code() == "redirect-too-many"
    assert count == 11


@pytest.mark.req("AMB-18")
async def test_a_redirect_out_of_https_is_not_followed(web: Web) -> None:
    web.site("example.org", "10.0.0.1", wk=to("http://example.org/x"), x=GOOD)
    assert await web.code() == "redirect-not-https"


async def test_a_redirect_without_a_location_is_an_answer_that_is_not_200(web: Web) -> None:
    web.site("example.org", "10.0.0.1", wk=HttpResponse(status=302))
    assert await web.code() == "well-known-status"


@pytest.mark.req("SEC-07")
@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.ENDLESS, Fault.HANGS, Fault.TOO_LARGE])
async def test_slow_and_endless_bodies_end(web: Web, fault: Fault) -> None:
    web.site("example.org", "10.0.0.1", wk=GOOD)
    for host in web.world.wire.hosts.values():
        host.fault = fault
    answer = await web.fetch()
    assert isinstance(answer, WellKnownInvalid)
    assert answer.temporary
    assert web.world.clock.tick() <= web.world.limits.wellknown_seconds


@pytest.mark.req("SEC-06", "SEC-07")
async def test_all_hops_together_end_in_time() -> None:
    web = Web(Limits(wellknown_seconds=5.0))
    web.site("example.org", "10.0.0.1", wk=to("https://slow.example/x"))
    web.world.dns.set("slow.example", "10.0.0.9")
    web.world.dark("10.0.0.9")
    assert await web.code() == "well-known-timeout"
    assert web.world.clock.tick() == 5.0


@pytest.mark.req("DISC-15")
async def test_the_second_address_serves_if_the_first_is_dead(web: Web) -> None:
    web.site("example.org", "10.0.0.1", wk=GOOD)
    web.world.dns.address("example.org", "fd00::1")
    web.world.dark("fd00::1")
    assert isinstance(await web.fetch(), WellKnownFound)
    assert [step.code for step in web.recorder.trail.of("well-known-dial")] == ["", ""]
    assert web.world.clock.tick() == 0.25


@pytest.mark.req("SEC-05")
async def test_a_refused_address_is_no_passing_trouble(web: Web) -> None:
    web.site("example.org", "127.0.0.1", wk=GOOD)
    answer = await web.fetch()
    assert isinstance(answer, WellKnownInvalid)
    assert (answer.code, answer.temporary) == ("address-refused", False)


async def test_the_connection_is_closed_whatever_came(web: Web) -> None:
    web.site("example.org", "10.0.0.1", wk=to("/x"), x=GOOD)
    await web.fetch()
    assert len(web.world.wire.attempts) == 2, "each hop has a connection of its own"
