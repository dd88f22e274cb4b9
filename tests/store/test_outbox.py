"""What only the outbox on disk can show: kill -9, two processes, its own books and its plans."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ranvier.deeds import Delivered, ItemKind, OutItem, SealRule
from ranvier.limits import Limits, Ms
from ranvier.net.clock import SystemClock
from ranvier.store import adding, lanetable, outbox
from ranvier.store.sqlite import SqliteStore
from tests.contracts.test_outbox_contract import History

SCRIPTS = Path(__file__).parent / "scripts"
RULE = SealRule(origin="us.test")
NOW, UNTIL = Ms(1_000), Ms(31_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(path, SystemClock())
    yield opened
    await opened.close()


def edu(number: int) -> OutItem:
    return OutItem(kind=ItemKind.EDU, body=b'{"n":%d}' % number)


def audit(db: sqlite3.Connection) -> None:
    """The books are right: nothing is kept for nobody, and every count is what can be counted."""
    waiting = "SELECT destination, count(*), sum(size) FROM item GROUP BY destination"
    counted = {name: (count, size) for name, count, size in db.execute(waiting)}
    parked = dict(db.execute("SELECT destination, count(*) FROM parked GROUP BY destination"))
    lanes = db.execute("SELECT destination, waiting, waiting_bytes, parked FROM lane").fetchall()
    assert {name: (count, size) for name, count, size, _ in lanes if count} == counted
    assert {name: count for name, _, _, count in lanes if count} == parked
    (items,) = db.execute("SELECT items FROM outbox").fetchone()
    assert items == sum(count for count, _ in counted.values()) + sum(parked.values())
    used = "SELECT payload_id FROM item UNION SELECT payload_id FROM parked ORDER BY 1"
    there = "SELECT id FROM payload ORDER BY 1"
    assert db.execute(used).fetchall() == db.execute(there).fetchall()
    sizes = "SELECT count(*) FROM item JOIN payload ON id = payload_id WHERE size <> length(body)"
    assert db.execute(sizes.replace("ON id", "ON payload.id")).fetchone() == (0,)


@pytest.mark.parametrize("seed", range(100, 106))
async def test_the_books_are_right_after_any_history(seed: int, store: SqliteStore) -> None:
    history = History(seed)
    for _ in range(120):
        await history.step([store.outbox])
        await store._reader.do(audit)


# --- Fan-out ---


@pytest.mark.parametrize("replaces", ["", "x"])
async def test_a_fan_out_is_the_same_few_statements_whatever_its_size(
    store: SqliteStore, replaces: str
) -> None:
    statements: list[str] = []
    await store._writer.do(lambda db: db.set_trace_callback(statements.append))
    item = OutItem(kind=ItemKind.EDU, body=b"{}" * 500, replaces=replaces)
    counts = []
    for count in (10, 100, 10_000):
        statements.clear()
        await store.outbox.add([f"{count}-{each}.test" for each in range(count)], [item], now=NOW)
        counts.append(len(statements))
    assert counts[0] == counts[1] == counts[2] < 15
    payloads = "SELECT count(*), sum(length(body)) FROM payload"
    assert await store._reader.do(lambda db: db.execute(payloads).fetchone()) == (3, 3_000)


async def test_one_event_is_stored_once_for_all_who_ever_get_it(store: SqliteStore) -> None:
    event = OutItem(
        kind=ItemKind.PDU, body=b'{"n":1}', event_id="$e", room_id="!r:us.test", position=7
    )
    await store.outbox.add(["a.test", "b.test"], [event], now=NOW)
    await store.outbox.add(["c.test"], [edu(2), event], now=NOW)
    rows = "SELECT event_id, room_id, position, body FROM payload WHERE event_id <> ''"
    found = await store._reader.do(lambda db: db.execute(rows).fetchall())
    assert found == [("$e", "!r:us.test", 7, b'{"n":1}')]
    for each in await store.outbox.take("one", now=NOW, until=UNTIL, most=9, rule=RULE):
        await store.outbox.settle(each, Delivered(), now=NOW, until=UNTIL, rule=RULE)
    await store._reader.do(audit)
    count = await store._reader.do(lambda db: db.execute("SELECT count(*) FROM payload").fetchone())
    assert count == (0,)


async def test_settlements_that_come_together_share_a_commit(store: SqliteStore) -> None:
    names = [f"{each}.test" for each in range(200)]
    await store.outbox.add(names, [edu(1)], now=NOW)
    taken = await store.outbox.take("one", now=NOW, until=UNTIL, most=200, rule=RULE)
    begins: list[str] = []
    await store._writer.do(lambda db: db.set_trace_callback(begins.append))
    begins.clear()
    await asyncio.gather(
        *(store.outbox.settle(each, Delivered(), now=NOW, until=UNTIL, rule=RULE) for each in taken)
    )
    assert sum(each.startswith("BEGIN") for each in begins) < 10
    assert await store.outbox.lanes() == ()


REPORTS = {
    "_SET_RIGHT",
    "_ALL_LANES",
    "_BACK_OFFS",
    "_ALL_PARKED",
    "_PARKED_OF",
    "LANES",
    "PARKED",
    "_COLUMNS",
}
"""For people, who may look at everything; once at a start; or parts of others."""

STATEMENTS = {
    f"{module.__name__}.{name}": value
    for module in (outbox, lanetable, adding)
    for name, value in vars(module).items()
    if isinstance(value, str) and name.isupper() and name not in REPORTS
}


@pytest.mark.parametrize("name", sorted(STATEMENTS))
async def test_no_deed_walks_through_a_table(store: SqliteStore, name: str) -> None:
    statement = STATEMENTS[name]
    marks = statement.count("?")
    row: object = (1,) * marks if marks else dict.fromkeys(NAMED, 1)
    explain = f"EXPLAIN QUERY PLAN {statement}"
    plan = await store._reader.do(lambda db: db.execute(explain, row).fetchall())  # type: ignore[arg-type] # row or names
    steps = [step for *_, step in plan]
    walks = [
        step
        for step in steps
        if step.startswith("SCAN")
        and "json_each" not in step
        and not step.startswith(("SCAN n VIRTUAL", "SCAN outbox"))
    ]
    assert not [step for step in walks if "INDEX" not in step], steps
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


NAMED = (
    "names", "kind", "id", "payload", "size", "key", "expires", "now", "count", "items", "bytes",
    "node", "until",
)  # fmt: skip


async def test_the_byte_and_item_bounds_come_with_the_store(path: Path) -> None:
    limits = Limits(outbox_lane_items=1)
    store = await SqliteStore.open(path, SystemClock(), limits=limits)
    with pytest.raises(Exception, match="2 items of 14 bytes would be kept, and at most 1"):
        await store.outbox.add(["a.test"], [edu(1), edu(2)], now=NOW)
    await store.close()


# --- Other processes ---


class Facts:
    """What processes said that they did."""

    def __init__(self) -> None:
        self.added: list[int] = []
        self.sent: dict[str, dict[str, str]] = defaultdict(dict)
        self.changed: list[str] = []

    def hear(self, line: str) -> None:
        what, *words = line.split()
        if what == "added":
            self.added.append(int(words[0]))
        elif what == "sent":
            destination, txn_id, numbers = words
            known = self.sent[destination].setdefault(txn_id, numbers)
            if known != numbers:
                self.changed.append(line)

    def received(self, destination: str) -> list[int]:
        """What a destination that knows ids has got, in the order it came."""
        return [
            int(each) for numbers in self.sent[destination].values() for each in numbers.split(",")
        ]


async def worker(facts: Facts, *arguments: str, kill_after: float | None = None) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPTS / "worker.py"), *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    if kill_after is not None:
        first = await process.stdout.readline()
        facts.hear(first.decode())
        asyncio.get_running_loop().call_later(kill_after, process.kill)
    async for line in process.stdout:
        if line.endswith(b"\n"):  # the last one may be torn
            facts.hear(line.decode())
    return await process.wait()


@pytest.mark.req("TXN-08", "TXN-10", "TXN-20")
async def test_kill_9_loses_nothing_that_was_acknowledged(path: Path) -> None:
    chance = random.Random(1)
    facts = Facts()
    for turn in range(5):
        arguments = (str(path), f"node {turn}", "adds", str(turn * 100_000))
        assert await worker(facts, *arguments, kill_after=chance.uniform(0.05, 0.5)) == -9
    assert await worker(facts, str(path), "last", "drains") == 0
    assert len(facts.added) > 20
    assert len(facts.sent) == 8
    for destination in facts.sent:
        got = facts.received(destination)
        assert set(got) >= set(facts.added), "lost"
        assert got == sorted(set(got)), "twice under another id, or overtaken"
    assert not facts.changed, "other bytes under the same id"
    await clean(path)


@pytest.mark.req("TXN-08", "TXN-20")
async def test_two_processes_share_one_file_and_no_lane_is_worked_on_twice(path: Path) -> None:
    facts = Facts()
    store = await SqliteStore.open(path, SystemClock())
    names = [f"{each}.test" for each in range(30)]
    for number in range(20):
        await store.outbox.add(names, [edu(number)], now=NOW)
    both = [Facts(), Facts()]
    codes = await asyncio.gather(
        *(worker(each, str(path), f"node {place}", "drains") for place, each in enumerate(both))
    )
    assert codes == [0, 0]
    for each in both:
        for destination, sent in each.sent.items():
            assert not facts.sent[destination].keys() & sent.keys(), "one lane was held twice"
            facts.sent[destination] |= sent
    assert all(sorted(facts.received(name)) == list(range(20)) for name in names)
    assert all(len(each.sent) > 3 for each in both), "both had work"
    assert await store.outbox.lanes() == ()
    await store.close()


async def clean(path: Path) -> None:
    """Nothing is left of what was delivered."""
    store = await SqliteStore.open(path, SystemClock())
    assert await store.outbox.lanes() == ()
    await store._reader.do(audit)
    await store.close()
