"""The table of room versions, and what may name one."""

from __future__ import annotations

import pytest

from ranvier.errors import Malformed, NotValid
from ranvier.protocol.room_versions import (
    ROOM_VERSIONS,
    EventIdForm,
    parse_room_version_id,
    room_version,
)

ALL = [str(number) for number in range(1, 13)]
EARLY = {"1", "2", "3", "4", "5"}


@pytest.mark.req("RVER-01")
@pytest.mark.parametrize(
    "text",
    [
        "1",
        "12",
        "org.matrix.msc3757.10",  # unstable ones are named so
        "a-b.c",
        "x" * 32,
        ".",
        "-",
    ],
)
def test_good_ids(text: str) -> None:
    assert parse_room_version_id(text) == text


@pytest.mark.req("RVER-01")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 33,
        "A",  # lower case alone
        "1\n",
        "1_2",
        "ü",
        "１",  # noqa: RUF001 - a digit, but not of ASCII
    ],
)
def test_bad_ids(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        room_version(text)
    assert caught.value.code == "room-version-id"


def test_an_unknown_version_is_well_formed_but_not_valid() -> None:
    with pytest.raises(NotValid) as caught:
        room_version("13")
    assert caught.value.code == "room-version-unknown"


def test_all_versions_are_there_under_their_own_ids() -> None:
    assert list(ROOM_VERSIONS) == ALL
    assert all(room_version(each).id == each for each in ALL)


@pytest.mark.req("CJ-05", "CJ-06", "KEYF-08", "KEYF-09", "RVER-03")
@pytest.mark.parametrize("id", ALL)
def test_what_each_version_says(id: str) -> None:
    version = room_version(id)
    forms = {"1": EventIdForm.WIRE, "2": EventIdForm.WIRE, "3": EventIdForm.HASH}
    assert version.event_id_form is forms.get(id, EventIdForm.HASH_URLSAFE)
    assert version.strict_json is (id not in EARLY)
    assert version.enforces_key_validity is (id not in EARLY - {"5"})
    assert version.create_without_room_id is (id == "12")
    assert version.greatest_integer == (2**63 - 1 if id in EARLY else 2**53 - 1)
