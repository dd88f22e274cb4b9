"""The sender against a world's clock and store: order, patience, poison, and two workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from ranvier.deeds import Halve, HeldOff, ItemKind, OutItem, Park, Sealed
from ranvier.limits import DAY_MS, Limits
from ranvier.protocol.canonical import encode_canonical
from ranvier.services.backoff import BackOffs
from ranvier.services.delivery import Delivery, DeliveryOutcome
from ranvier.services.sender import Sender
from ranvier.world import World

LIMITS = Limits()
Answer = Callable[[Sealed], Awaitable[DeliveryOutcome]]


def pdu(number: int) -> OutItem:
    body = encode_canonical({"type": "x", "n": number})
    return OutItem(kind=ItemKind.PDU, body=body, event_id=f"${number}")


def edu(number: int, **more: Any) -> OutItem:
    body = encode_canonical({"edu_type": "x.n", "content": {"n": number}})
    return OutItem(kind=ItemKind.EDU, body=body, **more)


def numbers(sealed: Sealed) -> list[int]:
    body = json.loads(sealed.body)
    return [each["n"] for each in body["pdus"]] + [
        each["content"]["n"] for each in body.get("edus", ())
    ]


class Post:
    """A destination side that is scripted: what came, and how it is answered."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.came: list[Sealed] = []
        self.at: list[float] = []
        self.answers: dict[str, Answer] = {}
        self.told: list[Delivery] = []
        self.aloft: dict[str, int] = {}
        self.most_aloft = 0

    async def deliver(self, sealed: Sealed) -> Delivery:
        self.came.append(sealed)
        self.at.append(self.world.clock.tick())
        self.aloft[sealed.destination] = self.aloft.get(sealed.destination, 0) + 1
        self.most_aloft = max(self.most_aloft, *self.aloft.values())
        try:
            answer = self.answers.get(sealed.destination)
            outcome = DeliveryOutcome.DELIVERED if answer is None else await answer(sealed)
        finally:
            self.aloft[sealed.destination] -= 1
        return Delivery(
            destination=sealed.destination,
            txn_id=sealed.txn_id,
            outcome=outcome,
            because="" if outcome is DeliveryOutcome.DELIVERED else "it was scripted",
        )

    async def note(self, delivery: Delivery) -> None:
        self.told.append(delivery)

    def numbers(self, name: str = "b.test") -> list[int]:
        return [n for each in self.came if each.destination == name for n in numbers(each)]


class Desk:
    """One worker: its sender and its back-offs."""

    def __init__(self, world: World, post: Post, node: str, limits: Limits) -> None:
        outbox, clock = world.store.outbox, world.clock
        self.back_offs = BackOffs(outbox, clock, limits, lambda: self.sender.nudge())
        self.sender = Sender(
            outbox,
            post.deliver,
            node=node,
            origin="a.test",
            clock=clock,
            limits=limits,
            back_offs=self.back_offs,
            on_sent=post.note,
        )


@asynccontextmanager
async def working(
    world: World, post: Post, node: str = "n1", limits: Limits = LIMITS
) -> AsyncIterator[Desk]:
    desk = Desk(world, post, node, limits)
    await desk.back_offs.load()
    await desk.sender.start()
    try:
        yield desk
    finally:
        await desk.sender.stop()
        await desk.back_offs.close()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def post(world: World) -> Post:
    return Post(world)


def after(world: World, seconds: float, outcome: DeliveryOutcome = DeliveryOutcome.LATER) -> Answer:
    """An answer that takes its time."""

    async def answer(sealed: Sealed) -> DeliveryOutcome:
        await world.clock.sleep(seconds)
        return outcome

    return answer


async def later(sealed: Sealed) -> DeliveryOutcome:
    return DeliveryOutcome.LATER


async def refused(sealed: Sealed) -> DeliveryOutcome:
    return DeliveryOutcome.REFUSED


@pytest.mark.req("TXN-02", "TXN-20")
async def test_what_is_sent_arrives_in_order_fifty_pdus_at_a_time(world: World, post: Post) -> None:
    async with working(world, post) as desk:
        await desk.sender.add(["b.test"], [pdu(n) for n in range(51)])
        await world.clock.sleep(1)
    assert [len(each.items) for each in post.came] == [50, 1]
    assert post.numbers() == list(range(51))
    assert post.most_aloft == 1
    assert [each.outcome for each in post.told] == [DeliveryOutcome.DELIVERED] * 2


