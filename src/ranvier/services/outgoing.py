"""What a program hands to ``send``, made fit to be stored: canonical bytes, ids, limits.

Everything is judged before anything is queued, so that nothing waits in a lane that
no server would take.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ranvier.deeds import ItemKind, OutItem
from ranvier.errors import NotValid
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import (
    JsonObject,
    encode_canonical,
    encode_canonical_lenient,
)
from ranvier.protocol.edus import Edu, format_edu
from ranvier.protocol.events import event_id, room_id_of
from ranvier.protocol.names import ServerName
from ranvier.protocol.room_versions import RoomVersion, room_version
from ranvier.services.hooks import RoomVersions


class Pdu(msgspec.Struct, frozen=True, kw_only=True):
    """A signed event to send. ``room_version`` empty: the ``room_version`` hook is asked;
    if nobody knows, the event has no id for us and no result of its own.

    ``position``: where it stands in the sender's own stream, if it has one.
    """

    event: JsonObject
    room_version: str = ""
    position: int = 0


class Passing(msgspec.Struct, frozen=True, kw_only=True):
    """An EDU that is worth something only for a while.

    ``replaces``: of those that wait for one destination with the same key, only the
    latest is sent. ``seconds``: dropped unsent after that; 0 is never.
    """

    edu: Edu
    replaces: str = ""
    seconds: float = 0.0


async def pdu_item(pdu: Pdu | JsonObject, versions: RoomVersions, limits: Limits) -> OutItem:
    """Raises: Malformed, NotValid (``room-version-unknown``, ``event-too-large``)."""
    given = pdu if isinstance(pdu, Pdu) else Pdu(event=pdu)
    version = await _version(given, versions)
    strict = version is None or version.strict_json
    body = (encode_canonical if strict else encode_canonical_lenient)(given.event)
    if len(body) > limits.event_bytes:
        raise NotValid(
            "event-too-large",
            f"the event has {len(body)} bytes; at most {limits.event_bytes}",
            clause="[client:size-limits]",
        )
    room_id = given.event.get("room_id")
    if version is not None:
        room_id = room_id_of(given.event, version)
    return OutItem(
        kind=ItemKind.PDU,
        body=body,
        event_id="" if version is None else event_id(given.event, version),
        room_id=room_id if isinstance(room_id, str) else "",
        position=given.position,
    )


async def _version(pdu: Pdu, versions: RoomVersions) -> RoomVersion | None:
    if pdu.room_version:
        return room_version(pdu.room_version)
    room_id = pdu.event.get("room_id")
    known = await versions(room_id) if isinstance(room_id, str) else None
    return None if known is None else room_version(known)


def edu_item(edu: Edu | Passing, *, now: Ms, limits: Limits) -> OutItem:
    """Raises: Malformed, NotValid (``edu-too-large``)."""
    given = edu if isinstance(edu, Passing) else Passing(edu=edu)
    body = encode_canonical(format_edu(given.edu))
    if len(body) > limits.transaction_bytes // 2:
        raise NotValid(
            "edu-too-large",
            f"the EDU has {len(body)} bytes; at most {limits.transaction_bytes // 2}",
            clause="[ranvier:limits]",
        )
    expires = Ms(now + round(given.seconds * 1000)) if given.seconds else Ms(0)
    return OutItem(kind=ItemKind.EDU, body=body, replaces=given.replaces, expires=expires)


def destinations_of(names: Iterable[ServerName], own: frozenset[str]) -> tuple[str, ...]:
    """Each name once, in order; ourselves left out, for we know it already."""
    return tuple(text for text in dict.fromkeys(each.text for each in names) if text not in own)
