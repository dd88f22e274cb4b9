"""The system's clock (what every clock must do is in tests/contracts)."""

from __future__ import annotations

import time

import pytest

from ranvier.net.clock import SystemClock


def test_now_is_the_systems_time_in_milliseconds(clock: SystemClock) -> None:
    assert abs(clock.now() - time.time() * 1000) < 5000


def test_tick_never_goes_back(clock: SystemClock) -> None:
    ticks = [clock.tick() for _ in range(100)]
    assert ticks == sorted(ticks)


async def test_a_timeout_cancels_its_block_and_raises(clock: SystemClock) -> None:
    with pytest.raises(TimeoutError):
        async with clock.timeout(0.01):
            await clock.sleep(10)


async def test_a_timeout_that_is_not_reached_does_nothing(clock: SystemClock) -> None:
    async with clock.timeout(10):
        await clock.sleep(-1)


def test_random_bytes_differ(clock: SystemClock) -> None:
    drawn = {clock.random_bytes(16) for _ in range(100)}
    assert len(drawn) == 100
    assert all(len(each) == 16 for each in drawn)
