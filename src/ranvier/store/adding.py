"""Fan-out: every item to every destination, in a few statements whatever their number.

The destinations go in as one JSON array that SQLite walks itself, so that one EDU to
ten thousand servers is one payload and two statements. Bounds are looked at afterwards,
under a savepoint: only then it is known what was replaced.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from ranvier import lanerows
from ranvier.deeds import OutItem
from ranvier.errors import QueueFull
from ranvier.lanerows import LaneRow
from ranvier.limits import Limits, Ms
from ranvier.store.lanetable import SqliteLaneTable

_PAYLOAD = """
    INSERT INTO payload (event_id, room_id, position, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (event_id) WHERE event_id <> '' DO NOTHING
"""
_SAME_EVENT = "SELECT id, length(body) FROM payload WHERE event_id = ? AND event_id <> ''"
_ITEMS = """
    INSERT INTO item SELECT value, :kind, :id, :payload, :size, :key, :expires, :now
    FROM json_each(:names)
"""
_LANES = """
    INSERT INTO lane (destination, due, waiting, waiting_bytes)
    SELECT value, :now, :count, :size FROM json_each(:names) WHERE true
    ON CONFLICT (destination) DO UPDATE SET
        due = CASE WHEN waiting = 0 THEN max(held_until, :now) ELSE due END,
        waiting = waiting + :count, waiting_bytes = waiting_bytes + :size
"""
_REPLACED = """
    SELECT i.destination, max(i.id), i.payload_id, i.size
    FROM json_each(:names) AS n
        CROSS JOIN lane AS l ON l.destination = n.value
        CROSS JOIN item AS i ON i.destination = n.value
    WHERE i.replaces = :key AND i.replaces <> '' AND i.id > l.last_edu
    GROUP BY i.destination
"""
_REPLACE = """
    UPDATE item SET payload_id = ?, size = ?, expires = ?
    WHERE destination = ? AND kind = 'edu' AND id = ?
"""
_RESIZE = "UPDATE lane SET waiting_bytes = waiting_bytes + ? WHERE destination = ?"
_LAST_ID = "SELECT last_id FROM outbox"
_MORE = "UPDATE outbox SET items = items + ?, last_id = last_id + ? RETURNING items"
_FULL = """
    SELECT l.destination, l.waiting, l.waiting_bytes, l.parked
    FROM json_each(:names) AS n CROSS JOIN lane AS l ON l.destination = n.value
    WHERE l.waiting + l.parked > :items OR l.waiting_bytes > :bytes LIMIT 1
"""


def add(
    db: sqlite3.Connection, to: Sequence[str], items: Sequence[OutItem], now: Ms, limits: Limits
) -> QueueFull | None:
    """Add all, or nothing and say why not."""
    db.execute("SAVEPOINT adding")
    adding = _Adding(db, to, now)
    for item in items:
        adding.add(item)
    full = adding.finished(limits)
    if full is not None:
        db.execute("ROLLBACK TO adding")
    db.execute("RELEASE adding")
    return full


def append(
    db: sqlite3.Connection, destination: str, payloads: Sequence[tuple[int, str]], now: Ms
) -> None:
    """Put payloads (id, kind) that are there already at the end of a lane."""
    adding = _Adding(db, (destination,), now)
    for payload, kind in payloads:
        (size,) = db.execute("SELECT length(body) FROM payload WHERE id = ?", (payload,)).fetchone()
        adding.put(adding.names, kind=kind, payload=payload, size=size)
    adding.finished(None)


class _Adding:
    """One deed of adding. Plain items are counted and told to the lanes at the end."""

    def __init__(self, db: sqlite3.Connection, to: Sequence[str], now: Ms) -> None:
        self._db = db
        self._to = to
        self._now = now
        self.names = _array(to)
        (self._last_id,) = db.execute(_LAST_ID).fetchone()
        self._ids = 0
        self._rows = 0
        self._count = self._size = 0

    def add(self, item: OutItem) -> None:
        payload, size = self._payload(item)
        key = lanerows.replacement_key(item)
        if not key:
            self.put(self.names, kind=item.kind, payload=payload, size=size, expires=item.expires)
            return
        self._tell_lanes(self.names, self._count, self._size)
        self._count = self._size = 0
        replaced = self._replace(key, item, payload, size)
        rest = _array([name for name in self._to if name not in replaced])
        self.put(rest, kind=item.kind, payload=payload, size=size, key=key, expires=item.expires)
        self._tell_lanes(rest, self._count, self._size)
        self._count = self._size = 0

    def _payload(self, item: OutItem) -> tuple[int, int]:
        row = (item.event_id, item.room_id, item.position, item.body)
        cursor = self._db.execute(_PAYLOAD, row)
        if cursor.rowcount:
            return cursor.lastrowid or 0, len(item.body)
        found: tuple[int, int] = self._db.execute(_SAME_EVENT, (item.event_id,)).fetchone()
        return found

    def put(
        self, names: str, *, kind: str, payload: int, size: int, key: str = "", expires: int = 0
    ) -> None:
        self._ids += 1
        self._count += 1
        self._size += size
        self._rows += self._db.execute(
            _ITEMS,
            {
                "names": names,
                "kind": kind,
                "id": self._last_id + self._ids,
                "payload": payload,
                "size": size,
                "key": key,
                "expires": expires,
                "now": self._now,
            },
        ).rowcount

    def _replace(self, key: str, item: OutItem, payload: int, size: int) -> set[str]:
        """Those that waited with this key have the new payload now."""
        found = self._db.execute(_REPLACED, {"names": self.names, "key": key}).fetchall()
        self._db.executemany(
            _REPLACE, [(payload, size, item.expires, name, old) for name, old, _, _ in found]
        )
        self._db.executemany(_RESIZE, [(size - before, name) for name, _, _, before in found])
        SqliteLaneTable(self._db).free(list({old for _, _, old, _ in found}))
        return {name for name, *_ in found}

    def _tell_lanes(self, names: str, count: int, size: int) -> None:
        if count:
            row = {"names": names, "count": count, "size": size, "now": self._now}
            self._db.execute(_LANES, row)

    def finished(self, limits: Limits | None) -> QueueFull | None:
        self._tell_lanes(self.names, self._count, self._size)
        (items,) = self._db.execute(_MORE, (self._rows, self._ids)).fetchone()
        if limits is None:
            return None
        if items > limits.outbox_items:
            return lanerows.full_in_all(limits)
        bounds = {"items": limits.outbox_lane_items, "bytes": limits.outbox_lane_bytes}
        row = self._db.execute(_FULL, {"names": self.names, **bounds}).fetchone()
        if row is None:
            return None
        name, waiting, waiting_bytes, parked = row
        lane = LaneRow(
            destination=name, waiting=waiting, waiting_bytes=waiting_bytes, parked=parked
        )
        return lanerows.full(lane, 0, 0, limits)


def _array(names: Sequence[str]) -> str:
    return msgspec.json.encode(names).decode()
