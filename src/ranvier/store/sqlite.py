"""The Store plug on one SQLite file.

One thread writes and one reads (:mod:`ranvier.store.thread`), in WAL mode with
``synchronous=FULL``: what a deed said is done outlives a power cut, for a
transaction that was answered 200 is never sent again. The commit window makes
many deeds share the price.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import Self

from ranvier.limits import Limits
from ranvier.plugs import Clock
from ranvier.store.faults import is_busy
from ranvier.store.inbox import SqliteInbox
from ranvier.store.keyshelf import SqliteKeyShelf
from ranvier.store.outbox import SqliteOutbox
from ranvier.store.schema import prepare
from ranvier.store.thread import StoreThread

WINDOW_SECONDS = 0.003
"""How long the first deed of a transaction waits for company."""

BUSY_SECONDS = 5.0
_OPENINGS = 50


class SqliteStore:
    """Made by :meth:`open`; :meth:`close` when done."""

    def __init__(
        self, reader: StoreThread, writer: StoreThread, clock: Clock, limits: Limits, *, path: Path
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._keys = SqliteKeyShelf(reader, writer, limits)
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

        writer = StoreThread(connect, place, begin="BEGIN IMMEDIATE", window=WINDOW_SECONDS)
        reader = StoreThread(connect, place, begin="BEGIN")
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
    _make_private(path)
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


class SqliteNotes:
    """Notes by (kind, name)."""

    def __init__(self, reader: StoreThread, writer: StoreThread, clock: Clock) -> None:
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


def _make_private(path: Path) -> None:
    """A new file is its owner's alone: messages of users wait in it.

    SQLite gives its side files the same mode, and a mode that was chosen later stays.
    """
    with contextlib.suppress(OSError):  # it is there, or SQLite says what is in the way
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
