"""Virtual time: it moves only when everybody waits, and in order."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from ranvier.world.clock import NEW_YEAR_2026, VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_two_days_pass_in_no_time(clock: VirtualClock) -> None:
    began = time.monotonic()
    await clock.sleep(48 * 3600)
    assert clock.tick() == 48 * 3600
    assert clock.now() == NEW_YEAR_2026 + 48 * 3_600_000
    assert time.monotonic() - began < 1


async def test_sleepers_wake_in_the_order_of_their_deadlines(clock: VirtualClock) -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.tick()))

    await asyncio.gather(sleeper("late", 3), sleeper("early", 1), sleeper("twin", 1))
    assert woken == [("early", 1), ("twin", 1), ("late", 3)]


async def test_time_stands_still_while_anybody_has_work(clock: VirtualClock) -> None:
    sleeper = asyncio.create_task(clock.sleep(1))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert clock.tick() == 0
    await sleeper
    assert clock.tick() == 1


async def test_a_chain_of_callbacks_counts_as_work(clock: VirtualClock) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def again(left: int) -> None:
        if left:
            loop.call_soon(again, left - 1)
        else:
            done.set_result(clock.tick())

    sleeper = asyncio.create_task(clock.sleep(1))
    again(500)
    assert await done == 0
    await sleeper


async def test_a_woken_task_runs_to_its_next_wait_before_time_moves_on(clock: VirtualClock) -> None:
    seen: list[float] = []

    async def worker() -> None:
        await clock.sleep(1)
        for _ in range(50):
            await asyncio.sleep(0)
            seen.append(clock.tick())

    await asyncio.gather(worker(), clock.sleep(1.001))
    assert set(seen) == {1}


async def test_a_cancelled_sleep_leaves_no_trace(clock: VirtualClock) -> None:
    sleeper = asyncio.create_task(clock.sleep(10))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)
    await clock.sleep(20)
    assert clock.tick() == 20


async def test_an_endless_sleep_does_not_carry_the_clock_away(clock: VirtualClock) -> None:
    endless = asyncio.create_task(clock.sleep(float("inf")))
    await clock.sleep(5)
    assert clock.tick() == 5
    assert not endless.done()
    endless.cancel()


async def test_advance_wakes_whoever_is_due_and_does_not_wait(clock: VirtualClock) -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    with clock.held():
        tasks = [asyncio.create_task(sleeper(each)) for each in (5.0, 1.0, 7.0)]
        await clock.settle()
        clock.advance(6)
        assert clock.tick() == 6
        assert woken == []
        await clock.settle()
        assert woken == [1.0, 5.0]
        clock.advance(1)
        await asyncio.gather(*tasks)
    assert woken == [1.0, 5.0, 7.0]


def test_advance_needs_no_loop(clock: VirtualClock) -> None:
    clock.advance(0.5)
    assert (clock.tick(), clock.now()) == (0.5, NEW_YEAR_2026 + 500)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


async def test_without_autojump_time_passes_only_by_advance() -> None:
    clock = VirtualClock(autojump=False)
    sleeper = asyncio.create_task(clock.sleep(1))
    await clock.settle()
    assert not sleeper.done()
    clock.advance(1)
    await sleeper


async def test_held_lets_a_thread_finish_first(clock: VirtualClock) -> None:
    with clock.held():
        async with clock.timeout(1):
            await asyncio.to_thread(time.sleep, 0.02)
    assert clock.tick() == 0
    await clock.sleep(1)


async def test_settle_returns_to_several_at_once_and_moves_no_time(clock: VirtualClock) -> None:
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.gather(clock.settle(), clock.settle())
    assert clock.tick() == 0
    await sleeper


def test_the_same_seed_gives_the_same_chance() -> None:
    one, two, other = VirtualClock(seed=1), VirtualClock(seed=1), VirtualClock(seed=2)
    assert one.random_bytes(16) == two.random_bytes(16) != other.random_bytes(16)
    assert one.chance() == two.chance() < 1


def test_one_clock_serves_one_loop_after_another(clock: VirtualClock) -> None:
    asyncio.run(clock.sleep(1))
    asyncio.run(clock.sleep(1))
    assert clock.tick() == 2


async def _chatter(clock: VirtualClock) -> list[float]:
    async def talk(seconds: float) -> float:
        await clock.sleep(seconds)
        queue: asyncio.Queue[float] = asyncio.Queue()
        for each in range(20):
            await queue.put(each)
            await queue.get()
            await asyncio.sleep(0)
        return clock.tick()

    return await asyncio.gather(*(talk(each / 10) for each in range(1, 20)))


def test_a_loop_that_hides_its_queue_gives_the_same_order(clock: VirtualClock) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ticks = runner.run(_chatter(clock))
    assert ticks == [each / 10 for each in range(1, 20)]


def test_time_moves_on_in_a_new_loop_after_one_that_ended_early(clock: VirtualClock) -> None:
    async def leave_one_asleep() -> None:
        asyncio.get_running_loop().create_task(clock.sleep(50))
        await clock.sleep(1)

    asyncio.run(leave_one_asleep())
    asyncio.run(clock.sleep(1))
    assert clock.tick() == 2


def test_a_hold_may_end_where_no_loop_runs(clock: VirtualClock) -> None:
    clock.call_at(1, lambda: None)
    with clock.held():
        pass
    asyncio.run(clock.sleep(2))
    assert clock.tick() == 2


def test_two_loops_in_turn_do_not_jump_for_each_other(clock: VirtualClock) -> None:
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        first = one.create_task(clock.sleep(5))
        one.call_soon(one.stop)
        one.run_forever()
        two.run_until_complete(clock.sleep(1))
        assert clock.tick() == 1
        one.run_until_complete(asyncio.wait_for(asyncio.gather(first, _again(clock)), None))
        assert clock.tick() == 5
    finally:
        one.close()
        two.close()


async def _again(clock: VirtualClock) -> None:
    await clock.sleep(1)


async def test_a_sleeper_whose_deadline_passed_while_cancelled_stays_cancelled(
    clock: VirtualClock,
) -> None:
    sleeper = asyncio.create_task(clock.sleep(1))
    await clock.settle()
    sleeper.cancel()
    clock.advance(2)
    with pytest.raises(asyncio.CancelledError):
        await sleeper


async def test_a_thousand_sleepers_wake_in_order(clock: VirtualClock) -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    await asyncio.gather(*(sleeper((each * 7919) % 1000 + 1) for each in range(1000)))
    assert woken == sorted(woken)
    assert clock.tick() == 1000


class _Job(NamedTuple):
    """A sleep within a limit, begun after a delay; all in whole and odd halves, so no ties."""

    delay: int
    work: int
    limit: float

    @property
    def ends(self) -> float:
        return self.delay + min(self.work, self.limit)

    async def run(self, clock: VirtualClock) -> tuple[str, float]:
        await clock.sleep(self.delay)
        try:
            async with clock.timeout(self.limit):
                await clock.sleep(self.work)
        except TimeoutError:
            return "late", clock.tick()
        return "done", clock.tick()


_JOBS = st.lists(
    st.builds(
        _Job,
        delay=st.integers(0, 10_000),
        work=st.integers(0, 10_000),
        limit=st.integers(0, 10_000).map(lambda whole: whole + 0.5),
    ),
    max_size=12,
)


@given(_JOBS, st.integers(0, 20_000))
def test_any_set_of_jobs_ends_as_arithmetic_says(jobs: list[_Job], given_up: int) -> None:
    clock = VirtualClock()

    async def all_of_them() -> list[tuple[str, float]]:
        tasks = [asyncio.create_task(job.run(clock)) for job in jobs]
        await clock.sleep(given_up + 0.25)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        return [each if isinstance(each, tuple) else ("cancelled", 0.0) for each in ended]

    expected = [
        ("cancelled", 0.0)
        if job.ends > given_up + 0.25
        else ("done" if job.work < job.limit else "late", job.ends)
        for job in jobs
    ]
    assert asyncio.run(all_of_them()) == expected
    assert clock.tick() == given_up + 0.25
