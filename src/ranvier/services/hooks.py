"""What a program says to what comes in: handlers, a filter, and the versions of rooms.

A handler sees only what was authenticated, one item at a time. It may take a third
argument, the item's :class:`Effects`: what it writes *through them* happens exactly
once, in the same commit that remembers the transaction (D34). What it does otherwise
happens at least once; ``effects.key`` is then the same at every repeat.

* raising :class:`~ranvier.errors.NotValid` says that this PDU is refused: the sender
  is told so for this item alone;
* raising :class:`TryAgain` says that we cannot take it now: the whole transaction is
  answered 500 and comes again with the same id;
* anything else that is raised is our own fault: it is logged, and spoils one item.

The same holds for the filter and for the versions of rooms.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from ranvier.deeds import Effect, NoteEffect, SqlEffect
from ranvier.errors import BadConfiguration, NotValid, StoreFault
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.edus import Edu
from ranvier.protocol.names import ServerName
from ranvier.services.gate import Authenticated

FAILED = "the server failed at this item"
"""All that a sender is told of a fault of ours."""

logger = logging.getLogger("ranvier.receive")


class TryAgain(Exception):
    """A handler cannot take the item now; the sender is to come again with all of it."""


class Reply(Exception):
    """A query's answer that is not 200: raise it from the handler.

    ``errcode`` is Matrix's, such as ``M_NOT_FOUND``.
    """

    def __init__(self, status: int, errcode: str, error: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.errcode = errcode
        self.error = error


class Effects:
    """What the handler of one item wants written, if and when the transaction is done.

    ``key`` is ``origin/transaction id/kind/place``, and the item's digest too if the id has
    been used for other items: the same whenever this item comes again. ``request`` is what
    was authenticated about the request that brought it. Nothing is written while the
    handler runs.
    """

    def __init__(self, key: str, request: Authenticated) -> None:
        self.key = key
        self.request = request
        self._wanted: list[Effect] = []

    def write(self, kind: str, name: str, value: bytes | None) -> None:
        """A note in the store (``None`` drops it); on every store.

        Take a ``kind`` of your own: ``pins`` is ours, and says whom we trust.
        """
        self._wanted.append(NoteEffect(kind=kind, name=name, value=value))

    def execute(self, statement: str, *row: object) -> None:
        """A statement of SQL on the store's own database; on stores that speak SQL."""
        self._wanted.append(SqlEffect(statement=statement, row=row))

    @property
    def wanted(self) -> tuple[Effect, ...]:
        """All of it, in order."""
        return tuple(self._wanted)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /_matrix/federation/v1/query/{type}``: one question, one answer, kept nowhere.

    ``arguments`` has the last value of each parameter.
    """

    query_type: str
    arguments: Mapping[str, str]
    origin: ServerName


Handler = Callable[..., Awaitable[None]]
"""``(pdu or edu, origin)`` or ``(pdu or edu, origin, effects)``."""
QueryHandler = Callable[[Query], Awaitable[JsonObject]]
RoomVersions = Callable[[str], Awaitable[str | None]]
"""The version of a room by its id; ``None``: we do not know the room (D37)."""
Filter = Callable[[str, ServerName], Awaitable[str | None]]
"""Whether a server may say something in a room: ``None``, or why not (D39)."""


async def no_room(room_id: str) -> str | None:
    """We know no room."""
    return None


async def everything_passes(room_id: str, origin: ServerName) -> str | None:
    """Nobody is refused."""
    return None


class Called(msgspec.Struct, frozen=True):
    """A handler, and whether it takes effects."""

    handler: Handler
    takes_effects: bool

    @classmethod
    def of(cls, handler: Handler) -> Called:
        """Raises: BadConfiguration (neither two nor three arguments)."""
        count = len(inspect.signature(handler).parameters)
        if count not in (2, 3):
            raise BadConfiguration(
                "handler-arguments",
                f"{getattr(handler, '__name__', handler)!s} takes {count} arguments;"
                " a handler takes the item, its origin and, if it likes, effects",
            )
        return cls(handler, count == 3)

    async def __call__(self, item: Any, origin: ServerName, effects: Effects) -> None:
        """Hand the item over."""
        if self.takes_effects:
            await self.handler(item, origin, effects)
        else:
            await self.handler(item, origin)


class Hooks:
    """All that is registered. The last registration of a kind holds."""

    def __init__(self) -> None:
        self.pdu: Called | None = None
        self.edus: dict[str, Called] = {}
        self.queries: dict[str, QueryHandler] = {}
        self.room_version: RoomVersions = no_room
        self.filter: Filter = everything_passes

    def for_edu(self, edu: Edu) -> Called | None:
        """The handler for its type, or the one for all types (``*``)."""
        return self.edus.get(edu.edu_type) or self.edus.get("*")

    async def version_of(self, room_id: str) -> str | None:
        """What :attr:`room_version` says. Raises: NotValid, TryAgain, StoreFault."""
        return await _asked(self.room_version(room_id))

    async def against(self, room_id: str, origin: ServerName) -> str | None:
        """What :attr:`filter` says. Raises: NotValid, TryAgain, StoreFault."""
        return await _asked(self.filter(room_id, origin))


async def _asked(answer: Awaitable[str | None]) -> str | None:
    try:
        return await answer
    except (NotValid, TryAgain, StoreFault):
        raise
    except Exception:
        logger.exception("a hook failed at an item")
        raise NotValid("hook-failed", FAILED, clause="[ranvier:hooks]") from None
