"""The inbox in memory: the same answers as on disk, gone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ranvier.deeds import Answered, Done, Effect, Fresh, NoteEffect, Reused, Seen
from ranvier.errors import StoreFault
from ranvier.limits import Ms

_FORGET_AT_ONCE = 100

Notes = dict[tuple[str, str], bytes]


class MemoryInbox:
    """The :class:`ranvier.deeds.Inbox` in memory; ``notes`` are the store's own."""

    def __init__(self, check: Callable[[], None], notes: Notes) -> None:
        self._check = check
        self._notes = notes
        self._once: dict[tuple[str, str], Ms] = {}  # to the instant of forgetting; oldest first
        self._done: dict[tuple[str, str], dict[bytes, Done]] = {}  # oldest first

    async def seen(self, origin: str, txn_id: str, digest: bytes) -> Seen:
        """What is known of it. Raises: StoreFault."""
        self._check()
        known = self._done.get((origin, txn_id))
        if not known:
            return Fresh()
        if digest in known:
            return Answered(known[digest].answer)
        return Reused(frozenset(item for done in known.values() for item in done.items))

    async def had(self, origin: str, once: Iterable[str]) -> frozenset[str]:
        """Which of these are remembered. Raises: StoreFault."""
        self._check()
        return frozenset(name for name in once if (origin, name) in self._once)

    async def finish(self, done: Done, effects: Sequence[Effect]) -> bytes:
        """Remember it with its effects; the answer that won. Raises: StoreFault."""
        self._check()
        known = self._done.get((done.origin, done.txn_id), {})
        if done.digest in known:
            return known[done.digest].answer
        notes = [_note(effect) for effect in effects]
        for note in notes:
            if note.value is None:
                self._notes.pop((note.kind, note.name), None)
            else:
                self._notes[note.kind, note.name] = bytes(note.value)
        self._done.setdefault((done.origin, done.txn_id), {})[done.digest] = done
        for name in done.once:
            self._once.setdefault((done.origin, name), done.forget_at)
        self._forget_names(done.received)
        self._forget(done)
        return done.answer

    def _forget_names(self, now: Ms) -> None:
        for _ in range(_FORGET_AT_ONCE):
            oldest = next(iter(self._once), None)
            if oldest is None or self._once[oldest] > now:
                return
            del self._once[oldest]

    def _forget(self, latest: Done) -> None:
        for _ in range(_FORGET_AT_ONCE):
            key = next(iter(self._done))
            known = self._done[key]
            digest = next(iter(known))
            if known[digest].forget_at > latest.received:
                return
            del known[digest]
            if not known:
                del self._done[key]
            if not self._done:
                return

    async def origins(self) -> Iterable[str]:
        """Whose transactions are remembered. Raises: StoreFault."""
        self._check()
        return tuple(sorted({origin for origin, _ in self._done}))


def _note(effect: Effect) -> NoteEffect:
    if isinstance(effect, NoteEffect):
        return effect
    raise StoreFault("effect-failed", "this store speaks no SQL, only notes; nothing was written")
