"""What only the store in memory can do: fail on command."""

from __future__ import annotations

import pytest

from ranvier.errors import StoreFault
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
