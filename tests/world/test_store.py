"""What only the store in memory does: fail on command, and forget whole servers."""

from __future__ import annotations

import pytest

from ranvier.deeds import Delivered, ItemKind, OutItem, SealRule
from ranvier.errors import StoreFault
from ranvier.limits import Limits, Ms
from ranvier.plugs import StoredDocument
from ranvier.world import MemoryStore


async def test_a_broken_store_refuses_every_deed_until_it_is_mended() -> None:
    store = MemoryStore()
    await store.notes.write("pin", "a.test", b"x")
    store.broken = True
    for deed in (store.keys.load([]), store.keys.save([]), store.notes.read("pin", "a.test")):
        with pytest.raises(StoreFault) as raised:
            await deed
        assert raised.value.code == "store-failed"
    store.broken = False
    assert await store.notes.read("pin", "a.test") == b"x"


async def test_memory_does_not_grow_with_every_name_there_is() -> None:
    store = MemoryStore()
    names = [f"{each}.test" for each in range(100)]
    for place, name in enumerate(names):
        document = StoredDocument(
            server_name=name, version="v2", body=bytes(250_000), trust="web-pki", source="origin",
            first_seen=Ms(place), fetched_at=Ms(place), valid_until=Ms(0), keys=(("a", b""),),
        )  # fmt: skip
        await store.keys.save([document])
    kept = [name for name, found in (await store.keys.load(names)).items() if found]
    assert kept == names[-len(kept) :], "the latest stay"
    assert 250_000 * len(kept) <= Limits().documents_cached_bytes < 250_000 * (len(kept) + 1)


async def test_the_timer_heap_does_not_grow_with_the_work() -> None:
    store = MemoryStore()
    rule, now, until = SealRule(origin="us.test", edus=1), Ms(1), Ms(99_000)
    for _ in range(100):
        items = [OutItem(kind=ItemKind.EDU, body=b"{}")] * 30
        await store.outbox.add(["a.test"], items, now=now)
    (sealed,) = await store.outbox.take("one", now=now, until=until, most=1, rule=rule)
    following = await store.outbox.settle(sealed, Delivered(), now=now, until=until, rule=rule)
    while following is not None:
        until = Ms(until + 1)
        following = await store.outbox.settle(
            following, Delivered(), now=now, until=until, rule=rule
        )
    assert len(store.outbox._table._heap) < 1_100
    assert await store.outbox.next_due() is None
