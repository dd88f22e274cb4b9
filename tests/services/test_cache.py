"""What is remembered, for how long, and what stands in for what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ranvier.services.cache import Cache, Got, Known, Marks, Source, Worth
from ranvier.world import VirtualClock


class Asker:
    """A cache, and the next answer to get."""

    def __init__(self, *, most: int = 10, longest: int = 100) -> None:
        self.clock = VirtualClock()
        self.marks = Marks()
        self.cache: Cache[str, str] = Cache(self.clock, self.marks, most=most, longest=longest)
        self.failures: list[int] = []

    def work(
        self, answer: str, worth: Worth = Worth.GOOD, seconds: int = 10, delay: float = 0.0
    ) -> Callable[[int], Coroutine[Any, Any, Got[str]]]:
        async def get(failures: int) -> Got[str]:
            self.failures.append(failures)
            if delay:
                await self.clock.sleep(delay)
            return Got(answer=answer, seconds=seconds, worth=worth, problem=f"{answer}!")

        return get

    async def ask(
        self,
        answer: str,
        worth: Worth = Worth.GOOD,
        *,
        seconds: int = 10,
        key: str = "key",
        fresh: bool = False,
    ) -> Known[str]:
        since = self.marks.now() if fresh else None
        return await self.cache.ask(key, self.work(answer, worth, seconds), since=since)

    async def hears(self, answer: str, worth: Worth = Worth.GOOD, **more: Any) -> tuple[str, str]:
        known = await self.ask(answer, worth, **more)
        return known.answer, str(known.source)


@pytest.fixture
def at() -> Asker:
    return Asker()


async def test_an_answer_holds_for_its_seconds_and_not_longer(at: Asker) -> None:
    assert await at.hears("one") == ("one", "asked")
    at.clock.advance(9.5)
    known = await at.ask("two")
    assert (known.answer, known.source, known.seconds) == ("one", Source.CACHE, 0)
    at.clock.advance(0.5)
    assert await at.hears("two") == ("two", "asked")


async def test_an_answer_of_no_seconds_is_asked_each_time(at: Asker) -> None:
    assert await at.hears("one", seconds=0) == ("one", "asked")
    assert await at.hears("two", seconds=0) == ("two", "asked")


async def test_a_passing_failure_is_covered_until_the_good_answer_is_too_old(at: Asker) -> None:
    await at.ask("good")
    at.clock.advance(50)
    known = await at.ask("bad", Worth.PASSING)
    assert (known.answer, known.source, known.problem) == ("good", Source.STALE, "bad!")
    assert await at.hears("unasked") == ("good", "stale")
    at.clock.advance(45)
    assert (await at.ask("bad", Worth.PASSING)).seconds == 5, "never beyond its 100 seconds"
    at.clock.advance(5)
    assert await at.hears("bad", Worth.PASSING) == ("bad", "asked")
    assert await at.hears("unasked") == ("bad", "cache")


async def test_a_good_answer_after_a_failure_is_good_as_ever(at: Asker) -> None:
    await at.ask("good")
    at.clock.advance(10)
    await at.ask("bad", Worth.PASSING)
    at.clock.advance(10)
    assert await at.hears("better") == ("better", "asked")
    assert await at.hears("unasked") == ("better", "cache")


@pytest.mark.parametrize("worth", [Worth.BAD, Worth.PLAIN])
async def test_a_settled_no_replaces_a_good_answer_and_covers_nothing(
    at: Asker, worth: Worth
) -> None:
    await at.ask("good")
    at.clock.advance(10)
    assert await at.hears("no", worth) == ("no", "asked")
    at.clock.advance(10)
    assert await at.hears("bad", Worth.PASSING) == ("bad", "asked")


async def test_failures_are_counted_until_something_else_comes(at: Asker) -> None:
    for worth in (Worth.PASSING, Worth.BAD, Worth.PASSING, Worth.PLAIN, Worth.PASSING, Worth.GOOD):
        await at.ask("x", worth, seconds=0)
    assert at.failures == [0, 1, 2, 3, 0, 1]


async def test_fresh_asks_and_teaches_the_others(at: Asker) -> None:
    await at.ask("one")
    at.clock.advance(1)
    assert await at.hears("two", fresh=True) == ("two", "asked")
    assert await at.hears("three") == ("two", "cache")


async def test_what_was_asked_since_then_is_fresh_enough(at: Asker) -> None:
    await at.ask("one")
    since = at.marks.now()
    assert (await at.cache.ask("key", at.work("two"), since=since)).answer == "two"
    again = await at.cache.ask("key", at.work("three"), since=since)
    assert (again.answer, again.source) == ("two", Source.CACHE)


async def test_what_was_being_asked_already_is_not_fresh_enough(at: Asker) -> None:
    slow = asyncio.ensure_future(at.cache.ask("key", at.work("old", delay=1.0)))
    await at.clock.sleep(0.5)
    since = at.marks.now()
    assert (await slow).answer == "old"
    assert (await at.cache.ask("key", at.work("new"), since=since)).answer == "new"


async def test_an_older_question_that_is_answered_late_changes_nothing(at: Asker) -> None:
    slow = asyncio.ensure_future(at.cache.ask("key", at.work("old", delay=1.0)))
    await at.clock.sleep(0.5)
    assert await at.hears("new", fresh=True) == ("new", "asked")
    assert (await slow).answer == "old"
    assert await at.hears("unasked") == ("new", "cache")


async def test_a_stand_in_is_never_fresh_enough(at: Asker) -> None:
    await at.ask("good")
    since = at.marks.now()
    for _ in range(2):
        known = await at.cache.ask("key", at.work("bad", Worth.PASSING), since=since)
        assert (known.answer, known.source) == ("bad", Source.ASKED)


async def test_fresh_is_told_of_the_failure_that_the_others_are_spared(at: Asker) -> None:
    await at.ask("good")
    assert await at.hears("bad", Worth.PASSING, fresh=True) == ("bad", "asked")
    assert await at.hears("unasked") == ("good", "stale")


async def test_who_asks_meanwhile_joins_but_not_the_fresh_with_the_others(at: Asker) -> None:
    slow, slower = at.work("slow", delay=1.0), at.work("slower", delay=2.0)
    answers = await asyncio.gather(
        at.cache.ask("key", slow),
        at.cache.ask("key", slower),
        at.cache.ask("key", slower, since=at.marks.now()),
    )
    assert [(each.answer, str(each.source)) for each in answers] == [
        ("slow", "asked"),
        ("slow", "joined"),
        ("slower", "asked"),
    ]
    assert len(at.failures) == 2


async def test_the_least_recently_used_is_forgotten() -> None:
    at = Asker(most=2)
    for key in ("a", "b", "a", "c"):
        await at.ask(key, key=key)
    assert await at.hears("new", key="a") == ("a", "cache")
    assert await at.hears("new", key="b") == ("new", "asked")
