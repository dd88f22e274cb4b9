"""Seats: so many at once, in order, and no memory of who has gone."""

from __future__ import annotations

import asyncio

import pytest

from ranvier.services.seats import Seats


async def test_so_many_sit_and_the_rest_wait_in_order() -> None:
    seats, sitting, seen = Seats(2), 0, []

    async def sit(number: int) -> None:
        nonlocal sitting
        async with seats.taken("a"):
            sitting += 1
            assert sitting <= 2
            seen.append(number)
            await asyncio.sleep(0)
            sitting -= 1

    await asyncio.gather(*(sit(number) for number in range(7)))
    assert seen == list(range(7))
    assert len(seats) == 0


async def test_keys_do_not_wait_for_each_other() -> None:
    seats = Seats(1)
    async with seats.taken("a"), seats.taken("b"):
        assert len(seats) == 2
    assert len(seats) == 0


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    seats = Seats(1)

    async def sit() -> None:
        async with seats.taken("a"):
            raise AssertionError("there is no seat")

    async with seats.taken("a"):
        waiting = asyncio.create_task(sit())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(seats) == 1
    assert len(seats) == 0
