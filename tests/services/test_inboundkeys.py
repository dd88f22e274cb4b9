"""Keys asked for because of what strangers sent: found, bounded, refreshed, and events' keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from ranvier.limits import DAY_MS, HOUR_MS, WEEK_MS, Limits, Ms
from ranvier.plugs import StoredDocument
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.keys import OldVerifyKey, build_v2_document
from ranvier.protocol.names import parse_server_name
from ranvier.protocol.signing import SigningKey, generate_signing_key
from ranvier.services.keybudgets import KEY_BUSY, KEY_UNAVAILABLE
from ranvier.services.keyring import Keyring
from ranvier.services.trust import TrustRule
from ranvier.trail import Recorder, Trail
from ranvier.world.faults import Fault
from ranvier.world.world import World
from tests.services.keyrig import IP, KEY, NAME, OTHER_KEY, SEED_RULE, Peer, keyring, name

UNKNOWN = "ed25519:a_nobody"


class Rig:
    """A peer and a keyring; ``trail`` is the last question's."""

    def __init__(self, *rules: TrustRule, limits: Limits | None = None, seed: bool = False) -> None:
        self.world = World()
        self.peer = Peer(self.world, seed=seed)
        self.ring = keyring(self.world, *rules, limits=limits)
        self.trail = Trail()

    async def ask(
        self, *key_ids: str, of: str = NAME, client: str = ""
    ) -> Mapping[str, KeyOutcome]:
        recorder = Recorder(self.world.clock.tick)
        found = await self.ring.keys_for_request(
            parse_server_name(of), key_ids or (KEY.key_id,), client=client, recorder=recorder
        )
        self.trail = recorder.trail
        return found

    async def one(self, key_id: str = KEY.key_id, **more: Any) -> KeyOutcome:
        return (await self.ask(key_id, **more))[key_id]

    async def event(
        self, key_id: str = KEY.key_id, *, at: int = 0, enforce: bool = True
    ) -> KeyOutcome:
        recorder = Recorder(self.world.clock.tick)
        found = await self.ring.keys_for_event(
            name(),
            (key_id,),
            at=Ms(self.world.clock.now() + at),
            enforce_validity=enforce,
            recorder=recorder,
        )
        self.trail = recorder.trail
        return found[key_id]

    async def pass_time(self, milliseconds: float) -> None:
        self.world.clock.advance(milliseconds / 1000)
        await self.world.clock.settle()

    def restarted(self) -> None:
        """Nothing in memory, everything in the store."""
        self.ring = keyring(self.world)

    def gone(self) -> None:
        self.world.host(IP, 8448, fault=Fault.REFUSE)

    def back(self) -> None:
        self.peer.show(self.peer.certificate)

    def retires(self, key: SigningKey, at: Ms) -> None:
        """The peer now lists ``key`` as old, and OTHER_KEY as current."""
        self.peer.body = build_v2_document(
            NAME,
            (OTHER_KEY,),
            old_keys=(OldVerifyKey(key.verify_key, at),),
            valid_until=Ms(self.world.clock.now() + DAY_MS),
        )

    @property
    def fetches(self) -> int:
        return len(self.peer.asked)


# --- For requests ---


@pytest.mark.req("KEYF-04")
async def test_memory_then_store_then_origin() -> None:
    rig = Rig()
    assert (await rig.one()).key == KEY.verify_key
    assert rig.fetches == 1
    assert (await rig.one()).good
    assert not rig.trail, "from memory there is nothing to tell"
    rig.restarted()
    assert (await rig.one()).good
    assert "in the store" in rig.trail.of("keys")[0].answer
    assert rig.fetches == 1


@pytest.mark.req("KEYF-04", "SEC-06")
async def test_an_unknown_key_of_a_good_document_is_asked_for_once_in_a_while() -> None:
    rig = Rig()
    await rig.one()
    await rig.pass_time(61_000)
    for _ in range(100):
        assert (await rig.one(UNKNOWN)).verdict is KeyVerdict.UNKNOWN
    assert rig.fetches == 2
    assert "fetched less than 60 s ago" in (await rig.one(UNKNOWN)).reason
    assert (await rig.one()).good, "the good key stays good all the while"
    await rig.pass_time(61_000)
    rig.peer.keys = (KEY, OTHER_KEY)
    assert (await rig.one(OTHER_KEY.key_id)).good


async def test_one_good_key_is_enough_and_the_others_are_not_looked_for() -> None:
    rig = Rig()
    await rig.one()
    await rig.pass_time(61_000)
    found = await rig.ask(UNKNOWN, KEY.key_id)
    assert [each.good for each in found.values()] == [False, True]
    assert rig.fetches == 1


