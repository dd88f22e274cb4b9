"""Hashes, ids and signatures of events, and reading them."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import canonicaljson
import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed, NotValid
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import decode_base64, encode_base64, encode_canonical
from ranvier.protocol.events import (
    ParsedPdu,
    content_hash,
    event_id,
    event_signed_bytes,
    examine_content_hash,
    examine_event_signatures,
    parse_pdu,
    reference_hash,
    required_signers,
    room_id_of,
    sign_event,
    verified_pdu,
)
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict, key_for_event
from ranvier.protocol.keys import KeyVersion, OldVerifyKey, build_v2_document, parse_key_document
from ranvier.protocol.redaction import redact
from ranvier.protocol.room_versions import ROOM_VERSIONS, RoomVersion, room_version
from ranvier.protocol.signing import SignatureVerdict, SigningKey, generate_signing_key

VECTORS = json.loads(Path(__file__, "../../../vectors/events.json").resolve().read_text())
KEY = SigningKey(VECTORS["key_id"], decode_base64(VECTORS["seed"]))
OTHER = generate_signing_key(b"\x07" * 32, "other")
LIMITS = Limits()
V1, V4, V5, V10, V11, V12 = (room_version(each) for each in ("1", "4", "5", "10", "11", "12"))
HASH_ID = "$" + "A" * 43


def vectors(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"] if v["kind"] == kind]


def good_key(key: SigningKey = KEY) -> dict[str, KeyOutcome]:
    outcome = KeyOutcome(key_id=key.key_id, verdict=KeyVerdict.GOOD, key=key.verify_key)
    return {key.key_id: outcome}


def bad_key(verdict: KeyVerdict, key: SigningKey = KEY) -> dict[str, KeyOutcome]:
    outcome = KeyOutcome(key_id=key.key_id, verdict=verdict, reason="because", code="key-x")
    return {key.key_id: outcome}


def draft(version: RoomVersion = V10, **changes: Any) -> dict[str, Any]:
    early = version.id in ("1", "2")
    reference: Any = ["$a:domain", {"sha256": "AA"}] if early else HASH_ID
    return {
        "type": "m.room.message",
        "room_id": "!" + "A" * 43,
        "sender": "@a:domain",
        "origin_server_ts": 1000,
        "depth": 1,
        "content": {"body": "x"},
        "auth_events": [reference],
        "prev_events": [reference],
        **({"event_id": "$e:domain"} if early else {}),
        **changes,
    }


def signed(version: RoomVersion = V10, **changes: Any) -> dict[str, Any]:
    return sign_event(draft(version, **changes), version, "domain", KEY)


def parsed(event: dict[str, Any], version: RoomVersion = V10) -> ParsedPdu:
    return parse_pdu(json.dumps(event).encode(), version, LIMITS)


def refused(code: str, event: Any, version: RoomVersion = V10, limits: Limits = LIMITS) -> None:
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    with pytest.raises(Malformed) as caught:
        parse_pdu(raw, version, limits)
    assert caught.value.code == code


# --- Vectors ---


@pytest.mark.req("HASH-01", "HASH-02", "TV-03", "TV-04", "TV-06", "ERR14-05")
@pytest.mark.parametrize("vector", vectors("signature"))
def test_the_published_events_are_hashed_and_signed_to_the_byte(vector: dict[str, Any]) -> None:
    for version in map(room_version, vector["versions"]):
        event = sign_event(vector["input"], version, VECTORS["name"], KEY)
        assert event["hashes"] == {"sha256": vector["expected"]["content_hash"]}
        signature = vector["expected"]["signature"]
        assert event["signatures"] == {VECTORS["name"]: {KEY.key_id: signature}}


@pytest.mark.req("HASH-01", "HASH-02", "HASH-03", "RVER-03", "RVER-04", "TV-07", "CJ-06")
@pytest.mark.parametrize("vector", vectors("event"))
def test_the_vectors_of_every_version(vector: dict[str, Any]) -> None:
    version, expected = room_version(vector["version"]), vector["expected"]
    before = copy.deepcopy(vector["input"])
    event = sign_event(vector["input"], version, VECTORS["name"], KEY)
    assert vector["input"] == before
    assert encode_base64(content_hash(event, version)) == expected["content_hash"]
    assert event["hashes"] == {"sha256": expected["content_hash"]}
    assert event["signatures"][VECTORS["name"]] == {KEY.key_id: expected["signature"]}
    assert encode_base64(reference_hash(event, version)) == expected["reference_hash"]
    assert event_id(event, version) == expected["event_id"]
    assert room_id_of(event, version) == expected["room_id"]
    assert not examine_content_hash(event, version).failed


@pytest.mark.req("PDU-01", "HASH-07")
@pytest.mark.parametrize("vector", vectors("event"))
def test_signed_events_of_every_version_are_read_and_verified(vector: dict[str, Any]) -> None:
    version, expected = room_version(vector["version"]), vector["expected"]
    event = sign_event(vector["input"], version, VECTORS["name"], KEY)
    pdu = parsed(event, version)
    assert pdu.event_id == expected["event_id"]
    assert pdu.room_id == expected["room_id"]
    assert (pdu.value, pdu.redacted) == (event, False)
    assert verified_pdu(pdu, VECTORS["name"], good_key()) == KEY.key_id
    invite = vector["id"].startswith("member") and version.id not in ("1", "2")
    assert required_signers(pdu) == (() if invite else ("domain",))


# --- Held against other code ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
nested = st.recursive(
    scalars, lambda each: st.lists(each) | st.dictionaries(texts, each), max_leaves=6
)
contents = st.dictionaries(texts, nested, max_size=4)


@pytest.mark.req("HASH-01", "HASH-02", "HASH-03")
@given(
    content=contents,
    kind=st.sampled_from(["m.room.message", "m.room.create", "m.room.member"]),
    version=st.sampled_from(list(ROOM_VERSIONS.values())),
    more=st.dictionaries(st.sampled_from(["unsigned", "redacts", "origin", "x"]), contents),
)
def test_other_libraries_agree(
    content: dict[str, Any], kind: str, version: RoomVersion, more: dict[str, Any]
) -> None:
    event = sign_event(draft(version, type=kind, content=content, **more), version, "domain", KEY)
    hashed = {k: v for k, v in event.items() if k not in ("signatures", "unsigned", "hashes")}
    digest = hashlib.sha256(canonicaljson.encode_canonical_json(hashed)).digest()
    assert decode_base64(event["hashes"]["sha256"]) == digest
    kept = redact(event, version)
    verify_key = signedjson.key.decode_verify_key_bytes(KEY.key_id, KEY.verify_key.key)
    signedjson.sign.verify_signed_json(kept, "domain", verify_key)
    named = {k: v for k, v in kept.items() if k not in ("signatures", "unsigned")}
    assert event_signed_bytes(event, version) == canonicaljson.encode_canonical_json(named)


# --- Ids ---


@pytest.mark.req("RVER-04")
def test_an_id_that_the_sender_chose_is_believed_in_versions_1_and_2_alone() -> None:
    forged = {**draft(), "event_id": "$chosen:domain"}
    assert event_id(forged, V1) == "$chosen:domain"
    assert event_id(forged, V10) != "$chosen:domain"
    assert parsed(signed(event_id="$chosen:domain")).event_id != "$chosen:domain"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (None, "event-identifier"),
        (1, "event-identifier"),
        ("e:domain", "event-identifier"),
        ("$e", "identifier-no-server"),
    ],
)
def test_an_id_of_the_old_form_must_be_one(said: object, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        event_id(draft(V1, event_id=said), V1)
    assert caught.value.code == code


@pytest.mark.req("RVER-03")
def test_a_room_of_version_12_is_named_by_its_create_event() -> None:
    create = {
        k: v for k, v in draft(V12, type="m.room.create", state_key="").items() if k != "room_id"
    }
    event = sign_event(create, V12, "domain", KEY)
    pdu = parsed(event, V12)
    assert pdu.room_id == "!" + pdu.event_id[1:] == room_id_of(event, V12)
    with pytest.raises(Malformed) as caught:
        room_id_of(event, V11)
    assert caught.value.code == "event-room-id"
    assert room_id_of(draft(V12), V12) == draft(V12)["room_id"]


# --- Reading ---


@pytest.mark.req("PDU-01")
def test_what_a_parsed_event_says() -> None:
    event = signed(state_key="", unsigned={"age": 1})
    raw = encode_canonical(event)
    pdu = parse_pdu(raw, V10, LIMITS)
    assert (pdu.raw, pdu.value, pdu.room_version) == (raw, event, "10")
    assert (pdu.type, pdu.sender, pdu.state_key) == ("m.room.message", "@a:domain", "")
    assert (pdu.origin_server_ts, pdu.redacted) == (1000, False)
    assert pdu.signed == event_signed_bytes(event, V10)
    assert parsed(signed()).state_key is None


@pytest.mark.req("CJ-05", "CJ-06")
@pytest.mark.parametrize("number", ["1.5", "9007199254740992", "1e3", "-0"])
def test_numbers_without_a_canonical_form_are_for_early_rooms(number: str) -> None:
    for version in ROOM_VERSIONS.values():
        template = json.dumps(signed(version, content={"n": 77777})).encode()
        raw = template.replace(b"77777", number.encode())
        if not version.strict_json:
            assert parse_pdu(raw, version, LIMITS).redacted  # Another content than was hashed.
            continue
        with pytest.raises(Malformed) as caught:
            parse_pdu(raw, version, LIMITS)
        assert caught.value.code.startswith("json-")


@pytest.mark.req("CJ-05", "CJ-06")
def test_floats_of_early_rooms_keep_their_hash() -> None:
    event = signed(V5, content={"n": 1.5, "m": 1e22, "big": 2**70})
    assert not parsed(event, V5).redacted


@pytest.mark.req("CJ-06")
def test_of_doubled_keys_the_last_counts_in_early_rooms_and_none_later() -> None:
    for version in ROOM_VERSIONS.values():
        event = signed(version)
        raw = b'{"depth": -5, ' + json.dumps(event).encode()[1:]
        if version.strict_json:
            refused("json-duplicate-key", raw, version)
        else:
            assert parse_pdu(raw, version, LIMITS).value == event


@pytest.mark.parametrize("version", [V5, V10], ids=["lenient", "strict"])
def test_what_is_no_event_at_all(version: RoomVersion) -> None:
    refused("json-not-json", b"{", version)
    refused("json-not-utf8", b'"\xff"', version)
    deep = b'{"a":' * 101 + b"1" + b"}" * 101
    refused("json-too-deep", deep, version)
    refused("json-too-large", b"[" + b" " * 2000 + b"]", version, Limits(transaction_bytes=1000))
    refused("event-not-object", b"[]", version)
    refused("event-not-object", b"[1.5]", version) if version is V5 else None
    refused("event-type", b"{}", version)


@pytest.mark.req("PDU-18", "SEC-14")
@pytest.mark.parametrize("version", [V5, V10], ids=["lenient", "strict"])
def test_an_event_has_at_most_65536_canonical_bytes(version: RoomVersion) -> None:
    empty = len(encode_canonical(signed(version, content={"body": ""})))
    fits = signed(version, content={"body": "x" * (65_536 - empty)})
    assert len(encode_canonical(fits)) == 65_536
    assert not parse_pdu(json.dumps(fits, indent=8).encode(), version, LIMITS).redacted
    larger = signed(version, content={"body": "x" * (65_537 - empty)})
    refused("event-too-large", encode_canonical(larger), version)
    refused("event-too-large", json.dumps(larger).encode(), version)


@pytest.mark.req("HASH-09", "PDU-03")
def test_changed_content_goes_and_the_event_stays() -> None:
    event = {**signed(), "unsigned": {"age": 1}}
    changed = {**event, "content": {"body": "y"}}
    pdu = parsed(changed)
    assert pdu.redacted
    assert pdu.value == redact(changed, V10)
    assert pdu.value["content"] == {}
    assert pdu.event_id == event_id(event, V10)
    assert verified_pdu(pdu, "domain", good_key()) == KEY.key_id
    assert examine_content_hash(changed, V10).failed


@pytest.mark.req("HASH-10")
@pytest.mark.parametrize(
    "hashes",
    [
        {},
        {"md5": "AA"},
        {"sha256": None},
        {"sha256": 1},
        {"sha256": ""},
        {"sha256": "*"},
        {"sha256": "AA"},
        {"sha256": ["5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"]},
    ],
)
def test_no_usable_hash_is_a_wrong_hash(hashes: dict[str, Any]) -> None:
    event = {**signed(), "hashes": hashes}
    assert parsed(event).redacted
    assert examine_content_hash(event, V10).failed
    assert not examine_content_hash(event, V10).fatal


@pytest.mark.req("HASH-10")
def test_hashes_that_are_no_object_never_hold() -> None:
    assert examine_content_hash({**signed(), "hashes": "x"}, V10).failed
    assert examine_content_hash(draft(), V10).failed
    refused("event-hashes", draft() | {"signatures": {}})


@pytest.mark.req("HASH-09", "B64-05")
def test_of_a_hash_bytes_are_compared_and_not_text() -> None:
    event = signed()
    padded = event["hashes"]["sha256"] + "="
    assert not parsed({**event, "hashes": {"sha256": padded}}).redacted


# --- Signing ---


@pytest.mark.req("HASH-02")
def test_a_second_server_adds_its_signature() -> None:
    event = {**signed(), "unsigned": {"age": 1}}
    both = sign_event(event, V10, "other.org", OTHER)
    again = sign_event(both, V10, "domain", OTHER)
    assert set(again["signatures"]) == {"domain", "other.org"}
    assert set(again["signatures"]["domain"]) == {KEY.key_id, OTHER.key_id}
    assert again["unsigned"] == {"age": 1}
    assert event_id(again, V10) == event_id(event, V10)
    pdu = parsed(again)
    assert verified_pdu(pdu, "other.org", good_key(OTHER)) == OTHER.key_id
    assert verified_pdu(pdu, "domain", good_key() | good_key(OTHER)) == KEY.key_id


@pytest.mark.parametrize("signatures", [[], {"domain": []}, "x", None])
def test_signatures_of_another_form_are_refused_when_we_sign(signatures: object) -> None:
    with pytest.raises(Malformed) as caught:
        signed(signatures=signatures)
    assert caught.value.code == "event-signatures"


# --- Checking signatures ---


INVITE = {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}


@pytest.mark.req("HASH-04", "HASH-05")
@pytest.mark.parametrize(
    ("version", "changes", "signers"),
    [
        (V10, {}, ("domain",)),
        (V10, {"sender": "@a:other.org:80"}, ("other.org:80",)),
        (V10, {"event_id": "$e:third.org"}, ("domain",)),
        (V1, {}, ("domain",)),
        (V1, {"event_id": "$e:third.org"}, ("domain", "third.org")),
        (V10, {"type": "m.room.member", "content": INVITE}, ()),
        (V1, {"type": "m.room.member", "content": INVITE}, ("domain",)),
        (V10, {"type": "m.room.other", "content": INVITE}, ("domain",)),
        (V10, {"type": "m.room.member", "content": {"membership": "invite"}}, ("domain",)),
        (V10, {"type": "m.room.member", "content": {**INVITE, "membership": "join"}}, ("domain",)),
    ],
)
def test_who_must_have_signed(
    version: RoomVersion, changes: dict[str, Any], signers: tuple[str, ...]
) -> None:
    assert required_signers(parsed(signed(version, **changes), version)) == signers


@pytest.mark.req("HASH-05", "HASH-09")
def test_an_invite_whose_content_does_not_hold_is_nobodys_third_party_invite() -> None:
    event = {**signed(type="m.room.member"), "content": INVITE}
    assert required_signers(parsed(event)) == ("domain",)


Signatures = dict[str, str]


def with_signatures(**signatures: Any) -> ParsedPdu:
    """The event, signed by ``domain`` under these key versions."""
    event = signed()
    right = event["signatures"]["domain"][KEY.key_id]
    wrong = encode_base64(KEY.sign(b"another message"))
    texts = {"right": right, "wrong": wrong}
    own = {f"ed25519:{k}": texts.get(v, v) for k, v in signatures.items()}
    return parsed({**event, "signatures": {"domain": own}})


def live(*versions: str) -> dict[str, KeyOutcome]:
    keys = (SigningKey(f"ed25519:{each}", KEY.seed) for each in versions)
    return {key.key_id: good_key(key)[key.key_id] for key in keys}


@pytest.mark.req("HASH-07")
def test_every_signature_gets_its_outcome() -> None:
    event = signed()
    right = event["signatures"]["domain"][KEY.key_id]
    own = {
        "ed25519:1": right,
        "ed25519:2": encode_base64(KEY.sign(b"another message")),
        "ed25519:3": right,
        "ed25519:4": right,
        "ed25519:5": right,
        "ed25519:6": "?",
        "ed25519:7": None,
        "ed25519:8": right,
        "rsa:1": right,
        "ed25519:policy_server": right,
    }
    pdu = parsed({**event, "signatures": {"domain": own}})
    keys = live("1", "2", "6", "7", "policy_server_2")
    for version, verdict in (
        ("4", KeyVerdict.EXPIRED),
        ("5", KeyVerdict.OLD_KEY),
        ("8", KeyVerdict.UNUSABLE),
    ):
        keys |= bad_key(verdict, SigningKey(f"ed25519:{version}", KEY.seed))
    outcomes = examine_event_signatures(pdu, "domain", keys)
    assert {each.key_id: each.verdict for each in outcomes} == {
        "ed25519:1": SignatureVerdict.VALID,
        "ed25519:2": SignatureVerdict.INVALID,
        "ed25519:3": SignatureVerdict.UNKNOWN_KEY,
        "ed25519:4": SignatureVerdict.EXPIRED_KEY,
        "ed25519:5": SignatureVerdict.EXPIRED_KEY,
        "ed25519:6": SignatureVerdict.MALFORMED,
        "ed25519:7": SignatureVerdict.MALFORMED,
        "ed25519:8": SignatureVerdict.UNKNOWN_KEY,
        "rsa:1": SignatureVerdict.UNKNOWN_ALGORITHM,
        "ed25519:policy_server": SignatureVerdict.POLICY_SERVER,
    }
    assert all(each.reason for each in outcomes)
    assert examine_event_signatures(pdu, "other.org", keys) == ()


@pytest.mark.req("HASH-07")
@pytest.mark.parametrize(
    ("signatures", "keys"),
    [
        ({"a": "right"}, live("a")),
        ({"u": "wrong", "a": "right"}, live("a")),  # an unknown key is passed over
        ({"u": "?", "a": "right"}, live("a")),
        (
            {"o": "wrong", "a": "right"},
            live("a") | bad_key(KeyVerdict.EXPIRED, SigningKey("ed25519:o", KEY.seed)),
        ),
        ({"policy_server": "wrong", "a": "right"}, live("a")),
    ],
)
def test_signatures_that_suffice(signatures: Signatures, keys: dict[str, KeyOutcome]) -> None:
    assert verified_pdu(with_signatures(**signatures), "domain", keys) == "ed25519:a"


@pytest.mark.req("HASH-07", "HASH-08", "PDU-02")
@pytest.mark.parametrize(
    ("code", "signatures", "keys"),
    [
        ("event-signature-missing", {}, live("a")),
        ("event-signature-missing", {"policy_server": "right"}, good_key(OTHER)),
        ("event-signature-invalid", {"a": "wrong"}, live("a")),
        ("event-signature-invalid", {"a": "right", "b": "wrong"}, live("a", "b")),
        ("event-signature-malformed", {"a": "right", "b": "?"}, live("a", "b")),
        ("event-signature-key-unknown", {"a": "right"}, live("b")),
        ("event-signature-key-unknown", {"a": "right"}, {}),
        ("event-signature-key-expired", {"1": "right"}, bad_key(KeyVerdict.EXPIRED)),
        ("event-signature-key-expired", {"u": "right", "1": "right"}, bad_key(KeyVerdict.EXPIRED)),
    ],
)
def test_signatures_that_do_not(
    code: str, signatures: Signatures, keys: dict[str, KeyOutcome]
) -> None:
    with pytest.raises(NotValid) as caught:
        verified_pdu(with_signatures(**signatures), "domain", keys)
    assert caught.value.code == code
    assert caught.value.clause


@pytest.mark.req("HASH-08")
def test_a_policy_servers_key_does_not_sign_for_the_server_even_if_it_is_given() -> None:
    keys = live("a")
    given_key = {"ed25519:policy_server": keys["ed25519:a"]}
    with pytest.raises(NotValid) as caught:
        verified_pdu(with_signatures(policy_server="right"), "domain", given_key)
    assert caught.value.code == "event-signature-missing"


def test_too_many_signatures_are_not_tried() -> None:
    pdu = with_signatures(a="right", b="right", c="right")
    [outcome] = examine_event_signatures(pdu, "domain", live("a"), most=2)
    assert (outcome.key_id, outcome.verdict) == ("", SignatureVerdict.MALFORMED)
    with pytest.raises(NotValid) as caught:
        verified_pdu(pdu, "domain", live("a"), most=2)
    assert caught.value.code == "event-signature-malformed"


@pytest.mark.req("KEYF-08", "KEYF-09", "KEYF-12", "AMB-13", "AMB-21")
@pytest.mark.parametrize(
    ("version", "old", "sent", "code"),
    [
        (V4, False, 5000, ""),
        (V4, False, 5001, ""),  # `valid_until_ts` does not count in versions 1 to 4
        (V5, False, 5000, ""),
        (V5, False, 5001, "event-signature-key-expired"),
        (V10, False, 5001, "event-signature-key-expired"),
        (V4, True, 3000, ""),  # at `expired_ts` it is still good
        (V4, True, 3001, "event-signature-key-expired"),  # and it counts in every version
        (V10, True, 3000, ""),
        (V10, True, 3001, "event-signature-key-expired"),
    ],
)
def test_until_when_a_key_signs_events(
    version: RoomVersion, old: bool, sent: int, code: str
) -> None:
    body = build_v2_document(
        "domain",
        [OTHER] if old else [KEY],
        old_keys=[OldVerifyKey(KEY.verify_key, Ms(3000))] if old else (),
        valid_until=Ms(5000),
    )
    document = parse_key_document(body, KeyVersion.V2, LIMITS)
    pdu = parsed(signed(version, origin_server_ts=sent), version)
    outcome = key_for_event(
        document,
        KEY.key_id,
        at=pdu.origin_server_ts,
        fetched_at=Ms(0),
        enforce_validity=version.enforces_key_validity,
    )
    if not code:
        assert verified_pdu(pdu, "domain", {KEY.key_id: outcome}) == KEY.key_id
        return
    with pytest.raises(NotValid) as caught:
        verified_pdu(pdu, "domain", {KEY.key_id: outcome})
    assert caught.value.code == code
