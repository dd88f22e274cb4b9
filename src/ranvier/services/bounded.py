"""A memory that a stranger can fill, but only so far."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Bounded(Generic[V]):
    """Values by name, at most so many and of so many bytes; the least recently used goes first."""

    def __init__(self, *, most: int, most_bytes: int = 0) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._values: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._bytes = 0

    def get(self, name: str) -> V | None:
        """The value, which counts as used now."""
        found = self._values.get(name)
        if found is None:
            return None
        self._values.move_to_end(name)
        return found[0]

    def put(self, name: str, value: V, size: int = 0) -> None:
        """Keep a value of ``size`` bytes, in place of another of this name."""
        self.drop(name)
        self._values[name] = value, size
        self._bytes += size
        while self._values and (len(self._values) > self._most or self._bytes > self._most_bytes):
            self.drop(next(iter(self._values)))

    def drop(self, name: str) -> None:
        """Forget a value, if it is there."""
        _, size = self._values.pop(name, (None, 0))
        self._bytes -= size
