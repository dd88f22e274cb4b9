"""Key documents: read key by key, and written to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ranvier.errors import BadConfiguration, Malformed
from ranvier.limits import DAY_MS, Limits, Ms
from ranvier.protocol.canonical import decode_base64, encode_base64, encode_canonical
from ranvier.protocol.conditions import Condition
from ranvier.protocol.keyconditions import examine_key_document
from ranvier.protocol.keys import (
    KeyDocument,
    KeyVersion,
    OldVerifyKey,
    build_v1_document,
    build_v2_document,
    parse_key_document,
)
from ranvier.protocol.signing import SigningKey, VerifyKey

LIMITS = Limits()
VECTORS = json.loads(Path(__file__, "../../../vectors/key_documents.json").resolve().read_text())
NOW = Ms(VECTORS["now"])
LEAF = decode_base64(VECTORS["leaf"])
ONE = SigningKey("ed25519:1", decode_base64(VECTORS["seed"]))
TWO = SigningKey("ed25519:a_two", bytes([2]) * 32)
NAME = "hs1.test"


def read(content: Any, version: KeyVersion = KeyVersion.V2) -> KeyDocument:
    return parse_key_document(json.dumps(content).encode(), version, LIMITS)


def failed(conditions: tuple[Condition, ...]) -> list[str]:
    return [each.id for each in conditions if each.failed]


@pytest.mark.req("ERR14-01")
def test_the_sample_of_2014_lacks_a_comma_and_is_not_json() -> None:
    sample = b'{"tls_certificate": "base64"\n "server_name": "domain"}'
    with pytest.raises(Malformed) as refused:
        parse_key_document(sample, KeyVersion.V1, LIMITS)
    assert refused.value.code == "json-not-json"


BAD_BODIES = [
    (b"", "json-not-json", "nothing"),
    (b"[]", "json-not-object", "a list"),
    (b'"x"', "json-not-object", "a text"),
    (b'{"server_name":"a","server_name":"b"}', "json-duplicate-key", "two readings"),
    (b'{"valid_until_ts":1.5}', "json-not-integer", "a float"),
    (b'{"valid_until_ts":9007199254740992}', "json-integer-range", "an integer out of range"),
    (b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "json-too-deep", "10,000 levels"),
    (b'{"x":"' + b"a" * LIMITS.key_document_bytes + b'"}', "json-too-large", "a large body"),
    (b'{"x":"\xff"}', "json-not-utf8", "not UTF-8"),
]


@pytest.mark.parametrize(("body", "code"), [pytest.param(b, c, id=why) for b, c, why in BAD_BODIES])
def test_a_body_that_is_no_json_object_is_refused_whole(body: bytes, code: str) -> None:
    for version in KeyVersion:
        with pytest.raises(Malformed) as refused:
            parse_key_document(body, version, LIMITS)
        assert refused.value.code == code


def test_more_keys_or_signatures_than_the_limits_are_refused_whole() -> None:
    keys: dict[str, Any] = {f"ed25519:{n}": {} for n in range(60)}
    read({"verify_keys": keys})
    with pytest.raises(Malformed) as refused:
        read({"verify_keys": keys, "old_verify_keys": keys})
    assert refused.value.code == "key-document-too-many-keys"
    signatures = {f"ed25519:{n}": "" for n in range(101)}
    read({"signatures": {"a": signatures, "b": 1}})
    with pytest.raises(Malformed) as refused:
        read({"signatures": {"a": signatures, "b": signatures}})
    assert refused.value.code == "key-document-too-many-signatures"


GOOD_KEY = encode_base64(ONE.verify_key.key)
BAD_KEYS: list[tuple[str, object, str, str]] = [
    ("ed25519:a", "text", "key-without-text", "version 1's form in version 2"),
    ("ed25519:a", {"key": 1}, "key-without-text", "a number"),
    ("ed25519:a", {}, "key-without-text", "no key member"),
    ("ed25519:a", {"key": encode_base64(bytes(31))}, "key-length", "31 bytes"),
    ("ed25519:a", {"key": encode_base64(bytes(33))}, "key-length", "33 bytes"),
    ("ed25519:a", {"key": encode_base64(bytes(32))}, "key-small-order", "small order"),
    ("curve:a", {"key": GOOD_KEY}, "key-algorithm", "another algorithm"),
    ("ed25519", {"key": GOOD_KEY}, "key-id", "no colon"),
    ("ed25519:policy_server", {"key": GOOD_KEY}, "key-reserved", "reserved"),
    (
        "ed25519:a",
        {"key": "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og"},
        "key-leaked",
        "the leaked key",
    ),
]


@pytest.mark.req("KEYF-16", "KEY2-04", "KEY2-06")
@pytest.mark.parametrize(
    ("key_id", "value", "code"), [pytest.param(k, v, c, id=why) for k, v, c, why in BAD_KEYS]
)
def test_a_bad_key_spoils_itself_only(key_id: str, value: object, code: str) -> None:
    for member in ("verify_keys", "old_verify_keys"):
        other = {"ed25519:other": {"key": GOOD_KEY, "expired_ts": 1}}
        document = read({member: {key_id: value, **other}})
        assert [(each.key_id, each.code) for each in document.problems] == [(key_id, code)]
        kept = [
            *(each.key_id for each in document.verify_keys),
            *(each.key.key_id for each in document.old_verify_keys),
        ]
        assert kept == ["ed25519:other"]


OLD_MEMBERS: list[tuple[dict[str, Any], str, str]] = [
    ({"old_verify_keys": []}, "old-keys-not-object", "a list"),
    ({"old_verify_keys": {"ed25519:o": {"key": GOOD_KEY}}}, "key-expired-ts", "no expired_ts"),
    (
        {"old_verify_keys": {"ed25519:o": {"key": GOOD_KEY, "expired_ts": True}}},
        "key-expired-ts",
        "true is no instant",
    ),
    (
        {
            "old_verify_keys": {"ed25519:o": {"key": GOOD_KEY, "expired_ts": 1}},
            "verify_keys": {"ed25519:o": {"key": GOOD_KEY}},
        },
        "key-current-and-old",
        "current and old at once",
    ),
]


@pytest.mark.req("KEY2-07")
@pytest.mark.parametrize(
    ("content", "code"), [pytest.param(c, code, id=why) for c, code, why in OLD_MEMBERS]
)
def test_what_is_wrong_with_old_keys_is_named(content: dict[str, Any], code: str) -> None:
    assert [each.code for each in read(content).problems] == [code]


def test_a_certificate_that_is_not_base64_is_named() -> None:
    document = read({"tls_certificate": "-----BEGIN"}, KeyVersion.V1)
    assert document.tls_certificate is None
    assert [each.key_id for each in document.problems] == [""]


def test_each_version_reads_its_own_members_only() -> None:
    both = {
        "tls_certificate": VECTORS["leaf"],
        "valid_until_ts": 5,
        "old_verify_keys": {"ed25519:o": {"key": GOOD_KEY, "expired_ts": 1}},
    }
    first, second = read(both, KeyVersion.V1), read(both)
    assert (first.valid_until, first.old_verify_keys, first.tls_certificate) == (None, (), LEAF)
    assert (second.valid_until, second.tls_certificate) == (5, None)
    assert [each.expired_ts for each in second.old_verify_keys] == [1]
    assert KeyVersion.V2.clause == "[s2s:publishing-keys]"


# --- Writing ---


@pytest.mark.req(
    *("SEED-09", "SEED-10", "SEED-11", "SEED-12", "REF14-04", "REF14-05", "REF14-06", "TV-10")
)
def test_version_1_is_written_to_the_byte_of_the_vector() -> None:
    vector = next(each for each in VECTORS["vectors"] if each["id"] == "TV-10")
    body = build_v1_document("domain", [ONE], tls_certificate=b"not a real certificate")
    assert body == encode_canonical(vector["document"])


@pytest.mark.req("KEY2-02", "KEY2-03", "KEY2-04", "KEY2-08", "KEY2-10", "TV-11")
def test_version_2_is_written_to_the_byte_of_the_vector() -> None:
    vector = next(each for each in VECTORS["vectors"] if each["id"] == "TV-11")
    body = build_v2_document("domain", [ONE], valid_until=Ms(1700000000000))
    assert body == encode_canonical(vector["document"])


@pytest.mark.req("REF14-06", "KEY2-07", "KEY2-09", "KEY2-12")
def test_what_we_write_holds_every_condition_we_know() -> None:
    for leaf in (b"x", b"xy", b"xyz"):  # every length of padding that is left out
        v1 = build_v1_document(NAME, [ONE, TWO], tls_certificate=leaf)
        assert b"=" not in v1
        document = parse_key_document(v1, KeyVersion.V1, LIMITS)
        assert not failed(
            examine_key_document(document, expected_name=NAME, now=NOW, peer_certificate=leaf)
        )
    old = OldVerifyKey(
        VerifyKey("ed25519:gone", bytes(SigningKey("ed25519:g", bytes(32)).verify_key.key)), Ms(5)
    )
    v2 = build_v2_document(NAME, [ONE, TWO], old_keys=[old], valid_until=Ms(NOW + DAY_MS))
    document = parse_key_document(v2, KeyVersion.V2, LIMITS)
    assert not failed(examine_key_document(document, expected_name=NAME, now=NOW))
    assert document.old_verify_keys == (old,)
    assert document.verify_keys == (ONE.verify_key, TWO.verify_key)


def refusal_code(**change: Any) -> str:
    given: dict[str, Any] = {"signing_keys": [ONE], "valid_until": NOW, **change}
    with pytest.raises(BadConfiguration) as refused:
        build_v2_document(NAME, given.pop("signing_keys"), **given)
    return refused.value.code


@pytest.mark.req("KEY2-05")
def test_what_must_not_be_published_is_not() -> None:
    old = [OldVerifyKey(VerifyKey("ed25519:a-1", TWO.verify_key.key), Ms(1))]
    twice = [OldVerifyKey(VerifyKey("ed25519:1", TWO.verify_key.key), Ms(1))]
    reserved = SigningKey("ed25519:policy_server", bytes(32))
    assert refusal_code(signing_keys=[]) == "publish-no-key"
    assert refusal_code(old_keys=old) == "publish-key-id"
    assert refusal_code(signing_keys=[ONE, ONE]) == "publish-key-id-twice"
    assert refusal_code(old_keys=twice) == "publish-key-id-twice"
    assert refusal_code(signing_keys=[reserved]) == "publish-key-id-reserved"
    with pytest.raises(BadConfiguration) as refused:
        build_v1_document(NAME, [ONE], tls_certificate=b"")
    assert refused.value.code == "publish-no-certificate"
