"""What SQLite can complain of, each with its own code and a cure.

The text of SQLite's own message stays in the sentence: it often names the page
or the table. Nothing here repairs anything; a file that is damaged, foreign or
from a newer version is left as it is.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ranvier.errors import StoreFault


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way, perhaps for a moment only."""
    return _kind(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _kind(error: sqlite3.Error) -> int:
    """The primary result code."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def fault(error: sqlite3.Error, path: Path) -> StoreFault:
    """The StoreFault for an error of SQLite on ``path``."""
    where = f"({str(path)!r}: {error})"
    match _kind(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreFault("store-locked", f"another process holds the store {where}")
        case sqlite3.SQLITE_FULL:
            return StoreFault("store-full", f"no room is left for the store {where}")
        case sqlite3.SQLITE_READONLY:
            return StoreFault("store-read-only", f"we may not write to the store {where}")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return StoreFault(
                "store-cannot-open",
                f"the store cannot be opened; does its folder exist, and is it ours? {where}",
            )
        case sqlite3.SQLITE_CORRUPT:
            return StoreFault(
                "store-corrupt", f"the store is damaged; put a copy in its place {where}"
            )
        case sqlite3.SQLITE_NOTADB:
            return StoreFault(
                "store-not-a-database", f"this file is no database; it was left as it is {where}"
            )
        case sqlite3.SQLITE_IOERR:
            return StoreFault("store-disk", f"the disk failed under the store {where}")
    return StoreFault("store-failed", f"the store failed {where}")
