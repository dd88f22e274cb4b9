"""Resolving in a world: what is asked, remembered, joined, and told."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter

import msgspec
import pytest

from ranvier.errors import TimedOut
from ranvier.limits import Limits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.discovery import replay
from ranvier.protocol.names import ServerName, parse_server_name_2014
from ranvier.protocol.records import RecordKind
from ranvier.protocol.routes import Mode
from ranvier.services.resolver import Resolution, Resolver
from ranvier.trail import Outcome, Trail
from ranvier.world import DnsSays, Fault, World
from ranvier.world.host import Handler

NAME = ServerName("example.org")
FED, OLD = "_matrix-fed._tcp.", "_matrix._tcp."
HOUR = 3600


class Setting:
    """One world with a web server for example.org, and a resolver in it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.world = World({"example.org": "10.0.0.1"}, limits=limits)
        self.resolver = self.another_resolver()
        self.fetches = 0

    def another_resolver(self) -> Resolver:
        world = self.world
        return Resolver(world.dns, world.wire, world.clock, world.limits)

    def file(self, body: str, *headers: tuple[str, str], status: int = 200) -> None:
        """What https://example.org/.well-known/matrix/server answers."""

        async def serve(_request: HttpRequest) -> HttpResponse:
            self.fetches += 1
            return HttpResponse(status=status, headers=headers, body=body.encode())

        self.web(serve)

    def web(self, serve: Handler) -> None:
        world = self.world
        certificate = world.certificate("example.org")
        world.host("10.0.0.1", 443, certificate=certificate, serves=serve)

    def delegate(self, to: str, *headers: tuple[str, str]) -> None:
        self.file(json.dumps({"m.server": to}), *headers)

    async def resolve(self, name: ServerName = NAME, *, fresh: bool = False) -> Resolution:
        return await self.resolver.resolve(name, fresh=fresh)

    async def step(self) -> str:
        """The step that the name is found by, or why it is not."""
        discovery = (await self.resolve()).discovery
        return discovery.routes[0].step if discovery.stopped is None else discovery.stopped.code

    def srv_questions(self) -> list[str]:
        return [each.name for each in self.world.dns.asked if each.kind is RecordKind.SRV]


@pytest.fixture
def at() -> Setting:
    return Setting()


@pytest.mark.req("SEC-06")
async def test_the_trail_tells_no_more_srv_targets_than_the_limits_allow() -> None:
    at = Setting(Limits(srv_targets=1))
    records = [(1, 0, 8448, "a.example.org"), (2, 0, 8448, "b.example.org")]
    at.world.dns.srv(FED + NAME.text, *records)
    resolution = await at.resolve()
    assert [route.connect for route in resolution.discovery.routes] == ["a.example.org"]
    assert "b.example.org" not in resolution.trail.of("srv")[0].answer


@pytest.mark.req("DISC-01", "DISC-02")
@pytest.mark.parametrize(
    ("text", "step"), [("10.9.9.9", "1"), ("[fd00::9]:443", "1"), ("example.org:8448", "2")]
)
async def test_a_literal_or_a_port_asks_nobody_anything(at: Setting, text: str, step: str) -> None:
    at.delegate("elsewhere.example")
    resolution = await at.resolve(ServerName(text))
    assert resolution.discovery.routes[0].step == step
    assert not at.world.dns.asked
    assert not at.world.wire.attempts
    assert not resolution.from_cache
    assert [each.what for each in resolution.trail.steps] == ["routes"]


@pytest.mark.req("DISC-03", "DISC-06", "WK-01", "DISC-16")
async def test_the_well_known_file_is_asked_first_and_the_trail_tells_it_in_order(
    at: Setting,
) -> None:
    at.delegate("matrix.example.net")
    at.world.dns.srv(FED + "matrix.example.net", (10, 5, 8449, "fed1.example.net"))
    at.world.dns.srv(FED + "example.org", (10, 5, 1, "wrong.example.net"))
    resolution = await at.resolve()
    assert resolution.discovery.delegated == "matrix.example.net"
    told = [(each.what, each.number, each.outcome) for each in resolution.trail.steps]
    assert told == [
        ("well-known", "3", Outcome.OK),
        ("address", "3", Outcome.OK),
        ("address", "3", Outcome.OK),
        ("well-known-dial", "3", Outcome.OK),
        ("well-known-get", "3", Outcome.OK),
        ("srv", "3.3", Outcome.OK),
        ("srv", "3.4", Outcome.UNUSED),
        ("routes", "3.3", Outcome.NOTE),
    ]
    assert at.world.wire.requests[0].request.host == "example.org"
    assert at.world.wire.requests[0].request.target == "/.well-known/matrix/server"
    assert at.world.wire.attempts[0].sni == "example.org"


