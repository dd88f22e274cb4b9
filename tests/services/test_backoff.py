"""Whom we hold off from: how long, kept where, and what ends it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from ranvier.deeds import ItemKind, OutItem
from ranvier.errors import StoreFault
from ranvier.limits import Limits
from ranvier.services.backoff import BackOffs
from ranvier.world import World

NAME = "b.test"


class Rig:
    """Back-offs in a world; ``nudged`` counts."""

    def __init__(self, world: World | None = None, limits: Limits | None = None) -> None:
        self.world = world or World()
        self.outbox = self.world.store.outbox
        self.nudged = 0
        limits = limits or self.world.limits
        self.back_offs = BackOffs(self.outbox, self.world.clock, limits, self._nudge)

    def _nudge(self) -> None:
        self.nudged += 1

    async def held(self, name: str = NAME) -> bool:
        return await self.back_offs.of(name) is not None

    async def stored(self, name: str = NAME) -> int:
        """How many failures the store knows of."""
        return sum([each.failures for each in await self.outbox.lanes(name)])


@pytest.mark.req("TXN-19")
async def test_a_failure_holds_off_for_a_time_that_doubles() -> None:
    rig = Rig()
    for failures in range(1, 8):
        await rig.back_offs.failed(NAME, "it is down")
        held = await rig.back_offs.of(NAME)
        assert held is not None
        assert (held.failures, held.because) == (failures, "it is down")
        seconds = (held.until - rig.world.clock.now()) / 1000
        assert 0.8 * 2**failures <= seconds <= 1.2 * 2**failures
        assert await rig.stored() == failures
        await rig.world.clock.sleep(seconds)
        assert not await rig.held()


async def test_failures_within_one_back_off_count_once() -> None:
    rig = Rig()
    await asyncio.gather(*(rig.back_offs.failed(NAME, "it is down") for _ in range(9)))
    assert await rig.stored() == 1


async def test_the_row_of_failures_has_one_beginning() -> None:
    rig = Rig()
    began = rig.world.clock.now()
    for _ in range(3):
        await rig.back_offs.failed(NAME, "it is down")
        await rig.world.clock.sleep(10)
    held = rig.back_offs._known[NAME]
    assert held.since == began


async def test_others_are_not_held_off_from() -> None:
    rig = Rig()
    await rig.back_offs.failed(NAME, "it is down")
    assert not await rig.held("c.test")


@pytest.mark.req("TXN-19", "D21")
@pytest.mark.parametrize("sign", ["reached", "heard"])
async def test_a_sign_of_life_ends_it_and_what_waits_is_due(sign: str) -> None:
    rig = Rig()
    item = OutItem(kind=ItemKind.EDU, body=b"{}")
    await rig.outbox.add([NAME], [item], now=rig.world.clock.now())
    for _ in range(3):
        await rig.back_offs.failed(NAME, "it is down")
        await rig.world.clock.sleep(5)
    if sign == "reached":
        await rig.back_offs.reached(NAME)
    else:
        rig.back_offs.heard(NAME)
        rig.back_offs.heard(NAME)
        await rig.back_offs.close()
    assert not await rig.held()
    assert rig.nudged == 1
    assert await rig.outbox.next_due() == rig.world.clock.now()
    await rig.back_offs.failed(NAME, "again")
    assert await rig.stored() == 1


@pytest.mark.req("D21", "TXN-19")
async def test_who_is_heard_from_and_fails_all_the_time_is_tried_now_and_then() -> None:
    """Two servers that fail at each other's requests hear from each other by every one."""
    rig = Rig()
    for _ in range(200):
        if not await rig.held():
            await rig.back_offs.failed(NAME, "it answered 500")
        rig.back_offs.heard(NAME)
        await rig.world.clock.sleep(0.1)
    assert 8 <= rig.nudged <= 11  # in 20 seconds


async def test_a_sign_of_life_that_comes_too_soon_is_not_lost() -> None:
    rig = Rig()
    for _ in range(2):
        for _ in range(9):
            await rig.back_offs.failed(NAME, "it is down")
            held = await rig.back_offs.of(NAME)
            assert held is not None
            await rig.world.clock.sleep((held.until - rig.world.clock.now()) / 1000)
        rig.back_offs.heard(NAME)
        await rig.world.clock.sleep(0.1)
        assert not await rig.held()
    await rig.back_offs.failed(NAME, "it is down")
    rig.back_offs.heard(NAME)
    await rig.world.clock.sleep(0.1)
    assert await rig.held()
    await rig.back_offs.close()  # whoever ends does not wait for it
    assert not await rig.held()


