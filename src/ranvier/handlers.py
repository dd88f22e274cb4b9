"""What a program says to what comes in, and to what became of what it sent: registration.

::

    @fed.on_edu("m.typing")
    async def typing(edu: Edu, origin: ServerName) -> None: ...

A handler that takes a third argument gets :class:`~ranvier.services.hooks.Effects`, by
which it writes exactly once. The last registration of a kind holds.
"""

from __future__ import annotations

from collections.abc import Callable

from ranvier.services.delivery import Delivery
from ranvier.services.hooks import Called, Filter, Handler, Hooks, QueryHandler, RoomVersions
from ranvier.services.sender import OnSent


class Handlers:
    """The registering half of a federation."""

    def __init__(self) -> None:
        self._hooks = Hooks()
        self._on_sent: OnSent | None = None

    def on_pdu(self, handler: Handler) -> Handler:
        """``@fed.on_pdu``: ``async def handler(pdu, origin)``, or with ``effects``."""
        self._hooks.pdu = Called.of(handler)
        return handler

    def on_edu(self, edu_type: str = "*") -> Callable[[Handler], Handler]:
        """``@fed.on_edu("m.typing")``: ``async def handler(edu, origin)``, or with ``effects``.

        Without a type: for all that have no handler of their own.
        """

        def register(handler: Handler) -> Handler:
            self._hooks.edus[edu_type] = Called.of(handler)
            return handler

        return register

    def on_query(self, query_type: str) -> Callable[[QueryHandler], QueryHandler]:
        """``@fed.on_query("profile")``: ``async def handler(query) -> dict``.

        Raise :class:`~ranvier.services.hooks.Reply` for an answer that is not 200.
        """

        def register(handler: QueryHandler) -> QueryHandler:
            self._hooks.queries[query_type] = handler
            return handler

        return register

    def on_sent(self, handler: OnSent) -> OnSent:
        """``@fed.on_sent``: told of every attempt to deliver a transaction, and what follows."""
        self._on_sent = handler
        return handler

    def room_version(self, hook: RoomVersions) -> RoomVersions:
        """``@fed.room_version``: ``async def hook(room_id) -> str | None``."""
        self._hooks.room_version = hook
        return hook

    def filter(self, hook: Filter) -> Filter:
        """``@fed.filter``: ``async def hook(room_id, origin)``, a reason to refuse or ``None``."""
        self._hooks.filter = hook
        return hook

    async def _sent(self, delivery: Delivery) -> None:
        if self._on_sent is not None:
            await self._on_sent(delivery)
