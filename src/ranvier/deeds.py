"""What a store does for transactions: the outbox's lanes and the inbox's memory.

Every method is one **deed**: atomic, and on disk when it returns
(``synchronous=FULL``). Nobody holds a transaction open; group commit lets many
deeds share one.

*Outbox.* A **lane** is one destination with what waits for it. A lane is worked
on under a **lease** of one node, so that several workers on one store keep one
transaction in flight per destination (TXN-08). A lease has an epoch, and every
change is guarded by it: a worker that was stopped and wakes up too late changes
nothing (D40). **Sealing** fixes a transaction's id and bytes before they go out
for the first time; whatever happens, they go out again as they are until they are
settled, by this worker or by the next holder of the lane.

The lanes' own ``due`` times are the timer heap: :meth:`Outbox.next_due` is one
look at an index, and a lane that sleeps costs a row and nothing else.

*Inbox.* A transaction is known by (origin, id, digest of its content). ``finish``
writes the answer and the effects that handlers asked for in ONE commit; if two
copies race, the first answer wins and the second's effects are not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from ranvier.limits import Ms

# --- Outbox ---


class ItemKind(StrEnum):
    """What a transaction carries."""

    PDU = "pdu"
    EDU = "edu"


class OutItem(msgspec.Struct, frozen=True, kw_only=True):
    """One PDU or EDU to send, as canonical JSON. Its bytes are stored once, however many
    destinations it has; while a PDU with an ``event_id`` is kept for anybody, adding it
    again adds no bytes."""

    kind: ItemKind
    body: bytes
    event_id: str = ""
    """By what a PDU's result is named; empty if it is not known, and for EDUs."""
    room_id: str = ""
    position: int = 0
    """Where the PDU stands in the sender's own stream, if it has one (D38)."""
    replaces: str = ""
    """EDUs: of those that wait unsealed with the same key, only the latest stays; it
    keeps the first one's place."""
    expires: Ms = Ms(0)
    """EDUs: not worth sending after this instant; 0 is never."""


class QueuedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of one lane. ``id`` grows in the order of adding; other lanes may use it too."""

    id: int
    kind: ItemKind
    event_id: str = ""
    size: int = 0


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction whose id and bytes are fixed, held under a lease."""

    destination: str
    node: str
    epoch: int
    txn_id: str
    body: bytes
    """The whole transaction, canonical: what is signed as content and sent."""
    items: tuple[QueuedItem, ...]
    sealed_at: Ms
    refusals: int = 0
    """How often these very bytes were refused (400, 413)."""
    failures: int = 0
    """How many attempts in a row have not reached the destination."""


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """The destination answered 200: the items are done."""


class HeldOff(msgspec.Struct, frozen=True, tag="held-off", kw_only=True):
    """Not now: the lane sleeps until ``until`` with the same id and bytes."""

    until: Ms
    because: str
    failures: int


class Refused(msgspec.Struct, frozen=True, tag="refused", kw_only=True):
    """These bytes were refused once more; the lane sleeps until ``until``, then the same again."""

    until: Ms
    because: str


class Halve(msgspec.Struct, frozen=True, tag="halve", kw_only=True):
    """Refused too often: unseal. Until the last of these items is done, parked or dropped,
    a transaction of this lane takes at most ``most`` items."""

    most: int
    because: str


class Park(msgspec.Struct, frozen=True, tag="park", kw_only=True):
    """The one item of this transaction is poison: set it aside, visibly, and go on."""

    because: str


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Give the lease up, due at once: we stop, or never began to send."""


Settlement = Delivered | HeldOff | Refused | Halve | Park | Release


class LaneState(msgspec.Struct, frozen=True, kw_only=True):
    """What one lane looks like from outside. Instants in ms, 0 for none."""

    destination: str
    waiting: int
    """PDUs and EDUs, sealed ones included, parked ones not."""
    waiting_bytes: int
    parked: int
    failures: int
    since: Ms
    """The first failure of the row of failures."""
    due: Ms
    """The next try; of a leased lane, the end of the lease."""
    because: str
    leased_by: str
    txn_id: str
    oldest: Ms
    """When the oldest waiting item was added."""


class ParkedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that its destination refused on its own."""

    id: int
    destination: str
    kind: ItemKind
    event_id: str
    body: bytes
    because: str
    parked_at: Ms


class BackOff(msgspec.Struct, frozen=True, kw_only=True):
    """We hold off from a destination ``until`` an instant, ``because`` of what happened."""

    until: Ms
    failures: int
    because: str
    since: Ms


class SealRule(msgspec.Struct, frozen=True, kw_only=True):
    """How a transaction is made of what waits."""

    origin: str
    pdus: int = 50
    edus: int = 100
    bytes: int = 13_107_200


