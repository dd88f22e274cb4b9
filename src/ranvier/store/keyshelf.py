"""Other servers' key documents on SQLite, pruned by rule (D9).

The rule is one statement, :data:`_PRUNE`: it numbers a server's documents per (key
id, key bytes) from three sides and keeps the ones that come first from any.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from ranvier.limits import Limits
from ranvier.plugs import StoredDocument
from ranvier.store.thread import StoreThread

_NAMES_AT_ONCE = 500

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


class SqliteKeyShelf:
    """The :class:`ranvier.plugs.KeyShelf` on SQLite."""

    def __init__(self, reader: StoreThread, writer: StoreThread, limits: Limits) -> None:
        self._reader = reader
        self._writer = writer
        self._most_bytes = limits.documents_of_server_bytes

    async def load(self, server_names: Iterable[str]) -> Mapping[str, tuple[StoredDocument, ...]]:
        """All kept documents of the named servers, oldest first. Raises: StoreFault."""
        names = tuple(dict.fromkeys(server_names))
        return await self._reader.do(lambda db: _load(db, names)) if names else {}

    async def save(self, documents: Iterable[StoredDocument]) -> None:
        """Keep and prune, in one commit. Raises: StoreFault."""
        new = tuple(documents)
        if new:
            await self._writer.do(lambda db: _save(db, new, self._most_bytes))


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


def _save(db: sqlite3.Connection, documents: tuple[StoredDocument, ...], most_bytes: int) -> None:
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
        db.execute(_BOUND, {"name": name, "most": most_bytes})


def _is_there(
    db: sqlite3.Connection, row: tuple[object, ...], keys: tuple[tuple[str, bytes], ...]
) -> bool:
    same = db.execute(_SAME, row).fetchall()
    return any(tuple(db.execute(_KEYS, document)) == keys for document in same)
