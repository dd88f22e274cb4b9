"""The form of an event ``[s2s:pdus]``: which members it must have, and of what kind.

This is the first of the checks on receipt (PDU-01), and what fails it is dropped.
It asks only for what every later reader relies on: an event that came through has
a ``type``, a ``sender`` with a server name, numbers that are numbers, and lists of
references within the bounds. What the content says is a matter of the room.
"""

from __future__ import annotations

import re

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.names import split_identifier
from ranvier.protocol.room_versions import EventIdForm, RoomVersion
from ranvier.protocol.text import shown

PDUS = "[s2s:pdus]"
_SIZES = "[cs:size-limits]"

CREATE = "m.room.create"
_LONGEST_FIELD = 255  # bytes
_SURELY_FITS = _LONGEST_FIELD // 4  # characters

# room-id of version 12 = "!" 43( ALPHA / DIGIT / "-" / "_" )
_HASH_ROOM_ID = re.compile(r"![0-9A-Za-z_-]{43}", re.ASCII)


def check_form(event: JsonObject, version: RoomVersion, limits: Limits) -> None:
    """Raises Malformed for the first member that an event of ``version`` cannot have so."""
    _check_texts(event)
    _check_room_id(event, version)
    _check_numbers(event, version)
    _check_objects(event)
    _check_references(event.get("auth_events"), version, limits.event_auth_events)
    _check_references(event.get("prev_events"), version, limits.event_prev_events)
    if version.event_id_form is EventIdForm.WIRE:
        server_of(event.get("event_id"), "$")


def server_of(text: object, sigil: str) -> str:
    """The server name in an id that has one. Raises Malformed."""
    if type(text) is not str or not text.startswith(sigil):
        raise Malformed(
            "event-identifier", f"{shown(text)} is no identifier with {sigil}", clause=PDUS
        )
    return split_identifier(text).server_name.text


def _check_texts(event: JsonObject) -> None:
    kind = event.get("type")
    if type(kind) is not str:
        raise Malformed("event-type", "`type` is missing or no string", clause=PDUS)
    _check_length("type", kind)
    server_of(event.get("sender"), "@")
    if "state_key" in event:
        state_key = event["state_key"]
        if type(state_key) is not str:
            raise Malformed("event-state-key", "`state_key` is no string", clause=PDUS)
        _check_length("state_key", state_key)


def _check_length(member: str, text: str) -> None:
    if len(text) > _SURELY_FITS and len(text.encode("utf-8")) > _LONGEST_FIELD:
        raise Malformed(
            "event-field-too-long",
            f"`{member}` is longer than {_LONGEST_FIELD} bytes",
            clause=_SIZES,
        )


def _check_room_id(event: JsonObject, version: RoomVersion) -> None:
    room_id = event.get("room_id")
    if version.create_without_room_id and event["type"] == CREATE:
        if "room_id" in event:
            raise Malformed(
                "event-room-id-in-create",
                "this create event names a room, but the room is named by it",
                clause="[rooms:v12]",
            )
        return
    if type(room_id) is not str or not room_id.startswith("!"):
        raise Malformed("event-room-id", "`room_id` is missing or no room id", clause=PDUS)
    if version.create_without_room_id and not _HASH_ROOM_ID.fullmatch(room_id):
        raise Malformed(
            "event-room-id-form", f"{shown(room_id)} is no create event's hash", clause=PDUS
        )
    _check_length("room_id", room_id)


def _check_numbers(event: JsonObject, version: RoomVersion) -> None:
    greatest = version.greatest_integer
    sent = event.get("origin_server_ts")
    if type(sent) is not int or not -greatest <= sent <= greatest:
        raise Malformed(
            "event-origin-server-ts", "`origin_server_ts` is missing or no instant", clause=PDUS
        )
    depth = event.get("depth")
    if type(depth) is not int or not 0 <= depth <= greatest:
        raise Malformed(
            "event-depth", f"`depth` is missing or not from 0 to {greatest}", clause=PDUS
        )


def _check_objects(event: JsonObject) -> None:
    if type(event.get("content")) is not dict:
        raise Malformed("event-content", "the content is no object", clause=PDUS)
    if type(event.get("hashes")) is not dict:
        raise Malformed("event-hashes", "`hashes` is missing or no object", clause=PDUS)
    signatures = event.get("signatures")
    if type(signatures) is not dict or any(type(own) is not dict for own in signatures.values()):
        raise Malformed(
            "event-signatures", "`signatures` is missing or no map of maps", clause=PDUS
        )


def _check_references(listed: object, version: RoomVersion, most: int) -> None:
    if type(listed) is not list:
        raise Malformed("event-references", "a list of events is missing", clause=PDUS)
    if len(listed) > most:
        raise Malformed(
            "event-too-many-references",
            f"it refers to {len(listed)} events in one list; at most {most}",
            clause=PDUS,
        )
    ids = map(_first_of_pair, listed) if version.event_id_form is EventIdForm.WIRE else listed
    for each in ids:
        if type(each) is not str or each[:1] != "$":
            raise Malformed("event-reference", f"{shown(each)} refers to no event", clause=PDUS)
        if len(each) > _SURELY_FITS:
            _check_length("reference", each)


def _first_of_pair(reference: object) -> object:
    """The id of ``[id, {"sha256": ...}]``, as in versions 1 and 2; else what cannot be one."""
    if type(reference) is list and len(reference) == 2 and type(reference[1]) is dict:
        return reference[0]
    return None
