"""Races in virtual time: when each attempt starts, who wins, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from ranvier.errors import BadConfiguration, ConnectFault
from ranvier.limits import ExchangeLimits, Limits
from ranvier.plugs import HttpRequest, HttpResponse, LinkFacts
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import Certificates
from ranvier.services.dialling import Raced, race
from ranvier.world import VirtualClock


class FakeLink:
    """A link that remembers whether it was closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    @property
    def facts(self) -> LinkFacts:
        return LinkFacts(address=Address("10.0.0.1", 1), certificates=Certificates())

    @property
    def reusable(self) -> bool:
        return not self.closed

    async def exchange(self, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
        raise AssertionError("nobody sends anything here")

    async def close(self) -> None:
        self.closed = True


class Track:
    """Runners: name -> (seconds, how it ends)."""

    def __init__(self, **runners: tuple[float, str]) -> None:
        self.clock = VirtualClock()
        self.runners = runners
        self.began: dict[str, float] = {}
        self.cancelled: list[str] = []
        self.links: dict[str, FakeLink] = {}
        self.lookup_seconds: dict[str, float] = {}
        self.taken: list[str] = []
        self.closed = False

    async def candidates(self) -> AsyncGenerator[str, None]:
        try:
            for name in self.runners:
                await self.clock.sleep(self.lookup_seconds.get(name, 0.0))
                self.taken.append(name)
                yield name
        finally:
            self.closed = True

    async def dial(self, name: str) -> FakeLink:
        seconds, end = self.runners[name]
        self.began[name] = self.clock.tick()
        try:
            await self.clock.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            if end != "stubborn":
                raise
        if end == "fails":
            raise ConnectFault("connect-refused", name)
        if end == "breaks":
            raise BadConfiguration("ca-file", name)
        self.links[name] = FakeLink(name)
        return self.links[name]

    async def run(self, limits: Limits | None = None) -> Raced[str]:
        return await race(self.candidates(), self.dial, clock=self.clock, limits=limits or Limits())


async def winner(track: Track) -> tuple[str | None, float]:
    raced = await track.run()
    return raced.won[0] if raced.won else None, track.clock.tick()


async def test_the_first_alone_if_it_is_quick() -> None:
    track = Track(a=(0.2, "wins"), b=(0.0, "wins"))
    assert await winner(track) == ("a", 0.2)
    assert track.taken == ["a"], "nothing is looked up that is not needed"
    assert not track.links["a"].closed


async def test_a_slow_one_is_overtaken_and_cancelled() -> None:
    track = Track(a=(9.0, "wins"), b=(0.1, "wins"))
    assert await winner(track) == ("b", 0.35)
    assert track.cancelled == ["a"]
    assert track.closed


async def test_a_slow_one_still_wins_if_the_next_is_slower() -> None:
    track = Track(a=(0.5, "wins"), b=(9.0, "wins"))
    assert await winner(track) == ("a", 0.5)
    assert track.cancelled == ["b"]


async def test_failures_start_the_next_at_once() -> None:
    track = Track(a=(0.0, "fails"), b=(0.1, "fails"), c=(0.0, "wins"))
    assert await winner(track) == ("c", 0.1)
    assert track.began == {"a": 0.0, "b": 0.0, "c": 0.1}


async def test_one_failure_starts_one_attempt_even_if_the_lookup_takes_its_time() -> None:
    track = Track(a=(0.3, "fails"), b=(9.0, "wins"), c=(9.0, "wins"), d=(9.0, "wins"))
    track.lookup_seconds["b"] = 0.2
    await track.run()
    assert track.began["b"] == 0.45
    assert track.began["c"] == 0.70
    assert track.began["d"] == 0.95


async def test_all_failures_are_kept_in_order() -> None:
    raced = await Track(a=(0.3, "fails"), b=(0.0, "fails")).run()
    assert raced.won is None
    assert [fault.message for fault in raced.faults] == ["b", "a"]


async def test_nobody_at_all_is_no_winner() -> None:
    raced = await Track().run()
    assert raced == Raced(None, ())


async def test_attempts_are_limited() -> None:
    track = Track(a=(0.0, "fails"), b=(0.0, "fails"), c=(0.0, "wins"))
    raced = await track.run(Limits(attempts_per_request=2))
    assert raced.won is None
    assert list(track.began) == ["a", "b"]


async def test_of_two_that_come_in_together_one_wins_and_the_other_is_closed() -> None:
    track = Track(a=(0.5, "wins"), b=(0.25, "wins"))
    assert await winner(track) == ("a", 0.5)
    assert not track.links["a"].closed
    assert track.links["b"].closed


async def test_a_loser_that_connects_in_spite_of_all_is_closed() -> None:
    track = Track(a=(9.0, "stubborn"), b=(0.0, "wins"))
    assert (await winner(track))[0] == "b"
    assert track.links["a"].closed


async def test_what_is_no_network_fault_ends_the_race() -> None:
    track = Track(a=(9.0, "wins"), b=(0.0, "breaks"))
    with pytest.raises(BadConfiguration):
        await track.run()
    assert track.cancelled == ["a"]
    assert track.closed


async def test_cancelling_the_race_cancels_everything() -> None:
    track = Track(a=(9.0, "wins"), b=(9.0, "wins"), c=(9.0, "wins"))
    track.lookup_seconds["c"] = 9.0
    running = asyncio.ensure_future(track.run())
    await track.clock.sleep(1.0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(track.cancelled) == ["a", "b"]
    assert track.closed
