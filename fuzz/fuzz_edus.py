"""Any JSON as an EDU."""

from __future__ import annotations

from ranvier.errors import Malformed
from ranvier.protocol.canonical import parse_json_lenient
from ranvier.protocol.edus import (
    examine_sender,
    format_edu,
    parse_edu,
    rooms_of,
    users_of,
    without_rooms,
    without_strangers,
)

INVARIANT = (
    "An EDU is Malformed, or is written again as what reads alike, and without"
    " strangers and rooms it has none of them."
)

SEEDS = (
    b'{"content":{"room_id":"!r:a","typing":true,"user_id":"@u:a"},"edu_type":"m.typing"}',
    b'{"content":{"push":[{"presence":"online","user_id":"@u:a"},{"presence":"offline",'
    b'"user_id":"@v:b"}]},"edu_type":"m.presence"}',
    b'{"content":{"!r:a":{"m.read":{"@u:a":{"data":{"ts":5},"event_ids":["$a"]},'
    b'"@v:b":{"data":{"ts":5,"thread_id":"t"},"event_ids":["$a"]}}}},"edu_type":"m.receipt"}',
    b'{"content":{"device_id":"D","prev_id":[5],"stream_id":6,"user_id":"@u:a"},'
    b'"edu_type":"m.device_list_update"}',
    b'{"content":{"master_key":{},"user_id":"@u:a"},"edu_type":"m.signing_key_update"}',
    b'{"content":{"message_id":"1","messages":{"@v:b":{"*":{}}},"sender":"@u:a","type":"t"},'
    b'"edu_type":"m.direct_to_device"}',
)

_ORIGIN = "a"
_ROOMS = frozenset({"!r:a"})


def check(data: bytes) -> None:
    try:
        value = parse_json_lenient(data, max_bytes=1 << 20)
        edu = parse_edu(value if isinstance(value, dict) else {})
    except Malformed:
        return
    assert edu.content == value["content"]
    again = parse_edu(format_edu(edu))
    assert (users_of(again), rooms_of(again)) == (users_of(edu), rooms_of(edu))
    judged = examine_sender(edu, _ORIGIN)
    own = without_strangers(edu, _ORIGIN)
    assert (own is edu) == (not judged.failed)
    assert (own is None) == (judged.failed and judged.fatal)
    if own is not None:
        assert all(each.endswith(":a") for each in users_of(own))
    left = without_rooms(edu, _ROOMS)
    assert left is None or not _ROOMS & set(rooms_of(left))
