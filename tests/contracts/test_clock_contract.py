"""Every clock keeps the Clock plug's word: order, time-outs, nesting, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from ranvier.net.clock import SystemClock
from ranvier.plugs import Clock
from ranvier.world import VirtualClock


class Case(msgspec.Struct, frozen=True):
    """A clock, and how many of its seconds are enough to tell early from late."""

    clock: Clock
    unit: float


CASES: dict[str, Callable[[], Case]] = {
    "world": lambda: Case(VirtualClock(), 1000.0),
    "net": lambda: Case(SystemClock(), 0.05),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


async def test_sleep_lasts_at_least_as_long_as_asked(case: Case) -> None:
    began, wall = case.clock.tick(), case.clock.now()
    await case.clock.sleep(case.unit)
    assert case.clock.tick() - began >= case.unit * 0.99
    assert case.clock.now() - wall >= case.unit * 990


async def test_sleep_of_nothing_or_less_lets_the_others_run_once(case: Case) -> None:
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    for seconds in (0, -1):
        task = asyncio.create_task(other())
        await case.clock.sleep(seconds)
        assert ran.pop() == "other"
        await task


async def test_sleepers_wake_in_order(case: Case) -> None:
    woken: list[int] = []

    async def sleeper(place: int) -> None:
        await case.clock.sleep(place * case.unit)
        woken.append(place)

    await asyncio.gather(*(sleeper(place) for place in (3, 1, 2)))
    assert woken == [1, 2, 3]


async def test_a_block_in_time_is_left_alone(case: Case) -> None:
    began = case.clock.tick()
    async with case.clock.timeout(5 * case.unit):
        await case.clock.sleep(case.unit)
    assert case.clock.tick() - began < 5 * case.unit
    await case.clock.sleep(5 * case.unit)  # and nothing strikes later


async def test_a_block_out_of_time_raises_timeout_error(case: Case) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await case.clock.sleep(10 * case.unit)
        finally:
            ended.append("cleaned up")

    with pytest.raises(TimeoutError):
        async with case.clock.timeout(case.unit):
            await work()
    assert ended == ["cleaned up"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_waits_for_no_clock_is_ended_too(case: Case) -> None:
    with pytest.raises(TimeoutError):
        async with case.clock.timeout(case.unit):
            await asyncio.Event().wait()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_at_all_ends_at_the_first_wait(case: Case, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with case.clock.timeout(seconds):
            await asyncio.Event().wait()


async def test_a_block_without_a_wait_is_never_ended(case: Case) -> None:
    async with case.clock.timeout(0):
        pass


async def test_the_inner_limit_leaves_the_outer_block_running(case: Case) -> None:
    async with case.clock.timeout(10 * case.unit):
        with pytest.raises(TimeoutError):
            async with case.clock.timeout(case.unit):
                await asyncio.Event().wait()
        await case.clock.sleep(case.unit)


async def test_the_outer_limit_is_not_taken_for_the_inner_one(case: Case) -> None:
    raised: list[str] = []

    async def inner() -> None:
        try:
            async with case.clock.timeout(10 * case.unit):
                await asyncio.Event().wait()
        except TimeoutError:
            raised.append("inner")

    with pytest.raises(TimeoutError):
        async with case.clock.timeout(case.unit):
            await inner()
    assert raised == []


async def test_both_limits_at_the_same_instant_end_both(case: Case) -> None:
    with pytest.raises(TimeoutError):
        async with case.clock.timeout(case.unit), case.clock.timeout(case.unit):
            await asyncio.Event().wait()


async def test_cancelling_from_outside_stays_a_cancellation(case: Case) -> None:
    async def worker() -> None:
        async with case.clock.timeout(10 * case.unit):
            await case.clock.sleep(5 * case.unit)

    task = asyncio.create_task(worker())
    await case.clock.sleep(case.unit)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_cancelled_from_outside_and_late_is_a_cancellation(case: Case) -> None:
    async def worker() -> None:
        async with case.clock.timeout(case.unit):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(worker())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_in_the_block_comes_out_as_it_is(case: Case) -> None:
    with pytest.raises(KeyError):
        async with case.clock.timeout(case.unit):
            raise KeyError("mine")


async def test_a_timeout_error_of_the_block_itself_comes_out(case: Case) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with case.clock.timeout(case.unit):
            raise TimeoutError("mine")


async def test_a_limit_in_one_task_leaves_the_others_alone(case: Case) -> None:
    async def limited() -> str:
        try:
            async with case.clock.timeout(case.unit):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "never"

    async def free() -> str:
        await case.clock.sleep(2 * case.unit)
        return "free"

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(limited()), group.create_task(free())]
    assert [task.result() for task in tasks] == ["late", "free"]


async def test_a_task_group_inside_a_limit_is_ended_whole(case: Case) -> None:
    ended: list[int] = []

    async def child(place: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(place)

    async def children() -> None:
        async with asyncio.TaskGroup() as group:
            for place in range(3):
                group.create_task(child(place))

    with pytest.raises(TimeoutError):
        async with case.clock.timeout(case.unit):
            await children()
    assert sorted(ended) == [0, 1, 2]


def test_random_bytes_are_as_many_as_asked_and_differ(case: Case) -> None:
    assert case.clock.random_bytes(0) == b""
    assert len(case.clock.random_bytes(33)) == 33
    assert case.clock.random_bytes(16) != case.clock.random_bytes(16)


def test_the_monotonic_clock_never_runs_backwards(case: Case) -> None:
    assert case.clock.tick() <= case.clock.tick()
