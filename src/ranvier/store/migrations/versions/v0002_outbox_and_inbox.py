"""Lanes with what waits in them, what was set aside, and what was received.

The columns of ``lane`` are the fields of :class:`ranvier.lanerows.LaneRow`. An item's
``id`` is unique in its lane only: one number serves a whole fan-out.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """
    CREATE TABLE outbox (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        items INTEGER NOT NULL,
        last_id INTEGER NOT NULL
    ) STRICT
    """,
    "INSERT INTO outbox VALUES (1, 0, 0)",
    """
    CREATE TABLE payload (
        id INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL,
        room_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX payload_by_event ON payload (event_id) WHERE event_id <> ''",
    """
    CREATE TABLE item (
        destination TEXT NOT NULL,
        kind TEXT NOT NULL,
        id INTEGER NOT NULL,
        payload_id INTEGER NOT NULL,
        size INTEGER NOT NULL,
        replaces TEXT NOT NULL,
        expires INTEGER NOT NULL,
        added_at INTEGER NOT NULL,
        PRIMARY KEY (destination, kind, id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX item_by_payload ON item (payload_id)",
    "CREATE INDEX item_by_key ON item (destination, replaces) WHERE replaces <> ''",
    "CREATE INDEX item_by_expiry ON item (destination, expires) WHERE expires > 0",
    """
    CREATE TABLE parked (
        destination TEXT NOT NULL,
        id INTEGER NOT NULL,
        kind TEXT NOT NULL,
        payload_id INTEGER NOT NULL,
        because TEXT NOT NULL,
        parked_at INTEGER NOT NULL,
        PRIMARY KEY (destination, id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX parked_by_payload ON parked (payload_id)",
    """
    CREATE TABLE lane (
        destination TEXT PRIMARY KEY,
        due INTEGER NOT NULL,
        node TEXT NOT NULL DEFAULT '',
        epoch INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        since INTEGER NOT NULL DEFAULT 0,
        held_until INTEGER NOT NULL DEFAULT 0,
        because TEXT NOT NULL DEFAULT '',
        txn_id TEXT NOT NULL DEFAULT '',
        origin TEXT NOT NULL DEFAULT '',
        sealed_at INTEGER NOT NULL DEFAULT 0,
        last_pdu INTEGER NOT NULL DEFAULT 0,
        last_edu INTEGER NOT NULL DEFAULT 0,
        refusals INTEGER NOT NULL DEFAULT 0,
        dropped INTEGER NOT NULL DEFAULT 0,
        narrow INTEGER NOT NULL DEFAULT 0,
        narrow_pdu INTEGER NOT NULL DEFAULT 0,
        narrow_edu INTEGER NOT NULL DEFAULT 0,
        waiting INTEGER NOT NULL DEFAULT 0,
        waiting_bytes INTEGER NOT NULL DEFAULT 0,
        parked INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX lane_due ON lane (due) WHERE waiting > 0",
    "CREATE INDEX lane_leased ON lane (node) WHERE node <> ''",
    "CREATE INDEX lane_idle ON lane (held_until) WHERE waiting = 0 AND parked = 0",
    """
    CREATE TABLE received (
        id INTEGER PRIMARY KEY,
        origin TEXT NOT NULL,
        txn_id TEXT NOT NULL,
        digest BLOB NOT NULL,
        answer BLOB NOT NULL,
        items BLOB NOT NULL,
        received_at INTEGER NOT NULL,
        forget_at INTEGER NOT NULL,
        UNIQUE (origin, txn_id, digest)
    ) STRICT
    """,
    "CREATE INDEX received_by_end ON received (forget_at)",
    """
    CREATE TABLE had_once (
        origin TEXT NOT NULL,
        name TEXT NOT NULL,
        forget_at INTEGER NOT NULL,
        UNIQUE (origin, name)
    ) STRICT
    """,
    "CREATE INDEX had_once_by_end ON had_once (forget_at)",
)


def upgrade() -> None:
    """From keys and notes alone."""
    for statement in STATEMENTS:
        op.execute(statement)
