"""Alembic, run from inside: each revision is one file in ``migrations/versions``.

All revisions that are missing run in one transaction, so that a crash leaves
the old schema or the new one. Two processes that start at once take turns.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

_WAIT_SECONDS = 0.2
"""For another process that does the same; who calls tries again."""

HERE = Path(__file__).parent / "migrations"


def configuration() -> Config:
    """What alembic needs to find the revisions."""
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(path: Path, revision: str) -> None:
    """Bring the file to ``revision``. Raises: sqlite3.Error."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(path, timeout=_WAIT_SECONDS),
        poolclass=NullPool,
    )

    @event.listens_for(engine, "connect")
    def take_over(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are ours, DDL included

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    config = configuration()
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from None
        raise