async def test_who_was_not_held_off_from_is_reached_without_a_word() -> None:
    rig = Rig()
    rig.world.store.broken = True
    await rig.back_offs.reached(NAME)
    assert rig.nudged == 0


async def test_it_is_kept_and_read_again() -> None:
    rig = Rig()
    await rig.back_offs.failed(NAME, "it is down")
    again = Rig(rig.world)
    assert not await again.held()
    await again.back_offs.load()
    held = await again.back_offs.of(NAME)
    assert held is not None
    assert (held.failures, held.because) == (1, "it is down")


async def test_more_than_a_page_of_them_are_read_again() -> None:
    """Whoever is forgotten at a start would not be served when it is heard from."""
    rig = Rig()
    for n in range(1500):
        await rig.back_offs.failed(f"d{n}.test", "it is down")
    again = Rig(rig.world)
    await again.back_offs.load()
    assert await again.held("d1499.test")
    assert await again.held("d0.test")


async def test_another_worker_that_heard_from_it_counts_too() -> None:
    one = Rig()
    two = Rig(one.world)
    await one.back_offs.failed(NAME, "it is down")
    await two.back_offs.load()
    await two.back_offs.reached(NAME)
    assert not await one.held()
    assert NAME not in one.back_offs._known


@pytest.mark.req("D21")
async def test_a_worker_that_hears_from_whom_another_holds_off_from_ends_it() -> None:
    one = Rig()
    two = Rig(one.world)
    two.back_offs.heard(NAME)  # all is well, and looked at
    await two.back_offs.close()
    await one.back_offs.failed(NAME, "it is down")
    await two.world.clock.sleep(two.world.limits.lease_seconds)
    two.back_offs.heard(NAME)
    await two.back_offs.close()
    assert await one.stored() == 0
    assert two.nudged == 1


async def test_hearing_from_whom_all_is_well_looks_once_in_a_while_and_writes_nothing() -> None:
    rig, looks = Rig(), 0
    plain = rig.outbox.lanes

    async def lanes(*about: str) -> object:
        nonlocal looks
        looks += 1
        return await plain(*about)

    rig.outbox.lanes = lanes  # type: ignore[assignment, method-assign] # only counted
    for _ in range(100):
        rig.back_offs.heard(NAME)
        await rig.world.clock.sleep(0.1)
    await rig.back_offs.close()
    assert looks == 1
    assert rig.nudged == 0


async def test_a_store_that_fails_leaves_it_to_the_next_sign_of_life() -> None:
    rig = Rig()
    await rig.back_offs.failed(NAME, "it is down")
    rig.world.store.broken = True
    rig.back_offs.heard(NAME)
    await rig.back_offs.close()
    assert rig.nudged == 0
    with pytest.raises(StoreFault):
        await rig.back_offs.of(NAME)
    with pytest.raises(StoreFault):
        await rig.back_offs.failed("c.test", "it is down")
    with pytest.raises(StoreFault):
        await rig.back_offs.load()
    rig.world.store.broken = False
    assert await rig.held()
    rig.back_offs.heard(NAME)
    await rig.back_offs.close()
    assert not await rig.held()
    assert rig.nudged == 1


async def test_a_look_that_fails_is_made_again() -> None:
    one = Rig()
    two = Rig(one.world)
    await one.back_offs.failed(NAME, "it is down")
    one.world.store.broken = True
    two.back_offs.heard(NAME)
    await two.back_offs.close()
    one.world.store.broken = False
    two.back_offs.heard(NAME)
    await two.back_offs.close()
    assert await one.stored() == 0


async def test_the_longest_time_is_bounded() -> None:
    limits = msgspec.structs.replace(Limits(), back_off_max_seconds=60.0)
    rig = Rig(limits=limits)
    now = rig.world.clock.now()
    assert all(rig.back_offs.after_failure(n) - now <= 72_000 for n in (1, 10, 10**6))
