"""One piece of work per key at a time: who asks meanwhile is given the same result.

The work runs as a task of its own, so that one caller's cancellation does not
spoil it for the others; when the *last* caller has gone, it is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class InFlight(Generic[K, V]):
    """Joins callers who want the same thing while it is being got."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}
        self._callers: dict[K, int] = {}

    def under_way(self, key: K) -> bool:
        """Whether somebody who asked now would join."""
        return key in self._tasks

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> tuple[V, bool]:
        """The result of ``work``, and whether somebody else had begun it.

        Raises: whatever the work raises, to every caller alike.
        """
        joined = self.under_way(key)
        if not joined:
            self._tasks[key] = asyncio.ensure_future(work())
        task = self._tasks[key]
        self._callers[key] = self._callers.get(key, 0) + 1
        try:
            return await asyncio.shield(task), joined
        finally:
            await self._left(key, task)

    async def _left(self, key: K, task: asyncio.Task[V]) -> None:
        if self._tasks.get(key) is not task:
            return
        self._callers[key] -= 1
        if task.done() or self._callers[key] == 0:
            del self._tasks[key], self._callers[key]
            if task.cancel():
                await asyncio.wait([task])  # So that its steps are in the caller's trail.