async def test_an_algorithm_that_we_do_not_know_makes_nobody_ask() -> None:
    rig = Rig()
    assert (await rig.one("rsa:1")).verdict is KeyVerdict.UNKNOWN
    assert rig.fetches == 0


@pytest.mark.req("KEYF-04", "SEC-06")
async def test_after_a_failure_a_name_rests_twice_as_long_each_time() -> None:
    rig = Rig()
    rig.gone()
    least = rig.world.limits.key_retry_min_seconds
    for seconds in (least, 2 * least, 4 * least):
        tried = len(rig.world.wire.attempts)
        assert (await rig.one()).code == KEY_UNAVAILABLE
        assert len(rig.world.wire.attempts) > tried
        await rig.pass_time(seconds * 1000 - 1)
        tried = len(rig.world.wire.attempts)
        outcome = await rig.one()
        assert "not asked again so soon" in outcome.reason
        assert len(rig.world.wire.attempts) == tried, "it rests"
        await rig.pass_time(2)
    rig.back()
    assert (await rig.one()).good
    rig.gone()
    await rig.pass_time(2 * DAY_MS)
    assert (await rig.one()).verdict is KeyVerdict.EXPIRED
    await rig.pass_time(least * 1000)
    tried = len(rig.world.wire.attempts)
    await rig.one()
    assert len(rig.world.wire.attempts) > tried, "a success had ended the doubling"


async def test_a_rest_is_never_longer_than_its_bound() -> None:
    rig = Rig()
    rig.gone()
    for _ in range(12):
        await rig.one()
        await rig.pass_time(rig.world.limits.key_retry_max_seconds * 1000)
    tried = len(rig.world.wire.attempts)
    await rig.one()
    assert len(rig.world.wire.attempts) > tried


@pytest.mark.req("KEYF-07")
async def test_after_its_end_a_document_is_fetched_anew() -> None:
    rig = Rig()
    await rig.one()
    await rig.pass_time(DAY_MS + 1000)
    assert (await rig.one()).good
    assert rig.fetches == 2


@pytest.mark.req("KEY2-07")
async def test_an_old_key_is_known_as_such_without_asking_again() -> None:
    rig = Rig()
    rig.retires(KEY, rig.world.clock.now())
    assert (await rig.one()).verdict is KeyVerdict.OLD_KEY
    await rig.pass_time(61_000)
    assert (await rig.one()).verdict is KeyVerdict.OLD_KEY
    assert rig.fetches == 1


@pytest.mark.req("SEC-06")
async def test_who_wants_the_same_waits_with_the_first() -> None:
    rig = Rig(limits=Limits(inbound_fetches=1, inbound_fetches_per_client=1))
    found = await asyncio.gather(*(rig.one(client="203.0.113.1") for _ in range(20)))
    assert all(each.good for each in found)
    assert rig.fetches == 1


@pytest.mark.req("SEC-06")
@pytest.mark.parametrize(
    ("limits", "clients", "asked"),
    [
        (Limits(inbound_fetches=3), ("",), 3),
        (Limits(inbound_fetches_per_client=2), ("203.0.113.1",), 2),
        (Limits(inbound_fetches_per_client=2), ("203.0.113.1", "203.0.113.2"), 4),
        (Limits(inbound_fetches_per_client=2), ("",), 10),  # nobody's account
    ],
)
async def test_only_so_many_names_are_asked_at_once(
    limits: Limits, clients: tuple[str, ...], asked: int
) -> None:
    rig = Rig(limits=limits)
    names = [f"s{number}.example" for number in range(10)]
    for each in names:
        rig.world.server(each)
    found = await asyncio.gather(
        *(
            rig.one(of=each, client=clients[place % len(clients)])
            for place, each in enumerate(names)
        )
    )
    assert sum(each.code != KEY_BUSY for each in found) == asked
    assert len({each.address.ip for each in rig.world.wire.attempts}) == asked
    assert (await rig.one(of=names[-1])).code != KEY_BUSY, "later there is room again"


async def test_the_store_may_fail() -> None:
    rig = Rig()
    rig.world.store.broken = True
    assert (await rig.one()).good
    assert "told to fail" in rig.trail.of("keys")[0].answer
    assert (await rig.one()).good
    assert rig.fetches == 1, "memory serves what could not be kept"