@pytest.mark.req("TXN-08", "TXN-10", "TXN-19")
async def test_a_failed_attempt_comes_again_with_the_same_id_and_bytes(
    world: World, post: Post
) -> None:
    async def at_the_third(sealed: Sealed) -> DeliveryOutcome:
        return DeliveryOutcome.LATER if len(post.came) < 3 else DeliveryOutcome.DELIVERED

    post.answers["b.test"] = at_the_third
    async with working(world, post) as desk:
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(0.5)
        await desk.sender.add(["b.test"], [edu(2)])
        await world.clock.sleep(60)
    first, second, third, rest = post.came
    assert (first.txn_id, first.body) == (second.txn_id, second.body) == (third.txn_id, third.body)
    assert rest.txn_id != first.txn_id
    assert numbers(rest) == [2]
    assert post.at[2] - post.at[1] > post.at[1] - post.at[0] > 1


@pytest.mark.req("TXN-19")
async def test_a_week_of_silence_costs_no_task_and_few_attempts_and_ends_at_a_sign_of_life(
    world: World, post: Post
) -> None:
    post.answers["b.test"] = later
    async with working(world, post) as desk:
        idle = len(asyncio.all_tasks())
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(7 * DAY_MS / 1000)
        assert desk.sender.in_flight == 0
        assert len(asyncio.all_tasks()) == idle
        assert len(post.came) < 25
        lane = (await world.store.outbox.lanes("b.test"))[0]
        assert (lane.waiting, lane.because) == (1, "it was scripted")
        del post.answers["b.test"]
        heard, before = world.clock.tick(), len(post.came)
        desk.back_offs.heard("b.test")
        await world.clock.sleep(5)
    assert len(post.came) == before + 1
    assert post.at[-1] - heard < 1
    assert len({each.txn_id for each in post.came}) == 1


@pytest.mark.req("TXN-19")
async def test_who_is_not_held_off_from_costs_nothing_when_heard(world: World, post: Post) -> None:
    async with working(world, post) as desk:
        desk.back_offs.heard("b.test")  # whether another worker holds off from it
        await desk.back_offs.close()
        before = len(asyncio.all_tasks())
        desk.back_offs.heard("b.test")
        assert len(asyncio.all_tasks()) == before


@pytest.mark.req("D36")
async def test_a_poison_item_is_found_by_halving_and_parks_alone(world: World, post: Post) -> None:
    async def picky(sealed: Sealed) -> DeliveryOutcome:
        bad = 13 in numbers(sealed)
        return DeliveryOutcome.REFUSED if bad else DeliveryOutcome.DELIVERED

    post.answers["b.test"] = picky
    async with working(world, post) as desk:
        await desk.sender.add(["b.test"], [pdu(n) for n in range(30)])
        await world.clock.sleep(600)
        parked = await world.store.outbox.parked()
    assert [each.event_id for each in parked] == ["$13"]
    assert parked[0].because == "it was scripted"
    taken = [
        n
        for each, told in zip(post.came, post.told, strict=True)
        if told.outcome is DeliveryOutcome.DELIVERED
        for n in numbers(each)
    ]
    assert taken == [n for n in range(30) if n != 13]
    kinds = {type(each.settlement) for each in post.told}
    assert {Halve, Park} <= kinds
    ids = [each.txn_id for each in post.came]
    assert max(ids.count(each) for each in ids) == LIMITS.refusals_before_halving


async def test_a_poison_item_does_not_hold_up_other_lanes(world: World, post: Post) -> None:
    post.answers["b.test"] = refused
    async with working(world, post) as desk:
        await desk.sender.add(["b.test", "c.test"], [edu(1)])
        await world.clock.sleep(0.1)
        assert post.numbers("c.test") == [1]


async def test_a_destination_that_never_answers_holds_up_nobody_else(
    world: World, post: Post
) -> None:
    never = after(world, 10**6)
    post.answers["b.test"] = never
    async with working(world, post) as desk:
        await desk.sender.add(["b.test"], [edu(99)])
        await world.clock.sleep(1)
        for n in range(20):
            await desk.sender.add(["b.test", "c.test"], [edu(n)])
            await world.clock.sleep(10)
    assert post.numbers("c.test") == list(range(20))
    assert post.numbers("b.test") == [99]  # renewed under way: nobody took the lane


@pytest.mark.req("D40")
@pytest.mark.req("SEC-05")
async def test_many_that_never_answer_leave_places_for_the_others(world: World, post: Post) -> None:
    never = after(world, 60)
    limits = msgspec.structs.replace(LIMITS, outbox_in_flight=4, outbox_in_flight_slow=40)
    names = [f"d{n}.test" for n in range(30)]
    post.answers = dict.fromkeys(names, never)
    async with working(world, post, limits=limits) as desk:
        await desk.sender.add(names, [edu(1)])
        await world.clock.sleep(50)
        assert desk.sender.in_flight == 30
        for n in range(10):
            began = world.clock.tick()
            await desk.sender.add(["c.test"], [edu(n)])
            await world.clock.sleep(0.5)
            assert post.numbers("c.test")[-1] == n
            assert post.at[-1] - began < 0.1


