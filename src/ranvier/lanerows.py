"""A lane as a row, the table that a store gives of them, and what others may ask of a row.

A lane keeps its items in the order of their ids, PDUs and EDUs apart, and a
transaction is a prefix of both. So two marks, ``last_pdu`` and ``last_edu``, say what
is sealed, and the items themselves need not be touched. What happens to a lane is said
in :mod:`ranvier.lanes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ranvier.deeds import BackOff, ItemKind, LaneState, OutItem, QueuedItem
from ranvier.errors import QueueFull
from ranvier.limits import Limits, Ms

ENDLESS = 2**63 - 1
"""A mark beyond every id."""

Waiting = tuple[QueuedItem, bytes]
"""An item and its bytes."""

Freed = tuple[int, int]
"""How many items were taken out of a lane, and their bytes."""


class Marks(msgspec.Struct, frozen=True):
    """The last PDU and the last EDU of a part of a lane."""

    pdu: int = 0
    edu: int = 0


ALL = Marks(ENDLESS, ENDLESS)


class LaneRow(msgspec.Struct, kw_only=True):
    """One lane as it is stored. The defaults are a lane with nothing in it."""

    destination: str
    due: Ms = Ms(0)
    """The next try; while ``node`` holds the lane, the end of the lease."""
    node: str = ""
    epoch: int = 0
    failures: int = 0
    since: Ms = Ms(0)
    held_until: Ms = Ms(0)
    """The end of the back-off, 0 if there is none."""
    because: str = ""
    txn_id: str = ""
    """Empty while nothing is sealed; then the next four mean nothing."""
    origin: str = ""
    sealed_at: Ms = Ms(0)
    last_pdu: int = 0
    last_edu: int = 0
    refusals: int = 0
    dropped: bool = False
    """What is sealed is to be forgotten as soon as nobody holds it."""
    narrow: int = 0
    """How many items go together at most, up to the next two marks; 0: no such rule."""
    narrow_pdu: int = 0
    narrow_edu: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    parked: int = 0

    @property
    def sealed(self) -> Marks:
        """The part that is sealed; none of it if nothing is."""
        return Marks(self.last_pdu, self.last_edu)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember of it."""
        return not (self.waiting or self.parked or self.held_until)


class LaneTable(Protocol):
    """Lanes and items, wherever they lie. Called inside one deed."""

    def lane(self, destination: str) -> LaneRow | None:
        """The lane, if there is one."""

    def keep(self, lane: LaneRow) -> None:
        """Write it down, or forget it if it is idle."""

    def due(self, now: Ms, most: int) -> Sequence[str]:
        """Lanes where something waits that are due, longest due first."""

    def first(self, destination: str, upto: Marks, *, pdus: int, edus: int) -> list[Waiting]:
        """The first so many of each kind, all in order of id."""

    def remove(self, destination: str, upto: Marks) -> Freed:
        """Forget these items."""

    def remove_after(self, destination: str, marks: Marks) -> Freed:
        """Forget the items behind the marks."""

    def expire(self, destination: str, now: Ms) -> Freed:
        """Forget what has expired. (Called while nothing is sealed.)"""

    def park(self, destination: str, upto: Marks, because: str, now: Ms) -> Freed:
        """Set these items aside."""

    def drop_parked(self, destination: str, ids: Sequence[int] | None) -> int:
        """Forget what was set aside. How many."""

    def forget_idle(self, before: Ms, most: int) -> None:
        """Forget some lanes with nothing but a back-off that ended ``before``."""


def replacement_key(item: OutItem) -> str:
    """By what an item takes an earlier one's place; empty if it does not."""
    return item.replaces if item.kind is ItemKind.EDU else ""


def marks(lane: LaneRow | None) -> Marks:
    """The sealed part of a lane that may not be there."""
    return Marks() if lane is None else lane.sealed


def state(lane: LaneRow, oldest: Ms) -> LaneState:
    """A lane from outside."""
    return LaneState(
        destination=lane.destination,
        waiting=lane.waiting,
        waiting_bytes=lane.waiting_bytes,
        parked=lane.parked,
        failures=lane.failures,
        since=lane.since,
        due=lane.due,
        because=lane.because,
        leased_by=lane.node,
        txn_id=lane.txn_id,
        oldest=oldest,
    )


def back_off(lane: LaneRow) -> BackOff:
    """Why, and until when, we hold off."""
    return BackOff(
        until=lane.held_until, failures=lane.failures, because=lane.because, since=lane.since
    )


def full(lane: LaneRow, count: int, size: int, limits: Limits) -> QueueFull | None:
    """Whether so much more is too much for this lane. What is parked counts too."""
    items, bytes_ = lane.waiting + lane.parked + count, lane.waiting_bytes + size
    if items <= limits.outbox_lane_items and bytes_ <= limits.outbox_lane_bytes:
        return None
    return QueueFull(
        "queue-full-destination",
        f"for {lane.destination} {items} items of {bytes_} bytes would be kept, and at most "
        f"{limits.outbox_lane_items} of {limits.outbox_lane_bytes} may be; nothing was added",
    )


def full_in_all(limits: Limits) -> QueueFull:
    """Too much of all lanes together."""
    return QueueFull(
        "queue-full",
        f"the outbox keeps at most {limits.outbox_items} items; nothing was added",
    )
