"""How often, and for whom, servers are asked for their keys because of what came in.

Nobody who sends us things may make us ask without end (SEC-06, KEYF-04): only so many
fetches run at once, in all and on account of one client, and a name that could not be
asked rests, twice as long each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from ranvier.errors import RanvierError
from ranvier.limits import Limits
from ranvier.plugs import Clock
from ranvier.services.bounded import Bounded

KEY_BUSY = "key-fetches-busy"
"""The outcome's code if we may not ask just now because too much is being asked."""
KEY_UNAVAILABLE = "key-unavailable"
"""The outcome's code if there is no document and none could be had."""
FOR_EVENTS = "events"
"""On whose account keys of events are fetched. One transaction may name fifty servers; all of
them together may have half of the places, or requests would have none."""


class Trouble(msgspec.Struct, frozen=True):
    """Why there is no newer document: the code and reason of the outcomes."""

    code: str
    reason: str


class Rests:
    """Names that are not asked for a while, because asking them has failed."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._names: Bounded[_Rest] = Bounded(most=limits.cache_entries)

    def of(self, name: str) -> Trouble | None:
        """Why ``name`` rests now, if it does."""
        rest = self._names.get(name)
        if rest is None or self._clock.tick() >= rest.until:
            return None
        return Trouble(KEY_UNAVAILABLE, f"not asked again so soon: {rest.reason}")

    def failed(self, name: str, error: RanvierError) -> Trouble:
        """Asking ``name`` has failed: it rests."""
        before = self._names.get(name)
        failures = before.failures + 1 if before else 1
        least, most = self._limits.key_retry_min_seconds, self._limits.key_retry_max_seconds
        seconds = min(least * 2 ** min(failures - 1, 30), most)
        reason = f"{error.message} ({error.code})"
        self._names.put(name, _Rest(self._clock.tick() + seconds, failures, reason))
        return Trouble(KEY_UNAVAILABLE, reason)

    def succeeded(self, name: str) -> None:
        """Asking ``name`` went well: the next failure is the first again."""
        self._names.drop(name)


class _Rest(msgspec.Struct, frozen=True):
    until: float
    """Monotonic seconds."""
    failures: int
    reason: str


class Fetches:
    """How many fetches run, in all and on account of each client; ``""`` is nobody's."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most = {"": limits.inbound_fetches, FOR_EVENTS: max(limits.inbound_fetches // 2, 1)}
        self._running: Counter[str] = Counter()

    def full(self, client: str) -> Trouble | None:
        """Why there is no room for one more, if there is none."""
        most = self._most.get(client, self._limits.inbound_fetches_per_client)
        room = self._running.total() < self._limits.inbound_fetches and self._running[client] < most
        return None if room else Trouble(KEY_BUSY, "too many servers are being asked for keys")

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """One more, while the block runs."""
        self._running[client] += 1
        try:
            yield
        finally:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]