async def test_there_is_a_bound_for_the_slow_ones_too(world: World, post: Post) -> None:
    never = after(world, 60)
    limits = msgspec.structs.replace(LIMITS, outbox_in_flight=4, outbox_in_flight_slow=6)
    names = [f"d{n}.test" for n in range(30)]
    post.answers = dict.fromkeys(names, never)
    async with working(world, post, limits=limits) as desk:
        await desk.sender.add(names, [edu(1)])
        await world.clock.sleep(50)
        assert desk.sender.in_flight == 10


async def test_two_workers_keep_one_lane_per_destination(world: World, post: Post) -> None:
    names = [f"d{n}.test" for n in range(20)]

    slow = after(world, 0.3, DeliveryOutcome.DELIVERED)
    post.answers = dict.fromkeys(names, slow)
    async with working(world, post, "n1") as one, working(world, post, "n2") as two:
        for n in range(40):
            await (one, two)[n % 2].sender.add(names, [edu(n)])
            await world.clock.sleep(0.1 if n < 20 else 0.5)
        await world.clock.sleep(60)
    assert post.most_aloft == 1
    for name in names:
        assert post.numbers(name) == list(range(40))
    assert {each.node for each in post.came} == {"n1", "n2"}


@pytest.mark.req("D40")
async def test_who_dies_is_followed_by_another_who_sends_the_same_bytes_first(
    world: World, post: Post
) -> None:
    never = after(world, 10**6)
    post.answers["b.test"] = never
    async with working(world, post, "n1") as one:
        await one.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(1)
    post.answers.clear()
    async with working(world, post, "n2") as two:
        await two.sender.add(["b.test"], [edu(2)])
        await world.clock.sleep(LIMITS.lease_seconds * 2 + 1)
    first, again, following = post.came
    assert (again.txn_id, again.body) == (first.txn_id, first.body)
    assert (first.node, again.node) == ("n1", "n2")
    assert numbers(following) == [2]


