"""Which schema this version speaks, without loading the tool that makes it.

The revision that a file has stands in its ``alembic_version`` table, and the
file carries our application id. Only if the revision is not :data:`NEWEST` is
:mod:`ranvier.store.migrate` (alembic, SQLAlchemy: 0.4 s) loaded at all.
"""

from __future__ import annotations

import importlib
import sqlite3
from pathlib import Path

from ranvier.errors import StoreFault

REVISIONS = ("0001", "0002")
"""Oldest first; a test holds this to the files in ``migrations/versions``."""

NEWEST = REVISIONS[-1]
APPLICATION_ID = 0x524E5652
"""``RNVR``, in the file's header."""

_MIGRATE = "ranvier.store.migrate:upgrade"


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to :data:`NEWEST`. Nothing is written to a file that is not ours.

    Raises: StoreFault, sqlite3.Error.
    """
    revision = _revision(db, path)
    if revision == NEWEST:
        return
    if revision is not None and revision not in REVISIONS:
        raise StoreFault(
            "store-newer-schema",
            f"the store {str(path)!r} is of revision {revision!r}, made by a newer version; "
            f"this one knows {NEWEST}; it was left as it is",
        )
    module, _, name = _MIGRATE.partition(":")
    getattr(importlib.import_module(module), name)(path, NEWEST)


def _revision(db: sqlite3.Connection, path: Path) -> str | None:
    """The file's revision, ``None`` for an empty one."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    if not tables:
        return None
    (ours,) = db.execute("PRAGMA application_id").fetchone()
    if ours != APPLICATION_ID or "alembic_version" not in tables:
        raise StoreFault(
            "store-not-ours",
            f"{str(path)!r} is the database of another program; it was left as it is",
        )
    (revision,) = db.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    return str(revision)
