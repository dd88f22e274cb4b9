"""Every outbox keeps the word of ``ranvier.deeds.Outbox``: nothing lost, nothing overtaken."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from ranvier.deeds import (
    BackOff,
    Delivered,
    Halve,
    HeldOff,
    ItemKind,
    LaneState,
    Outbox,
    OutItem,
    Park,
    Refused,
    Release,
    Sealed,
    SealRule,
    Settlement,
)
from ranvier.errors import QueueFull, StoreFault
from ranvier.limits import DAY_MS, Limits, Ms
from ranvier.plugs import Store
from tests.contracts.stores import STORES

RULE = SealRule(origin="us.test")
SETTLEMENTS = (
    Delivered(),
    HeldOff(until=Ms(2_000), because="late", failures=9),
    Refused(until=Ms(2_000), because="late"),
    Halve(most=1, because="late"),
    Park(because="late"),
    Release(),
)
"""One of every kind."""
NOW = Ms(1_000)
UNTIL = Ms(31_000)
SMALL = Limits(outbox_lane_items=5, outbox_lane_bytes=100, outbox_items=8)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await STORES[request.param](tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return store.outbox


@pytest.fixture(params=STORES)
async def small(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    """An outbox that takes 5 items or 100 bytes of a lane and 8 items in all."""
    opened = await STORES[request.param](tmp_path, SMALL)
    yield opened.outbox
    await opened.close()


def edu(
    number: int, *, replaces: str = "", expires: int = 0, kind: ItemKind = ItemKind.EDU
) -> OutItem:
    return OutItem(kind=kind, body=b'{"n":%d}' % number, replaces=replaces, expires=Ms(expires))


def edus(*numbers: int) -> list[OutItem]:
    return [edu(each) for each in numbers]


def pdu(number: int, event_id: str = "") -> OutItem:
    body = b'{"n":%d}' % number
    return OutItem(kind=ItemKind.PDU, body=body, event_id=event_id or f"${number}")


def one_of_both(chance: random.Random, number: int) -> OutItem:
    return pdu(number) if chance.random() < 0.5 else edu(number)


def carried(sealed: Sealed | None) -> list[int]:
    """The numbers in a transaction, PDUs first."""
    assert sealed is not None
    body = json.loads(sealed.body)
    return [each["n"] for each in [*body["pdus"], *body.get("edus", ())]]


async def take(
    outbox: Outbox, node: str = "one", *, now: Ms = NOW, until: Ms = UNTIL, most: int = 10,
    rule: SealRule = RULE, only: str | None = None,
) -> tuple[Sealed, ...]:  # fmt: skip
    return await outbox.take(node, now=now, until=until, most=most, rule=rule, only=only)


async def taken(outbox: Outbox, node: str = "one", *, now: Ms = NOW) -> Sealed:
    """The one transaction that is due."""
    (sealed,) = await take(outbox, node, now=now, until=Ms(now + 30_000))
    return sealed


async def only(outbox: Outbox, node: str, name: str) -> Sealed:
    (sealed,) = await take(outbox, node, only=name)
    return sealed


async def settle(
    outbox: Outbox, sealed: Sealed | None, settlement: Settlement, *, now: Ms = NOW
) -> Sealed | None:
    assert sealed is not None
    until = Ms(now + 30_000)
    return await outbox.settle(sealed, settlement, now=now, until=until, rule=RULE)


async def the_lane(outbox: Outbox, name: str = "a.test") -> LaneState:
    (state,) = await outbox.lanes(name)
    return state


# --- Adding, sealing, delivering ---


@pytest.mark.req("TXN-02", "TXN-04")
async def test_what_was_added_comes_out_as_one_transaction(outbox: Outbox) -> None:
    await outbox.add(["a.test"], [edu(1), pdu(2), edu(3)], now=NOW)
    sealed = await taken(outbox, now=Ms(2_000))
    assert sealed.body == (
        b'{"edus":[{"n":1},{"n":3}],"origin":"us.test","origin_server_ts":2000,"pdus":[{"n":2}]}'
    )
    assert (sealed.destination, sealed.node, sealed.sealed_at) == ("a.test", "one", 2_000)
    assert (sealed.refusals, sealed.failures) == (0, 0)
    assert [(each.kind, each.event_id, each.size) for each in sealed.items] == [
        (ItemKind.EDU, "", 7),
        (ItemKind.PDU, "$2", 7),
        (ItemKind.EDU, "", 7),
    ]
    ids = [each.id for each in sealed.items]
    assert ids == sorted(set(ids))


async def test_a_transaction_id_is_96_random_bits_that_a_path_can_hold(outbox: Outbox) -> None:
    names = [f"{each}.test" for each in range(50)]
    await outbox.add(names, edus(1), now=NOW)
    ids = {each.txn_id for each in await take(outbox, most=50)}
    assert len(ids) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16}", each) for each in ids)


@pytest.mark.req("TXN-02", "TXN-20")
async def test_51_pdus_and_101_edus_are_50_and_100_and_then_the_rest(outbox: Outbox) -> None:
    pdus = [pdu(each) for each in range(51)]
    await outbox.add(["a.test"], [*pdus, *edus(*range(100, 201))], now=NOW)
    first = await taken(outbox)
    assert carried(first) == [*range(50), *range(100, 200)]
    second = await settle(outbox, first, Delivered())
    assert carried(second) == [50, 200]
    assert await settle(outbox, second, Delivered()) is None
    assert await outbox.lanes() == ()


async def test_no_item_is_overtaken_by_one_of_its_kind(outbox: Outbox) -> None:
    chance = random.Random(7)
    items = [one_of_both(chance, each) for each in range(400)]
    await outbox.add(["a.test"], items, now=NOW)
    sent: dict[ItemKind, list[int]] = {ItemKind.PDU: [], ItemKind.EDU: []}
    sealed: Sealed | None = await taken(outbox)
    while sealed is not None:
        body = json.loads(sealed.body)
        sent[ItemKind.PDU] += [each["n"] for each in body["pdus"]]
        sent[ItemKind.EDU] += [each["n"] for each in body.get("edus", ())]
        sealed = await settle(outbox, sealed, Delivered())
    assert all(each == sorted(each) for each in sent.values())
    assert sorted(sent[ItemKind.PDU] + sent[ItemKind.EDU]) == list(range(400))


async def test_the_byte_budget_ends_a_transaction_and_one_item_always_goes(
    outbox: Outbox,
) -> None:
    big = [OutItem(kind=ItemKind.EDU, body=b'"%s"' % (b"x" * 5_000)) for _ in range(5)]
    await outbox.add(["a.test"], big, now=NOW)
    rule = SealRule(origin="us.test", bytes=12_000)
    (sealed,) = await take(outbox, rule=rule)
    assert len(sealed.items) == 2
    assert len(sealed.body) <= 12_000
    tiny = SealRule(origin="us.test", bytes=10)
    alone = await outbox.settle(sealed, Delivered(), now=NOW, until=UNTIL, rule=tiny)
    assert alone is not None
    assert len(alone.items) == 1


async def test_an_item_goes_to_every_destination_once(outbox: Outbox) -> None:
    await outbox.add(["a.test", "b.test", "a.test"], edus(1), now=NOW)
    sealed = await take(outbox)
    assert [(each.destination, carried(each)) for each in sealed] == [
        ("a.test", [1]),
        ("b.test", [1]),
    ]
    assert sealed[0].txn_id != sealed[1].txn_id


async def test_adding_nothing_or_to_nobody_leaves_no_lane(outbox: Outbox) -> None:
    await outbox.add([], edus(1), now=NOW)
    await outbox.add(["a.test"], [], now=NOW)
    assert await outbox.lanes() == ()
    assert await outbox.next_due() is None
    assert await take(outbox) == ()


async def test_what_is_added_after_sealing_goes_into_the_next(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    sealed = await taken(outbox)
    await outbox.add(["a.test"], edus(2), now=NOW)
    following = await settle(outbox, sealed, Delivered())
    assert carried(following) == [2]
    assert following is not None
    assert following.txn_id != sealed.txn_id
    assert following.epoch == sealed.epoch


async def test_the_same_event_may_go_to_others_later(outbox: Outbox) -> None:
    await outbox.add(["a.test"], [pdu(1, "$same")], now=NOW)
    await outbox.add(["b.test", "a.test"], [pdu(2), pdu(1, "$same")], now=NOW)
    assert [carried(each) for each in await take(outbox)] == [[1, 2, 1], [2, 1]]


# --- Leases ---


@pytest.mark.req("TXN-08")
async def test_a_leased_lane_is_given_to_nobody_else(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    assert len(await take(outbox, "one")) == 1
    assert await take(outbox, "two", now=Ms(UNTIL - 1)) == ()
    assert await take(outbox, "two", only="a.test") == ()
    assert (await the_lane(outbox)).leased_by == "one"
    assert await outbox.next_due() == UNTIL


@pytest.mark.req("TXN-08", "TXN-10")
async def test_an_expired_lease_is_taken_over_with_the_same_id_and_bytes(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1, 2), now=NOW)
    first = await taken(outbox, "one")
    await outbox.add(["a.test"], edus(3), now=NOW)
    again = await taken(outbox, "two", now=UNTIL)
    assert (again.txn_id, again.body, again.items) == (first.txn_id, first.body, first.items)
    assert (again.node, again.sealed_at) == ("two", first.sealed_at)
    assert again.epoch > first.epoch
    assert carried(await settle(outbox, again, Delivered())) == [3]


@pytest.mark.parametrize("settlement", SETTLEMENTS, ids=lambda each: type(each).__name__)
async def test_who_has_lost_the_lease_changes_nothing(
    outbox: Outbox, settlement: Settlement
) -> None:
    await outbox.add(["a.test"], edus(1, 2), now=NOW)
    stale = await taken(outbox, "one")
    holder = await taken(outbox, "two", now=UNTIL)
    before = await outbox.lanes()
    assert await settle(outbox, stale, settlement, now=UNTIL) is None
    assert await outbox.lanes() == before
    assert carried(holder) == [1, 2]
    assert await settle(outbox, holder, Delivered()) is None
    assert await settle(outbox, stale, settlement) is None, "the lane is gone"
    assert await outbox.lanes() == ()


async def test_a_lane_that_was_born_again_does_not_know_old_workers(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    old = await taken(outbox, "one")
    await settle(outbox, old, Delivered())
    await outbox.add(["a.test"], edus(2), now=NOW)
    new = await taken(outbox, "one")
    assert (new.node, new.epoch) == (old.node, old.epoch), "only the id tells them apart"
    assert await settle(outbox, old, Delivered()) is None
    assert (await the_lane(outbox)).waiting == 1


async def test_a_result_may_come_only_once(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    sealed = await taken(outbox)
    await outbox.add(["a.test"], edus(2), now=NOW)
    following = await settle(outbox, sealed, Delivered())
    assert await settle(outbox, sealed, Delivered()) is None
    assert carried(following) == [2]
    assert (await the_lane(outbox)).waiting == 1


@pytest.mark.req("D40")
async def test_who_stops_leaves_his_lanes_to_the_next_at_once(outbox: Outbox) -> None:
    await outbox.add(["a.test", "b.test"], edus(1), now=NOW)
    mine = await only(outbox, "one", "a.test")
    await only(outbox, "two", "b.test")
    await outbox.end_leases("one", now=Ms(NOW + 1))
    [next_holder] = await take(outbox, "three", now=Ms(NOW + 1))
    assert (next_holder.txn_id, next_holder.body) == (mine.txn_id, mine.body)
    assert await settle(outbox, mine, Delivered()) is None
    assert (await the_lane(outbox, "b.test")).leased_by == "two"


@pytest.mark.req("D40")
async def test_what_a_wrong_clock_wrote_is_set_right(outbox: Outbox) -> None:
    await outbox.add(["a.test", "b.test", "c.test"], edus(1), now=NOW)
    far = Ms(NOW + 10**12)
    held = await only(outbox, "one", "a.test")
    await settle(outbox, held, HeldOff(until=far, because="late", failures=3))
    await outbox.take("two", now=NOW, until=far, most=1, rule=RULE, only="b.test")
    soon = await only(outbox, "one", "c.test")
    await settle(outbox, soon, HeldOff(until=Ms(NOW + 50), because="late", failures=1))
    await outbox.set_right(now=Ms(NOW + 1), latest=Ms(NOW + 1000))
    again = await take(outbox, "three", now=Ms(NOW + 1))
    assert sorted(each.destination for each in again) == ["a.test", "b.test"]
    assert (await outbox.back_offs())["a.test"].until == NOW + 1
    assert (await the_lane(outbox, "c.test")).due == NOW + 50


async def test_leases_are_renewed_but_not_those_that_were_taken_over(outbox: Outbox) -> None:
    await outbox.add(["a.test", "b.test"], edus(1), now=NOW)
    await take(outbox, "one")
    await take(outbox, "two", now=UNTIL, until=Ms(50_000), only="a.test")
    await outbox.renew("one", until=Ms(90_000))
    assert (await the_lane(outbox, "a.test")).due == 50_000
    assert (await the_lane(outbox, "b.test")).due == 90_000
    await outbox.renew("one", until=Ms(60_000))
    assert (await the_lane(outbox, "b.test")).due == 90_000, "never shortened"
    await outbox.renew("", until=Ms(99_000))
    assert await outbox.next_due() == 50_000


async def test_the_longest_due_come_first_and_only_so_many(outbox: Outbox) -> None:
    for place, name in enumerate(("c.test", "a.test", "b.test")):
        await outbox.add([name], edus(1), now=Ms(NOW + place))
    later = Ms(NOW + 100)
    assert await take(outbox, now=Ms(NOW - 1)) == ()
    assert [each.destination for each in await take(outbox, now=later, most=2)] == [
        "c.test",
        "a.test",
    ]
    assert [each.destination for each in await take(outbox, now=later)] == ["b.test"]


async def test_one_lane_alone_may_be_asked_for(outbox: Outbox) -> None:
    await outbox.add(["a.test", "b.test"], edus(1), now=NOW)
    assert [each.destination for each in await take(outbox, only="b.test")] == ["b.test"]
    assert await take(outbox, only="c.test") == ()
    assert await take(outbox, only="a.test", now=Ms(NOW - 1)) == ()


async def test_two_nodes_share_the_work_and_no_lane_is_held_twice(store: Store) -> None:
    outbox = store.outbox
    names = [f"{each}.test" for each in range(30)]
    for number in range(5):
        await outbox.add(names, edus(number), now=NOW)
    held: set[str] = set()
    got: dict[str, list[int]] = {name: [] for name in names}
    rule = SealRule(origin="us.test", edus=2)

    async def work(node: str) -> None:
        while batch := await take(outbox, node, most=4, rule=rule):
            for first in batch:
                assert first.destination not in held
                held.add(first.destination)
                sealed: Sealed | None = first
                while sealed is not None:
                    got[sealed.destination] += carried(sealed)
                    await asyncio.sleep(0)
                    sealed = await outbox.settle(
                        sealed, Delivered(), now=NOW, until=UNTIL, rule=rule
                    )
                held.discard(first.destination)

    await asyncio.gather(*(work(node) for node in ("one", "two", "three")))
    assert all(numbers == [0, 1, 2, 3, 4] for numbers in got.values())
    assert await outbox.lanes() == ()


# --- Not now: back-off, refusal, release ---


@pytest.mark.req("TXN-08", "TXN-10", "TXN-19")
async def test_a_lane_that_is_held_off_keeps_id_and_bytes(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    first = await taken(outbox)
    held = HeldOff(until=Ms(9_000), because="no answer", failures=1)
    assert await settle(outbox, first, held, now=Ms(2_000)) is None
    await outbox.add(["a.test"], edus(2), now=Ms(3_000))
    assert await take(outbox, now=Ms(8_999)) == ()
    state = await the_lane(outbox)
    assert (state.failures, state.since, state.due, state.because) == (1, 2_000, 9_000, "no answer")
    assert (state.leased_by, state.txn_id, state.waiting) == ("", first.txn_id, 2)
    again = await taken(outbox, now=Ms(9_000))
    assert (again.txn_id, again.body, again.failures) == (first.txn_id, first.body, 1)
    held = HeldOff(until=Ms(20_000), because="still none", failures=2)
    await settle(outbox, again, held, now=Ms(10_000))
    assert await outbox.back_offs() == {
        "a.test": BackOff(until=Ms(20_000), failures=2, because="still none", since=Ms(2_000))
    }
    last = await taken(outbox, now=Ms(20_000))
    assert carried(await settle(outbox, last, Delivered())) == [2]
    assert await outbox.back_offs() == {}
    assert (await the_lane(outbox)).failures == 0


@pytest.mark.req("TXN-19")
async def test_being_heard_from_makes_what_waits_due_at_once(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    week = Ms(NOW + 7 * DAY_MS)
    await settle(outbox, await taken(outbox), HeldOff(until=week, because="down", failures=20))
    assert await outbox.next_due() == week
    assert await outbox.heard_from("a.test", now=Ms(5_000))
    assert await outbox.next_due() == 5_000
    assert not await outbox.heard_from("a.test", now=Ms(6_000))
    again = await taken(outbox, now=Ms(5_000))
    assert again.failures == 0


async def test_heard_from_a_stranger_is_nothing_to_do(outbox: Outbox) -> None:
    assert not await outbox.heard_from("a.test", now=NOW)
    assert await outbox.lanes() == ()


async def test_back_off_needs_nothing_that_waits_and_holds_what_comes(outbox: Outbox) -> None:
    await outbox.hold_off("a.test", until=Ms(9_000), because="dead", failures=3, now=NOW)
    assert await outbox.next_due() is None
    state = await the_lane(outbox)
    assert (state.waiting, state.failures, state.because, state.oldest) == (0, 3, "dead", 0)
    await outbox.add(["a.test"], edus(1), now=Ms(2_000))
    assert await outbox.next_due() == 9_000
    assert await take(outbox, now=Ms(8_999)) == ()
    assert await outbox.heard_from("a.test", now=Ms(3_000))
    assert await outbox.next_due() == 3_000


async def test_a_back_off_that_is_over_delays_nothing(outbox: Outbox) -> None:
    await outbox.hold_off("a.test", until=Ms(2_000), because="dead", failures=3, now=NOW)
    await outbox.add(["a.test"], edus(1), now=Ms(5_000))
    assert await outbox.next_due() == 5_000
    assert (await taken(outbox, now=Ms(5_000))).failures == 3


async def test_a_cleared_back_off_with_nothing_waiting_leaves_no_lane(outbox: Outbox) -> None:
    await outbox.hold_off("a.test", until=Ms(9_000), because="dead", failures=1, now=NOW)
    assert await outbox.heard_from("a.test", now=NOW)
    assert await outbox.lanes() == ()


async def test_a_leased_lane_keeps_its_lease_through_back_off_and_sign_of_life(
    outbox: Outbox,
) -> None:
    await outbox.add(["a.test"], edus(1, 2), now=NOW)
    sealed = await taken(outbox)
    await outbox.hold_off("a.test", until=Ms(90_000), because="dead", failures=1, now=NOW)
    state = await the_lane(outbox)
    assert (state.leased_by, state.due, state.failures) == ("one", UNTIL, 1)
    assert (await outbox.back_offs())["a.test"].until == 90_000
    assert await outbox.heard_from("a.test", now=NOW)
    assert (await the_lane(outbox)).due == UNTIL
    assert await settle(outbox, sealed, Delivered()) is None
    assert await outbox.lanes() == ()


async def test_a_release_waits_for_a_back_off_that_came_meanwhile(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    sealed = await taken(outbox)
    await outbox.hold_off("a.test", until=Ms(9_000), because="dead", failures=1, now=NOW)
    await settle(outbox, sealed, Release(), now=Ms(2_000))
    assert await outbox.next_due() == 9_000


async def test_a_released_lane_is_due_at_once_and_unchanged(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    sealed = await taken(outbox)
    assert await settle(outbox, sealed, Release(), now=Ms(2_000)) is None
    assert await outbox.next_due() == 2_000
    again = await taken(outbox, "two", now=Ms(2_000))
    assert (again.txn_id, again.body, again.failures) == (sealed.txn_id, sealed.body, 0)


async def test_refusals_of_the_same_bytes_are_counted(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    sealed = await taken(outbox)
    for number in (1, 2):
        now = Ms(NOW + number * 1_000)
        refused = Refused(until=now, because="400")
        assert await settle(outbox, sealed, refused) is None
        state = await the_lane(outbox)
        assert (state.because, state.failures, state.due) == ("400", 0, now)
        again = await taken(outbox, now=now)
        assert (again.refusals, again.txn_id, again.body) == (number, sealed.txn_id, sealed.body)
        sealed = again
    await outbox.add(["a.test"], edus(2), now=NOW)
    following = await settle(outbox, sealed, Delivered())
    assert following is not None
    assert following.refusals == 0


async def test_a_refusal_is_a_sign_of_life(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    held = HeldOff(until=Ms(2_000), because="down", failures=1)
    await settle(outbox, await taken(outbox), held)
    sealed = await taken(outbox, now=Ms(2_000))
    await settle(outbox, sealed, Refused(until=Ms(9_000), because="400"))
    assert await outbox.back_offs() == {}
    assert not await outbox.heard_from("a.test", now=NOW)
    assert await outbox.next_due() == 9_000


async def test_only_the_longest_back_offs_are_told(outbox: Outbox) -> None:
    for until in (3_000, 9_000, 6_000):
        name = f"{until}.test"
        await outbox.hold_off(name, until=Ms(until), because="", failures=1, now=NOW)
    assert list(await outbox.back_offs(most=2)) == ["9000.test", "6000.test"]


async def test_back_offs_that_ended_long_ago_are_forgotten(outbox: Outbox) -> None:
    names = [f"{each}.test" for each in range(20)]
    for name in names:
        await outbox.hold_off(name, until=Ms(2_000), because="", failures=1, now=NOW)
    await outbox.add(["19.test"], edus(1), now=NOW)
    for place in range(3):
        now = Ms(2_001 + DAY_MS + place)
        await outbox.hold_off("new.test", until=Ms(now + 1), because="", failures=1, now=now)
    assert {each.destination for each in await outbox.lanes()} == {"new.test", "19.test"}


# --- Poison: halving, parking ---


async def find_poison(
    outbox: Outbox, poison: Callable[[list[int]], bool], rule: SealRule = RULE
) -> tuple[list[int], int]:
    """What a destination got that refuses some transactions; and how many were refused."""
    got: list[int] = []
    refused = 0
    (sealed,) = await take(outbox, rule=rule)
    at: Sealed | None = sealed
    while at is not None:
        numbers = carried(at)
        settlement: Settlement = Delivered()
        if poison(numbers):
            refused += 1
            half = len(numbers) // 2
            settlement = Halve(most=half, because="413") if half else Park(because="400")
        else:
            got += numbers
        at = await outbox.settle(at, settlement, now=NOW, until=UNTIL, rule=rule)
    return got, refused


@pytest.mark.parametrize("bad", [0, 1, 49, 50, 99])
async def test_halving_finds_the_one_poison_item_and_the_rest_arrives(
    outbox: Outbox, bad: int
) -> None:
    await outbox.add(["a.test"], edus(*range(150)), now=NOW)
    got, refused = await find_poison(outbox, lambda numbers: bad in numbers)
    assert got == [each for each in range(150) if each != bad]
    assert refused <= 9, "logarithmic"
    (parked,) = await outbox.parked("a.test")
    assert (parked.body, parked.because, parked.parked_at) == (b'{"n":%d}' % bad, "400", NOW)
    state = await the_lane(outbox)
    assert (state.waiting, state.waiting_bytes, state.parked) == (0, 0, 1)


@pytest.mark.parametrize("seed", range(4))
async def test_halving_finds_every_poison_item_among_both_kinds(outbox: Outbox, seed: int) -> None:
    chance = random.Random(seed)
    items = [one_of_both(chance, each) for each in range(300)]
    bad = set(chance.sample(range(300), 5))
    await outbox.add(["a.test"], items, now=NOW)
    got, _ = await find_poison(outbox, lambda numbers: bool(bad.intersection(numbers)))
    assert sorted(got) == [each for each in range(300) if each not in bad]
    assert {json.loads(each.body)["n"] for each in await outbox.parked()} == bad
    for kind in ItemKind:
        mine = [each for each in got if items[each].kind is kind]
        assert mine == sorted(mine)


async def test_halves_are_new_transactions_and_small_ones_until_their_part_is_done(
    outbox: Outbox,
) -> None:
    await outbox.add(["a.test"], edus(*range(4)), now=NOW)
    whole = await taken(outbox)
    await outbox.add(["a.test"], edus(4, 5), now=NOW)
    first = await settle(outbox, whole, Halve(most=2, because="413"))
    assert carried(first) == [0, 1]
    second = await settle(outbox, first, Delivered())
    assert carried(second) == [2, 3], "not those that were added later"
    third = await settle(outbox, second, Delivered())
    assert carried(third) == [4, 5]
    ids = {each.txn_id for each in (whole, first, second, third) if each is not None}
    assert len(ids) == 4


async def test_what_was_halved_outlives_a_change_of_worker(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(*range(4)), now=NOW)
    half = await settle(outbox, await taken(outbox), Halve(most=2, because="413"))
    again = await taken(outbox, "two", now=UNTIL)
    assert half is not None
    assert (carried(again), again.txn_id) == ([0, 1], half.txn_id)
    assert carried(await settle(outbox, again, Delivered())) == [2, 3]


async def test_items_are_parked_in_sight_and_can_be_put_back(outbox: Outbox) -> None:
    await outbox.add(["a.test"], [pdu(1), edu(2)], now=NOW)
    rule = SealRule(origin="us.test", edus=0)
    (sealed,) = await take(outbox, rule=rule)
    following = await settle(outbox, sealed, Park(because="400"))
    following = await settle(outbox, following, Park(because="401"))
    assert following is None
    first, second = await outbox.parked()
    assert (first.kind, first.event_id, first.because) == (ItemKind.PDU, "$1", "400")
    assert (second.kind, second.destination, second.because) == (ItemKind.EDU, "a.test", "401")
    assert await outbox.parked(most=1) == (first,)
    assert await outbox.parked("b.test") == ()
    assert await outbox.next_due() is None

    assert await outbox.unpark("a.test", ids=[second.id, 999], now=Ms(2_000)) == 1
    assert await outbox.next_due() == 2_000
    await outbox.add(["a.test"], edus(3), now=NOW)
    assert await outbox.unpark("a.test", now=NOW) == 1
    assert await outbox.unpark("a.test", now=NOW) == 0
    assert await outbox.unpark("b.test", now=NOW) == 0
    sealed = await taken(outbox, now=Ms(2_000))
    assert carried(sealed) == [1, 2, 3]
    assert [each.event_id for each in sealed.items] == ["", "", "$1"], "at the lane's end"
    assert await settle(outbox, sealed, Delivered()) is None
    assert await outbox.lanes() == ()


async def test_parked_items_can_be_forgotten_some_or_all(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1, 2, 3), now=NOW)
    await settle(outbox, await taken(outbox), Park(because="400"))
    await outbox.add(["a.test"], edus(4), now=NOW)
    first, *_ = await outbox.parked()
    assert await outbox.drop("a.test", ids=[first.id]) == 1
    assert len(await outbox.parked()) == 2
    assert await outbox.drop("a.test", parked_only=True) == 2
    state = await the_lane(outbox)
    assert (state.parked, state.waiting) == (0, 1)


# --- Dropping ---


async def test_dropping_forgets_what_waits_and_what_is_parked(outbox: Outbox) -> None:
    await outbox.add(["a.test", "b.test"], edus(1), now=NOW)
    (sealed,) = await take(outbox, only="a.test")
    await settle(outbox, sealed, Park(because="400"))
    await outbox.add(["a.test"], edus(2, 3), now=NOW)
    assert await outbox.drop("a.test") == 3
    assert await outbox.drop("a.test") == 0
    assert [each.destination for each in await outbox.lanes()] == ["b.test"]
    assert await outbox.parked() == ()


async def test_what_sleeps_sealed_is_dropped_too(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    sealed = await taken(outbox)
    await settle(outbox, sealed, Release())
    await outbox.add(["a.test"], edus(2), now=NOW)
    assert await outbox.drop("a.test") == 2
    assert await outbox.lanes() == ()
    await outbox.add(["a.test"], edus(3), now=NOW)
    assert carried(await taken(outbox)) == [3]


@pytest.mark.parametrize("settlement", SETTLEMENTS, ids=lambda each: type(each).__name__)
async def test_what_is_in_flight_is_forgotten_when_it_comes_back(
    outbox: Outbox, settlement: Settlement
) -> None:
    await outbox.add(["a.test"], edus(1, 2), now=NOW)
    sealed = await taken(outbox)
    await outbox.add(["a.test"], edus(3), now=NOW)
    assert await outbox.drop("a.test") == 3
    assert await outbox.drop("a.test") == 0
    assert (await the_lane(outbox)).waiting == 2
    assert await settle(outbox, sealed, settlement) is None
    assert await outbox.parked() == ()
    assert sum(each.waiting for each in await outbox.lanes()) == 0
    await outbox.add(["a.test"], edus(4), now=NOW)
    assert carried(await taken(outbox, now=Ms(2_000))) == [4]


async def test_what_was_dropped_is_not_sent_again_by_the_next_worker(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    await taken(outbox)
    await outbox.drop("a.test")
    await outbox.add(["a.test"], edus(2), now=NOW)
    assert carried(await taken(outbox, "two", now=UNTIL)) == [2]


async def test_a_lane_whose_dropped_worker_died_is_forgotten(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=NOW)
    await taken(outbox)
    await outbox.drop("a.test")
    assert await take(outbox, "two", now=UNTIL) == ()
    assert await outbox.lanes() == ()


# --- Replacing and expiring ---


async def test_of_what_waits_with_the_same_key_only_the_latest_stays(outbox: Outbox) -> None:
    await outbox.add(["a.test", "b.test"], [edu(1, replaces="x"), edu(2)], now=NOW)
    await outbox.add(["a.test", "c.test"], [edu(3, replaces="x"), edu(44, replaces="y")], now=NOW)
    assert (await the_lane(outbox)).waiting_bytes == 7 + 7 + 8
    assert {each.destination: carried(each) for each in await take(outbox)} == {
        "a.test": [3, 2, 44],
        "b.test": [1, 2],
        "c.test": [3, 44],
    }


async def test_within_one_deed_the_latest_stays_too(outbox: Outbox) -> None:
    items = [edu(1, replaces="x"), edu(2), edu(300, replaces="x")]
    await outbox.add(["a.test"], items, now=NOW)
    state = await the_lane(outbox)
    assert (state.waiting, state.waiting_bytes) == (2, 16)
    assert carried(await taken(outbox)) == [300, 2]


async def test_what_is_sealed_is_not_replaced(outbox: Outbox) -> None:
    await outbox.add(["a.test"], [edu(1, replaces="x")], now=NOW)
    sealed = await taken(outbox)
    for number in (2, 3):
        await outbox.add(["a.test"], [edu(number, replaces="x")], now=NOW)
    assert carried(await taken(outbox, "two", now=UNTIL)) == [1]
    again = await taken(outbox, "one", now=Ms(UNTIL + 30_000))
    assert (again.body, again.txn_id) == (sealed.body, sealed.txn_id)
    assert carried(await settle(outbox, again, Delivered())) == [3]


async def test_a_pdu_is_never_replaced(outbox: Outbox) -> None:
    key = "x"
    items = [edu(1, replaces=key, kind=ItemKind.PDU), edu(2, replaces=key), edu(3, replaces=key)]
    await outbox.add(["a.test"], [*items, edu(4, replaces=key, kind=ItemKind.PDU)], now=NOW)
    assert carried(await taken(outbox)) == [1, 4, 3]


async def test_what_has_expired_is_dropped_on_the_way(outbox: Outbox) -> None:
    items = [edu(1, expires=5_000), edu(2), edu(3, expires=5_001), edu(4, expires=9_000)]
    await outbox.add(["a.test"], items, now=NOW)
    sealed = await taken(outbox, now=Ms(5_000))
    assert carried(sealed) == [2, 3, 4]
    assert (await the_lane(outbox)).waiting == 3


async def test_a_lane_left_empty_by_expiry_is_not_given_out(outbox: Outbox) -> None:
    await outbox.add(["a.test"], [edu(1, expires=5_000)], now=NOW)
    await outbox.add(["b.test"], edus(2), now=Ms(NOW + 1))
    sealed = await take(outbox, now=Ms(5_000), most=1)
    assert [each.destination for each in sealed] == ["b.test"]
    assert [each.destination for each in await outbox.lanes()] == ["b.test"]


async def test_what_is_sealed_goes_out_however_old_it_is(outbox: Outbox) -> None:
    await outbox.add(["a.test"], [edu(1, expires=5_000), edu(2, expires=5_000)], now=NOW)
    sealed = await taken(outbox)
    again = await taken(outbox, "two", now=Ms(60_000))
    assert again.body == sealed.body
    half = await settle(outbox, again, Halve(most=1, because=""), now=Ms(60_000))
    assert half is None, "unsealed, it may expire"
    assert await outbox.lanes() == ()


# --- Bounds and reports ---


async def test_a_full_lane_takes_no_more_and_nothing_of_the_deed_is_kept(small: Outbox) -> None:
    await small.add(["a.test"], edus(1, 2, 3, 4), now=NOW)
    before = await small.lanes()
    with pytest.raises(QueueFull) as raised:
        await small.add(["b.test", "a.test"], edus(5, 6), now=NOW)
    assert raised.value.code == "queue-full-destination"
    assert await small.lanes() == before
    await small.add(["a.test", "b.test"], edus(7), now=NOW)
    assert [carried(each) for each in await take(small)] == [[1, 2, 3, 4, 7], [7]]


async def test_a_lane_is_bounded_in_bytes(small: Outbox) -> None:
    body = b'"%s"' % (b"x" * 48)
    await small.add(["a.test"], [OutItem(kind=ItemKind.EDU, body=body)] * 2, now=NOW)
    with pytest.raises(QueueFull) as raised:
        await small.add(["a.test"], edus(1), now=NOW)
    assert raised.value.code == "queue-full-destination"
    assert (await the_lane(small)).waiting == 2


async def test_all_lanes_together_are_bounded(small: Outbox) -> None:
    await small.add(["a.test", "b.test"], edus(1, 2, 3), now=NOW)
    with pytest.raises(QueueFull) as raised:
        await small.add(["c.test"], edus(4, 5, 6), now=NOW)
    assert raised.value.code == "queue-full"
    assert len(await small.lanes()) == 2
    await settle(small, (await take(small))[0], Delivered())
    await small.add(["c.test"], edus(4, 5, 6), now=NOW)


async def test_what_is_parked_counts_and_what_is_replaced_does_not(small: Outbox) -> None:
    await small.add(["a.test"], edus(1, 2, 3), now=NOW)
    await settle(small, await taken(small), Park(because="400"))
    await small.add(["a.test"], [edu(4, replaces="x"), edu(5)], now=NOW)
    with pytest.raises(QueueFull):
        await small.add(["a.test"], edus(6), now=NOW)
    for number in range(7, 20):
        await small.add(["a.test"], [edu(number, replaces="x")], now=NOW)
    assert carried(await taken(small)) == [19, 5]
    assert await small.drop("a.test", parked_only=True) == 3
    await small.add(["a.test", "b.test"], edus(6, 7, 8), now=NOW)


async def test_putting_back_leaves_the_count_right(small: Outbox) -> None:
    await small.add(["a.test"], edus(1, 2, 3), now=NOW)
    await settle(small, await taken(small), Park(because="400"))
    assert await small.unpark("a.test", now=NOW) == 3
    await small.add(["b.test"], edus(*range(5)), now=NOW)
    with pytest.raises(QueueFull):
        await small.add(["c.test"], edus(1), now=NOW)
    assert await small.drop("a.test") == 3
    await small.add(["c.test"], edus(1, 2, 3), now=NOW)


async def test_lanes_are_told_most_waiting_first(outbox: Outbox) -> None:
    await outbox.add(["a.test"], edus(1), now=Ms(5_000))
    await outbox.add(["b.test"], [edu(1), pdu(2)], now=Ms(6_000))
    await outbox.add(["b.test"], edus(3), now=Ms(7_000))
    first, second = await outbox.lanes()
    assert (first.destination, first.waiting, first.waiting_bytes) == ("b.test", 3, 21)
    assert (first.oldest, first.due, first.leased_by, first.txn_id) == (6_000, 6_000, "", "")
    assert (second.destination, second.oldest) == ("a.test", 5_000)
    assert await outbox.lanes(most=1) == (first,)
    assert await outbox.lanes("c.test") == ()


async def test_a_closed_outbox_refuses_every_deed(store: Store) -> None:
    outbox = store.outbox
    await outbox.add(["a.test"], edus(1), now=NOW)
    sealed = await taken(outbox)
    await store.close()
    deeds: list[Awaitable[object]] = [
        outbox.add(["a.test"], edus(1), now=NOW),
        take(outbox),
        settle(outbox, sealed, Delivered()),
        outbox.renew("one", until=UNTIL),
        outbox.next_due(),
        outbox.hold_off("a.test", until=UNTIL, because="", failures=1, now=NOW),
        outbox.heard_from("a.test", now=NOW),
        outbox.back_offs(),
        outbox.lanes(),
        outbox.parked(),
        outbox.unpark("a.test", now=NOW),
        outbox.drop("a.test"),
    ]
    for deed in deeds:
        with pytest.raises(StoreFault) as raised:
            await deed
        assert raised.value.code == "store-closed"


async def test_ten_thousand_destinations_are_one_deed(outbox: Outbox) -> None:
    names = [f"{each:05}.test" for each in range(10_000)]
    await outbox.add(names, edus(1), now=NOW)
    sealed = await take(outbox, most=10_001)
    assert [each.destination for each in sealed] == names
    assert len({each.txn_id for each in sealed}) == 10_000


# --- Any history ---


class History:
    """The same deeds, drawn by chance, for any outbox."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = Ms(1_000)
        self.number = 0
        self.flying: list[tuple[Sealed, ...]] = []

    def items(self) -> list[OutItem]:
        made = []
        for _ in range(self.chance.randrange(1, 6)):
            self.number += 1
            if self.chance.random() < 0.4:
                made.append(pdu(self.number))
            else:
                key = self.chance.choice(["", "", "x", "y"])
                expires = self.now + 20_000 if key else 0
                made.append(edu(self.number, replaces=key, expires=expires))
        return made

    def settlement(self, sealed: Sealed) -> Settlement:
        soon = Ms(self.now + self.chance.randrange(5_000))
        choices: list[Settlement] = [
            Delivered(),
            HeldOff(until=soon, because="h", failures=sealed.failures + 1),
            Refused(until=soon, because="r"),
            Halve(most=len(sealed.items) // 2, because="half"),
            Park(because="p"),
            Release(),
        ]
        return self.chance.choice(choices)

    async def step(self, outboxes: Sequence[Outbox]) -> None:
        self.now = Ms(self.now + self.chance.randrange(3_000))
        rule = SealRule(origin="us.test", pdus=3, edus=4)
        until = Ms(self.now + 10_000)
        name = self.chance.choice("abc") + ".test"
        what = self.chance.randrange(10)
        if what < 3:
            to = self.chance.sample(["a.test", "b.test", "c.test"], 2)
            items = self.items()
            for each in outboxes:
                await each.add(to, items, now=self.now)
        elif what < 5:
            node = self.chance.choice(["one", "two"])
            both = [
                await each.take(node, now=self.now, until=until, most=2, rule=rule)
                for each in outboxes
            ]
            self.flying += zip(*both, strict=True)
        elif what < 8 and self.flying:
            pair = self.flying.pop(self.chance.randrange(len(self.flying)))
            chosen = self.settlement(pair[0])
            after = [
                await each.settle(mine, chosen, now=self.now, until=until, rule=rule)
                for each, mine in zip(outboxes, pair, strict=True)
            ]
            following = tuple(each for each in after if each is not None)
            assert len(following) in (0, len(after))
            if following:
                self.flying.append(following)
        else:
            await self._rarer(outboxes, name)

    async def _rarer(self, outboxes: Sequence[Outbox], name: str) -> None:
        soon = Ms(self.now + 4_000)
        what = self.chance.randrange(5)
        for each in outboxes:
            if what == 0:
                await each.hold_off(name, until=soon, because="b", failures=2, now=self.now)
            elif what == 1:
                await each.heard_from(name, now=self.now)
            elif what == 2:
                await each.unpark(name, now=self.now)
            elif what == 3:
                await each.renew("one", until=soon)
            elif self.number % 5 == 0:
                await each.drop(name)


async def seen(outbox: Outbox) -> object:
    """All that can be asked, without the ids that chance gave."""
    lanes = [
        (each.destination, each.waiting, each.waiting_bytes, each.parked, each.failures,
         each.since, each.due, each.because, each.leased_by, bool(each.txn_id), each.oldest)
        for each in await outbox.lanes()
    ]  # fmt: skip
    parked = sorted((each.destination, each.body, each.because) for each in await outbox.parked())
    return lanes, parked, await outbox.next_due(), await outbox.back_offs()


@pytest.mark.parametrize("seed", range(12))
async def test_all_outboxes_do_the_same_in_any_history(seed: int, tmp_path: Path) -> None:
    history = History(seed)
    stores = [await make(tmp_path) for make in STORES.values()]
    outboxes = [each.outbox for each in stores]
    for _ in range(150):
        await history.step(outboxes)
        first, *others = [await seen(each) for each in outboxes]
        assert all(other == first for other in others)
        for pair in history.flying:
            assert len({(each.body, each.refusals, each.failures) for each in pair}) == 1
    for store in stores:
        await store.close()
