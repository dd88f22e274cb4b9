"""Key documents with the keys they are kept by, and notes."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    "PRAGMA application_id = 1380865618",  # RNVR
    """
    CREATE TABLE document (
        id INTEGER PRIMARY KEY,
        server_name TEXT NOT NULL,
        version TEXT NOT NULL,
        body BLOB NOT NULL,
        trust TEXT NOT NULL,
        source TEXT NOT NULL,
        first_seen INTEGER NOT NULL,
        fetched_at INTEGER NOT NULL,
        valid_until INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX document_by_server ON document (server_name, fetched_at)",
    """
    CREATE TABLE document_key (
        document_id INTEGER NOT NULL REFERENCES document (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        key_id TEXT NOT NULL,
        key BLOB NOT NULL,
        PRIMARY KEY (document_id, place)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE note (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        written_at INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID
    """,
)


def upgrade() -> None:
    """From nothing."""
    for statement in STATEMENTS:
        op.execute(statement)
