"""The SQLite store: group commit, its own faults by name, and nothing damaged."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from ranvier.errors import StoreFault
from ranvier.limits import Ms
from ranvier.net.clock import SystemClock
from ranvier.plugs import StoredDocument
from ranvier.store import schema
from ranvier.store.faults import fault
from ranvier.store.migrate import configuration, upgrade
from ranvier.store.sqlite import SqliteStore
from ranvier.store.thread import StoreThread


def document(at: int, name: str = "a.test", body: bytes = b"{}") -> StoredDocument:
    return StoredDocument(
        server_name=name,
        version="v2",
        body=body,
        trust="web-pki",
        source="origin",
        first_seen=Ms(at),
        fetched_at=Ms(at),
        valid_until=Ms(at),
        keys=(("ed25519:a", b"A" * 32),),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = await opening(path)
    yield opened
    await opened.close()


async def opening(path: Path, busy_seconds: float = 0.05) -> SqliteStore:
    return await SqliteStore.open(path, SystemClock(), busy_seconds=busy_seconds)


async def refusal(path: Path) -> str:
    """The code with which opening fails."""
    with pytest.raises(StoreFault) as caught:
        await opening(path)
    return caught.value.code


def written(path: Path, *statements: str) -> None:
    """Change the file behind the store's back."""
    db = sqlite3.connect(path)
    with db:
        for statement in statements:
            db.execute(statement)
    db.close()


def asked(path: Path, statement: str) -> list[int]:
    """The first row of an answer."""
    db = sqlite3.connect(path)
    row = db.execute(statement).fetchone()
    db.close()
    return list(row)


# -- what lasts ----------------------------------------------------------------


async def test_what_was_saved_is_there_after_opening_again(path: Path) -> None:
    first = await opening(path)
    await first.keys.save([document(1), document(2)])
    await first.notes.write("pin", "a.test", b"x")
    await first.close()
    second = await opening(path)
    assert [each.fetched_at for each in (await second.keys.load(["a.test"]))["a.test"]] == [1, 2]
    assert await second.notes.read("pin", "a.test") == b"x"
    await second.close()


async def test_a_new_store_is_readable_by_its_owner_only(path: Path) -> None:
    first = await opening(path)
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    await first.close()
    path.chmod(0o640)
    second = await opening(path)
    assert path.stat().st_mode & 0o777 == 0o640  # what was chosen stays
    await second.close()


@pytest.mark.req("D9")
async def test_pruned_documents_take_their_keys_along(store: SqliteStore, path: Path) -> None:
    await store.keys.save([document(at) for at in range(50)])
    await store.close()
    db = sqlite3.connect(path)
    counts = [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in TABLES]
    db.close()
    assert counts == [2, 2]


TABLES = ("document", "document_key")


