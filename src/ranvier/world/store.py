"""A store in memory: the same deeds and the same pruning as on disk, gone at the end."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from itertools import accumulate

from ranvier.errors import StoreFault
from ranvier.limits import Limits
from ranvier.plugs import ORIGIN, Clock, StoredDocument
from ranvier.world.inbox import MemoryInbox
from ranvier.world.outbox import MemoryOutbox


class MemoryStore:
    """The Store plug in memory. While :attr:`broken` is true every deed raises StoreFault.

    The ids of transactions come from ``clock``; without one, from the system.
    """

    def __init__(self, clock: Clock | None = None, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.broken = False
        self._closed = False
        self._keys = MemoryKeyShelf(self, limits)
        self._notes = MemoryNotes(self)
        random_bytes = secrets.token_bytes if clock is None else clock.random_bytes
        self._outbox = MemoryOutbox(self.check, random_bytes, limits)
        self._inbox = MemoryInbox(self.check, self._notes.all)

    @property
    def keys(self) -> MemoryKeyShelf:
        """Other servers' key documents."""
        return self._keys

    @property
    def notes(self) -> MemoryNotes:
        """Small facts."""
        return self._notes

    @property
    def outbox(self) -> MemoryOutbox:
        """What waits to be sent."""
        return self._outbox

    @property
    def inbox(self) -> MemoryInbox:
        """What was received."""
        return self._inbox

    async def close(self) -> None:
        """From now on every deed is refused; never raises."""
        self._closed = True

    def check(self) -> None:
        """Raises: StoreFault while the store is broken, or once it is closed."""
        if self._closed:
            raise StoreFault("store-closed", "the store is closed")
        if self.broken:
            raise StoreFault("store-failed", "the store was told to fail")


class MemoryKeyShelf:
    """Documents by server, pruned by rule (D9).

    In all ``Limits.documents_cached_bytes``: then the server saved longest ago is
    forgotten whole, for memory is not to grow with every name there is.
    """

    def __init__(self, store: MemoryStore, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._documents: dict[str, list[StoredDocument]] = {}  # latest saved last
        self._bytes = 0

    async def load(self, server_names: Iterable[str]) -> Mapping[str, tuple[StoredDocument, ...]]:
        """All kept documents of the named servers, oldest first. Raises: StoreFault."""
        self._store.check()
        return {name: tuple(self._documents.get(name, ())) for name in server_names}

    async def save(self, documents: Iterable[StoredDocument]) -> None:
        """Keep and prune, all or nothing. Raises: StoreFault."""
        self._store.check()
        for document in tuple(documents):
            known = self._taken_out(document.server_name)
            self._documents[document.server_name] = pruned(
                [*known, document], most_bytes=self._limits.documents_of_server_bytes
            )
            self._bytes += _size(self._documents[document.server_name])
        while self._bytes > self._limits.documents_cached_bytes and len(self._documents) > 1:
            self._taken_out(next(iter(self._documents)))

    def _taken_out(self, name: str) -> list[StoredDocument]:
        known = self._documents.pop(name, [])
        self._bytes -= _size(known)
        return known


def _size(documents: list[StoredDocument]) -> int:
    return sum(len(each.body) for each in documents)


class MemoryNotes:
    """Notes by (kind, name)."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.all: dict[tuple[str, str], bytes] = {}

    async def read(self, kind: str, name: str) -> bytes | None:
        """The note, or ``None``. Raises: StoreFault."""
        self._store.check()
        return self.all.get((kind, name))

    async def write(self, kind: str, name: str, value: bytes) -> None:
        """Write one note. Raises: StoreFault."""
        self._store.check()
        self.all[kind, name] = bytes(value)

    async def drop(self, kind: str, name: str) -> None:
        """Forget one note. Raises: StoreFault."""
        self._store.check()
        self.all.pop((kind, name), None)


def pruned(documents: Iterable[StoredDocument], *, most_bytes: int) -> list[StoredDocument]:
    """What stays of one server's documents, oldest first (D9).

    For each (key id, key bytes): the first document, the latest direct one, and
    the one with the greatest ``valid_until``; of equals the one that came last. The
    same document twice is one document. Of these, ``most_bytes``, the oldest first.
    """
    in_order = sorted(dict.fromkeys(documents), key=lambda each: each.fetched_at)
    holders: dict[tuple[str, bytes], list[int]] = {}
    for place, each in enumerate(in_order):
        for key in each.keys:
            holders.setdefault(key, []).append(place)
    kept: set[int] = set()
    for places in holders.values():
        direct = [place for place in places if in_order[place].source == ORIGIN]
        kept.add(places[0])
        kept.update(direct[-1:])
        kept.add(max(places, key=lambda place: (in_order[place].valid_until, place)))
    return _bounded([in_order[place] for place in sorted(kept)], most_bytes)


def _bounded(documents: list[StoredDocument], most_bytes: int) -> list[StoredDocument]:
    """The oldest that fit together, and the latest direct one in any case."""
    direct = [place for place, each in enumerate(documents) if each.source == ORIGIN]
    latest = max(direct or range(len(documents)), default=0)
    spent = list(accumulate(len(each.body) for each in documents))
    fit = (place for place in range(len(documents)) if spent[place] <= most_bytes)
    return [documents[place] for place in sorted({*fit, latest} if documents else ())]
