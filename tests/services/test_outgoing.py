"""What is handed to ``send``: judged before it is queued, and named by its room's version."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ranvier.deeds import ItemKind
from ranvier.errors import Malformed, NotValid
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import JsonObject, encode_canonical
from ranvier.protocol.edus import Typing, UnknownEdu
from ranvier.protocol.events import event_id
from ranvier.protocol.names import ServerName
from ranvier.protocol.room_versions import room_version
from ranvier.services.hooks import no_room
from ranvier.services.outgoing import Passing, Pdu, destinations_of, edu_item, pdu_item
from tests.services.receiverrig import ROOM, Rig

LIMITS = Limits()
NOW = Ms(1_000_000)


async def eleven(room_id: str) -> str | None:
    return "11"


@pytest.mark.req("D38")
async def test_a_pdu_is_stored_by_its_id_and_room() -> None:
    event = Rig().event()
    item = await pdu_item(Pdu(event=event, room_version="11", position=7), no_room, LIMITS)
    assert (item.kind, item.room_id, item.position) == (ItemKind.PDU, ROOM, 7)
    assert item.event_id == event_id(event, room_version("11"))
    assert item.body == encode_canonical(event)


async def test_without_a_version_the_hook_is_asked() -> None:
    event = Rig().event()
    assert (await pdu_item(event, eleven, LIMITS)).event_id == event_id(event, room_version("11"))


@pytest.mark.req("D37")
@pytest.mark.parametrize("room", [ROOM, None, 5])
async def test_of_an_unknown_room_there_is_no_id(room: Any) -> None:
    event: JsonObject = {"type": "m.x", "room_id": room, "depth": 1}
    item = await pdu_item(event, no_room, LIMITS)
    assert (item.event_id, item.room_id) == ("", room if isinstance(room, str) else "")


@pytest.mark.req("RVER-03")
async def test_a_create_event_of_version_12_is_in_the_room_that_it_makes() -> None:
    create: dict[str, Any] = {"type": "m.room.create", "state_key": "", "room_id": None}
    event = Rig(version="12").event(**create, content={"room_version": "12"})
    item = await pdu_item(Pdu(event=event, room_version="12"), no_room, LIMITS)
    assert item.room_id == "!" + item.event_id[1:]


@pytest.mark.req("CJ-05", "CJ-06")
async def test_floats_go_out_in_old_rooms_only() -> None:
    event = Rig(version="5").event(content={"f": 1.5})
    item = await pdu_item(Pdu(event=event, room_version="5"), no_room, LIMITS)
    assert b'{"f":1.5}' in item.body
    for version in ("6", ""):
        with pytest.raises(Malformed) as refused:
            await pdu_item(Pdu(event=event, room_version=version), no_room, LIMITS)
        assert refused.value.code == "json-not-integer"


async def test_a_version_that_is_not_known_is_refused() -> None:
    with pytest.raises(NotValid) as refused:
        await pdu_item(Pdu(event=Rig().event(), room_version="99"), no_room, LIMITS)
    assert refused.value.code == "room-version-unknown"


@pytest.mark.req("SEC-14")
async def test_an_event_has_at_most_65536_bytes() -> None:
    room = LIMITS.event_bytes - len(b'{"a":""}')
    await pdu_item({"a": "x" * room}, no_room, LIMITS)
    with pytest.raises(NotValid) as refused:
        await pdu_item({"a": "x" * (room + 1)}, no_room, LIMITS)
    assert refused.value.code == "event-too-large"


def test_an_edu_is_stored_with_its_key_and_its_end() -> None:
    typing = Typing(room_id="!r:x", user_id="@u:x", typing=True)
    item = edu_item(
        Passing(edu=typing, replaces="typing !r:x", seconds=1.5), now=NOW, limits=LIMITS
    )
    assert (item.kind, item.replaces, item.expires) == (ItemKind.EDU, "typing !r:x", NOW + 1500)
    plain = edu_item(typing, now=NOW, limits=LIMITS)
    assert (plain.replaces, plain.expires, plain.body) == ("", 0, item.body)


def test_an_edu_that_nobody_would_take_is_refused() -> None:
    with pytest.raises(Malformed) as bad:
        edu_item(Typing(room_id="r", user_id="@u:x", typing=True), now=NOW, limits=LIMITS)
    assert bad.value.code == "edu-identifier"
    limits = msgspec.structs.replace(LIMITS, transaction_bytes=200)
    large = UnknownEdu(edu_type="x", content={"a": "x" * 100})
    with pytest.raises(NotValid) as refused:
        edu_item(large, now=NOW, limits=limits)
    assert refused.value.code == "edu-too-large"


def test_each_destination_once_and_never_ourselves() -> None:
    names = [ServerName(each) for each in ("b.x", "us.x", "a.x", "b.x")]
    assert destinations_of(names, frozenset({"us.x"})) == ("b.x", "a.x")
