"""What redaction leaves, cell by cell."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.protocol.redaction import redact
from ranvier.protocol.room_versions import ROOM_VERSIONS, room_version

VECTORS = json.loads(Path(__file__, "../../../vectors/events.json").resolve().read_text())
CASES = [
    pytest.param(vector, version, id=f"{vector['id']}-in-{version}")
    for vector in VECTORS["vectors"]
    if vector["kind"] == "redaction"
    for version in vector["versions"]
]
KINDS = sorted({kind for row in ROOM_VERSIONS.values() for kind in row.redaction.content})


@pytest.mark.req("RED-01")
@pytest.mark.parametrize(("vector", "version"), CASES)
def test_the_vectors_of_redaction(vector: dict[str, Any], version: str) -> None:
    event = copy.deepcopy(vector["input"])
    assert redact(event, room_version(version)) == vector["expected"]
    assert event == vector["input"]


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda each: each.id)
@pytest.mark.parametrize("kind", [None, 7, ["m.room.create"], {}])
def test_a_type_that_is_no_string_keeps_no_content(kind: object, version: Any) -> None:
    assert redact({"type": kind, "content": {"creator": "x"}}, version)["content"] == {}


@pytest.mark.parametrize("content", [None, [], "x", 1])
def test_content_that_is_no_object_is_refused(content: object) -> None:
    with pytest.raises(Malformed) as caught:
        redact({"type": "m.room.create", "content": content}, room_version("11"))
    assert caught.value.code == "event-content"
    with pytest.raises(Malformed):
        redact({"type": "m.room.create"}, room_version("11"))


CONTENT_KEYS = sorted(
    {
        key
        for row in ROOM_VERSIONS.values()
        for keys in row.redaction.content.values()
        for key in keys
    }
)


@pytest.mark.req("RED-01")
@given(
    kind=st.sampled_from([*KINDS, "m.room.message"]),
    content=st.dictionaries(st.sampled_from([*CONTENT_KEYS, "third_party_invite", "x"]), st.none()),
    rest=st.dictionaries(st.sampled_from(["unsigned", "depth", "origin", "x"]), st.integers()),
    version=st.sampled_from(list(ROOM_VERSIONS.values())),
)
def test_redacting_twice_is_redacting_once(
    kind: str, content: dict[str, Any], rest: dict[str, Any], version: Any
) -> None:
    once = redact({**rest, "type": kind, "content": content}, version)
    assert redact(once, version) == once
    assert once["content"].items() <= content.items()