async def test_the_store_may_fail_between_reading_and_writing() -> None:
    rig = Rig()
    shelf = rig.world.store.keys
    rig.world.host(IP, 8448, certificate=rig.peer.certificate, serves=rig.peer._serve)

    async def breaking(documents: object) -> None:
        rig.world.store.broken = True
        shelf._store.check()

    shelf.save = breaking  # type: ignore[method-assign] # a fault at this very moment
    assert (await rig.one()).good
    assert rig.fetches == 1


@pytest.mark.req("D1")
async def test_where_pins_judge_nothing_is_fetched_without_the_store() -> None:
    rig = Rig(SEED_RULE, seed=True)
    rig.world.store.broken = True
    assert (await rig.one()).code == KEY_UNAVAILABLE
    assert rig.fetches == 0


# --- Refresh ahead ---


@pytest.mark.req("KEYF-06")
async def test_a_document_near_its_end_is_fetched_anew_in_the_background() -> None:
    rig = Rig()
    await rig.one()
    await rig.pass_time(DAY_MS - HOUR_MS - 1000)
    assert (await rig.one()).good
    assert rig.fetches == 1, "not yet"
    await rig.pass_time(2000)
    await asyncio.gather(*(rig.one() for _ in range(10)))
    await rig.world.clock.sleep(1)
    assert rig.fetches == 2, "once, and nobody waited"
    await rig.pass_time(HOUR_MS)
    assert (await rig.one()).good
    assert rig.fetches == 2


async def test_a_short_life_is_refreshed_in_its_last_tenth() -> None:
    rig = Rig()
    rig.peer.life_ms = 1_000_000
    await rig.one()
    for milliseconds, fetches in ((899_000, 1), (2_000, 2)):
        await rig.pass_time(milliseconds)
        await rig.one()
        await rig.world.clock.sleep(0.5)
        assert rig.fetches == fetches


async def test_a_refresh_that_fails_spoils_nothing_and_rests() -> None:
    rig = Rig()
    await rig.one()
    await rig.pass_time(DAY_MS - HOUR_MS)
    rig.gone()
    assert (await rig.one()).good
    await rig.world.clock.sleep(1)
    tried = len(rig.world.wire.attempts)
    for _ in range(5):
        assert (await rig.one()).good
        await rig.world.clock.sleep(1)
    assert len(rig.world.wire.attempts) == tried > 1


async def test_a_refresh_under_way_ends_with_the_keyring() -> None:
    rig = Rig()
    await rig.one()
    await rig.pass_time(DAY_MS - HOUR_MS)
    rig.world.dns.delays(NAME, 3.0)
    rig.world.host(IP, 8448, certificate=rig.peer.certificate, fault=Fault.HANGS)
    before = asyncio.all_tasks()
    assert (await rig.one()).good
    await asyncio.sleep(0)
    assert asyncio.all_tasks() > before
    await rig.ring.close()
    assert asyncio.all_tasks() == before


# --- For events ---


@pytest.mark.req("KEYF-08", "KEYF-09", "KEYF-13")
@pytest.mark.parametrize(
    ("at", "enforce", "good"),
    [
        (0, True, True),
        (-400 * DAY_MS, True, True),  # the key may be older than we know
        (DAY_MS, True, True),  # the last instant
        (DAY_MS + 1, True, False),
        (DAY_MS + 1, False, True),  # room versions 1 to 4
        (366 * DAY_MS, True, False),  # a date in the future buys nothing
    ],
)
async def test_a_current_key_counts_as_the_rooms_version_says(
    at: int, enforce: bool, good: bool
) -> None:
    rig = Rig()
    await rig.one()
    assert (await rig.event(at=at, enforce=enforce)).good is good


@pytest.mark.req("KEYF-13", "SEC-08")
async def test_a_document_of_a_year_vouches_for_seven_days_only() -> None:
    rig = Rig()
    rig.peer.life_ms = 365 * DAY_MS
    await rig.one()
    assert (await rig.event(at=WEEK_MS)).good
    assert not (await rig.event(at=WEEK_MS + 1)).good


@pytest.mark.req("KEYF-12", "KEY2-07")
@pytest.mark.parametrize("enforce", [True, False])
async def test_an_old_key_counts_up_to_its_expiry(enforce: bool) -> None:
    rig = Rig()
    await rig.one()
    await rig.pass_time(HOUR_MS)
    rig.retires(KEY, rig.world.clock.now())
    await rig.ring.fetch(name(), fresh=True)
    assert (await rig.event(at=0, enforce=enforce)).good
    late = await rig.event(at=1, enforce=enforce)
    assert late.verdict is KeyVerdict.EXPIRED, "though an older document says it is good"
    assert (await rig.event(OTHER_KEY.key_id, at=0, enforce=enforce)).good