@pytest.mark.req("DISC-05", "DISC-14")
async def test_a_delegated_port_means_that_no_srv_record_is_asked(at: Setting) -> None:
    at.delegate("matrix.example.net:443")
    assert await at.step() == "3.2"
    assert at.srv_questions() == []
    assert at.world.dns.asked_for("matrix.example.net") == []


@pytest.mark.req("DISC-07", "DISC-08")
async def test_the_deprecated_record_is_asked_beside_and_used_only_if_needed(at: Setting) -> None:
    at.delegate("matrix.example.net")
    at.world.dns.srv(OLD + "matrix.example.net", (10, 5, 8449, "fed1.example.net"))
    for name in (FED, OLD):
        at.world.dns.delays(name + "matrix.example.net", 1.0)
    assert await at.step() == "3.4"
    assert at.world.clock.tick() == 1.0, "both were asked at once"
    at.world.dns.remove(OLD + "matrix.example.net")
    at.resolver = at.another_resolver()
    assert await at.step() == "3.5"


async def test_an_answer_that_came_ahead_and_was_not_needed_is_kept_and_marked(
    at: Setting,
) -> None:
    at.delegate("matrix.example.net")
    at.world.dns.srv(FED + "matrix.example.net", (10, 5, 8449, "fed1.example.net"))
    at.world.dns.srv(OLD + "matrix.example.net", (10, 5, 8449, "fed1.example.net"))
    at.world.dns.delays(FED + "matrix.example.net", 2.0)
    at.world.dns.delays(OLD + "matrix.example.net", 1.0)
    steps = (await at.resolve()).trail.of("srv")
    assert [(each.number, each.outcome, each.took) for each in steps] == [
        ("3.3", Outcome.OK, 2.0),
        ("3.4", Outcome.UNUSED, 1.0),
    ]
    assert steps[1].evidence["answered"]["services"]


@pytest.mark.req("DISC-09", "DISC-10", "WK-06", "SEC-07")
@pytest.mark.parametrize("status", [404, 500, 301])
@pytest.mark.parametrize(("srv", "step"), [(FED, "4"), (OLD, "5"), ("", "6")])
async def test_without_a_file_the_hostname_itself_is_looked_at(
    at: Setting, status: int, srv: str, step: str
) -> None:
    at.file("{}", status=status)
    if srv:
        at.world.dns.srv(srv + "example.org", (10, 5, 8449, "fed1.example.net"))
    assert await at.step() == step


@pytest.mark.req("DISC-09", "WK-06", "SEC-06", "SEC-07")
@pytest.mark.parametrize("fault", list(Fault))
async def test_whatever_is_wrong_on_port_443_leads_on_within_the_limits(
    at: Setting, fault: Fault
) -> None:
    at.delegate("elsewhere.example")
    at.world.wire.hosts[next(iter(at.world.wire.hosts))].fault = fault
    resolution = await at.resolve()
    assert resolution.discovery.routes[0].step == "6"
    step = resolution.trail.of("well-known")[0]
    assert step.outcome is Outcome.FAILED
    assert step.code
    assert at.world.clock.tick() <= Limits().wellknown_seconds


@pytest.mark.req("DISC-09")
async def test_a_refused_port_443_costs_no_time(at: Setting) -> None:
    resolution = await at.resolve()
    assert resolution.discovery.routes[0].step == "6"
    assert at.world.clock.tick() == 0.0
    assert resolution.trail.of("well-known")[0].code == "connect-refused"


async def test_a_name_without_addresses_has_no_file(at: Setting) -> None:
    resolution = await at.resolve(ServerName("nowhere.example"))
    assert resolution.trail.of("well-known")[0].code == "well-known-no-address"
    assert resolution.discovery.routes[0].step == "6"


@pytest.mark.req("SRV-05", "AMB-19")
@pytest.mark.parametrize("says", [DnsSays.SERVFAIL, DnsSays.REFUSED, DnsSays.SILENT])
async def test_not_knowing_is_never_taken_for_no_record(at: Setting, says: DnsSays) -> None:
    at.file("", status=404)
    at.world.dns.says(FED + "example.org", says)
    resolution = await at.resolve()
    assert resolution.discovery.stopped is not None
    assert resolution.discovery.stopped.code == "srv-unknown"
    assert resolution.trail.of("srv")[0].code == "srv-unknown"
    assert resolution.trail.steps[-1].outcome is Outcome.FAILED


@pytest.mark.req("SRV-04")
async def test_a_service_that_is_not_offered_ends_the_search(at: Setting) -> None:
    at.file("", status=404)
    at.world.dns.srv(FED + "example.org", (0, 0, 0, "."))
    assert await at.step() == "srv-not-offered"


# --- What is remembered ---


