"""The Store plug on one SQLite file.

One lane writes and one reads (:mod:`ranvier.store.lane`), in WAL mode with
``synchronous=FULL``: what a deed said is done outlives a power cut, for a
transaction that was answered 200 is never sent again. The commit window makes
many deeds share the price.

The shelf's pruning rule (D9) is one statement, :data:`_PRUNE`: it numbers a
server's documents per (key id, key bytes) from three sides and keeps the ones
that come first from any.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from ranvier.limits import Limits
from ranvier.plugs import Clock, StoredDocument
from ranvier.store.faults import is_busy
from ranvier.store.inbox import SqliteInbox
from ranvier.store.lane import Lane
from ranvier.store.outbox import SqliteOutbox
from ranvier.store.schema import prepare

WINDOW_SECONDS = 0.003
"""How long the first deed of a transaction waits for company."""

BUSY_SECONDS = 5.0
_NAMES_AT_ONCE = 500
_OPENINGS = 50

_LOAD = """
    SELECT id, server_name, version, body, trust, source, first_seen, fetched_at, valid_until
    FROM document WHERE server_name IN ({}) ORDER BY fetched_at, id
"""
_LOAD_KEYS = """
    SELECT document_id, key_id, key FROM document_key JOIN document ON document.id = document_id
    WHERE server_name IN ({}) ORDER BY document_id, place
"""
_SAME = """
    SELECT id FROM document
    WHERE server_name = ? AND version = ? AND body = ? AND trust = ? AND source = ?
      AND first_seen = ? AND fetched_at = ? AND valid_until = ?
"""
_KEYS = "SELECT key_id, key FROM document_key WHERE document_id = ? ORDER BY place"
_ADD = """
    INSERT INTO document
        (server_name, version, body, trust, source, first_seen, fetched_at, valid_until)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_KEY = "INSERT INTO document_key (document_id, place, key_id, key) VALUES (?, ?, ?, ?)"
_PRUNE = """
    DELETE FROM document WHERE server_name = :name AND id NOT IN (
        SELECT id FROM (
            SELECT d.id AS id, d.source = 'origin' AS direct,
                row_number() OVER (
                    PARTITION BY k.key_id, k.key ORDER BY d.fetched_at, d.id
                ) AS from_first,
                row_number() OVER (
                    PARTITION BY k.key_id, k.key, d.source = 'origin'
                    ORDER BY d.fetched_at DESC, d.id DESC
                ) AS from_latest,
                row_number() OVER (
                    PARTITION BY k.key_id, k.key
                    ORDER BY d.valid_until DESC, d.fetched_at DESC, d.id DESC
                ) AS from_longest
            FROM document AS d JOIN document_key AS k ON k.document_id = d.id
            WHERE d.server_name = :name
        )
        WHERE from_first = 1 OR from_longest = 1 OR (direct AND from_latest = 1)
    )
"""

_BOUND = """
    DELETE FROM document WHERE id IN (
        SELECT id FROM (
            SELECT id,
                sum(length(body)) OVER (ORDER BY fetched_at, id) AS spent,
                row_number() OVER (ORDER BY source = 'origin' DESC, fetched_at DESC, id DESC)
                    AS from_latest
            FROM document WHERE server_name = :name
        )
        WHERE spent > :most AND from_latest > 1
    )
"""
_MOST_BYTES = Limits().documents_of_server_bytes