async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    program = (
        "import asyncio, os, sys, signal\n"
        "from ranvier.net.clock import SystemClock\n"
        "from ranvier.store.sqlite import SqliteStore\n"
        "async def main():\n"
        "    store = await SqliteStore.open(sys.argv[1], SystemClock())\n"
        "    for each in range(20):\n"
        "        await store.notes.write('n', str(each), b'v')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, str(path)])
    assert done.returncode == -9
    store = await opening(path)
    assert [await store.notes.read("n", str(each)) for each in range(20)] == [b"v"] * 20
    await store.close()


# -- group commit ----------------------------------------------------------------


async def test_writes_that_come_together_share_a_commit(store: SqliteStore) -> None:
    seen: list[int] = []

    def deed(db: sqlite3.Connection) -> None:
        seen.append(db.total_changes)
        db.execute("INSERT OR REPLACE INTO note VALUES ('n', 'x', x'00', 1)")

    begins: list[str] = []
    await store._writer.do(lambda db: db.set_trace_callback(begins.append))
    begins.clear()
    await asyncio.gather(*(store._writer.do(deed) for _ in range(100)))
    assert len(seen) == 100
    assert sum(each.startswith("BEGIN") for each in begins) < 50


async def test_one_failing_deed_takes_no_other_along(store: SqliteStore) -> None:
    def bad(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO note VALUES ('n', 'bad', x'00', 1)")
        db.execute("INSERT INTO no_such_table VALUES (1)")

    results = await asyncio.gather(
        store.notes.write("n", "one", b"1"),
        store._writer.do(bad),
        store.notes.write("n", "two", b"2"),
        return_exceptions=True,
    )
    assert [getattr(each, "code", each) for each in results] == [None, "store-failed", None]
    assert await store.notes.read("n", "one") == b"1"
    assert await store.notes.read("n", "two") == b"2"
    assert await store.notes.read("n", "bad") is None


async def test_a_bug_in_a_deed_comes_out_as_it_is_and_the_thread_lives_on(
    store: SqliteStore,
) -> None:
    def bug(db: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store._writer.do(bug)
    await store.notes.write("n", "x", b"1")
    assert await store.notes.read("n", "x") == b"1"


async def test_a_caller_that_is_cancelled_disturbs_nobody(store: SqliteStore) -> None:
    tasks = [asyncio.create_task(store.notes.write("n", str(each), b"v")) for each in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [index for index, each in enumerate(results) if each is not None] == [3]
    assert await store.notes.read("n", "9") == b"v"


async def test_who_is_cancelled_while_it_is_done_disturbs_nobody(store: SqliteStore) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> None:
        inside.set()
        leave.wait(10)

    task = asyncio.create_task(store._writer.do(slow))
    await asyncio.to_thread(inside.wait, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    leave.set()
    await store.notes.write("n", "x", b"1")


async def test_reading_does_not_wait_for_a_write_in_progress(store: SqliteStore) -> None:
    await store.keys.save([document(1)])
    inside, leave = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM document")
        inside.set()
        leave.wait(10)

    writing = asyncio.create_task(store._writer.do(slow))
    await asyncio.to_thread(inside.wait, 10)
    assert len((await store.keys.load(["a.test"]))["a.test"]) == 1
    leave.set()
    await writing
    assert len((await store.keys.load(["a.test"]))["a.test"]) == 0


# -- faults, each by its name --------------------------------------------------------


async def test_a_store_that_another_process_writes_to_is_locked(
    store: SqliteStore, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFault) as caught:
        await store.notes.write("n", "x", b"1")
    assert caught.value.code == "store-locked"
    assert await store.notes.read("n", "x") is None
    other.execute("ROLLBACK")
    other.close()
    await store.notes.write("n", "x", b"1")


async def test_a_full_disk_loses_nothing_that_was_there(store: SqliteStore) -> None:
    await store.notes.write("n", "old", b"1")
    await store._writer.do(lambda db: db.execute("PRAGMA max_page_count = 20").fetchone())
    with pytest.raises(StoreFault) as caught:
        await store.keys.save([document(1, body=bytes(500_000))])
    assert caught.value.code == "store-full"
    await store.notes.write("n", "new", b"2")
    assert await store.notes.read("n", "old") == b"1"
    assert (await store.keys.load(["a.test"]))["a.test"] == ()


async def test_a_store_that_may_not_be_written_is_read_only(store: SqliteStore) -> None:
    await store._writer.do(lambda db: db.execute("PRAGMA query_only = ON").fetchone())
    with pytest.raises(StoreFault) as caught:
        await store.notes.write("n", "x", b"1")
    assert caught.value.code == "store-read-only"


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreFault, match="nowhere") as caught:
        await opening(tmp_path / "nowhere" / "store.db")
    assert caught.value.code == "store-cannot-open"
    assert await refusal(tmp_path) == "store-cannot-open"


async def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    content = b"signing keys, by no means a database\n" * 200
    path.write_bytes(content)
    assert await refusal(path) == "store-not-a-database"
    assert path.read_bytes() == content


async def test_the_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    written(path, "CREATE TABLE photos (id)", "INSERT INTO photos VALUES (1)")
    content = path.read_bytes()
    assert await refusal(path) == "store-not-ours"
    assert path.read_bytes() == content


async def test_a_newer_schema_is_left_as_it_is(path: Path) -> None:
    await (await opening(path)).close()
    written(path, "UPDATE alembic_version SET version_num = '9999'")
    content = path.read_bytes()
    assert await refusal(path) == "store-newer-schema"
    assert path.read_bytes() == content


async def test_damage_is_told_and_nothing_is_written_over_it(path: Path) -> None:
    store = await opening(path)
    await store.keys.save([document(at, f"{at}.test", bytes(3000)) for at in range(50)])
    await store.close()
    content = bytearray(path.read_bytes())
    (page,) = asked(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'document'")
    content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    store = await opening(path)
    with pytest.raises(StoreFault) as caught:
        await store.keys.load([f"{at}.test" for at in range(50)])
    assert caught.value.code == "store-corrupt"
    await store.close()
    assert path.read_bytes() == bytes(content)


async def test_a_disk_that_fails_is_told(path: Path) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert fault(error, path).code == "store-disk"


async def test_a_closed_store_refuses_politely(path: Path) -> None:
    store = await opening(path)
    await store.close()
    with pytest.raises(StoreFault) as caught:
        await store.notes.read("n", "x")
    assert caught.value.code == "store-closed"
    await store.close()


async def test_closing_finishes_what_was_asked(path: Path) -> None:
    store = await opening(path)
    tasks = [asyncio.create_task(store.notes.write("n", str(each), b"v")) for each in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*tasks)
    again = await opening(path)
    assert await again.notes.read("n", "49") == b"v"
    await again.close()


async def test_a_thread_that_was_never_started_can_be_stopped(path: Path) -> None:
    await StoreThread(lambda: sqlite3.connect(path), path, begin="BEGIN").stop()


# -- the schema ----------------------------------------------------------------------


def test_the_known_revisions_are_the_files_that_there_are() -> None:
    script = ScriptDirectory.from_config(configuration())
    there = [each.revision for each in script.walk_revisions()]
    assert tuple(reversed(there)) == schema.REVISIONS
    assert script.get_current_head() == schema.NEWEST


async def test_the_migration_tool_is_not_loaded_for_a_store_that_is_up_to_date(
    path: Path,
) -> None:
    program = (
        "import asyncio, sys\n"
        "from ranvier.net.clock import SystemClock\n"
        "from ranvier.store.sqlite import SqliteStore\n"
        "async def main():\n"
        "    await (await SqliteStore.open(sys.argv[1], SystemClock())).close()\n"
        "asyncio.run(main())\n"
        "print('alembic' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    said = [subprocess.run(command, capture_output=True, text=True).stdout for _ in range(2)]
    assert said == ["True\n", "False\n"]


async def test_an_old_revision_is_brought_up_to_date(path: Path) -> None:
    """An interrupted first start leaves an empty file: it is made whole."""
    path.touch()
    store = await opening(path)
    await store.notes.write("n", "x", b"1")
    await store.close()


async def test_many_that_open_a_new_store_at_once_take_turns(path: Path) -> None:
    stores = await asyncio.gather(*(opening(path, 5.0) for _ in range(8)))
    await asyncio.gather(*(each.notes.write("n", str(id(each)), b"v") for each in stores))
    for each in stores:
        assert await each.notes.read("n", str(id(stores[0]))) == b"v"
        await each.close()


async def test_a_new_store_that_another_process_holds_is_locked(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert await refusal(path) == "store-locked"
    other.execute("ROLLBACK")
    other.close()
    await (await opening(path)).close()


async def test_a_store_that_is_being_made_by_another_is_waited_for(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: other.execute("ROLLBACK")).start()
    store = await opening(path, 5.0)
    await store.close()
    other.close()


async def test_without_a_reader_the_writer_is_closed_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await opening(path)).close()
    first = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connections = [first]

    def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
        if connections:
            return connections.pop()
        raise sqlite3.OperationalError("no more")

    monkeypatch.setattr("ranvier.store.sqlite._connect", connect)
    assert await refusal(path) == "store-failed"
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        first.execute("SELECT 1")


@pytest.mark.parametrize("broken", ["PRAGMA application_id = 7", "DROP TABLE alembic_version"])
async def test_a_store_without_its_marks_is_not_ours(path: Path, broken: str) -> None:
    await (await opening(path)).close()
    written(path, broken)
    assert await refusal(path) == "store-not-ours"


def _breaks(change: Callable[[sqlite3.OperationalError], None]) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("odd")
    change(error)
    return error


def test_an_error_of_an_unknown_kind_still_has_a_code(path: Path) -> None:
    assert fault(_breaks(lambda error: None), path).code == "store-failed"


async def test_a_store_of_the_first_revision_keeps_what_it_has(path: Path) -> None:
    upgrade(path, "0001")
    written(path, "INSERT INTO note VALUES ('n', 'x', x'31', 1)")
    store = await opening(path)
    assert await store.notes.read("n", "x") == b"1"
    assert await store.outbox.lanes() == ()
    assert tuple(await store.inbox.origins()) == ()
    await store.close()


async def test_what_is_done_outlives_a_power_cut(store: SqliteStore) -> None:
    full = 2
    asked_for = "PRAGMA synchronous"
    assert await store._writer.do(lambda db: db.execute(asked_for).fetchone()) == (full,)
