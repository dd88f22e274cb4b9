"""Key documents in memory: the fast way to another server's keys.

What is held is bounded in number and in bytes; the least recently used goes
first. Beside each document stand the keys that are good for requests, worked out
once, so that the usual inbound request costs two look-ups and allocates nothing
but its answer.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ranvier.limits import HOUR_MS, Limits, Ms
from ranvier.plugs import Clock
from ranvier.protocol.keylife import KeyOutcome, key_for_request, life_ends
from ranvier.services.bounded import Bounded
from ranvier.services.keyfetch import Held


class InHand(msgspec.Struct, frozen=True):
    """A held document with what inbound requests want of it."""

    held: Held
    good: Mapping[str, KeyOutcome]
    """The keys that may sign requests, up to :attr:`until`."""
    until: Ms
    refresh_at: Ms
    """From here on it is time to fetch a newer one, before this one ends."""


class HeldKeys:
    """The newest document of each name, as far as memory goes."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._entries: Bounded[InHand] = Bounded(
            most=limits.cache_entries, most_bytes=limits.documents_cached_bytes
        )

    def get(self, name: str) -> InHand | None:
        """What is held of ``name``, alive or not."""
        return self._entries.get(name)

    def living(self, name: str) -> Held | None:
        """The document, if it may still be used for requests."""
        entry = self._entries.get(name)
        return entry.held if entry is not None and self.lives(entry.held) else None

    def lives(self, held: Held) -> bool:
        """Whether the document may still be used for requests."""
        return self._clock.now() < life_ends(held.document, held.fetched_at)

    def remember(self, name: str, held: Held) -> None:
        """Hold this document from now on."""
        document, fetched_at = held.document, held.fetched_at
        outcomes = (
            key_for_request(document, each.key_id, now=fetched_at, fetched_at=fetched_at)
            for each in document.verify_keys
        )
        until = life_ends(document, fetched_at)
        entry = InHand(
            held=held,
            good={each.key_id: each for each in outcomes if each.good},
            until=until,
            refresh_at=_refresh_at(fetched_at, until, self._limits),
        )
        self._entries.put(name, entry, len(document.body))


def _refresh_at(fetched_at: Ms, until: Ms, limits: Limits) -> Ms:
    """In the last tenth of its life, at most its last hour; and never on the heels of a fetch."""
    ahead = min((until - fetched_at) // 10, HOUR_MS)
    return Ms(max(until - ahead, fetched_at + limits.key_unknown_seconds * 1000))
