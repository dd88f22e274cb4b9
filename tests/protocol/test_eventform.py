"""Which members an event must have, and of what kind."""

from __future__ import annotations

from typing import Any

import pytest

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.eventform import check_form, server_of
from ranvier.protocol.room_versions import room_version

LIMITS = Limits()
HASH_ID = "$" + "A" * 43
HASH_ROOM = "!" + "A" * 43
GONE = object()


def event(version: str, **changes: Any) -> dict[str, Any]:
    early = version in ("1", "2")
    reference: Any = ["$a:domain", {"sha256": "AA"}] if early else HASH_ID
    made = {
        "type": "m.room.message",
        "room_id": HASH_ROOM if version == "12" else "!r:domain",
        "sender": "@a:domain",
        "origin_server_ts": 1,
        "depth": 1,
        "content": {},
        "hashes": {"sha256": "AA"},
        "signatures": {"domain": {"ed25519:1": "AA"}},
        "auth_events": [reference],
        "prev_events": [reference],
        **({"event_id": "$e:domain"} if early else {}),
        **changes,
    }
    return {key: value for key, value in made.items() if value is not GONE}


def check(version: str, **changes: Any) -> None:
    check_form(event(version, **changes), room_version(version), LIMITS)


def good(version: str, why: str, **changes: Any) -> Any:
    return pytest.param(version, changes, id=f"v{version}-{why}".replace(" ", "-"))


def bad(version: str, code: str, why: str, **changes: Any) -> Any:
    return pytest.param(version, code, changes, id=f"v{version}-{why}".replace(" ", "-"))


@pytest.mark.req("PDU-01", "PDU-18", "SEC-14", "RVER-03")
@pytest.mark.parametrize(
    ("version", "changes"),
    [
        *(good(str(number), "as it is") for number in range(1, 13)),
        good("10", "a state event", state_key="@b:domain"),
        good("10", "a state key may be empty", state_key=""),
        good("10", "a type may be empty", type=""),
        good("10", "255 bytes of type", type="x" * 255),
        good("10", "255 bytes of state key", state_key="é" * 127 + "x"),
        good("10", "255 bytes of room id", room_id="!" + "x" * 254),
        good("10", "255 bytes of sender", sender="@" + "x" * 247 + ":domain"),
        good("10", "a room id without a server", room_id="!opaque"),
        good("10", "a sender with a port", sender="@a:[::1]:80"),
        good("10", "an old user id", sender="@A b!:domain"),
        good("10", "time before 1970", origin_server_ts=-1),
        good("10", "no references", auth_events=[], prev_events=[]),
        good("10", "ten and twenty", auth_events=[HASH_ID] * 10, prev_events=[HASH_ID] * 20),
        good("10", "an event id is only a member", event_id=7),
        good("10", "no signatures", signatures={}),
        good("10", "no hash, which is a wrong hash", hashes={}),
        good("10", "the greatest depth", depth=2**53 - 1),
        good("5", "the greatest depth of old", depth=2**63 - 1),
        good("12", "a create event names no room", type="m.room.create", room_id=GONE),
        good("11", "a create event names its room", type="m.room.create"),
    ],
)
def test_good_events(version: str, changes: dict[str, Any]) -> None:
    check(version, **changes)


