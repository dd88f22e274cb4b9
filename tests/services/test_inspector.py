"""What an item must be before a handler sees it: its room's version, its signers, its users."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ranvier.errors import NotValid
from ranvier.limits import DAY_MS, Limits, Ms
from ranvier.protocol.canonical import JsonObject, encode_canonical_lenient, parse_json_lenient
from ranvier.protocol.edus import Edu, Presence, Receipts
from ranvier.protocol.events import event_id
from ranvier.protocol.keys import OldVerifyKey, build_v2_document
from ranvier.protocol.names import ServerName
from ranvier.protocol.redaction import redact
from ranvier.protocol.room_versions import ROOM_VERSIONS, room_version
from ranvier.protocol.signing import generate_signing_key
from ranvier.protocol.transactions import RawItem
from ranvier.services.inspector import InspectedPdu
from tests.services.keyrig import KEY, NAME, OTHER_KEY, name
from tests.services.receiverrig import ROOM, UNKNOWN_ROOM, Rig, edu, typing

HASH_ID = "$" + "A" * 43


async def inspected(rig: Rig, event: JsonObject, raw: bytes | None = None) -> InspectedPdu:
    raw = raw or encode_canonical_lenient(event)
    item = RawItem(raw=raw, value=parse_json_lenient(raw, max_bytes=10**6))
    [found] = await rig.inspector.pdus([item], name())
    return found


async def refused(rig: Rig, event: JsonObject, raw: bytes | None = None) -> tuple[str, str]:
    """The code, and the id that the sender is told."""
    found = await inspected(rig, event, raw)
    assert found.pdu is None
    assert found.refused is not None
    return found.refused.code, found.event_id


# --- PDUs ---


@pytest.mark.req("RVER-01", "D38")
@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_an_event_of_every_version_is_read_named_and_verified(version: str) -> None:
    rig = Rig(version=version)
    event = rig.event(room_id="!" + "A" * 43 if version == "12" else ROOM)
    found = await inspected(rig, event)
    assert found.pdu is not None
    assert (found.pdu.room_version, found.pdu.redacted) == (version, False)
    assert found.event_id == found.pdu.event_id == event_id(event, room_version(version))


async def test_what_has_no_reading_is_refused_by_its_reason() -> None:
    item = RawItem(raw=b"5", value=None, code="json-x", problem="it is no object")
    [found] = await Rig().inspector.pdus([item], name())
    assert found.refused is not None
    assert (found.refused.code, found.event_id) == ("json-x", "")


@pytest.mark.req("D37")
async def test_of_a_room_that_nobody_knows_nothing_is_said() -> None:
    rig = Rig()
    found = await inspected(rig, rig.event(room_id=UNKNOWN_ROOM))
    assert found == InspectedPdu()
    assert rig.peer.asked == []


@pytest.mark.parametrize("room", [None, 5, ["!r:x"]])
async def test_an_event_that_names_no_room_is_refused(room: Any) -> None:
    rig = Rig()
    event = rig.event() | {"room_id": room}
    assert await refused(rig, event) == ("pdu-room-id", "")
    del event["room_id"]
    assert await refused(rig, event) == ("pdu-room-id", "")


@pytest.mark.req("D37")
async def test_a_version_that_we_do_not_have_is_refused() -> None:
    rig = Rig()
    event = rig.event()
    rig.version = "99"
    assert await refused(rig, event) == ("room-version-unknown", "")


@pytest.mark.req("RVER-03")
async def test_a_create_event_of_version_12_names_its_room_itself() -> None:
    rig, asked = Rig(version="12"), []

    async def version(room_id: str) -> str | None:
        asked.append(room_id)
        return "12"

    rig.hooks.room_version = version
    create: dict[str, Any] = {
        "type": "m.room.create",
        "state_key": "",
        "room_id": None,
        "content": {"room_version": "12"},
    }
    event = rig.event(**create)
    assert "room_id" not in event
    found = await inspected(rig, event)
    assert found.pdu is not None
    assert asked == [found.pdu.room_id] == ["!" + found.event_id[1:]]


@pytest.mark.req("RVER-03")
@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, "pdu-room-id"),
        ({"room_version": 12}, "pdu-room-id"),
        ("12", "pdu-room-id"),
        ({"room_version": "99"}, "room-version-unknown"),
        ({"room_version": "11"}, "event-room-id"),
    ],
)
async def test_a_create_event_without_room_must_say_a_version_that_allows_it(
    content: Any, code: str
) -> None:
    rig = Rig(version="12")
    event = {"type": "m.room.create", "state_key": "", "content": content}
    assert await refused(rig, event) == (code, "")


@pytest.mark.req("HASH-09", "HASH-10")
async def test_of_an_event_whose_hash_is_wrong_the_handler_gets_what_was_signed() -> None:
    rig = Rig()
    event = rig.event(content={"body": "as signed"})
    changed = event | {"content": {"body": "as changed"}}
    found = await inspected(rig, changed)
    assert found.pdu is not None
    assert found.pdu.redacted
    assert found.pdu.value == redact(event, room_version("11"))
    assert found.pdu.value["content"] == {}
    assert found.event_id == event_id(event, room_version("11"))


@pytest.mark.req("HASH-04")
async def test_an_event_that_its_sender_did_not_sign_is_refused_under_its_id() -> None:
    rig = Rig()
    event = rig.event()
    named = event_id(event, room_version("11"))
    forged = event | {"signatures": {NAME: {KEY.key_id: "A" * 86}}}
    assert await refused(rig, forged) == ("event-signature-invalid", named)
    unsigned = event | {"signatures": {}}
    assert await refused(rig, unsigned) == ("event-signature-missing", named)
    stranger = generate_signing_key(b"s" * 32, "a_stranger")
    assert (await refused(rig, rig.event(key=stranger)))[0] == "event-signature-key-unknown"


async def test_a_sender_that_is_no_server_name_is_refused() -> None:
    rig = Rig()
    code, _ = await refused(rig, rig.event(sender="@u:no such name"))
    assert code == "name-dns"


async def test_more_signatures_than_we_look_at_do_not_make_us_look_at_more() -> None:
    limits = msgspec.structs.replace(Limits(), signatures_per_document=3)
    rig = Rig(limits=limits)
    event = rig.event()
    others = {f"ed25519:a_{n}": "A" * 86 for n in range(9)}
    event["signatures"] = {NAME: others | event["signatures"][NAME]}
    code, _ = await refused(rig, event)
    assert code == "event-signature-key-unknown"


@pytest.mark.req("KEYF-12", "KEYF-08", "KEYF-09")
@pytest.mark.parametrize(
    ("dated", "good"),
    [
        (-3, True),  # before the key was retired
        (-1, False),  # after
    ],
)
async def test_an_old_key_counts_for_events_from_before_its_end(dated: int, good: bool) -> None:
    rig = Rig()
    now = rig.world.clock.now()
    rig.peer.body = build_v2_document(
        NAME,
        (OTHER_KEY,),
        valid_until=Ms(now + DAY_MS),
        old_keys=(OldVerifyKey(key=KEY.verify_key, expired_ts=Ms(now - 2 * DAY_MS)),),
    )
    event = rig.event(origin_server_ts=now + dated * DAY_MS)
    found = await inspected(rig, event)
    assert (found.pdu is not None) is good


@pytest.mark.req("KEYF-12", "KEYF-09")
@pytest.mark.parametrize(("version", "good"), [("4", True), ("5", False), ("11", False)])
async def test_an_expired_key_counts_only_where_the_room_does_not_ask(
    version: str, good: bool
) -> None:
    """The event is dated after the document's ``valid_until_ts``."""
    rig = Rig(version=version)
    rig.peer.life_ms = DAY_MS
    event = rig.event(origin_server_ts=rig.world.clock.now() + 2 * DAY_MS)
    found = await inspected(rig, event)
    assert (found.pdu is not None) is good


