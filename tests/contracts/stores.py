"""Every store there is, new and empty, for the suites that hold them all to one word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.plugs import Store
from ranvier.store.sqlite import SqliteStore
from ranvier.world import MemoryStore, VirtualClock

Make = Callable[..., Awaitable[Store]]

_NEW_FILE: list[bytes] = []


async def memory(directory: Path, limits: Limits | None = None) -> Store:
    return MemoryStore(VirtualClock(), limits)


async def sqlite(directory: Path, limits: Limits | None = None) -> Store:
    """A new file; the first one made is copied, for making one takes half a second."""
    path = directory / "store.db"
    if not _NEW_FILE:
        await (await SqliteStore.open(path, SystemClock())).close()
        _NEW_FILE.append(path.read_bytes())
    path.write_bytes(_NEW_FILE[0])
    return await SqliteStore.open(path, SystemClock(), limits=limits)


STORES: dict[str, Make] = {"world": memory, "sqlite": sqlite}
