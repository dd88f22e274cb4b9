"""What was learnt, for as long as it holds, and a little longer when asking fails.

One rule for DNS and the well-known file alike:

* an answer serves until its lifetime ends; who asks meanwhile asks nobody;
* who asks while the same question is under way is given the same answer;
* a *temporary* failure does not spoil a good answer: that one stands in, until
  it is ``longest`` seconds old (WK-11, SRV-05), and the question rests between tries;
* ``fresh`` passes all this by, but what it learns is kept for the others.

Lifetimes are measured on the monotonic clock. The least recently used is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from enum import StrEnum
from typing import Any, Generic, TypeVar

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


class Got(msgspec.Struct, Generic[V], frozen=True, kw_only=True):
    """One new answer: how many seconds it holds, and what it is worth.

    ``good`` answers may stand in later; ``temporary`` failures let them.
    """

    answer: V
    seconds: int
    good: bool
    temporary: bool = False
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
    until: float
    good_since: float | None
    """When the answer was asked, if it is a good one."""
    failures: int = 0
    problem: str = ""


class Memory(Generic[K, V]):
    """Answers by question. ``longest``: seconds from asking for which one may stand in."""

    def __init__(self, clock: Clock, *, most: int, longest: int) -> None:
        self._clock = clock
        self._most = most
        self._longest = longest
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._under_way: InFlight[tuple[K, bool], Known[V]] = InFlight()

    async def ask(
        self, key: K, work: Callable[[int], Coroutine[Any, Any, Got[V]]], *, fresh: bool = False
    ) -> Known[V]:
        """The answer, remembered or new.

        ``work`` is told how many times in a row asking has failed before.
        """
        if not fresh:
            remembered = self._remembered(key)
            if remembered is not None:
                return remembered

        async def learn() -> Known[V]:
            entry = self._entries.get(key)
            got = await work(entry.failures if entry else 0)
            return self._learnt(key, got, fresh)

        known, joined = await self._under_way.join((key, fresh), learn)
        if joined and known.source is Source.ASKED:
            return msgspec.structs.replace(known, source=Source.JOINED)
        return known

    def _remembered(self, key: K) -> Known[V] | None:
        entry = self._entries.get(key)
        left = 0.0 if entry is None else entry.until - self._clock.tick()
        if entry is None or left <= 0:
            return None
        self._entries.move_to_end(key)
        return Known(
            answer=entry.answer,
            source=Source.STALE if entry.problem else Source.CACHE,
            seconds=int(left),
            problem=entry.problem,
        )

    def _learnt(self, key: K, got: Got[V], fresh: bool) -> Known[V]:
        now = self._clock.tick()
        before = self._entries.pop(key, None)
        entry = _Entry(
            answer=got.answer,
            until=now + got.seconds,
            good_since=now if got.good else None,
            failures=0 if got.good else (before.failures if before else 0) + 1,
        )
        known = Known(answer=got.answer, source=Source.ASKED, seconds=got.seconds)
        if got.temporary and before is not None and self._may_stand_in(before, now):
            assert before.good_since is not None
            entry.answer, entry.good_since = before.answer, before.good_since
            entry.until = min(entry.until, before.good_since + self._longest)
            entry.problem = got.problem
            if not fresh:
                seconds = int(entry.until - now)
                known = Known(
                    answer=entry.answer, source=Source.STALE, seconds=seconds, problem=got.problem
                )
        self._entries[key] = entry
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        return known

    def _may_stand_in(self, entry: _Entry[V], now: float) -> bool:
        return entry.good_since is not None and now < entry.good_since + self._longest