@pytest.mark.req("CJ-05", "CJ-06")
@pytest.mark.parametrize(("version", "good"), [("5", True), ("6", False), ("11", False)])
async def test_floats_and_great_integers_are_for_old_rooms(version: str, good: bool) -> None:
    rig = Rig(version="5")
    event = rig.event(content={"f": 1.5, "n": 2**60})
    rig.version = version
    found = await inspected(rig, event)
    assert (found.pdu is not None) is good


@pytest.mark.req("SEC-14", "PDU-18")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"content": {"a": "x" * 65_536}}, "event-too-large"),
        ({"type": "x" * 256}, "event-field-too-long"),
        ({"prev_events": [HASH_ID] * 21}, "event-too-many-references"),
        ({"auth_events": [HASH_ID] * 11}, "event-too-many-references"),
    ],
)
async def test_what_is_over_the_limits_is_refused(changes: JsonObject, code: str) -> None:
    rig = Rig()
    assert (await refused(rig, rig.event(**changes)))[0] == code
    assert rig.peer.asked == []


@pytest.mark.req("D39")
async def test_the_filter_is_asked_by_room_and_origin_before_any_key_is_fetched() -> None:
    rig, asked = Rig(), []

    async def nobody(room_id: str, origin: ServerName) -> str | None:
        asked.append((room_id, origin.text))
        return "not here"

    rig.hooks.filter = nobody
    event = rig.event()
    found = await inspected(rig, event)
    assert found.refused is not None
    assert (found.refused.code, found.refused.message) == ("item-filtered", "not here")
    assert found.event_id == event_id(event, room_version("11"))
    assert asked == [(ROOM, NAME)]
    assert rig.peer.asked == []


