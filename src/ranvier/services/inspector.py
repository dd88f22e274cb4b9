"""What is looked at before a handler sees an item of a transaction.

A PDU is judged by itself, never by who brought it: third servers may pass on what
others signed (TXN-22). Its room's version says how it is read, hashed and named;
that no wire field says, so a program that knows rooms answers for it (D37). Then
``[s2s:checks-performed-on-receipt-of-a-pdu]`` 1 to 3: its form, the signatures of the
servers that must have signed it, its hash. (What needs a room's state comes later.)

An EDU has no signature of its own: it counts as said by the origin, so all users it
speaks for must be the origin's (D39).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from ranvier.errors import Malformed, NotValid, RanvierError
from ranvier.limits import Limits
from ranvier.plugs import Clock
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.conditions import insist
from ranvier.protocol.edus import (
    Edu,
    examine_sender,
    parse_edu,
    rooms_of,
    without_rooms,
    without_strangers,
)
from ranvier.protocol.events import (
    ParsedPdu,
    event_id,
    parse_pdu,
    required_signers,
    room_id_of,
    verified_pdu,
)
from ranvier.protocol.names import ServerName, parse_server_name
from ranvier.protocol.room_versions import RoomVersion, room_version
from ranvier.protocol.transactions import RawItem
from ranvier.services.hooks import Hooks
from ranvier.services.keyring import Keyring
from ranvier.trail import Recorder


class InspectedPdu(msgspec.Struct, frozen=True, kw_only=True):
    """``pdu``: fit for a handler. ``refused``: why not; the sender is told under
    ``event_id``, if it could be computed. Neither: we do not know its room."""

    pdu: ParsedPdu | None = None
    event_id: str = ""
    refused: RanvierError | None = None


UNKNOWN_ROOM = InspectedPdu()


class Inspector:
    """Judges items."""

    def __init__(self, keyring: Keyring, hooks: Hooks, limits: Limits, clock: Clock) -> None:
        self._keyring = keyring
        self._hooks = hooks
        self._clock = clock
        self._limits = limits

    async def pdus(self, items: Iterable[RawItem], origin: ServerName) -> list[InspectedPdu]:
        """Everything but the rooms' state, in order. Raises: StoreFault, TryAgain.

        Keys that are missing are asked for at once, not one after the other, and for no
        longer than ``event_keys_seconds`` in all: others' silence must not hold up the
        origin's lane.
        """
        read = [await self._read(item, origin) for item in items]
        tasks = {
            place: asyncio.ensure_future(self._signed(each))
            for place, each in enumerate(read)
            if each.pdu is not None
        }
        try:
            with suppress(TimeoutError):
                async with self._clock.timeout(self._limits.event_keys_seconds):
                    await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
        for place, task in tasks.items():
            in_time = task.done() and not task.cancelled()
            read[place] = task.result() if in_time else _late(read[place])
        return read

    async def _read(self, item: RawItem, origin: ServerName) -> InspectedPdu:
        """Its form and its room."""
        if item.value is None:
            return InspectedPdu(refused=Malformed(item.code, item.problem))
        try:
            version = await self._version_of(item.value)
        except (Malformed, NotValid) as error:
            return InspectedPdu(refused=error)
        if version is None:
            return UNKNOWN_ROOM
        try:
            pdu = parse_pdu(item.raw, version, self._limits)
            if reason := await self._hooks.against(pdu.room_id, origin):
                raise NotValid("item-filtered", reason, clause="[s2s:server-access-control-lists]")
        except (Malformed, NotValid) as error:
            return InspectedPdu(event_id=_named(item.value, version), refused=error)
        return InspectedPdu(pdu=pdu, event_id=pdu.event_id)

    async def _signed(self, read: InspectedPdu) -> InspectedPdu:
        """Refused, if it is not signed by all who must have."""
        assert read.pdu is not None
        try:
            await self._insist_signed(read.pdu, room_version(read.pdu.room_version))
        except (Malformed, NotValid) as error:
            return InspectedPdu(event_id=read.event_id, refused=error)
        return read

    async def _version_of(self, event: JsonObject) -> RoomVersion | None:
        """The version of its room; ``None`` if we do not know the room."""
        room_id = event.get("room_id")
        if room_id is None and event.get("type") == "m.room.create":
            content = event.get("content")
            said = content.get("room_version") if isinstance(content, dict) else None
            if isinstance(said, str):
                room_id = room_id_of(event, room_version(said))
        if not isinstance(room_id, str):
            raise Malformed("pdu-room-id", "the event names no room", clause="[s2s:pdus]")
        known = await self._hooks.version_of(room_id)
        return None if known is None else room_version(known)

    async def _insist_signed(self, pdu: ParsedPdu, version: RoomVersion) -> None:
        """Every server that must have signed it has. Raises: NotValid, Malformed, StoreFault."""
        signatures = pdu.value.get("signatures")
        for server in required_signers(pdu):
            signed = signatures.get(server) if isinstance(signatures, dict) else None
            keys = await self._keyring.keys_for_event(
                parse_server_name(server),
                tuple(signed)[: self._limits.signatures_per_document] if signed else (),
                at=pdu.origin_server_ts,
                enforce_validity=version.enforces_key_validity,
                recorder=Recorder(self._clock.tick),
            )
            verified_pdu(pdu, server, keys)

    async def edu(self, item: RawItem, origin: ServerName) -> Edu:
        """Raises: Malformed, NotValid (this item is not taken), StoreFault, TryAgain."""
        if item.value is None:
            raise Malformed(item.code, item.problem)
        said = parse_edu(item.value)
        edu = without_strangers(said, origin.text)
        if edu is None:
            insist((examine_sender(said, origin.text),))
            raise AssertionError("unreachable: nothing is left only if that is fatal")
        refused = {
            room: reason
            for room in rooms_of(edu)
            if (reason := await self._hooks.against(room, origin))
        }
        if not refused:
            return edu
        left = without_rooms(edu, frozenset(refused))
        if left is None:
            reason = next(iter(refused.values()))
            raise NotValid("item-filtered", reason, clause="[s2s:server-access-control-lists]")
        return left


def _late(read: InspectedPdu) -> InspectedPdu:
    message = "the keys of a server that signed it did not come in time"
    refused = NotValid("event-keys-late", message, clause="[ranvier:limits]")
    return InspectedPdu(event_id=read.event_id, refused=refused)


def _named(event: JsonObject, version: RoomVersion) -> str:
    """Its id, if it can be computed (TXN-16)."""
    try:
        return event_id(event, version)
    except (Malformed, NotValid):
        return ""
