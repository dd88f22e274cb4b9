"""Large bodies of strangers: how much is held, and that they wait for themselves."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack

import msgspec
import pytest

from ranvier.errors import Unauthenticated
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.services.bodies import LARGE, REST, Bodies, BodyWork

MIB = 1_048_576
LIMITS = msgspec.structs.replace(
    Limits(), inbound_body_bytes=10 * MIB, inbound_body_bytes_per_client=4 * MIB
)


def refused(bodies: Bodies, client: str, size: int) -> bool:
    with bodies.held(client) as grow:
        try:
            grow(size)
        except Unauthenticated as error:
            return (error.code, error.status) == ("bodies-too-many", 429)
    return False


@pytest.mark.req("SEC-05")
def test_one_client_has_its_share_and_others_have_theirs() -> None:
    bodies = Bodies(LIMITS)
    with bodies.held("a") as grow:
        for _ in range(4):
            grow(MIB)
        assert refused(bodies, "a", MIB)
        assert not refused(bodies, "b", 4 * MIB)
    assert not refused(bodies, "a", 4 * MIB)


@pytest.mark.req("SEC-05")
def test_all_together_have_a_bound_and_ordinary_bodies_always_pass() -> None:
    bodies = Bodies(LIMITS)
    with ExitStack() as held:
        for n in range(10):
            held.enter_context(bodies.held(f"c{n}"))(MIB)
        assert refused(bodies, "d", MIB)
        assert refused(bodies, "", MIB)
        assert not refused(bodies, "d", LARGE)
        assert not refused(bodies, "c1", LARGE)


def test_nobodys_bodies_count_in_all_alone() -> None:
    bodies = Bodies(LIMITS)
    assert not refused(bodies, "", 9 * MIB)


def test_what_was_refused_is_not_held() -> None:
    bodies = Bodies(LIMITS)
    assert refused(bodies, "a", 5 * MIB)
    assert not refused(bodies, "a", 4 * MIB)


async def test_an_ordinary_body_is_read_at_once_and_a_large_one_beside_the_loop() -> None:
    work, here = BodyWork(SystemClock(), LIMITS), threading.get_ident()
    assert await work.work("a", LARGE, threading.get_ident) == here
    assert await work.work("a", LARGE + 1, threading.get_ident) != here


@pytest.mark.req("SEC-05")
async def test_one_large_body_at_a_time_and_each_client_waits_for_itself() -> None:
    clock = SystemClock()
    work, order, at_once, most = BodyWork(clock, LIMITS), [], 0, 0
    lock = threading.Event()

    def take(whose: str) -> str:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        lock.wait(0.02)
        order.append(whose)
        at_once -= 1
        return whose

    tasks = [
        asyncio.ensure_future(work.work(each, MIB, lambda each=each: take(each)))  # type: ignore[misc] # bound now
        for each in ("a", "a", "a", "b")
    ]
    began = clock.tick()
    assert await asyncio.gather(*tasks) == ["a", "a", "a", "b"]
    assert most == 1
    assert order == ["a", "b", "a", "a"]
    assert clock.tick() - began >= 0.02 * (3 + 2 * REST)
    assert not work._turns


async def test_what_the_work_raises_comes_out() -> None:
    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await BodyWork(SystemClock(), LIMITS).work("a", MIB, fails)
