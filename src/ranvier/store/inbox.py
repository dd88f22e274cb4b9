"""The inbox on SQLite: an answer and the effects it stands for, in one commit.

A handler's statement is run as it is, on our own connection and inside our own
transaction: therefore only statements that change rows are taken.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from ranvier.deeds import Answered, Done, Effect, Fresh, NoteEffect, Reused, Seen, SqlEffect
from ranvier.errors import EffectFault, StoreFault
from ranvier.limits import Ms
from ranvier.protocol.transactions import ITEM_DIGEST_BYTES
from ranvier.store.faults import fault
from ranvier.store.thread import StoreThread

_FORGET_AT_ONCE = 100

_SEEN = "SELECT digest, answer, items FROM received WHERE origin = ? AND txn_id = ?"
_ANSWER = "SELECT answer FROM received WHERE origin = ? AND txn_id = ? AND digest = ?"
_FINISH = """
    INSERT INTO received (origin, txn_id, digest, answer, items, received_at, forget_at)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_FORGET = """
    DELETE FROM received WHERE id IN (
        SELECT id FROM received WHERE forget_at <= ? ORDER BY forget_at LIMIT ?
    )
"""
_HAD = "SELECT 1 FROM had_once WHERE origin = ? AND name = ?"
_REMEMBER = """
    INSERT INTO had_once (origin, name, forget_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING
"""
_FORGET_NAMES = """
    DELETE FROM had_once WHERE rowid IN (
        SELECT rowid FROM had_once WHERE forget_at <= ? ORDER BY forget_at LIMIT ?
    )
"""
_ORIGINS = "SELECT DISTINCT origin FROM received ORDER BY origin"
_WRITE_NOTE = "INSERT OR REPLACE INTO note (kind, name, value, written_at) VALUES (?, ?, ?, ?)"
_DROP_NOTE = "DELETE FROM note WHERE kind = ? AND name = ?"

_CHANGES_ROWS = re.compile(r"\s*(?:INSERT|REPLACE|UPDATE|DELETE|WITH)\b", re.ASCII | re.IGNORECASE)


class SqliteInbox:
    """The :class:`ranvier.deeds.Inbox` on SQLite."""

    def __init__(self, reader: StoreThread, writer: StoreThread, path: Path) -> None:
        self._reader = reader
        self._writer = writer
        self._path = path

    async def seen(self, origin: str, txn_id: str, digest: bytes) -> Seen:
        """What is known of it. Raises: StoreFault."""
        row = (origin, txn_id)
        return _verdict(await self._reader.do(lambda db: db.execute(_SEEN, row).fetchall()), digest)

    async def had(self, origin: str, once: Iterable[str]) -> frozenset[str]:
        """Which of these are remembered. Raises: StoreFault."""
        names = tuple(once)

        def known(db: sqlite3.Connection) -> frozenset[str]:
            return frozenset(name for name in names if db.execute(_HAD, (origin, name)).fetchone())

        return await self._reader.do(known)

    async def finish(self, done: Done, effects: Sequence[Effect]) -> bytes:
        """Remember it with its effects; the answer that won. Raises: StoreFault."""
        asked = tuple(effects)
        return await self._writer.do(lambda db: self._finish(db, done, asked))

    def _finish(self, db: sqlite3.Connection, done: Done, effects: tuple[Effect, ...]) -> bytes:
        name = (done.origin, done.txn_id, done.digest)
        rest = (done.answer, b"".join(done.items), done.received, done.forget_at)
        if not db.execute(_FINISH, (*name, *rest)).rowcount:
            (answer,) = db.execute(_ANSWER, name).fetchone()
            return bytes(answer)
        for place, effect in enumerate(effects):
            if isinstance(effect, NoteEffect):
                _note(db, effect, done.received)
            else:
                self._run(db, effect, place)
        if done.once:
            db.executemany(_REMEMBER, ((done.origin, name, done.forget_at) for name in done.once))
        for forget in (_FORGET, _FORGET_NAMES):
            db.execute(forget, (done.received, _FORGET_AT_ONCE))
        return done.answer

    def _run(self, db: sqlite3.Connection, effect: SqlEffect, place: int) -> None:
        if not _CHANGES_ROWS.match(effect.statement):
            raise StoreFault(
                "effect-failed",
                "a handler may insert, update and delete rows; its statement "
                f"{effect.statement[:80]!r} does something else; nothing was written",
            )
        try:
            db.execute(effect.statement, effect.row).fetchall()
        except sqlite3.IntegrityError as error:
            raise EffectFault(
                "effect-refused",
                f"a rule of its table refuses a handler's {effect.statement[:80]!r}: {error}",
                place=place,
            ) from error
        except sqlite3.Error as error:
            plain = fault(error, self._path)
            raise (_failed(effect, error) if plain.code == "store-failed" else plain) from error
        except (sqlite3.Warning, TypeError, ValueError, OverflowError) as error:
            raise _failed(effect, error) from error

    async def origins(self) -> Iterable[str]:
        """Whose transactions are remembered. Raises: StoreFault."""
        rows = await self._reader.do(lambda db: db.execute(_ORIGINS).fetchall())
        return tuple(origin for (origin,) in rows)


def _verdict(rows: Sequence[tuple[bytes, bytes, bytes]], digest: bytes) -> Seen:
    if not rows:
        return Fresh()
    for known, answer, _ in rows:
        if known == digest:
            return Answered(bytes(answer))
    return Reused(
        frozenset(
            items[start : start + ITEM_DIGEST_BYTES]
            for _, _, items in rows
            for start in range(0, len(items), ITEM_DIGEST_BYTES)
        )
    )


def _note(db: sqlite3.Connection, effect: NoteEffect, now: Ms) -> None:
    if effect.value is None:
        db.execute(_DROP_NOTE, (effect.kind, effect.name))
    else:
        db.execute(_WRITE_NOTE, (effect.kind, effect.name, bytes(effect.value), now))


def _failed(effect: SqlEffect, error: Exception) -> StoreFault:
    return StoreFault(
        "effect-failed",
        f"a handler's statement {effect.statement[:80]!r} failed: {error}; nothing was written",
    )
