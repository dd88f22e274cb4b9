"""Every store keeps the Store plug's word: append only, pruned by rule, all or nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from ranvier.errors import StoreFault
from ranvier.limits import Limits, Ms
from ranvier.plugs import Store, StoredDocument
from tests.contracts.stores import STORES

KEY_A = ("ed25519:a", b"A" * 32)
KEY_B = ("ed25519:b", b"B" * 32)
OTHER_BYTES = ("ed25519:a", b"X" * 32)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await STORES[request.param](tmp_path)
    yield opened
    await opened.close()


def document(
    at: int,
    *,
    keys: tuple[tuple[str, bytes], ...] = (KEY_A,),
    until: int = 1000,
    source: str = "origin",
    server_name: str = "a.test",
    body: bytes | None = None,
) -> StoredDocument:
    """A document fetched ``at`` and valid ``until``."""
    return StoredDocument(
        server_name=server_name,
        version="v2",
        body=b'{"fetched":%d}' % at if body is None else body,
        trust="web-pki",
        source=source,
        first_seen=Ms(at),
        fetched_at=Ms(at),
        valid_until=Ms(until),
        keys=keys,
    )


async def kept(store: Store, server_name: str = "a.test") -> list[int]:
    """When the kept documents were fetched."""
    return [each.fetched_at for each in (await store.keys.load([server_name]))[server_name]]


async def test_each_asked_name_is_a_key_of_the_answer(store: Store) -> None:
    assert await store.keys.load(["a.test", "b.test"]) == {"a.test": (), "b.test": ()}
    assert await store.keys.load([]) == {}


async def test_many_names_may_be_asked_at_once(store: Store) -> None:
    names = [f"{each}.test" for each in range(2000)]
    await store.keys.save(document(1, server_name=name) for name in names[:1500])
    found = await store.keys.load(names)
    assert [len(found[name]) for name in names] == [1] * 1500 + [0] * 500


async def test_of_one_server_only_so_much_is_kept_the_oldest_and_the_latest(store: Store) -> None:
    big = Limits().documents_of_server_bytes // 4
    for at in range(1, 10):
        key = (f"ed25519:k{at}", b"K" * 32)
        await store.keys.save([document(at, keys=(key,), body=b"%d" % at + bytes(big - 1))])
    copy = document(10, keys=(("ed25519:k10", b"K" * 32),), source="notary.test")
    await store.keys.save([copy])
    assert await kept(store) == [1, 2, 3, 4, 9], "a notary's copy pushes nothing out"
    await store.keys.save([document(1, server_name="b.test")])
    assert await kept(store, "b.test") == [1]


@pytest.mark.parametrize("name", STORES)
async def test_how_much_of_one_server_is_kept_is_the_limits_word(name: str, tmp_path: Path) -> None:
    store = await STORES[name](tmp_path, Limits(documents_of_server_bytes=250))
    for at in range(1, 5):
        key = (f"ed25519:k{at}", b"K" * 32)
        await store.keys.save([document(at, keys=(key,), body=b"%d" % at * 100)])
    assert await kept(store) == [1, 2, 4]
    await store.close()


async def test_a_document_comes_back_as_it_went_in(store: Store) -> None:
    saved = document(5, keys=(KEY_A, KEY_B), body=bytes(range(256)), until=2**53)
    await store.keys.save([saved])
    assert (await store.keys.load(["a.test"]))["a.test"] == (saved,)


async def test_names_are_told_apart_by_letter_case(store: Store) -> None:
    await store.keys.save([document(1, server_name="A.test"), document(2)])
    assert await kept(store, "A.test") == [1]
    assert await kept(store) == [2]


async def test_a_name_with_quotes_and_zeros_is_only_a_name(store: Store) -> None:
    name = "a'; DROP TABLE x; --\x00é"
    await store.keys.save([document(1, server_name=name)])
    await store.notes.write(name, name, b"\x00")
    assert await kept(store, name) == [1]
    assert await store.notes.read(name, name) == b"\x00"


async def test_the_first_the_latest_direct_and_the_longest_living_stay(store: Store) -> None:
    for at, until, source in (
        (1, 100, "origin"),  # the first
        (2, 900, "origin"),  # lives longest
        (3, 200, "origin"),
        (4, 300, "origin"),  # the latest direct
        (5, 400, "notary.test"),
    ):
        await store.keys.save([document(at, until=until, source=source)])
    assert await kept(store) == [1, 2, 4]


async def test_the_rule_is_per_key_id_and_bytes(store: Store) -> None:
    await store.keys.save(
        [
            document(1, keys=(KEY_A,)),
            document(2, keys=(OTHER_BYTES,)),
            document(3, keys=(KEY_A, KEY_B)),
            document(4, keys=(KEY_A,)),
            document(5, keys=(KEY_A,)),
        ]
    )
    assert await kept(store) == [1, 2, 3, 5]


async def test_a_document_that_one_key_needs_stays_for_it(store: Store) -> None:
    await store.keys.save([document(at, keys=(KEY_A, KEY_B)) for at in (1, 2)])
    await store.keys.save([document(at, keys=(KEY_A,)) for at in (3, 4)])
    assert await kept(store) == [1, 2, 4]


async def test_a_notary_alone_never_counts_as_direct(store: Store) -> None:
    for at in (1, 2, 3):
        await store.keys.save([document(at, source="notary.test", until=100 - at)])
    assert await kept(store) == [1]


async def test_documents_come_oldest_first_whatever_order_they_came_in(store: Store) -> None:
    await store.keys.save([document(9, until=5), document(3, until=7), document(6, until=9)])
    assert await kept(store) == [3, 6, 9]


async def test_of_equals_the_later_saved_lives_longest(store: Store) -> None:
    await store.keys.save([document(1, until=50), document(2, until=50)])
    await store.keys.save([document(3, until=50, source="notary.test")])
    assert await kept(store) == [1, 2, 3]


async def test_the_same_document_twice_is_kept_once(store: Store) -> None:
    for _ in range(3):
        await store.keys.save([document(1)])
    assert await kept(store) == [1]


async def test_a_document_without_keys_has_nothing_to_be_kept_by(store: Store) -> None:
    await store.keys.save([document(1, keys=())])
    assert await kept(store) == []


async def test_many_documents_of_one_server_stay_bounded(store: Store) -> None:
    for start in range(0, 200, 20):
        await store.keys.save([document(at, until=at) for at in range(start, start + 20)])
    assert await kept(store) == [0, 199]


async def test_saving_nothing_is_allowed(store: Store) -> None:
    await store.keys.save([])


async def test_a_note_is_written_read_overwritten_and_dropped(store: Store) -> None:
    assert await store.notes.read("pin", "a.test") is None
    await store.notes.write("pin", "a.test", b"one")
    await store.notes.write("pin", "a.test", b"two")
    assert await store.notes.read("pin", "a.test") == b"two"
    await store.notes.drop("pin", "a.test")
    assert await store.notes.read("pin", "a.test") is None
    await store.notes.drop("pin", "a.test")


async def test_notes_are_told_apart_by_kind_and_name(store: Store) -> None:
    await store.notes.write("pin", "a.test", b"pin")
    await store.notes.write("plan", "a.test", b"plan")
    await store.notes.write("pin", "A.test", b"")
    assert await store.notes.read("pin", "a.test") == b"pin"
    assert await store.notes.read("plan", "a.test") == b"plan"
    assert await store.notes.read("pin", "A.test") == b""


async def test_deeds_done_together_are_all_done(store: Store) -> None:
    names = [f"{place}.test" for place in range(50)]
    await asyncio.gather(*(store.keys.save([document(1, server_name=name)]) for name in names))
    await asyncio.gather(*(store.notes.write("pin", name, name.encode()) for name in names))
    assert all(len(each) == 1 for each in (await store.keys.load(names)).values())
    read = await asyncio.gather(*(store.notes.read("pin", name) for name in names))
    assert read == [name.encode() for name in names]


async def test_what_is_written_can_be_read_at_once(store: Store) -> None:
    for place in range(20):
        await store.notes.write("pin", "a.test", b"%d" % place)
        assert await store.notes.read("pin", "a.test") == b"%d" % place


async def test_a_closed_store_refuses_every_deed_and_may_be_closed_again(store: Store) -> None:
    await store.close()
    await store.close()
    deeds: list[Awaitable[object]] = [
        store.keys.load(["a.test"]),
        store.keys.save([document(1)]),
        store.notes.read("pin", "a.test"),
        store.notes.write("pin", "a.test", b""),
        store.notes.drop("pin", "a.test"),
    ]
    for deed in deeds:
        with pytest.raises(StoreFault) as raised:
            await deed
        assert raised.value.code == "store-closed"


@pytest.mark.parametrize("seed", range(8))
async def test_all_stores_keep_the_same_of_any_history(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    stores = [await make(tmp_path) for make in STORES.values()]
    names = ["a.test", "b.test"]
    for _ in range(60):
        batch = [
            document(
                chance.randrange(12),
                until=chance.randrange(6),
                keys=tuple(chance.sample([KEY_A, KEY_B, OTHER_BYTES], chance.randrange(4))),
                source=chance.choice(["origin", "n1.test", "n2.test"]),
                server_name=chance.choice(names),
                body=b"%d" % chance.randrange(3),
            )
            for _ in range(chance.randrange(1, 4))
        ]
        for store in stores:
            await store.keys.save(batch)
        first, *others = [await store.keys.load(names) for store in stores]
        assert all(other == first for other in others)
    for store in stores:
        await store.close()