@pytest.mark.req("WK-07", "WK-08")
async def test_a_found_file_is_remembered_as_its_headers_say(at: Setting) -> None:
    at.delegate("a.example:1", ("cache-control", "max-age=7200"))
    assert (await at.resolve()).discovery.lifetime_seconds == 7200
    at.delegate("b.example:1")
    at.world.clock.advance(7199)
    remembered = await at.resolve()
    assert remembered.discovery.delegated == "a.example:1"
    assert remembered.from_cache
    assert remembered.trail.of("well-known")[0].evidence["source"] == "cache"
    at.world.clock.advance(1)
    assert (await at.resolve()).discovery.delegated == "b.example:1"
    assert at.fetches == 2


@pytest.mark.req("WK-09")
@pytest.mark.parametrize(
    ("headers", "hours"), [((), 24), ((("cache-control", "max-age=31536000"),), 48)]
)
async def test_a_found_file_is_asked_again_after_24_and_at_most_48_hours(
    at: Setting, headers: tuple[tuple[str, str], ...], hours: int
) -> None:
    at.delegate("a.example:1", *headers)
    await at.resolve()
    at.world.clock.advance(hours * HOUR - 1)
    await at.resolve()
    assert at.fetches == 1
    at.world.clock.advance(1)
    await at.resolve()
    assert at.fetches == 2


@pytest.mark.req("WK-10", "WK-12")
async def test_a_missing_file_is_asked_for_less_and_less_often_but_every_hour(
    at: Setting,
) -> None:
    at.file("", status=404)
    moments = []
    for _ in range(5 * 60):
        before = at.fetches
        await at.resolve()
        if at.fetches > before:
            moments.append(round(at.world.clock.tick()))
        at.world.clock.advance(60)
    assert moments[:6] == [0, 60, 180, 420, 900, 1860]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert max(gaps) == HOUR
    at.delegate("a.example:1")
    at.world.clock.advance(HOUR)
    assert await at.step() == "3.2"


@pytest.mark.req("WK-11")
@pytest.mark.parametrize("status", [500, 503, 0])
async def test_a_good_file_stands_in_for_passing_trouble_but_not_beyond_48_hours(
    at: Setting, status: int
) -> None:
    at.delegate("a.example:1")
    await at.resolve()
    if status:
        at.file("", status=status)
    else:
        at.world.host("10.0.0.1", 443, fault=Fault.REFUSE)
    at.world.clock.advance(25 * HOUR)
    for _ in range(2):
        resolution = await at.resolve()
        assert resolution.discovery.delegated == "a.example:1"
        step = resolution.trail.of("well-known")[0]
        assert step.evidence["source"] == "stale"
        assert step.evidence["problem"]
    assert resolution.from_cache
    at.world.clock.advance(23 * HOUR)
    assert await at.step() == "6"


@pytest.mark.req("WK-11", "WK-12")
async def test_a_file_that_is_taken_away_is_not_used_on(at: Setting) -> None:
    at.delegate("a.example:1")
    await at.resolve()
    at.file("", status=404)
    at.world.clock.advance(24 * HOUR)
    assert await at.step() == "6"


@pytest.mark.req("WK-12")
async def test_fresh_passes_the_memory_by_and_corrects_it(at: Setting) -> None:
    at.file("", status=404)
    assert await at.step() == "6"
    at.delegate("a.example:1")
    assert await at.step() == "6"
    fresh = await at.resolve(fresh=True)
    assert fresh.discovery.delegated == "a.example:1"
    assert not fresh.from_cache
    assert await at.step() == "3.2"


@pytest.mark.req("WK-11", "WK-12")
async def test_fresh_shows_the_trouble_that_the_memory_covers(at: Setting) -> None:
    at.delegate("a.example:1")
    await at.resolve()
    at.file("", status=503)
    shown = await at.resolve(fresh=True)
    assert shown.discovery.delegated is None
    assert (await at.resolve()).discovery.delegated == "a.example:1"


@pytest.mark.req("SRV-07")
async def test_srv_records_are_remembered_by_ttl_and_stand_in_for_servfail(at: Setting) -> None:
    at.file("", ("cache-control", "max-age=3600"), status=404)
    at.world.dns.srv(FED + "example.org", (0, 0, 8449, "fed1.example.net"), ttl=100)
    assert await at.step() == "4"
    at.world.clock.advance(99)
    await at.resolve()
    assert at.srv_questions().count(FED + "example.org") == 1
    at.world.dns.says(FED + "example.org", DnsSays.SERVFAIL)
    at.world.clock.advance(1)
    resolution = await at.resolve()
    assert resolution.discovery.routes[0].step == "4"
    evidence = resolution.trail.of("srv")[0].evidence
    assert (evidence["source"], evidence["problem"]) == ("stale", "answered SERVFAIL")
    at.world.clock.advance(86_400)
    assert await at.step() == "srv-unknown"
    at.world.dns.heals(FED + "example.org")
    at.world.clock.advance(60)
    assert await at.step() == "4"