class Outbox(Protocol):
    """Lanes. All raise StoreFault."""

    async def add(self, to: Sequence[str], items: Sequence[OutItem], *, now: Ms) -> None:
        """Every item to every destination, in order, in one commit, all or nothing.

        What is parked counts against the bounds too; what is replaced does not.

        Raises: QueueFull (``queue-full-destination``, ``queue-full``), with nothing added.
        """

    async def take(
        self,
        node: str,
        *,
        now: Ms,
        until: Ms,
        most: int,
        rule: SealRule,
        only: str | None = None,
    ) -> tuple[Sealed, ...]:
        """Lease up to ``most`` lanes that are due, longest due first, and seal each.

        What is sealed already comes out as it was. Expired EDUs are dropped on the
        way; a lane left empty by that is not given out. ``only``: this lane or none.
        """

    async def settle(
        self, sealed: Sealed, settlement: Settlement, *, now: Ms, until: Ms, rule: SealRule
    ) -> Sealed | None:
        """Write down how it went. The next transaction of the lane, under the same lease
        renewed to ``until``, sealed in the same commit; ``None`` if nothing more is to be
        sent now, or if the lease was lost meanwhile (then nothing is changed)."""

    async def renew(self, node: str, *, until: Ms) -> None:
        """All leases of ``node`` that have not been taken over run until ``until``."""

    async def end_leases(self, node: str, *, now: Ms) -> None:
        """``node`` stops: what it holds is due now, for whoever takes it next."""

    async def set_right(self, *, now: Ms, latest: Ms) -> None:
        """No lane is due and no back-off ends after ``latest``: what does was written while a
        clock was wrong, and ends now."""

    async def next_due(self) -> Ms | None:
        """The earliest ``due`` of all lanes where something waits; ``None`` if nothing does."""

    async def hold_off(
        self, destination: str, *, until: Ms, because: str, failures: int, now: Ms
    ) -> None:
        """Back off, whether or not something waits. A leased lane keeps its lease.

        A back-off that ended a day ago is forgotten in time, if nothing waits for it."""

    async def heard_from(self, destination: str, *, now: Ms) -> bool:
        """Clear the back-off; what waits is due at once. Whether there was one."""

    async def back_offs(self, *, most: int = 1000) -> Mapping[str, BackOff]:
        """Who is being held off from, those that are held off longest first. One that has
        ended is among them until we hear from them, for its count goes on."""

    async def lanes(
        self, destination: str | None = None, *, most: int = 1000
    ) -> tuple[LaneState, ...]:
        """Lanes where something waits, is parked or is held off; most waiting first."""

    async def parked(
        self, destination: str | None = None, *, most: int = 1000
    ) -> tuple[ParkedItem, ...]:
        """What was set aside, oldest first."""

    async def unpark(self, destination: str, *, ids: Sequence[int] | None = None, now: Ms) -> int:
        """Put parked items (all, without ``ids``) back at the lane's end, under new ids
        and however full it is. How many."""

    async def drop(
        self, destination: str, *, parked_only: bool = False, ids: Sequence[int] | None = None
    ) -> int:
        """Forget what waits and is parked, or only (these) parked ones. How many. A sealed
        transaction that a node holds at this moment goes out and is forgotten then."""


# --- Inbox ---


class Fresh(msgspec.Struct, frozen=True, tag="fresh"):
    """Not seen before."""


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """Seen, done and answered so."""

    answer: bytes


class Reused(msgspec.Struct, frozen=True, tag="reused"):
    """The id is known with other content: the peer reuses ids (D35).

    ``done``: digests of the items that were processed under this id."""

    done: frozenset[bytes]


Seen = Fresh | Answered | Reused


class NoteEffect(msgspec.Struct, frozen=True, kw_only=True):
    """Write a note (``value`` ``None``: drop it). Works on every store."""

    kind: str
    name: str
    value: bytes | None


class SqlEffect(msgspec.Struct, frozen=True, kw_only=True):
    """Run one statement on the store's own database. Only stores that speak SQL.

    It may insert, replace, update and delete rows (and begin with ``WITH``), nothing else."""

    statement: str
    row: tuple[object, ...] = ()


Effect = NoteEffect | SqlEffect


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that has been processed."""

    origin: str
    txn_id: str
    digest: bytes
    """SHA-256 of the content as received."""
    answer: bytes
    items: tuple[bytes, ...]
    """The :func:`~ranvier.protocol.transactions.item_digest` of each."""
    received: Ms
    forget_at: Ms
    once: tuple[str, ...] = ()
    """Names of things that this origin may come with only once, whatever the transaction:
    remembered as long as this one is."""


class Inbox(Protocol):
    """What was received and answered. All raise StoreFault."""

    async def seen(self, origin: str, txn_id: str, digest: bytes) -> Seen:
        """What is known of this transaction."""

    async def had(self, origin: str, once: Iterable[str]) -> frozenset[str]:
        """Which of these :attr:`Done.once` are remembered of ``origin``."""

    async def finish(self, done: Done, effects: Sequence[Effect]) -> bytes:
        """Remember it and write its effects, in ONE commit. The answer that won: if another
        copy was first, its answer, and none of these effects.

        Also forgets some of what is due to be forgotten. If a handler's statement
        fails, nothing is written: raises EffectFault (``effect-refused``) if a rule of its table
        refuses the row, which is about this item alone, else StoreFault (``effect-failed``).
        """

    async def origins(self) -> Iterable[str]:
        """Whose transactions are remembered (for reports)."""
