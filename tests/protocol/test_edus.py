"""EDUs: typed values, whose they are, and which rooms they are about."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed, NotValid
from ranvier.limits import Ms
from ranvier.protocol.canonical import JsonObject, encode_canonical
from ranvier.protocol.conditions import Verdict, insist
from ranvier.protocol.edus import (
    DeviceListUpdate,
    Edu,
    Presence,
    PresenceUpdate,
    Receipt,
    Receipts,
    SigningKeyUpdate,
    ToDevice,
    Typing,
    UnknownEdu,
    examine_sender,
    format_edu,
    once_name,
    parse_edu,
    rooms_of,
    users_of,
    without_rooms,
    without_strangers,
)

VECTORS = json.loads(Path(__file__, "../../../vectors/edus.json").resolve().read_text())
TYPING = Typing(room_id="!r:a.example", user_id="@u:a.example", typing=True)


def vectors(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"] if v["kind"] == kind]


def refused(code: str, call: Callable[..., object], *args: object) -> None:
    with pytest.raises(Malformed) as caught:
        call(*args)
    assert caught.value.code == code
    assert caught.value.clause.startswith("[")


# --- Reading and writing ---


@pytest.mark.req("EDU-01", "EDU-02", "EDU-03", "EDU-04", "EDU-05", "EDU-06", "EDU-07", "EDU-08")
@pytest.mark.parametrize("vector", vectors("edu"))
def test_the_types_of_the_text_are_read_and_written(vector: dict[str, Any]) -> None:
    edu = parse_edu(vector["input"])
    assert (edu.edu_type, edu.content) == (vector["input"]["edu_type"], vector["input"]["content"])
    assert list(users_of(edu)) == vector["users"]
    assert list(rooms_of(edu)) == vector["rooms"]
    assert _without_defaults(format_edu(edu)) == _without_defaults(vector["input"])


def _without_defaults(value: dict[str, Any]) -> dict[str, Any]:
    content = {key: each for key, each in value["content"].items() if each != []}
    return {**value, "content": content}


@pytest.mark.req("EDU-01", "EDU-02", "EDU-03", "EDU-04", "EDU-05", "EDU-06", "EDU-07", "TXN-17")
@pytest.mark.parametrize("vector", vectors("refused"))
def test_a_bad_edu_is_refused(vector: dict[str, Any]) -> None:
    refused(vector["expected"], parse_edu, vector["input"])


@pytest.mark.req("D14-09", "TXN-17")
def test_what_is_not_known_is_ignored_and_stays_visible() -> None:
    content = {
        "room_id": "!r:a.example",
        "user_id": "@u:a.example",
        "typing": True,
        "timeout": 1.5,
        "edu_type": 7,
        "content": None,
    }
    value = {"edu_type": "m.typing", "content": content, "origin": "red", "destination": "blue"}
    edu = parse_edu(value)
    assert isinstance(edu, Typing)
    assert edu.typing
    assert edu.edu_type == "m.typing"
    assert edu.content == content
    assert format_edu(edu) == format_edu(TYPING)


def test_each_type_has_its_class() -> None:
    found = {type(parse_edu(v["input"])) for v in VECTORS["vectors"] if v["kind"] == "edu"}
    assert found == {
        Typing, Presence, Receipts, DeviceListUpdate, SigningKeyUpdate, ToDevice, UnknownEdu
    }  # fmt: skip


@pytest.mark.req("AMB-22")
@pytest.mark.parametrize(("kinds", "users"), [({}, ()), ({"org.example.seen": "@u:x"}, ("@u:x",))])
def test_a_room_without_public_receipts_is_read(kinds: dict[str, str], users: object) -> None:
    said = {kind: {u: {"event_ids": ["$a"], "data": {"ts": 1}}} for kind, u in kinds.items()}
    assert users_of(parse_edu({"edu_type": "m.receipt", "content": {"!r:x": said}})) == users


@pytest.mark.req("EDU-02", "EDU-04")
def test_one_that_was_made_here_is_written_in_full() -> None:
    assert encode_canonical(format_edu(TYPING)) == (
        b'{"content":{"room_id":"!r:a.example","typing":true,"user_id":"@u:a.example"},'
        b'"edu_type":"m.typing"}'
    )
    receipt = Receipt(room_id="!r:x", user_id="@u:x", event_ids=("$a",), ts=Ms(5), thread_id="$t")
    assert format_edu(Receipts(receipts=(receipt,))) == {
        "edu_type": "m.receipt",
        "content": {
            "!r:x": {
                "m.read": {"@u:x": {"data": {"ts": 5, "thread_id": "$t"}, "event_ids": ["$a"]}}
            }
        },
    }


@pytest.mark.req("EDU-01")
def test_an_edu_may_be_given_as_type_and_content() -> None:
    plain = Edu(edu_type="m.typing", content=dict(format_edu(TYPING)["content"]))
    assert format_edu(plain) == format_edu(TYPING)
    refused("edu-field", format_edu, Edu(edu_type="m.typing", content={"typing": True}))
    unknown = UnknownEdu(edu_type="org.example.new", content={"a": 1})
    assert format_edu(unknown) == {"edu_type": "org.example.new", "content": {"a": 1}}


@pytest.mark.req("EDU-04", "EDU-07")
def test_what_nobody_could_read_is_not_written() -> None:
    refused("edu-identifier", format_edu, Typing(room_id="!r:x", user_id="u", typing=True))
    refused("edu-identifier", format_edu, Typing(room_id="!", user_id="@u:x", typing=True))
    long = "@" + "u" * 252 + ":x"
    assert format_edu(Typing(room_id="!r:x", user_id=long, typing=True))
    refused("edu-identifier", format_edu, Typing(room_id="!r:x", user_id=long + "x", typing=True))
    to_device = ToDevice(sender="@u:x", type="m.dummy", message_id="1" * 33, messages={})
    refused("edu-message-id", format_edu, to_device)
    receipts = tuple(
        Receipt(room_id="!r:x", user_id="@u:x", event_ids=("$a",), ts=Ms(5), thread_id=thread)
        for thread in ("main", "$t")
    )
    refused("edu-receipt-twice", format_edu, Receipts(receipts=receipts))


@pytest.mark.req("EDU-03")
def test_a_busy_user_does_not_spoil_the_presence_of_the_others() -> None:
    """Synapse puts many users' presence into one EDU, and this state too, if it is on."""
    states = {"@u:x": "online", "@v:x": "org.matrix.msc3026.busy"}
    push = [{"user_id": user, "presence": state} for user, state in states.items()]
    edu = parse_edu({"edu_type": "m.presence", "content": {"push": push}})
    assert isinstance(edu, Presence)
    assert {each.user_id: each.presence for each in edu.push} == states


