"""Whom we hold off from, and until when: kept in the store, cleared when we hear from them.

A destination that could not be reached is left alone for a time that doubles with
every failure, for requests and transactions alike. Only being *heard from* ends it
early: an answer to a request of ours, or an authenticated request of theirs (D21).
What was not authenticated changes nothing. Two servers that fail at each other's requests
hear from each other by every one of them; so hearing ends a back-off from one name at
most once in ``back_off_min_seconds``, and what is heard meanwhile counts then.

Only names that are held off from take memory here. Other workers on the same store
have their own: before we hold off the store is asked whether one has heard from it, and
of a name that we hear from, once per lease, whether one holds off from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ranvier.deeds import BackOff, Outbox
from ranvier.errors import StoreFault
from ranvier.limits import Limits, Ms
from ranvier.plugs import Clock
from ranvier.protocol.retry import next_try
from ranvier.services.bounded import Bounded

_GRAINS = 2**32


class BackOffs:
    """The names that are held off from. ``nudge`` is told when one may be sent to again."""

    def __init__(
        self, outbox: Outbox, clock: Clock, limits: Limits, nudge: Callable[[], None]
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._limits = limits
        self._nudge = nudge
        self._known: dict[str, BackOff] = {}
        self._clearing: dict[str, asyncio.Task[None]] = {}
        self._looked: Bounded[float] = Bounded(most=limits.cache_entries)  # ticks
        self._ended: Bounded[float] = Bounded(most=limits.cache_entries)  # ticks
        self._closing = asyncio.Event()

    async def load(self) -> None:
        """Read what was kept, all of it. Raises: StoreFault."""
        self._known = dict(await self._outbox.back_offs(most=self._limits.outbox_items))

    async def of(self, name: str) -> BackOff | None:
        """Whether we hold off from ``name`` now. Raises: StoreFault."""
        known = self._known.get(name)
        if known is None or known.until <= self._clock.now():
            return None
        if not await self._kept(name):
            self._known.pop(name, None)  # another worker heard from it
            return None
        return known

    async def _kept(self, name: str) -> bool:
        return any(each.failures for each in await self._outbox.lanes(name))

    def after_failure(self, failures: int) -> Ms:
        """When to try again after so many failures in a row."""
        draw = int.from_bytes(self._clock.random_bytes(4), "big") / _GRAINS
        return next_try(failures, now=self._clock.now(), draw=draw, limits=self._limits)

    async def failed(self, name: str, because: str) -> None:
        """A request did not reach it. Failures within one back-off count once.

        Raises: StoreFault.
        """
        now, known = self._clock.now(), self._known.get(name)
        if known is not None and known.until > now:
            return
        failures = (known.failures if known else 0) + 1
        until = self.after_failure(failures)
        self.note(name, until=until, failures=failures, because=because)
        await self._outbox.hold_off(name, until=until, because=because, failures=failures, now=now)

    def note(self, name: str, *, until: Ms, failures: int, because: str) -> None:
        """A lane was put to sleep; the store knows already."""
        known = self._known.get(name)
        since = known.since if known else self._clock.now()
        self._known[name] = BackOff(until=until, failures=failures, because=because, since=since)

    async def reached(self, name: str) -> None:
        """It answered. Raises nothing."""
        if name in self._known:
            await self._clear(name)

    def heard(self, name: str) -> None:
        """It sent an authenticated request; of whom all is well, that costs next to nothing."""
        if name not in self._clearing and (name in self._known or self._look_due(name)):
            task = asyncio.ensure_future(self._heard(name))
            self._clearing[name] = task
            task.add_done_callback(lambda _: self._clearing.pop(name, None))

    async def _heard(self, name: str) -> None:
        ended, now = self._ended.get(name), self._clock.tick()
        if ended is not None and (rest := ended + self._limits.back_off_min_seconds - now) > 0:
            with suppress(TimeoutError):
                async with self._clock.timeout(rest):
                    await self._closing.wait()
        if name in self._known:
            self._ended.put(name, self._clock.tick())
        await self._clear(name)

    def _look_due(self, name: str) -> bool:
        now, looked = self._clock.tick(), self._looked.get(name)
        if looked is not None and now - looked < self._limits.lease_seconds:
            return False
        self._looked.put(name, now)
        return True

    async def _clear(self, name: str) -> None:
        known = self._known.pop(name, None)
        try:
            if known is None and not await self._kept(name):
                return
            await self._outbox.heard_from(name, now=self._clock.now())
        except StoreFault:  # so that the next sign of life tries again
            self._looked.drop(name)
            if known is not None:
                self._known.setdefault(name, known)
            return
        self._nudge()

    async def close(self) -> None:
        """Let what was heard be written down."""
        self._closing.set()
        await asyncio.gather(*self._clearing.values())
