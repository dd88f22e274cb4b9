"""Lanes and items as rows of SQLite, for the rules in :mod:`ranvier.lanes`.

An item's bytes lie in ``payload`` once, however many lanes it waits in; who takes the
last item away takes the payload along. Nothing here commits: one call of a rule is
one deed of :mod:`ranvier.store.thread`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from ranvier.deeds import ItemKind, ParkedItem, QueuedItem
from ranvier.lanerows import Freed, LaneRow, Marks, Waiting
from ranvier.limits import Ms

_FIELDS = LaneRow.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
LANES = f"SELECT {_COLUMNS} FROM lane "  # noqa: S608 - our own columns
_LANE = LANES + "WHERE destination = ?"
_KEEP = (
    f"INSERT INTO lane ({_COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))}) "  # noqa: S608 - our own columns
    "ON CONFLICT (destination) DO UPDATE SET "
    + ", ".join(f"{each} = excluded.{each}" for each in _FIELDS[1:])
)
_FORGET = "DELETE FROM lane WHERE destination = ?"
_DUE = (
    "SELECT destination FROM lane WHERE waiting > 0 AND due <= ? ORDER BY due, destination LIMIT ?"
)
_FORGET_IDLE = """
    DELETE FROM lane WHERE destination IN (
        SELECT destination FROM lane
        WHERE waiting = 0 AND parked = 0 AND held_until < ? LIMIT ?
    )
"""

_FIRST = """
    SELECT i.id, i.kind, p.event_id, i.size, p.body
    FROM item AS i JOIN payload AS p ON p.id = i.payload_id
    WHERE i.destination = ? AND i.kind = ? AND i.id <= ? ORDER BY i.id LIMIT ?
"""
_OLDEST = """
    SELECT added_at FROM item WHERE destination = ? AND kind = ? ORDER BY id LIMIT 1
"""
_REMOVE = """
    DELETE FROM item WHERE destination = ? AND kind = ? AND id <= ? RETURNING payload_id, size
"""
_REMOVE_AFTER = """
    DELETE FROM item WHERE destination = ? AND kind = ? AND id > ? RETURNING payload_id, size
"""
_EXPIRE = """
    DELETE FROM item WHERE destination = ? AND kind = 'edu' AND expires > 0 AND expires <= ?
    RETURNING payload_id, size
"""
_FREE = """
    DELETE FROM payload WHERE id = ?
        AND NOT EXISTS (SELECT 1 FROM item WHERE payload_id = payload.id)
        AND NOT EXISTS (SELECT 1 FROM parked WHERE payload_id = payload.id)
"""
_FEWER = "UPDATE outbox SET items = items - ?"

_PARK = """
    INSERT INTO parked SELECT destination, id, kind, payload_id, ?, ? FROM item
    WHERE destination = ? AND kind = ? AND id <= ?
"""
PARKED = """
    SELECT k.id, k.destination, k.kind, p.event_id, p.body, k.because, k.parked_at
    FROM parked AS k JOIN payload AS p ON p.id = k.payload_id
