"""Whom we hold off from, and until when: kept in the store, cleared when we hear from them.

A destination that could not be reached is left alone for a time that doubles with
every failure, for requests and transactions alike. Only being *heard from* ends it
early: an answer to a request of ours, or an authenticated request of theirs (D21).
What was not authenticated changes nothing.

Only names that are held off from take memory here, and the store is asked about
those alone: another worker on the same store may have heard from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ranvier.deeds import BackOff, Outbox
from ranvier.errors import StoreFault
from ranvier.limits import Limits, Ms
from ranvier.plugs import Clock
from ranvier.protocol.retry import next_try

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

    async def load(self) -> None:
        """Read what was kept. Raises: StoreFault."""
        self._known = dict(await self._outbox.back_offs())

    async def of(self, name: str) -> BackOff | None:
        """Whether we hold off from ``name`` now. Raises: StoreFault."""
        known = self._known.get(name)
        if known is None or known.until <= self._clock.now():
            return None
        kept = next(iter(await self._outbox.lanes(name)), None)
        if kept is None or not kept.failures:
            self._known.pop(name, None)  # another worker heard from it
            return None
        return known

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
        """It answered. Raises: StoreFault."""
        if name in self._known:
            await self._clear(name)

    def heard(self, name: str) -> None:
        """It sent an authenticated request; that costs nothing if it is not held off from."""
        if name in self._known and name not in self._clearing:
            task = asyncio.ensure_future(self._clear(name))
            self._clearing[name] = task
            task.add_done_callback(lambda _: self._clearing.pop(name, None))

    async def _clear(self, name: str) -> None:
        known = self._known.pop(name, None)
        try:
            await self._outbox.heard_from(name, now=self._clock.now())
        except StoreFault:
            if known is not None:  # so that the next sign of life tries again
                self._known.setdefault(name, known)
            return
        self._nudge()

    async def close(self) -> None:
        """Let what was heard be written down."""
        await asyncio.gather(*self._clearing.values())