@pytest.mark.req("PDU-01", "PDU-18", "SEC-14", "RVER-03")
@pytest.mark.parametrize(
    ("version", "code", "changes"),
    [
        bad("10", "event-type", "no type", type=GONE),
        bad("10", "event-type", "type of another kind", type=1),
        bad("10", "event-field-too-long", "256 bytes of type", type="x" * 256),
        bad("10", "event-field-too-long", "256 bytes in 128 letters", type="é" * 128),
        bad("10", "event-identifier", "no sender", sender=GONE),
        bad("10", "event-identifier", "sender of another kind", sender=["@a:domain"]),
        bad("10", "event-identifier", "sender is no user", sender="a:domain"),
        bad("10", "identifier-no-server", "sender without server", sender="@a"),
        bad("10", "name-empty-host", "sender with an empty server", sender="@a:"),
        bad("10", "identifier-too-long", "256 bytes of sender", sender="@" + "x" * 248 + ":domain"),
        bad("10", "event-state-key", "state key null", state_key=None),
        bad("10", "event-state-key", "state key of another kind", state_key=1),
        bad("10", "event-field-too-long", "256 bytes of state key", state_key="x" * 256),
        bad("10", "event-room-id", "no room", room_id=GONE),
        bad("10", "event-room-id", "room null", room_id=None),
        bad("10", "event-room-id", "room of another kind", room_id={}),
        bad("10", "event-room-id", "no room's sigil", room_id="#r:domain"),
        bad("10", "event-field-too-long", "256 bytes of room id", room_id="!" + "x" * 255),
        bad("11", "event-room-id", "create without room", type="m.room.create", room_id=GONE),
        bad("12", "event-room-id-in-create", "create with room", type="m.room.create"),
        bad("12", "event-room-id-in-create", "null too", type="m.room.create", room_id=None),
        bad("12", "event-room-id", "no room in version 12", room_id=GONE),
        bad("12", "event-room-id-form", "room id of old", room_id="!r:domain"),
        bad("12", "event-room-id-form", "other alphabet", room_id="!" + "+" * 43),
        bad("10", "event-origin-server-ts", "no time", origin_server_ts=GONE),
        bad("10", "event-origin-server-ts", "true is no integer", origin_server_ts=True),
        bad("10", "event-origin-server-ts", "text is no integer", origin_server_ts="1"),
        bad("4", "event-origin-server-ts", "a float is none", origin_server_ts=1.0),
        bad("4", "event-origin-server-ts", "beyond 64 bits", origin_server_ts=2**63),
        bad("4", "event-origin-server-ts", "below 64 bits", origin_server_ts=-(2**63)),
        bad("10", "event-depth", "no depth", depth=GONE),
        bad("10", "event-depth", "negative", depth=-1),
        bad("10", "event-depth", "false is no integer", depth=False),
        bad("6", "event-depth", "beyond 53 bits", depth=2**53),
        bad("5", "event-depth", "beyond 63 bits", depth=2**63),
        bad("5", "event-depth", "a float", depth=1.0),
        bad("10", "event-content", "no content", content=GONE),
        bad("10", "event-content", "content is a list", content=[]),
        bad("10", "event-hashes", "no hashes", hashes=GONE),
        bad("10", "event-hashes", "hashes is text", hashes="sha256"),
        bad("10", "event-signatures", "no signatures", signatures=GONE),
        bad("10", "event-signatures", "signatures is a list", signatures=[]),
        bad("10", "event-signatures", "a server's is text", signatures={"domain": "x"}),
        bad("10", "event-references", "no auth events", auth_events=GONE),
        bad("10", "event-references", "prev events is an object", prev_events={}),
        bad("10", "event-too-many-references", "eleven", auth_events=[HASH_ID] * 11),
        bad("10", "event-too-many-references", "twenty-one", prev_events=[HASH_ID] * 21),
        bad("10", "event-reference", "a pair of old", prev_events=[["$a:b", {}]]),
        bad("10", "event-reference", "no event's sigil", prev_events=["a"]),
        bad("10", "event-reference", "empty", prev_events=[""]),
        bad("10", "event-reference", "null", prev_events=[None]),
        bad("10", "event-field-too-long", "256 bytes", prev_events=["$" + "x" * 255]),
        bad("2", "event-reference", "an id without hashes", prev_events=["$a:domain"]),
        bad("2", "event-reference", "a triple", prev_events=[["$a:domain", {}, 1]]),
        bad("2", "event-reference", "hashes are text", auth_events=[["$a:domain", "x"]]),
        bad("2", "event-reference", "id is a number", auth_events=[[1, {}]]),
        bad("2", "event-identifier", "no event id", event_id=GONE),
        bad("1", "event-identifier", "event id of another kind", event_id=1),
        bad("1", "identifier-no-server", "event id without server", event_id=HASH_ID),
        bad("1", "identifier-too-long", "256 bytes", event_id="$" + "x" * 248 + ":domain"),
    ],
)
def test_bad_events(version: str, code: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed) as caught:
        check(version, **changes)
    assert caught.value.code == code
    assert caught.value.clause


@pytest.mark.req("PDU-17")
def test_more_references_are_taken_where_the_limits_say_so() -> None:
    limits = Limits(event_auth_events=11, event_prev_events=21)
    made = event("10", auth_events=[HASH_ID] * 11, prev_events=[HASH_ID] * 21)
    check_form(made, room_version("10"), limits)


def test_the_server_of_an_identifier() -> None:
    assert server_of("@a:b:80", "@") == "b:80"
