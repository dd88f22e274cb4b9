"""What we publish about ourselves, over time and over changes of keys and certificates."""

from __future__ import annotations

import json

import pytest

from ranvier.errors import BadConfiguration
from ranvier.limits import DAY_MS, HOUR_MS, Limits, Ms
from ranvier.protocol.canonical import encode_canonical, parse_json_object
from ranvier.protocol.conditions import first_fatal
from ranvier.protocol.keyconditions import examine_key_document, verified_key_document
from ranvier.protocol.keys import KeyVersion, parse_key_document
from ranvier.protocol.names import ServerName
from ranvier.protocol.signing import SigningKey, generate_signing_key, verify_json
from ranvier.services.identity import LEAVES_MOST, LIFE_MS, Identity
from ranvier.world.clock import VirtualClock

NAME = ServerName("us.test:8448")
ONE, TWO = generate_signing_key(b"1" * 32, "a_1"), generate_signing_key(b"2" * 32, "a_2")
LEAF = b"der of a leaf"


def clock() -> VirtualClock:
    return VirtualClock(autojump=False)


def identity(time: VirtualClock, *keys: SigningKey) -> Identity:
    return Identity(NAME, keys or (ONE,), clock=time)


@pytest.mark.req("KEY2-02", "KEY2-03", "KEY2-04", "KEY2-05", "KEY2-08", "KEY2-09", "KEY2-12")
def test_version_2_is_signed_by_every_current_key() -> None:
    time = clock()
    body = identity(time, ONE, TWO).document_v2()
    document = parse_json_object(body, max_bytes=10_000)
    assert encode_canonical(document) == body
    assert document["server_name"] == "us.test:8448"
    assert set(document["verify_keys"]) == {"ed25519:a_1", "ed25519:a_2"}
    for key in (ONE, TWO):
        assert set(document["verify_keys"][key.key_id]) == {"key"}
        assert verify_json(document, NAME.text, {key.key_id: key.verify_key}) == key.key_id
    ours = parse_key_document(body, KeyVersion.V2, Limits())
    assert not [
        each.id
        for each in examine_key_document(ours, expected_name=NAME.text, now=time.now())
        if each.failed
    ]


@pytest.mark.req("KEY2-10", "KEY2-11")
def test_over_days_an_answer_always_lives_for_more_than_an_hour() -> None:
    time = clock()
    ours = identity(time)
    seen = set()
    for _ in range(72 * 4):
        body = ours.document_v2()
        seen.add(body)
        left = json.loads(body)["valid_until_ts"] - time.now()
        assert 12 * HOUR_MS <= left <= LIFE_MS == DAY_MS
        time.advance(900)
    assert len(seen) in (6, 7)


class SetBack(VirtualClock):
    """A wall clock that somebody corrects."""

    shift = 0

    def now(self) -> Ms:
        return Ms(super().now() + self.shift)


def test_a_wall_clock_that_was_set_back_gives_a_new_document() -> None:
    time = SetBack(autojump=False)
    ours = identity(time)
    ours.document_v2()
    time.shift = -10 * DAY_MS
    assert json.loads(ours.document_v2())["valid_until_ts"] == time.now() + LIFE_MS


@pytest.mark.req("SEED-08", "SEED-09", "SEED-10", "SEED-11", "SEED-12", "REF14-04", "REF14-06")
def test_version_1_is_for_one_leaf_and_signed_by_every_key() -> None:
    ours = identity(clock(), ONE, TWO)
    body = ours.document_v1(LEAF)
    assert body is not None
    assert ours.document_v1(LEAF) is body
    assert ours.document_v1(b"another") != body
    document = parse_key_document(body, KeyVersion.V1, Limits())
    verified_key_document(
        document, expected_name=NAME.text, now=clock().now(), peer_certificate=LEAF
    )
    assert set(document.content["signatures"][NAME.text]) == {"ed25519:a_1", "ed25519:a_2"}
    wrong = examine_key_document(
        document, expected_name=NAME.text, now=clock().now(), peer_certificate=b"another"
    )
    assert first_fatal(wrong) is not None


def test_version_1_without_a_leaf_needs_the_configured_one() -> None:
    assert identity(clock()).document_v1(None) is None
    outer = [LEAF]
    ours = Identity(NAME, [ONE], clock=clock(), outer_leaf=lambda: outer[0])
    assert ours.document_v1(None) == ours.document_v1(LEAF)
    outer[0] = b"renewed"
    assert ours.document_v1(None) == ours.document_v1(b"renewed")


def test_version_1_documents_of_old_leaves_are_forgotten() -> None:
    ours = identity(clock())
    first = ours.document_v1(b"0")
    for number in range(LEAVES_MOST + 5):
        ours.document_v1(b"%d" % number)
    assert len(ours._v1) == LEAVES_MOST
    assert ours.document_v1(b"0") == first


@pytest.mark.req("KEY2-15", "KEY2-07")
def test_a_retired_key_moves_to_the_old_ones_and_signs_no_more() -> None:
    time = clock()
    before = identity(time, ONE)
    time.advance(60)
    after = before.retired(ONE.key_id, TWO)
    assert after.request_key is TWO
    document = json.loads(after.document_v2())
    assert set(document["verify_keys"]) == {TWO.key_id}
    assert document["old_verify_keys"][ONE.key_id]["expired_ts"] == time.now()
    assert set(document["signatures"][NAME.text]) == {TWO.key_id}
    v1 = after.document_v1(LEAF)
    assert v1 is not None
    assert ONE.key_id not in v1.decode()


def test_a_key_can_be_retired_without_a_successor_if_one_is_left() -> None:
    ours = identity(clock(), ONE, TWO)
    assert ours.retired(ONE.key_id).signing_keys == (TWO,)
    with pytest.raises(BadConfiguration) as caught:
        ours.retired("ed25519:a_3")
    assert caught.value.code == "retire-no-such-key"
    with pytest.raises(BadConfiguration):
        identity(clock(), ONE).retired(ONE.key_id)


@pytest.mark.req("SEC-17")
def test_an_identity_in_a_log_shows_no_secret() -> None:
    shown = repr(identity(clock(), ONE, TWO))
    assert shown == "Identity('us.test:8448', ed25519:a_1, ed25519:a_2)"