@pytest.mark.req("D6", "D8", "KEYF-14")
async def test_a_key_that_was_dropped_still_counts_for_its_time() -> None:
    rig = Rig()
    began = rig.world.clock.now()
    await rig.one()
    await rig.pass_time(2 * DAY_MS)
    rig.peer.keys = (OTHER_KEY,)
    await rig.ring.fetch(name(), fresh=True)
    rig.restarted()
    then = began - rig.world.clock.now()
    assert (await rig.event(at=then + HOUR_MS)).good
    assert not (await rig.event(at=0)).good


@pytest.mark.req("D8", "KEYF-15")
async def test_a_key_id_that_changed_its_bytes_counts_for_each_time_with_its_own() -> None:
    rig = Rig()
    await rig.one()
    await rig.pass_time(10 * HOUR_MS)
    changed = generate_signing_key(b"x" * 32, "a_peer")
    rig.peer.keys = (changed,)
    await rig.ring.fetch(name(), fresh=True)
    assert (await rig.event(at=-1)).key == KEY.verify_key
    assert (await rig.event(at=-100 * DAY_MS)).key == KEY.verify_key
    assert (await rig.event(at=0)).key == changed.verify_key


@pytest.mark.req("KEYF-10", "KEYF-04")
async def test_for_an_event_the_origin_is_asked_if_nothing_else_helps_and_not_often() -> None:
    rig = Rig()
    for _ in range(100):
        assert (await rig.event(UNKNOWN)).verdict is KeyVerdict.UNKNOWN
        assert (await rig.event()).good
    assert rig.fetches == 1
    await rig.pass_time(DAY_MS + 1000)
    assert (await rig.event()).good, "a newer document covers it"
    assert rig.fetches == 2


async def test_an_event_of_a_server_that_is_gone_says_so() -> None:
    rig = Rig()
    rig.gone()
    outcome = await rig.event()
    assert (outcome.verdict, outcome.code) == (KeyVerdict.UNKNOWN, KEY_UNAVAILABLE)


async def test_without_the_store_events_go_by_what_memory_holds() -> None:
    rig = Rig()
    await rig.one()
    rig.world.store.broken = True
    assert (await rig.event()).good
    assert not (await rig.event(at=2 * DAY_MS)).good
    assert rig.trail.of("keys")


async def test_a_damaged_document_does_not_count_for_events() -> None:
    rig = Rig()
    await rig.one()
    (stored,) = (await rig.world.store.keys.load([NAME]))[NAME]
    hurt = Rig()
    damaged = msgspec.structs.replace(
        stored, body=stored.body.replace(b'"ed25519:a_p', b'"ed25519:b_p')
    )
    await hurt.world.store.keys.save([damaged])
    hurt.gone()
    assert (await hurt.event()).code == KEY_UNAVAILABLE


async def test_the_event_view_is_read_once() -> None:
    rig = Rig()
    await rig.one()
    loads: list[object] = []
    shelf = rig.world.store.keys
    load = shelf.load

    async def counted(names: Any) -> Mapping[str, tuple[StoredDocument, ...]]:
        loads.append(names)
        return await load(names)

    shelf.load = counted  # type: ignore[method-assign, assignment] # only counted
    for _ in range(50):
        assert (await rig.event()).good
    assert len(loads) == 1


async def test_views_of_many_servers_are_bounded() -> None:
    rig = Rig(limits=Limits(cache_entries=0))
    assert (await rig.event()).good
    assert (await rig.event()).good
    ring: Keyring = rig.ring
    assert await ring.leaves_for(name()) == frozenset()


@pytest.mark.req("SEC-06")
async def test_events_never_take_all_the_places_that_requests_need() -> None:
    """One transaction may name fifty servers; those who take their time would hold all."""
    rig = Rig(limits=Limits(inbound_fetches=6))
    names = [f"s{number}.example" for number in range(10)]
    for place, each in enumerate(names):
        rig.world.dns.address(each, f"10.1.0.{place + 1}")
        rig.world.host(f"10.1.0.{place + 1}", 8448, fault=Fault.BLACK_HOLE)
    events = [
        asyncio.ensure_future(
            rig.ring.keys_for_event(
                parse_server_name(each),
                (KEY.key_id,),
                at=rig.world.clock.now(),
                enforce_validity=True,
                recorder=Recorder(rig.world.clock.tick),
            )
        )
        for each in names
    ]
    await rig.world.clock.sleep(1)
    assert (await rig.one()).good
    found = [outcome for each in await asyncio.gather(*events) for outcome in each.values()]
    assert sum(each.code == KEY_BUSY for each in found) == 7