# --- EDUs ---


async def read(rig: Rig, value: JsonObject) -> Edu:
    return await rig.inspector.edu(RawItem(raw=b"", value=value), name())


async def edu_refused(rig: Rig, value: JsonObject | None) -> str:
    item = RawItem(raw=b"", value=value, code="json-x", problem="it is no object")
    with pytest.raises((NotValid, ValueError)) as caught:
        await rig.inspector.edu(item, name())
    return str(getattr(caught.value, "code", ""))


FOREIGN = "@u:other.example"


def to_device(sender: str) -> JsonObject:
    content = {"sender": sender, "type": "x", "message_id": "1", "messages": {}}
    return {"edu_type": "m.direct_to_device", "content": content}


def presence(*users: str) -> JsonObject:
    push = [{"user_id": each, "presence": "online"} for each in users]
    return {"edu_type": "m.presence", "content": {"push": push}}


def receipts(**rooms: str) -> JsonObject:
    """``room=user``."""
    data = {"event_ids": [HASH_ID], "data": {"ts": 1}}
    content = {f"!{room}:x": {"m.read": {user: data}} for room, user in rooms.items()}
    return {"edu_type": "m.receipt", "content": content}


def of_user(edu_type: str, user: str) -> JsonObject:
    content = {"user_id": user, "device_id": "D", "stream_id": 1}
    return {"edu_type": edu_type, "content": content}


@pytest.mark.req("D39", "EDU-01")
@pytest.mark.parametrize(
    "value",
    [
        typing(FOREIGN),
        presence(FOREIGN),
        receipts(a=FOREIGN),
        of_user("m.device_list_update", FOREIGN),
        of_user("m.signing_key_update", FOREIGN),
        to_device(FOREIGN),
    ],
    ids=lambda value: str(value["edu_type"]),
)
async def test_nobody_speaks_for_the_users_of_others(value: JsonObject) -> None:
    assert await edu_refused(Rig(), value) == "edu-sender"


@pytest.mark.req("D39")
async def test_of_presence_and_receipts_only_the_entries_of_others_go() -> None:
    rig, own = Rig(), f"@u:{NAME}"
    seen = await read(rig, presence(own, FOREIGN))
    assert isinstance(seen, Presence)
    assert [each.user_id for each in seen.push] == [own]
    said = await read(rig, receipts(a=own, b=FOREIGN))
    assert isinstance(said, Receipts)
    assert [each.user_id for each in said.receipts] == [own]


async def test_an_edu_without_a_reading_or_a_type_is_refused() -> None:
    assert await edu_refused(Rig(), None) == "json-x"
    assert await edu_refused(Rig(), {"content": {}}) == "edu-type"


@pytest.mark.req("TXN-17")
async def test_an_unknown_type_passes() -> None:
    assert (await read(Rig(), edu(7))).content == {"n": 7}


@pytest.mark.req("D39")
async def test_the_filter_takes_out_the_rooms_where_the_origin_may_not_speak() -> None:
    rig, own = Rig(), f"@u:{NAME}"

    async def not_in_b(room_id: str, origin: ServerName) -> str | None:
        return "not here" if room_id == "!b:x" else None

    rig.hooks.filter = not_in_b
    said = await read(rig, receipts(a=own, b=own))
    assert isinstance(said, Receipts)
    assert [each.room_id for each in said.receipts] == ["!a:x"]
    assert list(said.content) == ["!a:x"]
    assert await edu_refused(rig, receipts(b=own)) == "item-filtered"
    assert await edu_refused(rig, typing(room="!b:x")) == "item-filtered"
    assert (await read(rig, typing(room="!a:x"))).edu_type == "m.typing"
