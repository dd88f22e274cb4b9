"""What was learnt, for as long as it holds, and a little longer when asking fails.

One rule for DNS and the well-known file alike:

* an answer serves until its lifetime ends; who asks meanwhile asks nobody;
* who asks while the same question is under way is given the same answer;
* a *temporary* failure does not spoil a good answer: that one stands in, until
  it is ``longest`` seconds old (WK-11, SRV-05), and the question rests between tries;
* who wants nothing older than ``since`` passes all this by, but what is learnt
  for it is kept for the others.

Lifetimes are measured on the monotonic clock. The least recently used is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from enum import StrEnum
from typing import Any, Generic, NewType, TypeVar

import msgspec

from ranvier.plugs import Clock
from ranvier.services.inflight import InFlight

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Source(StrEnum):
    """Where an answer came from."""

    ASKED = "asked"
    JOINED = "joined"
    """Somebody else was asking already."""
    CACHE = "cache"
    STALE = "stale"
    """A good answer past its lifetime, because asking again has failed."""


Mark = NewType("Mark", int)
"""A moment in one process: what was asked after it can be told from what was asked before."""


class Marks:
    """Gives out moments; all memories of one resolver share it."""

    def __init__(self) -> None:
        self.latest = Mark(0)

    def now(self) -> Mark:
        """A new moment, after everything that has been asked so far."""
        self.latest = Mark(self.latest + 1)
        return self.latest


class Worth(StrEnum):
    """What a new answer does to a remembered one."""

    GOOD = "good"
    """Replaces it, and may itself stand in for a passing failure later."""
    PLAIN = "plain"
    """Replaces it, and never stands in: "no record" is not to outlive its lifetime."""
    BAD = "bad"
    """A failure that replaces it."""
    PASSING = "passing"
    """A failure that may pass: a good answer stands in."""


class Got(msgspec.Struct, Generic[V], frozen=True, kw_only=True):
    """One new answer: how many seconds it holds, what it is worth, and the problem if any."""

    answer: V
    seconds: int
    worth: Worth
    problem: str = ""


class Known(msgspec.Struct, Generic[V], frozen=True, kw_only=True):
    """An answer to use now. ``seconds`` are what is left of its life.

    ``problem`` says, for a stale one, why there is no newer.
    """

    answer: V
    source: Source
    seconds: int
    problem: str = ""


class _Entry(msgspec.Struct, Generic[V]):
    answer: V
    asked: Mark
    until: float
    good_since: float | None
    """When the answer was asked, if it is a good one."""
    failures: int = 0
    problem: str = ""


class Cache(Generic[K, V]):
    """Answers by question. ``longest``: seconds from asking for which one may stand in."""

    def __init__(self, clock: Clock, marks: Marks, *, most: int, longest: int) -> None:
        self._clock = clock
        self._marks = marks
        self._most = most
        self._longest = longest
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._under_way: InFlight[tuple[K, Mark | None], Known[V]] = InFlight()

    async def ask(
        self,
        key: K,
        work: Callable[[int], Coroutine[Any, Any, Got[V]]],
        *,
        since: Mark | None = None,
    ) -> Known[V]:
        """The answer, remembered or new.

        Answers asked before ``since`` do not count, nor do stand-ins.
        ``work`` is told how many times in a row asking has failed before.
        """
        remembered = self._remembered(key, since)
        if remembered is not None:
            return remembered

        async def learn() -> Known[V]:
            entry, asked = self._entries.get(key), self._marks.latest
            got = await work(entry.failures if entry else 0)
            known = self._learnt(key, got, asked)
            covered = known.source is Source.STALE and since is not None
            return _uncovered(got) if covered else known

        known, joined = await self._under_way.join((key, since), learn)
        if joined and known.source is Source.ASKED:
            return msgspec.structs.replace(known, source=Source.JOINED)
        return known

    def _remembered(self, key: K, since: Mark | None) -> Known[V] | None:
        entry = self._entries.get(key)
        left = 0.0 if entry is None else entry.until - self._clock.tick()
        if entry is None or left <= 0:
            return None
        if since is not None and (entry.asked < since or entry.problem):
            return None
        self._entries.move_to_end(key)
        return Known(
            answer=entry.answer,
            source=Source.STALE if entry.problem else Source.CACHE,
            seconds=int(left),
            problem=entry.problem,
        )

    def _learnt(self, key: K, got: Got[V], asked: Mark) -> Known[V]:
        now, before = self._clock.tick(), self._entries.get(key)
        if before is not None and before.asked > asked:
            return _uncovered(got)  # Somebody asked later and was answered sooner.
        failed = got.worth in (Worth.BAD, Worth.PASSING)
        entry = _Entry(
            answer=got.answer,
            asked=asked,
            until=now + got.seconds,
            good_since=now if got.worth is Worth.GOOD else None,
            failures=(before.failures if before else 0) + 1 if failed else 0,
        )
        covered = got.worth is Worth.PASSING and self._cover(entry, before, got.problem)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        if not covered:
            return _uncovered(got)
        seconds = int(entry.until - now)
        return Known(answer=entry.answer, source=Source.STALE, seconds=seconds, problem=got.problem)

    def _cover(self, entry: _Entry[V], before: _Entry[V] | None, problem: str) -> bool:
        """Let the good answer of ``before`` stand in for a failure, if it is not too old."""
        if before is None or before.good_since is None:
            return False
        latest = before.good_since + self._longest
        if self._clock.tick() >= latest:
            return False
        entry.answer, entry.good_since = before.answer, before.good_since
        entry.until, entry.problem = min(entry.until, latest), problem
        return True


def _uncovered(got: Got[V]) -> Known[V]:
    return Known(answer=got.answer, source=Source.ASKED, seconds=got.seconds)
