"""Turns: so many at once, in order, and no memory of who has gone."""

from __future__ import annotations

import asyncio

import pytest

from ranvier.services.turns import Turns


async def test_so_many_are_served_and_the_rest_wait_in_order() -> None:
    turns, taking, seen = Turns(2), 0, []

    async def take(number: int) -> None:
        nonlocal taking
        async with turns.taken("a"):
            taking += 1
            assert taking <= 2
            seen.append(number)
            await asyncio.sleep(0)
            taking -= 1

    await asyncio.gather(*(take(number) for number in range(7)))
    assert seen == list(range(7))
    assert len(turns) == 0


async def test_keys_do_not_wait_for_each_other() -> None:
    turns = Turns(1)
    async with turns.taken("a"), turns.taken("b"):
        assert len(turns) == 2
    assert len(turns) == 0


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    turns = Turns(1)

    async def take() -> None:
        async with turns.taken("a"):
            raise AssertionError("it is not its turn")

    async with turns.taken("a"):
        waiting = asyncio.create_task(take())
        await asyncio.sleep(0)
        waiting.cancel()
        assert turns.users("a") == 2
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert turns.users("a") == len(turns) == 1
    assert turns.users("a") == len(turns) == 0
