"""What only the inbox on disk can show: a handler's own statements, and kill -9."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ranvier.deeds import Answered, Done, Effect, Fresh, NoteEffect, SqlEffect
from ranvier.errors import EffectFault, StoreFault
from ranvier.limits import Ms
from ranvier.net.clock import SystemClock
from ranvier.store.sqlite import SqliteStore

SCRIPTS = Path(__file__).parent / "scripts"
DIGEST = bytes(32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """With a table of the handler's own beside ours."""
    opened = await SqliteStore.open(path, SystemClock())
    own_table(path)
    yield opened
    await opened.close()


def own_table(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE got (number INTEGER PRIMARY KEY) STRICT")
    db.close()


def done(txn_id: str = "1") -> Done:
    return Done(
        origin="a.test", txn_id=txn_id, digest=DIGEST, answer=b"{}", items=(),
        received=Ms(1_000), forget_at=Ms(9_000),
    )  # fmt: skip


def insert(number: object) -> SqlEffect:
    return SqlEffect(statement="INSERT INTO got (number) VALUES (?)", row=(number,))


async def got(store: SqliteStore) -> list[int]:
    rows = await store._reader.do(lambda db: db.execute("SELECT number FROM got").fetchall())
    return [number for (number,) in rows]


async def test_a_statement_of_a_handler_is_in_the_same_commit(store: SqliteStore) -> None:
    effects: list[Effect] = [
        insert(1),
        insert(2),
        SqlEffect(statement=" update got SET number = number + 10 RETURNING number"),
        SqlEffect(statement="WITH x AS (SELECT 1) DELETE FROM got WHERE number = 11"),
        NoteEffect(kind="n", name="x", value=b"1"),
    ]
    assert await store.inbox.finish(done(), effects) == b"{}"
    assert await got(store) == [12]
    assert await store.inbox.finish(done(), [insert(5)]) == b"{}"
    assert await got(store) == [12]


@pytest.mark.parametrize(
    ("effect", "why"),
    [
        (insert(1), "UNIQUE"),
        (insert("x"), "datatype mismatch"),
        (insert(2**70), "too large"),
        (insert(object()), "not supported"),
        (SqlEffect(statement="INSERT INTO got VALUES (?)"), "binding"),
        (SqlEffect(statement="INSERT INTO got VALUES (5); DELETE FROM got"), "one statement"),
        (SqlEffect(statement="INSERT INTO got \x00 VALUES (5)"), "null|unrecognized"),
        (SqlEffect(statement="COMMIT"), "something else"),
        (SqlEffect(statement="-- x\nROLLBACK"), "something else"),
        (SqlEffect(statement="PRAGMA synchronous = OFF"), "something else"),
        (SqlEffect(statement="INSERTED"), "something else"),
    ],
    ids=lambda each: each.statement if isinstance(each, SqlEffect) else "",
)
async def test_a_statement_that_fails_is_told_and_nothing_is_written(
    store: SqliteStore, effect: SqlEffect, why: str
) -> None:
    await store.inbox.finish(done("0"), [insert(1)])
    with pytest.raises(StoreFault, match=why) as raised:
        await store.inbox.finish(done(), [insert(3), effect])
    if why in ("UNIQUE", "datatype mismatch"):
        assert isinstance(raised.value, EffectFault)
        assert (raised.value.code, raised.value.place) == ("effect-refused", 1)
    else:
        assert raised.value.code == "effect-failed"
    assert await got(store) == [1]
    assert await store.inbox.seen("a.test", "1", DIGEST) == Fresh()


async def test_a_full_disk_is_not_the_handlers_fault(store: SqliteStore) -> None:
    await store._writer.do(lambda db: db.execute("PRAGMA max_page_count = 1").fetchone())
    big = "INSERT INTO note VALUES ('n', 'x', zeroblob(1000000), 0)"
    with pytest.raises(StoreFault) as raised:
        await store.inbox.finish(done(), [SqlEffect(statement=big)])
    assert raised.value.code == "store-full"


async def test_kill_9_leaves_answers_and_effects_together(path: Path) -> None:
    chance = random.Random(2)
    await (await SqliteStore.open(path, SystemClock())).close()
    own_table(path)
    said: list[int] = []
    for turn in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPTS / "receiver.py"), str(path), str(turn * 1_000_000),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        said.append(int(await process.stdout.readline()))
        asyncio.get_running_loop().call_later(chance.uniform(0.0, 0.3), process.kill)
        said += [int(line) async for line in process.stdout if line.endswith(b"\n")]
        assert await process.wait() == -9
    store = await SqliteStore.open(path, SystemClock())
    written = await got(store)
    assert set(said) <= set(written)
    for number in written:
        assert await store.inbox.seen("a.test", str(number), DIGEST) == Answered(b"{}")
    counted = await store._reader.do(
        lambda db: db.execute("SELECT count(*) FROM received").fetchone()
    )
    assert counted == (len(written),)
    await store.close()
