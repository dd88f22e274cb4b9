"""EDUs: what is told to a server once, and not kept as history.

Each type of ``[s2s:edus]`` has a value class; a type that is not known passes as
:class:`UnknownEdu` (TXN-17). :func:`parse_edu` ignores members that it does not know;
they stay visible in ``content``. A bad EDU spoils only itself.

An EDU is not signed: whose it is follows from who sent it. So every user it speaks for
must be on the server that was authenticated (D39): :func:`examine_sender` asks,
:func:`without_strangers` leaves out the entries of others, where there can be several.
Whether a user is in the room is for the rooms to know.

To send one, make one::

    Typing(room_id="!r:example.org", user_id="@ann:example.org", typing=True)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from ranvier.errors import Malformed
from ranvier.limits import Ms
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.conditions import Condition, condition
from ranvier.protocol.text import shown

CLAUSE = "[s2s:edus]"
_IDENTIFIERS = "[app:common-identifier-format]"
_TO_DEVICE = "[s2s:send-to-device-messaging]"
_SENDER = "[ranvier:edu-sender]"

SAYS_STATE = frozenset(
    {"m.typing", "m.presence", "m.receipt", "m.device_list_update", "m.signing_key_update"}
)
"""Types that say how things are, so that hearing them twice changes nothing."""

LONGEST_MESSAGE_ID = 32
"""Code points of a to-device message's id ``[s2s:send-to-device-messaging]``."""
_LONGEST_IDENTIFIER = 255  # bytes

# user id = "@" localpart ":" server name; what a localpart may hold has changed over time
_USER = re.compile(r"@[^:\0]*:[^\0]+", re.DOTALL)
# room id = "!" opaque id [ ":" server name ]
_ROOM = re.compile(r"![^\0]+", re.DOTALL)


# --- Values ---


class Edu(msgspec.Struct, frozen=True, kw_only=True):
    """What all have. ``content`` is as it was received; empty in one that was made here."""

    edu_type: str
    content: JsonObject = {}


class UnknownEdu(Edu, frozen=True, kw_only=True):
    """Any other type: passed on as it is."""


class Typing(Edu, frozen=True, kw_only=True):
    """Somebody types, or has stopped. ``[s2s:typing-notifications]``"""

    edu_type: Literal["m.typing"] = "m.typing"
    room_id: str
    user_id: str
    typing: bool


class PresenceUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One user's presence."""

    user_id: str
    presence: Literal["online", "unavailable", "offline", "org.matrix.msc3026.busy"]
    """The last one is not in the text yet; servers that have it put it among the others'."""
    last_active_ago: int | None = None
    """Milliseconds. Required by the text, and left out by deployed servers if not known."""
    status_msg: str | None = None
    currently_active: bool | None = None


class Presence(Edu, frozen=True, kw_only=True):
    """Who is there. Without ``push`` (as 2014's ``poll``) it says nothing (EDU-08).

    ``[s2s:presence]``
    """

    edu_type: Literal["m.presence"] = "m.presence"
    push: tuple[PresenceUpdate, ...] = ()


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How far one user has read in one room (or thread); those not mentioned stay as they are."""

    room_id: str
    user_id: str
    event_ids: tuple[str, ...]
    ts: Ms
    thread_id: str | None = None
    receipt_type: str = "m.read"


class Receipts(Edu, frozen=True, kw_only=True):
    """Read receipts, taken out of their nested objects. ``[s2s:receipts]``"""

    edu_type: Literal["m.receipt"] = "m.receipt"
    receipts: tuple[Receipt, ...] = ()


class DeviceListUpdate(Edu, frozen=True, kw_only=True):
    """A device is new, changed or gone. ``[s2s:device-management]``"""

    edu_type: Literal["m.device_list_update"] = "m.device_list_update"
    user_id: str
    device_id: str
    stream_id: int
    """One sequence a user; a gap against ``prev_id`` means to ask for the whole list."""
    prev_id: tuple[int, ...] = ()
    deleted: bool | None = None
    keys: JsonObject | None = None
    device_display_name: str | None = None


class SigningKeyUpdate(Edu, frozen=True, kw_only=True):
    """A user's cross-signing keys. ``[s2s:end-to-end-encryption]``"""

    edu_type: Literal["m.signing_key_update"] = "m.signing_key_update"
    user_id: str
    master_key: JsonObject | None = None
    self_signing_key: JsonObject | None = None


