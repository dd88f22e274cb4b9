"""Every inbox keeps the word of ``ranvier.deeds.Inbox``: one answer, one effect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from hashlib import sha256
from pathlib import Path

import pytest

from ranvier.deeds import Answered, Done, Effect, Fresh, NoteEffect, Reused, SqlEffect
from ranvier.errors import StoreFault
from ranvier.limits import Ms
from ranvier.plugs import Store
from tests.contracts.stores import STORES


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await STORES[request.param](tmp_path)
    yield opened
    await opened.close()


def digest(content: str) -> bytes:
    return sha256(content.encode()).digest()


def item(content: str) -> bytes:
    return digest(content)[:16]


def done(
    content: str = "one",
    *,
    origin: str = "a.test",
    txn_id: str = "1",
    answer: bytes = b"{}",
    items: tuple[str, ...] = (),
    received: int = 1_000,
    forget_at: int = 9_000,
    once: tuple[str, ...] = (),
) -> Done:
    return Done(
        origin=origin,
        txn_id=txn_id,
        digest=digest(content),
        answer=answer,
        items=tuple(map(item, items)),
        received=Ms(received),
        forget_at=Ms(forget_at),
        once=once,
    )


def note(name: str, value: bytes | None) -> NoteEffect:
    return NoteEffect(kind="n", name=name, value=value)


@pytest.mark.req("TXN-09")
async def test_a_transaction_is_known_by_origin_id_and_content(store: Store) -> None:
    inbox = store.inbox
    assert await inbox.seen("a.test", "1", digest("one")) == Fresh()
    assert await inbox.finish(done(answer=b'{"pdus":{}}', items=("x", "y")), []) == b'{"pdus":{}}'
    assert await inbox.seen("a.test", "1", digest("one")) == Answered(b'{"pdus":{}}')
    assert await inbox.seen("a.test", "2", digest("one")) == Fresh()
    assert await inbox.seen("b.test", "1", digest("one")) == Fresh()
    assert await inbox.seen("A.test", "1", digest("one")) == Fresh()


@pytest.mark.req("TXN-09")
async def test_an_id_that_is_used_again_says_which_items_are_done(store: Store) -> None:
    inbox = store.inbox
    await inbox.finish(done("one", items=("x", "y")), [])
    both = frozenset({item("x"), item("y")})
    assert await inbox.seen("a.test", "1", digest("two")) == Reused(both)
    await inbox.finish(done("two", items=("z",), answer=b"2"), [])
    assert await inbox.seen("a.test", "1", digest("three")) == Reused(both | {item("z")})
    assert await inbox.seen("a.test", "1", digest("two")) == Answered(b"2")
    assert await inbox.seen("a.test", "1", digest("one")) == Answered(b"{}")


@pytest.mark.req("D34")
async def test_the_first_answer_wins_and_the_second_leaves_no_effect(store: Store) -> None:
    inbox = store.inbox
    assert await inbox.finish(done(answer=b"first"), [note("x", b"1")]) == b"first"
    assert await inbox.finish(done(answer=b"second"), [note("x", b"2")]) == b"first"
    assert await store.notes.read("n", "x") == b"1"
    assert await inbox.seen("a.test", "1", digest("one")) == Answered(b"first")


@pytest.mark.req("TXN-09")
async def test_of_many_copies_at_once_one_wins(store: Store) -> None:
    answers = await asyncio.gather(
        *(
            store.inbox.finish(done(answer=b"%d" % each), [note(str(each), b"")])
            for each in range(20)
        )
    )
    (winner,) = set(answers)
    written = [each for each in range(20) if await store.notes.read("n", str(each)) is not None]
    assert written == [int(winner)]


@pytest.mark.req("D34")
async def test_effects_are_written_with_the_answer(store: Store) -> None:
    await store.notes.write("n", "old", b"x")
    effects = [note("new", b"1"), note("old", None), note("new", b"2"), note("none", None)]
    await store.inbox.finish(done(), effects)
    assert await store.notes.read("n", "new") == b"2"
    assert await store.notes.read("n", "old") is None


async def test_an_effect_that_fails_takes_all_back(store: Store) -> None:
    effects: list[Effect] = [note("x", b"1"), SqlEffect(statement="INSERT INTO nowhere VALUES (1)")]
    with pytest.raises(StoreFault) as raised:
        await store.inbox.finish(done(), effects)
    assert raised.value.code == "effect-failed"
    assert await store.notes.read("n", "x") is None
    assert await store.inbox.seen("a.test", "1", digest("one")) == Fresh()
    assert await store.inbox.finish(done(), effects[:1]) == b"{}"


async def test_one_that_fails_takes_no_other_along(store: Store) -> None:
    effects: list[Effect] = [note("x", b"")] * 6
    effects[3] = SqlEffect(statement="DELETE FROM nowhere")
    results = await asyncio.gather(
        *(
            store.inbox.finish(done(txn_id=str(each)), [effect])
            for each, effect in enumerate(effects)
        ),
        return_exceptions=True,
    )
    assert [each for each, result in enumerate(results) if result != b"{}"] == [3]


async def test_what_is_due_to_be_forgotten_is_forgotten_in_time(store: Store) -> None:
    inbox = store.inbox
    for each in range(250):
        await inbox.finish(done(txn_id=str(each), forget_at=2_000 + each), [])
    await inbox.finish(done(txn_id="kept", forget_at=50_000), [])
    for each in range(4):
        await inbox.finish(done(txn_id=f"later {each}", received=10_000, forget_at=60_000), [])
    assert [await inbox.seen("a.test", str(each), digest("one")) for each in range(250)] == [
        Fresh()
    ] * 250
    assert await inbox.seen("a.test", "kept", digest("one")) == Answered(b"{}")
    assert await inbox.seen("a.test", "later 0", digest("one")) == Answered(b"{}")


async def test_what_is_forgotten_at_once_does_not_come_back(store: Store) -> None:
    assert await store.inbox.finish(done(received=9_000, forget_at=9_000), []) == b"{}"
    assert await store.inbox.seen("a.test", "1", digest("one")) == Fresh()


@pytest.mark.req("EDU-07")
async def test_what_comes_only_once_is_remembered_of_its_origin_as_long(store: Store) -> None:
    inbox = store.inbox
    assert await inbox.had("a.test", ["x", "y"]) == frozenset()
    await inbox.finish(done(once=("x",)), [])
    await inbox.finish(done("two", txn_id="2", once=("x", "z"), forget_at=20_000), [])
    assert await inbox.had("a.test", ["x", "y", "z"]) == {"x", "z"}
    assert await inbox.had("b.test", ["x"]) == frozenset()
    await inbox.finish(done("three", txn_id="3", received=9_000, forget_at=30_000), [])
    assert await inbox.had("a.test", ["x", "z"]) == {"z"}


async def test_the_origins_are_told(store: Store) -> None:
    assert tuple(await store.inbox.origins()) == ()
    for origin, txn_id in (("b.test", "1"), ("a.test", "1"), ("b.test", "2")):
        await store.inbox.finish(done(origin=origin, txn_id=txn_id), [])
    assert tuple(await store.inbox.origins()) == ("a.test", "b.test")


async def test_a_closed_inbox_refuses_every_deed(store: Store) -> None:
    await store.close()
    deeds: list[Awaitable[object]] = [
        store.inbox.seen("a.test", "1", b""),
        store.inbox.finish(done(), []),
        store.inbox.origins(),
    ]
    for deed in deeds:
        with pytest.raises(StoreFault) as raised:
            await deed
        assert raised.value.code == "store-closed"