"""
_PARKED_IDS = "SELECT id FROM parked WHERE destination = ? ORDER BY id"
_DROP_PARKED = "DELETE FROM parked WHERE destination = ? AND id = ? RETURNING payload_id, kind"

_KINDS = {each.value: each for each in ItemKind}


class SqliteLaneTable:
    """The :class:`ranvier.lanerows.LaneTable` of one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    # --- Lanes ---

    def lane(self, destination: str) -> LaneRow | None:
        """The lane, if there is one."""
        row = self._db.execute(_LANE, (destination,)).fetchone()
        return None if row is None else lane_of(row)

    def keep(self, lane: LaneRow) -> None:
        """Write it down, or forget it if it is idle."""
        if lane.is_idle:
            self._db.execute(_FORGET, (lane.destination,))
        else:
            self._db.execute(_KEEP, msgspec.structs.astuple(lane))

    def due(self, now: Ms, most: int) -> Sequence[str]:
        """What is due, longest first."""
        return [name for (name,) in self._db.execute(_DUE, (now, most)).fetchall()]

    def forget_idle(self, before: Ms, most: int) -> None:
        """Forget some back-offs that ended long ago."""
        self._db.execute(_FORGET_IDLE, (before, most))

    def oldest(self, destination: str) -> Ms:
        """When the oldest item was added; 0 if nothing waits."""
        rows = (self._db.execute(_OLDEST, (destination, kind)).fetchone() for kind in _KINDS)
        return min((row[0] for row in rows if row is not None), default=Ms(0))

    # --- Items ---

    def first(self, destination: str, upto: Marks, *, pdus: int, edus: int) -> list[Waiting]:
        """The first so many of each kind (-1: all), in order of id."""
        found: list[tuple[Any, ...]] = []
        for kind, last, most in (("pdu", upto.pdu, pdus), ("edu", upto.edu, edus)):
            if last:
                found += self._db.execute(_FIRST, (destination, kind, last, most))
        found.sort(key=itemgetter(0))
        return [
            (QueuedItem(id=item, kind=_KINDS[kind], event_id=event_id, size=size), body)
            for item, kind, event_id, size, body in found
        ]

    def remove(self, destination: str, upto: Marks) -> Freed:
        """Forget these items."""
        rows: list[tuple[int, int]] = []
        for kind, last in (("pdu", upto.pdu), ("edu", upto.edu)):
            if last:
                rows += self._db.execute(_REMOVE, (destination, kind, last))
        return self._freed(rows)

    def remove_after(self, destination: str, marks: Marks) -> Freed:
        """Forget the items behind the marks."""
        rows: list[tuple[int, int]] = []
        for kind, last in (("pdu", marks.pdu), ("edu", marks.edu)):
            rows += self._db.execute(_REMOVE_AFTER, (destination, kind, last))
        return self._freed(rows)

    def expire(self, destination: str, now: Ms) -> Freed:
        """Forget what has expired."""
        return self._freed(self._db.execute(_EXPIRE, (destination, now)).fetchall())

    def _freed(self, rows: Sequence[tuple[int, int]]) -> Freed:
        if rows:
            self.free([payload for payload, _ in rows])
            self.fewer(len(rows))
        return len(rows), sum(size for _, size in rows)

    def free(self, payloads: Sequence[int]) -> None:
        """Forget those of these payloads that nobody needs."""
        self._db.executemany(_FREE, [(each,) for each in payloads])

    def fewer(self, count: int) -> None:
        """So many items are no longer kept, waiting or parked."""
        self._db.execute(_FEWER, (count,))

    # --- Parked ---

    def park(self, destination: str, upto: Marks, because: str, now: Ms) -> Freed:
        """Set these items aside."""
        rows: list[tuple[int, int]] = []
        for kind, last in (("pdu", upto.pdu), ("edu", upto.edu)):
            self._db.execute(_PARK, (because, now, destination, kind, last))
            rows += self._db.execute(_REMOVE, (destination, kind, last))
        return len(rows), sum(size for _, size in rows)

    def drop_parked(self, destination: str, ids: Sequence[int] | None) -> int:
        """Forget what was set aside."""
        payloads = [payload for payload, _ in self.take_parked(destination, ids)]
        self.free(payloads)
        self.fewer(len(payloads))
        return len(payloads)

    def take_parked(self, destination: str, ids: Sequence[int] | None) -> list[tuple[int, Any]]:
        """(payload, kind) of each, in order; the payloads stay."""
        there = [each for (each,) in self._db.execute(_PARKED_IDS, (destination,))]
        chosen = there if ids is None else sorted(set(ids) & set(there))
        rows: list[tuple[int, Any]] = []
        for each in chosen:
            rows += self._db.execute(_DROP_PARKED, (destination, each))
        return rows


def lane_of(row: Sequence[Any]) -> LaneRow:
    """A lane from a row of :data:`LANES`."""
    return LaneRow(**dict(zip(_FIELDS, row, strict=True)))


def parked_of(row: Sequence[Any]) -> ParkedItem:
    """What was set aside, from a row of :data:`PARKED`."""
    item, destination, kind, event_id, body, because, parked_at = row
    return ParkedItem(
        id=item, destination=destination, kind=_KINDS[kind], event_id=event_id, body=body,
        because=because, parked_at=parked_at,
    )  # fmt: skip