class ToDevice(Edu, frozen=True, kw_only=True):
    """Messages to devices, once per ``sender`` and ``message_id``.

    ``messages``: by user id, by device id or ``*``, each an object.
    ``[s2s:send-to-device-messaging]``
    """

    edu_type: Literal["m.direct_to_device"] = "m.direct_to_device"
    sender: str
    type: str
    message_id: str
    messages: dict[str, dict[str, JsonObject]]


KnownEdu: TypeAlias = Typing | Presence | Receipts | DeviceListUpdate | SigningKeyUpdate | ToDevice
_E = TypeVar("_E", Presence, Receipts)
_OF_ALL = frozenset(Edu.__struct_fields__)


# --- Reading and writing ---


class _ReceiptData(msgspec.Struct, frozen=True):
    ts: Ms
    thread_id: str | None = None


class _WireReceipt(msgspec.Struct, frozen=True):
    event_ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    data: _ReceiptData


_WireReceipts: TypeAlias = dict[str, dict[str, dict[str, _WireReceipt]]]


def parse_edu(value: JsonObject) -> Edu:
    """The typed value of an EDU, or :class:`UnknownEdu`. Raises Malformed. ``[s2s:edus]``

    User and room ids are checked as far as they decide whose and where it is.
    """
    edu_type, content = value.get("edu_type"), value.get("content")
    if not isinstance(edu_type, str):
        raise Malformed("edu-type", "an EDU's edu_type is missing or no text", clause=CLAUSE)
    if not isinstance(content, dict):
        raise Malformed("edu-content", "an EDU's content is missing or no object", clause=CLAUSE)
    read = _READERS.get(edu_type)
    if read is None:
        return UnknownEdu(edu_type=edu_type, content=content)
    try:
        edu = read(edu_type, content)
    except msgspec.ValidationError as error:
        raise Malformed(
            "edu-field", f"in {shown(edu_type)}: {shown(str(error), 160)}", clause=CLAUSE
        ) from None
    _check(edu)
    return edu


def format_edu(edu: Edu) -> JsonObject:
    """The JSON of an EDU, from its fields; of an unknown one, with its content.

    Raises Malformed for what :func:`parse_edu` would refuse, and for two receipts where
    the wire has room for one (``edu-receipt-twice``).
    """
    value = {"edu_type": edu.edu_type, "content": _content(edu)}
    parse_edu(value)
    return value


def _reader(kind: type[KnownEdu]) -> Callable[[str, JsonObject], KnownEdu]:
    """Convert by the fields of ``kind``; whatever else the content has is not looked at."""

    def read(edu_type: str, content: JsonObject) -> KnownEdu:
        return msgspec.convert({**content, "edu_type": edu_type, "content": content}, kind)

    return read


def _read_receipts(_: str, content: JsonObject) -> Receipts:
    rooms = msgspec.convert(content, _WireReceipts)
    receipts = (
        Receipt(
            room_id=room_id,
            user_id=user_id,
            event_ids=each.event_ids,
            ts=each.data.ts,
            thread_id=each.data.thread_id,
            receipt_type=receipt_type,
        )
        for room_id, types in rooms.items()
        for receipt_type, users in types.items()
        for user_id, each in users.items()
    )
    return Receipts(receipts=tuple(receipts), content=content)


_READERS: Mapping[str, Callable[[str, JsonObject], KnownEdu]] = {
    "m.typing": _reader(Typing),
    "m.presence": _reader(Presence),
    "m.receipt": _read_receipts,
    "m.device_list_update": _reader(DeviceListUpdate),
    "m.signing_key_update": _reader(SigningKeyUpdate),
    "m.direct_to_device": _reader(ToDevice),
}


def _check(edu: Edu) -> None:
    for user_id in users_of(edu):
        _check_identifier("user", _USER, user_id)
    for room_id in rooms_of(edu):
        _check_identifier("room", _ROOM, room_id)
    if isinstance(edu, ToDevice) and len(edu.message_id) > LONGEST_MESSAGE_ID:
        raise Malformed(
            "edu-message-id",
            f"a message_id of {len(edu.message_id)} characters; at most {LONGEST_MESSAGE_ID}",
            clause=_TO_DEVICE,
        )


