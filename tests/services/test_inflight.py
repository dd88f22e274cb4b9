"""One piece of work per key, one result for all who asked meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from ranvier.services.inflight import InFlight


async def test_callers_who_ask_meanwhile_share_one_piece_of_work() -> None:
    done = asyncio.Event()
    begun = 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        await done.wait()
        return begun

    flights: InFlight[str, int] = InFlight()
    callers = [asyncio.ensure_future(flights.join("a", work)) for _ in range(3)]
    await asyncio.sleep(0)
    done.set()
    assert await asyncio.gather(*callers) == [(1, False), (1, True), (1, True)]
    assert await flights.join("a", work) == (2, False)


async def test_a_failure_reaches_every_caller() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    flights: InFlight[str, int] = InFlight()
    results = await asyncio.gather(
        flights.join("a", work), flights.join("a", work), return_exceptions=True
    )
    assert [str(each) for each in results] == ["no", "no"]


async def test_one_caller_leaving_does_not_spoil_it_for_the_other() -> None:
    done = asyncio.Event()

    async def work() -> str:
        await done.wait()
        return "kept"

    flights: InFlight[str, str] = InFlight()
    first = asyncio.ensure_future(flights.join("a", work))
    second = asyncio.ensure_future(flights.join("a", work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    done.set()
    assert (await second)[0] == "kept"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_when_the_last_caller_leaves_the_work_ends() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    flights: InFlight[str, None] = InFlight()
    caller = asyncio.ensure_future(flights.join("a", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(0)
    assert ended.is_set()
