"""Room versions as a table of data: what differs between them in ids, JSON, keys and redaction.

A room is of one version for ever, and its events cannot be read without knowing it:
no member of an event says it (D37). A version is an opaque string, and versions have
no order (RVER-01); that each row below is written as a change of an earlier one is
our shorthand, nothing more.

The table holds what is needed to name, check and redact events. What rooms need
besides (authorisation, state) will be further columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from ranvier.errors import Malformed, NotValid
from ranvier.protocol.canonical import GREATEST_INTEGER
from ranvier.protocol.text import shown

_VERSIONS = "[rooms:room-versions]"

_GREATEST_LENIENT = 2**63 - 1

# room-version-id = 1*32( %x61-7A / DIGIT / "." / "-" )
_ROOM_VERSION = re.compile(r"[a-z0-9.-]{1,32}", re.ASCII)


class EventIdForm(StrEnum):
    """Where an event's id comes from."""

    WIRE = "wire"
    """``$opaque:server``, said by the event; references are pairs of id and hashes."""
    HASH = "hash"
    """``$`` and the reference hash in base64; references are ids."""
    HASH_URLSAFE = "hash-urlsafe"
    """The same with ``-`` and ``_``."""


class Redaction(msgspec.Struct, frozen=True, kw_only=True):
    """What redaction leaves of an event (RED-01)."""

    top_level: frozenset[str]
    content: Mapping[str, frozenset[str]]
    """By event type; nothing is left of the content of other types."""
    whole: frozenset[str] = frozenset()
    """The types whose content stays as it is."""
    third_party_signed: bool = False
    """Whether ``third_party_invite.signed`` of a membership stays."""


class RoomVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    id: str
    event_id_form: EventIdForm = EventIdForm.HASH_URLSAFE
    strict_json: bool = True
    """Whether events must have a canonical form: no floats, integers within 2^53 - 1."""
    enforces_key_validity: bool = True
    """Whether ``valid_until_ts`` of a key counts for events; ``expired_ts`` always does."""
    create_without_room_id: bool = False
    """Whether the room is named by its create event, which then cannot name it."""
    redaction: Redaction

    @property
    def greatest_integer(self) -> int:
        """The bound of ``depth`` and of instants."""
        return GREATEST_INTEGER if self.strict_json else _GREATEST_LENIENT


# --- Redaction: each table as a change of the one before ---

_TOP_LEVEL_11 = frozenset(
    {
        "event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures",
        "depth", "prev_events", "auth_events", "origin_server_ts",
    }
)  # fmt: skip
_TOP_LEVEL_1 = _TOP_LEVEL_11 | {"prev_state", "origin", "membership"}

_POWER_LEVELS = frozenset(
    {
        "ban", "events", "events_default", "kick", "redact", "state_default", "users",
        "users_default",
    }
)  # fmt: skip
_CONTENT_1 = {
    "m.room.member": frozenset({"membership"}),
    "m.room.create": frozenset({"creator"}),
    "m.room.join_rules": frozenset({"join_rule"}),
    "m.room.power_levels": _POWER_LEVELS,
    "m.room.aliases": frozenset({"aliases"}),
    "m.room.history_visibility": frozenset({"history_visibility"}),
}
_CONTENT_6 = {kind: kept for kind, kept in _CONTENT_1.items() if kind != "m.room.aliases"}
_CONTENT_8 = {**_CONTENT_6, "m.room.join_rules": frozenset({"join_rule", "allow"})}
_CONTENT_9 = {
    **_CONTENT_8,
    "m.room.member": frozenset({"membership", "join_authorised_via_users_server"}),
}
_CONTENT_11 = {
    **{kind: kept for kind, kept in _CONTENT_9.items() if kind != "m.room.create"},
    "m.room.power_levels": _POWER_LEVELS | {"invite"},
    "m.room.redaction": frozenset({"redacts"}),
}

_REDACTION_1 = Redaction(top_level=_TOP_LEVEL_1, content=MappingProxyType(_CONTENT_1))
_REDACTION_6 = Redaction(top_level=_TOP_LEVEL_1, content=MappingProxyType(_CONTENT_6))
_REDACTION_8 = Redaction(top_level=_TOP_LEVEL_1, content=MappingProxyType(_CONTENT_8))
_REDACTION_9 = Redaction(top_level=_TOP_LEVEL_1, content=MappingProxyType(_CONTENT_9))
_REDACTION_11 = Redaction(
    top_level=_TOP_LEVEL_11,
    content=MappingProxyType(_CONTENT_11),
    whole=frozenset({"m.room.create"}),
    third_party_signed=True,
)


# --- The versions ---


def _early(id: str, form: EventIdForm, *, enforces: bool = False) -> RoomVersion:
    """Versions 1 to 5: JSON was not held to the canonical form."""
    return RoomVersion(
        id=id,
        event_id_form=form,
        strict_json=False,
        enforces_key_validity=enforces,
        redaction=_REDACTION_1,
    )


ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType(
    {
        row.id: row
        for row in (
            _early("1", EventIdForm.WIRE),
            _early("2", EventIdForm.WIRE),
            _early("3", EventIdForm.HASH),
            _early("4", EventIdForm.HASH_URLSAFE),
            _early("5", EventIdForm.HASH_URLSAFE, enforces=True),
            RoomVersion(id="6", redaction=_REDACTION_6),
            RoomVersion(id="7", redaction=_REDACTION_6),
            RoomVersion(id="8", redaction=_REDACTION_8),
            RoomVersion(id="9", redaction=_REDACTION_9),
            RoomVersion(id="10", redaction=_REDACTION_9),
            RoomVersion(id="11", redaction=_REDACTION_11),
            RoomVersion(id="12", redaction=_REDACTION_11, create_without_room_id=True),
        )
    }
)
"""Every version that we can read, by its id."""


def parse_room_version_id(text: str) -> str:
    """``text`` itself, if it may name a version, known or not. Raises Malformed (RVER-01)."""
    if not _ROOM_VERSION.fullmatch(text):
        raise Malformed(
            "room-version-id",
            f"{shown(text)} names no room version: 1 to 32 of a-z, 0-9, full stop and hyphen",
            clause=_VERSIONS,
        )
    return text


def room_version(id: str) -> RoomVersion:
    """The row of a version. Raises Malformed, and NotValid if we do not know it."""
    known = ROOM_VERSIONS.get(parse_room_version_id(id))
    if known is None:
        raise NotValid("room-version-unknown", f"room version {id} is unknown", clause=_VERSIONS)
    return known