def _check_identifier(what: str, form: re.Pattern[str], text: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > _LONGEST_IDENTIFIER or not form.fullmatch(text):
        raise Malformed("edu-identifier", f"{shown(text)} is no {what} id", clause=_IDENTIFIERS)


def _content(edu: Edu) -> JsonObject:
    match edu:
        case Presence():
            return {"push": [_members(each) for each in edu.push]}
        case Receipts():
            return _nested(edu.receipts)
        case Typing() | DeviceListUpdate() | SigningKeyUpdate() | ToDevice():
            return _members(edu)
    return edu.content


def _members(value: msgspec.Struct) -> JsonObject:
    """The fields that are set, under their own names."""
    fields = {name: getattr(value, name) for name in value.__struct_fields__ if name not in _OF_ALL}
    return {
        name: list(field) if isinstance(field, tuple) else field
        for name, field in fields.items()
        if field is not None
    }


def _nested(receipts: Iterable[Receipt]) -> JsonObject:
    rooms: dict[str, dict[str, dict[str, JsonObject]]] = {}
    for each in receipts:
        users = rooms.setdefault(each.room_id, {}).setdefault(each.receipt_type, {})
        if each.user_id in users:
            raise Malformed(
                "edu-receipt-twice",
                f"two receipts of {shown(each.user_id)} in one room; send two EDUs",
                clause="[s2s:receipts]",
            )
        thread = {} if each.thread_id is None else {"thread_id": each.thread_id}
        users[each.user_id] = {"data": {"ts": each.ts, **thread}, "event_ids": list(each.event_ids)}
    return rooms


# --- Whose and where ---


def once_name(value: JsonObject) -> str:
    """The name under which an EDU may come only once from its origin; empty if it has none.

    To-device messages are told apart by ``message_id``: a sender that lost its memory of a
    transaction sends them again in another one (EDU-07).
    """
    content = value.get("content")
    if value.get("edu_type") != "m.direct_to_device" or not isinstance(content, dict):
        return ""
    message_id = content.get("message_id")
    return f"m.direct_to_device/{message_id}" if isinstance(message_id, str) else ""


def users_of(edu: Edu) -> tuple[str, ...]:
    """The users an EDU speaks for. Of an unknown type nobody can tell: none."""
    match edu:
        case Typing() | DeviceListUpdate() | SigningKeyUpdate():
            return (edu.user_id,)
        case ToDevice():
            return (edu.sender,)
        case Presence():
            return tuple(each.user_id for each in edu.push)
        case Receipts():
            return tuple(each.user_id for each in edu.receipts)
    return ()


def rooms_of(edu: Edu) -> tuple[str, ...]:
    """The rooms an EDU is about, each once: what server ACLs are asked of (EDU-02, EDU-04)."""
    match edu:
        case Typing():
            return (edu.room_id,)
        case Receipts():
            return tuple(dict.fromkeys(each.room_id for each in edu.receipts))
    return ()


def examine_sender(edu: Edu, origin: str) -> Condition:
    """Whether every user is on the authenticated ``origin`` (D39).

    It is fatal unless :func:`without_strangers` leaves something, and does not apply to an
    EDU that names no user.
    """
    users = users_of(edu)
    foreign = next((each for each in users if not _is_on(each, origin)), None)
    sentence = f"every user of the EDU is on {shown(origin)}"
    if foreign is not None:
        sentence = f"{shown(foreign)} is not on {shown(origin)}, which sent the EDU"
    return condition(
        "edu-sender",
        foreign is None if users else None,
        sentence,
        clause=_SENDER,
        fatal=without_strangers(edu, origin) is None,
    )


def without_strangers(edu: Edu, origin: str) -> Edu | None:
    """What ``origin`` may say for its own users; ``None`` if that is nothing.

    Presence and receipts lose the entries of others, in ``content`` too.
    """
    if all(_is_on(each, origin) for each in users_of(edu)):
        return edu
    match edu:
        case Presence():
            push = tuple(each for each in edu.push if _is_on(each.user_id, origin))
            return _renewed(Presence(push=push)) if push else None
        case Receipts():
            return _only(edu.receipts, lambda each: _is_on(each.user_id, origin))
    return None


def without_rooms(edu: Edu, rooms: Collection[str]) -> Edu | None:
    """What is not about any of ``rooms``; ``None`` if that is nothing. See :func:`rooms_of`."""
    if not any(each in rooms for each in rooms_of(edu)):
        return edu
    if isinstance(edu, Receipts):
        return _only(edu.receipts, lambda each: each.room_id not in rooms)
    return None


def _is_on(user_id: str, server_name: str) -> bool:
    return user_id.partition(":")[2] == server_name


def _only(receipts: tuple[Receipt, ...], fit: Callable[[Receipt], bool]) -> Receipts | None:
    kept = tuple(each for each in receipts if fit(each))
    return _renewed(Receipts(receipts=kept)) if kept else None


def _renewed(edu: _E) -> _E:
    """With the content that its fields make."""
    return replace(edu, content=_content(edu))