@pytest.mark.req("SEC-06")
async def test_a_dead_name_server_is_not_asked_by_every_caller_in_turn(at: Setting) -> None:
    at.file("", status=404)
    at.world.dns.says(FED + "example.org", DnsSays.SERVFAIL)
    for _ in range(5):
        assert await at.step() == "srv-unknown"
    assert at.srv_questions().count(FED + "example.org") == 1
    at.world.clock.advance(5)
    await at.resolve()
    assert at.srv_questions().count(FED + "example.org") == 2


@pytest.mark.req("SEC-06")
async def test_who_asks_meanwhile_joins(at: Setting) -> None:
    at.delegate("matrix.example.net")
    at.world.dns.delays("example.org", 1.0)
    at.world.dns.delays(FED + "matrix.example.net", 1.0)
    together = await asyncio.gather(*(at.resolve() for _ in range(20)))
    assert at.fetches == 1
    assert at.srv_questions().count(FED + "matrix.example.net") == 1
    sources = Counter(each.trail.of("well-known")[0].evidence["source"] for each in together)
    assert sources == {"asked": 1, "joined": 19}


@pytest.mark.req("SEC-06")
async def test_one_callers_leaving_does_not_spoil_it_for_the_others(at: Setting) -> None:
    at.delegate("a.example:1")
    at.world.dns.delays("example.org", 1.0)
    first = asyncio.ensure_future(at.resolve())
    second = asyncio.ensure_future(at.resolve())
    await at.world.clock.sleep(0.5)
    first.cancel()
    assert (await second).discovery.delegated == "a.example:1"
    assert first.cancelled() or (await asyncio.gather(first, return_exceptions=True))


# --- Order, time and replay ---


@pytest.mark.req("SRV-01", "SEED-06")
async def test_weights_are_drawn_at_each_use(at: Setting) -> None:
    at.file("", status=404)
    at.world.dns.srv(
        FED + "example.org", (1, 1, 8448, "a.example"), (1, 3, 8448, "b.example"),
        (0, 0, 8448, "first.example"),
    )  # fmt: skip
    routes = (await at.resolve()).discovery.routes
    orders = [at.resolver.ordered(routes) for _ in range(1000)]
    assert {order[0].connect for order in orders} == {"first.example"}
    counted = Counter(order[1].connect for order in orders)
    assert counted["a.example"] == pytest.approx(250, abs=50)


@pytest.mark.req("SEC-06")
async def test_the_whole_of_it_ends_in_time_with_a_trail() -> None:
    at = Setting(Limits(total_seconds=3.0))
    at.world.host("10.0.0.1", 443, fault=Fault.BLACK_HOLE)
    with pytest.raises(TimedOut) as caught:
        await at.resolve()
    assert caught.value.code == "resolve-timeout"
    assert at.world.clock.tick() == 3.0
    codes = {each.what: each.code for each in caught.value.trail.steps}
    assert codes["well-known"] == "given-up"
    assert codes["well-known-dial"] == "given-up"


@pytest.mark.req("SEED-04", "SEED-05", "REF14-16")
@pytest.mark.parametrize(
    ("text", "records", "step"),
    [
        ("example.org:8449", True, "2014:port"),
        ("example.org", True, "2014:srv"),
        ("example.org:", True, "2014:srv"),
        ("example.org", False, "2014:8448"),
    ],
)
async def test_the_rules_of_2014_ask_one_srv_record_and_no_file(
    at: Setting, text: str, records: bool, step: str
) -> None:
    at.delegate("elsewhere.example")
    if records:
        at.world.dns.srv(OLD + "example.org", (0, 0, 8450, "fed1.example.net"))
    name = parse_server_name_2014(text)
    resolution = await at.resolver.resolve(name, mode=Mode.SEED)
    route = resolution.discovery.routes[0]
    assert route.step == step
    assert route.families == (RecordKind.A,)
    assert at.fetches == 0
    assert set(at.srv_questions()) <= {OLD + "example.org"}


@pytest.mark.req("DISC-16")
@pytest.mark.parametrize("delegated", ["matrix.example.net", "10.0.0.5", ""])
@pytest.mark.parametrize("srv", [FED, OLD, ""])
async def test_a_saved_trail_replays_offline(at: Setting, delegated: str, srv: str) -> None:
    if delegated:
        at.delegate(delegated)
    if srv:
        at.world.dns.srv(srv + (delegated or "example.org"), (0, 0, 8450, "fed1.example.net"))
    resolution = await at.resolve()
    saved = msgspec.json.encode(resolution.trail)
    json.loads(saved)
    again = replay(msgspec.json.decode(saved, type=Trail), NAME)
    assert msgspec.structs.replace(again, lifetime_seconds=0) == msgspec.structs.replace(
        resolution.discovery, lifetime_seconds=0
    )