class SqliteStore:
    """Made by :meth:`open`; :meth:`close` when done."""

    def __init__(
        self, reader: Lane, writer: Lane, clock: Clock, limits: Limits, *, path: Path
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._keys = SqliteKeyShelf(reader, writer)
        self._notes = SqliteNotes(reader, writer, clock)
        self._outbox = SqliteOutbox(reader, writer, clock, limits)
        self._inbox = SqliteInbox(reader, writer, path)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        clock: Clock,
        *,
        limits: Limits | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> Self:
        """Open the file, made or brought up to date if need be.

        ``busy_seconds`` is how long a write waits for another process.

        Raises: StoreFault; then the file is as it was.
        """
        place = Path(path)

        def connect() -> sqlite3.Connection:
            return _connect(place, busy_seconds)

        writer = Lane(connect, place, begin="BEGIN IMMEDIATE", window=WINDOW_SECONDS)
        reader = Lane(connect, place, begin="BEGIN")
        await writer.start()
        try:
            await reader.start()
        except BaseException:
            await writer.stop()
            raise
        return cls(reader, writer, clock, limits or Limits(), path=place)

    @property
    def keys(self) -> SqliteKeyShelf:
        """Other servers' key documents."""
        return self._keys

    @property
    def notes(self) -> SqliteNotes:
        """Small facts."""
        return self._notes

    @property
    def outbox(self) -> SqliteOutbox:
        """What waits to be sent."""
        return self._outbox

    @property
    def inbox(self) -> SqliteInbox:
        """What was received."""
        return self._inbox

    async def close(self) -> None:
        """Finish what was asked, and close; never raises."""
        await self._reader.stop()
        await self._writer.stop()


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection with our settings, on a file that is ours and up to date.

    Several that open a new file at once get in each other's way in places where
    SQLite does not wait by itself; so it is tried again in small steps.

    Raises: StoreFault, sqlite3.Error.
    """
    step = busy_seconds / _OPENINGS
    for _ in range(_OPENINGS - 1):
        try:
            return _opened(path, step, busy_seconds)
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
        threading.Event().wait(step)
    return _opened(path, step, busy_seconds)


def _opened(path: Path, step: float, busy_seconds: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=step, isolation_level=None)
    try:
        prepare(db, path)
        for setting in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"busy_timeout = {round(busy_seconds * 1000)}",
        ):
            db.execute(f"PRAGMA {setting}")
    except BaseException:
        db.close()
        raise
    return db


class SqliteKeyShelf:
    """Documents by server, pruned by rule (D9)."""

    def __init__(self, reader: Lane, writer: Lane) -> None:
        self._reader = reader
        self._writer = writer

    async def load(self, server_names: Iterable[str]) -> Mapping[str, tuple[StoredDocument, ...]]:
        """All kept documents of the named servers, oldest first. Raises: StoreFault."""
        names = tuple(dict.fromkeys(server_names))
        return await self._reader.do(lambda db: _load(db, names)) if names else {}

    async def save(self, documents: Iterable[StoredDocument]) -> None:
        """Keep and prune, in one commit. Raises: StoreFault."""
        new = tuple(documents)
        if new:
            await self._writer.do(lambda db: _save(db, new))


class SqliteNotes:
    """Notes by (kind, name)."""

    def __init__(self, reader: Lane, writer: Lane, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def read(self, kind: str, name: str) -> bytes | None:
        """The note, or ``None``. Raises: StoreFault."""
        statement = "SELECT value FROM note WHERE kind = ? AND name = ?"
        row = await self._reader.do(lambda db: db.execute(statement, (kind, name)).fetchone())
        return None if row is None else bytes(row[0])

    async def write(self, kind: str, name: str, value: bytes) -> None:
        """Write one note. Raises: StoreFault."""
        statement = (
            "INSERT OR REPLACE INTO note (kind, name, value, written_at) VALUES (?, ?, ?, ?)"
        )
        row = (kind, name, bytes(value), self._clock.now())
        await self._writer.do(lambda db: _run(db, statement, row))

    async def drop(self, kind: str, name: str) -> None:
        """Forget one note. Raises: StoreFault."""
        statement = "DELETE FROM note WHERE kind = ? AND name = ?"
        await self._writer.do(lambda db: _run(db, statement, (kind, name)))


def _run(db: sqlite3.Connection, statement: str, row: tuple[object, ...]) -> None:
    db.execute(statement, row)


def _load(db: sqlite3.Connection, names: tuple[str, ...]) -> dict[str, tuple[StoredDocument, ...]]:
    found: dict[str, list[StoredDocument]] = {name: [] for name in names}
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = names[start : start + _NAMES_AT_ONCE]
        marks = ", ".join("?" * len(some))
        keys: dict[int, list[tuple[str, bytes]]] = {}
        for document, key_id, key in db.execute(_LOAD_KEYS.format(marks), some):
            keys.setdefault(document, []).append((key_id, key))
        for document, *row in db.execute(_LOAD.format(marks), some):
            found[row[0]].append(_document(row, tuple(keys.get(document, ()))))
    return {name: tuple(each) for name, each in found.items()}


def _document(row: list[Any], keys: tuple[tuple[str, bytes], ...]) -> StoredDocument:
    name, version, body, trust, source, first_seen, fetched_at, valid_until = row
    return StoredDocument(
        server_name=name, version=version, body=body, trust=trust, source=source,
        first_seen=first_seen, fetched_at=fetched_at, valid_until=valid_until, keys=keys,
    )  # fmt: skip


def _save(db: sqlite3.Connection, documents: tuple[StoredDocument, ...]) -> None:
    for each in documents:
        row = (
            each.server_name, each.version, each.body, each.trust, each.source,
            each.first_seen, each.fetched_at, each.valid_until,
        )  # fmt: skip
        if not _is_there(db, row, each.keys):
            document = db.execute(_ADD, row).lastrowid
            places = ((document, place, *key) for place, key in enumerate(each.keys))
            db.executemany(_ADD_KEY, places)
    for name in {each.server_name for each in documents}:
        db.execute(_PRUNE, {"name": name})
        db.execute(_BOUND, {"name": name, "most": _MOST_BYTES})


def _is_there(
    db: sqlite3.Connection, row: tuple[object, ...], keys: tuple[tuple[str, bytes], ...]
) -> bool:
    same = db.execute(_SAME, row).fetchall()
    return any(tuple(db.execute(_KEYS, document)) == keys for document in same)