async def test_a_worker_whose_lease_ran_out_under_it_goes_on_with_the_lane(
    world: World, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = after(world, 10**6)
    slow = after(world, LIMITS.lease_seconds * 1.5, DeliveryOutcome.DELIVERED)

    async def no_renewal(node: str, *, until: Any) -> None:
        return None

    outbox = world.store.outbox
    post.answers = {"b.test": slow, "c.test": never}
    async with working(world, post) as desk:
        monkeypatch.setattr(outbox, "renew", no_renewal)
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(LIMITS.lease_seconds * 1.4)  # taken again meanwhile
        monkeypatch.undo()
        await desk.sender.add(["c.test"], [edu(1)])  # in flight: leases are renewed
        await world.clock.sleep(LIMITS.lease_seconds * 2)
        assert [each.destination for each in await outbox.lanes()] == ["c.test"]
    first, again = (each for each in post.came if each.destination == "b.test")
    assert (first.txn_id, first.body) == (again.txn_id, again.body)


async def test_a_lane_that_never_ends_lets_others_pass(world: World, post: Post) -> None:
    slow = after(world, 0.01, DeliveryOutcome.DELIVERED)
    post.answers["b.test"] = slow
    limits = msgspec.structs.replace(LIMITS, outbox_in_flight=1)
    async with working(world, post, limits=limits) as desk:
        await desk.sender.add(["b.test"], [pdu(n) for n in range(50 * 40)])
        await desk.sender.add(["c.test"], [edu(1)])
        await world.clock.sleep(5)
    places = [each.destination for each in post.came]
    assert places.index("c.test") <= 17
    assert post.numbers("b.test") == list(range(2000))


async def test_a_wish_to_wait_is_kept(world: World, post: Post) -> None:
    async with working(world, post) as desk:

        async def deliver(sealed: Sealed) -> Delivery:
            post.came.append(sealed)
            post.at.append(world.clock.tick())
            late = len(post.came) > 1
            return Delivery(
                destination="b.test",
                txn_id=sealed.txn_id,
                outcome=DeliveryOutcome.DELIVERED if late else DeliveryOutcome.LATER,
                not_before=type(world.clock.now())(0 if late else world.clock.now() + 100_000),
            )

        desk.sender._deliver = deliver
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(200)
    assert 100 <= post.at[1] - post.at[0] < 101


async def test_a_store_that_fails_loses_nothing(world: World, post: Post) -> None:
    async def breaks(sealed: Sealed) -> DeliveryOutcome:
        world.store.broken = True
        return DeliveryOutcome.DELIVERED

    post.answers["b.test"] = breaks
    async with working(world, post) as desk:
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(20)
        assert len(post.came) == 1
        world.store.broken = False
        await world.clock.sleep(20)
        assert await world.store.outbox.lanes() == ()
        await desk.sender.add(["b.test"], [edu(2)])
        await world.clock.sleep(1)
    assert post.numbers() == [1, 2]


async def test_a_handler_of_deliveries_that_fails_stops_nothing(world: World, post: Post) -> None:
    async def fails(delivery: Delivery) -> None:
        raise RuntimeError("no")

    async with working(world, post) as desk:
        desk.sender._on_sent = fails
        await desk.sender.add(["b.test"], [edu(1)])
        await desk.sender.add(["b.test"], [edu(2)])
        await world.clock.sleep(1)
    assert post.numbers() == [1, 2]


async def test_an_attempt_that_breaks_is_one_that_failed(world: World, post: Post) -> None:
    """A fault of our own must not keep the lane, whose lease is renewed while others fly."""

    async def breaks(sealed: Sealed) -> DeliveryOutcome:
        if len([each for each in post.came if each.destination == "b.test"]) == 1:
            raise RuntimeError("no")
        return DeliveryOutcome.DELIVERED

    never = after(world, 10**6)
    post.answers = {"b.test": breaks, "c.test": never}
    async with working(world, post) as desk:
        await desk.sender.add(["c.test", "b.test"], [edu(1)])
        await world.clock.sleep(1)
        [lane] = await world.store.outbox.lanes("b.test")
        assert (lane.failures, lane.leased_by) == (1, "")
        assert "RuntimeError" in lane.because
        await world.clock.sleep(LIMITS.back_off_min_seconds * 2)
    first, again = (each for each in post.came if each.destination == "b.test")
    assert (first.txn_id, first.body) == (again.txn_id, again.body)


async def test_the_settlement_says_when_the_next_try_is(world: World, post: Post) -> None:
    post.answers["b.test"] = later
    async with working(world, post) as desk:
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(1)
        held = await desk.back_offs.of("b.test")
    settlement = post.told[0].settlement
    assert isinstance(settlement, HeldOff)
    assert held is not None
    assert (settlement.until, settlement.failures) == (held.until, 1)


async def test_who_stops_leaves_his_lanes_to_the_next_at_once(world: World, post: Post) -> None:
    never = after(world, 10**6)
    post.answers["b.test"] = never
    async with working(world, post, "n1") as one:
        await one.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(1)
    post.answers.clear()
    stopped = world.clock.tick()
    async with working(world, post, "n2"):
        await world.clock.sleep(5)
    assert post.at[1] - stopped < 1
    assert post.came[1].txn_id == post.came[0].txn_id


@pytest.mark.req("D40")
async def test_a_clock_that_was_far_ahead_delays_nothing_once_it_is_right(
    world: World, post: Post
) -> None:
    post.answers["b.test"] = later
    async with working(world, post) as desk:
        world.clock._start = type(world.clock._start)(world.clock._start + 3650 * DAY_MS)
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(1)
        world.clock._start = type(world.clock._start)(world.clock._start - 3650 * DAY_MS)
        del post.answers["b.test"]
        await world.clock.sleep(2 * LIMITS.lease_seconds)
        assert await desk.back_offs.of("b.test") is None
    assert len(post.came) == 2
    assert await world.store.outbox.lanes() == ()


async def test_a_handler_of_deliveries_that_does_not_end_holds_its_lane_no_longer_than_it_may(
    world: World, post: Post
) -> None:
    async def hangs(delivery: Delivery) -> None:
        await world.clock.sleep(10**6)

    async with working(world, post) as desk:
        desk.sender._on_sent = hangs
        await desk.sender.add(["b.test"], [pdu(n) for n in range(60)])
        await world.clock.sleep(2 * LIMITS.handler_seconds)
    assert post.numbers() == list(range(60))


async def test_a_fault_of_our_own_in_the_look_for_work_is_said_and_ends_nothing(
    world: World, post: Post, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks() -> None:
        raise RuntimeError("our bug")

    async with working(world, post) as desk:
        monkeypatch.setattr(world.store.outbox, "next_due", breaks)
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(1)
        monkeypatch.undo()
        await desk.sender.add(["b.test"], [edu(2)])
        await world.clock.sleep(2 * LIMITS.refusal_retry_seconds)
    assert post.numbers() == [1, 2]
    assert "our bug" in caplog.text


async def test_leases_that_cannot_be_renewed_are_said_so(
    world: World, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    post.answers["b.test"] = after(world, LIMITS.lease_seconds)
    async with working(world, post) as desk:
        await desk.sender.add(["b.test"], [edu(1)])
        await world.clock.sleep(1)
        world.store.broken = True
        await world.clock.sleep(LIMITS.lease_seconds / 2)
        world.store.broken = False
    assert "our leases are not renewed" in caplog.text