def test_a_strangers_text_stays_short_and_plain_in_an_error() -> None:
    push = [{"user_id": "@u:x", "presence": "\x1b[2J" * 1000}]
    with pytest.raises(Malformed) as caught:
        parse_edu({"edu_type": "m.presence", "content": {"push": push}})
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
NAMES = st.sampled_from(
    [
        "m.typing", "m.presence", "m.receipt", "m.device_list_update", "m.signing_key_update",
        "m.direct_to_device",
    ]
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        "room_id", "user_id", "typing", "push", "device_id", "stream_id", "prev_id", "deleted",
        "keys", "master_key", "sender", "type", "message_id", "messages", "!r:x",
    ]
)  # fmt: skip


@given(NAMES, st.dictionaries(FIELDS, JSON))
def test_any_content_is_refused_or_read(edu_type: str, content: dict[str, object]) -> None:
    with contextlib.suppress(Malformed):
        edu = parse_edu({"edu_type": edu_type, "content": content})
        assert users_of(parse_edu(format_edu(edu))) == users_of(edu)


# --- Whose and where ---


def own_and_foreign() -> tuple[Presence, Receipts]:
    users = ("@u:a.example", "@v:b.example", "@w:a.example")
    push = tuple(PresenceUpdate(user_id=each, presence="online") for each in users)
    receipts = tuple(
        Receipt(room_id=room, user_id=each, event_ids=("$a",), ts=Ms(5))
        for each in users
        for room in ("!1:x", "!2:x")
    )
    return Presence(push=push), Receipts(receipts=receipts)


@pytest.mark.req("D39", "EDU-02", "EDU-05", "EDU-06", "EDU-07", "AUTH-31")
@pytest.mark.parametrize("vector", vectors("edu"))
def test_a_server_speaks_for_its_own_users(vector: dict[str, Any]) -> None:
    edu = parse_edu(vector["input"])
    users = users_of(edu)
    own = users[0].partition(":")[2] if users else "a.example"
    judged = examine_sender(edu, own)
    assert judged.verdict is (Verdict.HELD if users else Verdict.NOT_APPLICABLE)
    assert without_strangers(edu, own) is edu
    for other in (own + ":8448", own.upper(), "x." + own, ""):
        if users:
            with pytest.raises(NotValid) as caught:
                insist((examine_sender(edu, other),))
            assert caught.value.code == "edu-sender"
            assert without_strangers(edu, other) is None


@pytest.mark.req("D39", "EDU-03", "EDU-04", "AUTH-31")
def test_presence_and_receipts_lose_the_entries_of_others() -> None:
    for edu in own_and_foreign():
        judged = examine_sender(edu, "a.example")
        assert judged.failed
        assert not judged.fatal
        assert "'@v:b.example' is not on 'a.example'" in judged.sentence
        left = without_strangers(edu, "a.example")
        assert left is not None
        assert set(users_of(left)) == {"@u:a.example", "@w:a.example"}
        assert left.content == format_edu(left)["content"]
        assert examine_sender(left, "a.example").verdict is Verdict.HELD


@pytest.mark.req("D39", "EDU-02", "EDU-04")
def test_a_room_may_be_left_out() -> None:
    presence, receipts = own_and_foreign()
    assert without_rooms(presence, {"!1:x"}) is presence
    assert without_rooms(TYPING, {"!1:x"}) is TYPING
    assert without_rooms(TYPING, {"!r:a.example"}) is None
    assert without_rooms(receipts, ()) is receipts
    assert without_rooms(receipts, {"!1:x", "!2:x"}) is None
    left = without_rooms(receipts, {"!1:x"})
    assert left is not None
    assert rooms_of(left) == ("!2:x",)
    assert users_of(left) == ("@u:a.example", "@v:b.example", "@w:a.example")
    assert list(left.content) == ["!2:x"]


@pytest.mark.req("EDU-07")
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (
            {"edu_type": "m.direct_to_device", "content": {"message_id": "m1"}},
            "m.direct_to_device/m1",
        ),
        ({"edu_type": "m.direct_to_device", "content": {"message_id": 5}}, ""),
        ({"edu_type": "m.direct_to_device", "content": []}, ""),
        ({"edu_type": "m.typing", "content": {"message_id": "m1"}}, ""),
    ],
)
def test_a_message_to_devices_has_a_name_that_comes_once(value: JsonObject, name: str) -> None:
    assert once_name(value) == name
