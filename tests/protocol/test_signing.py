"""Signing, checking, the key types and the key file."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed, NotValid, RanvierError
from ranvier.protocol.canonical import decode_base64, decode_base64_any, encode_base64
from ranvier.protocol.signing import (
    SignatureVerdict,
    SigningKey,
    VerifyKey,
    examine_signatures,
    format_signing_keys,
    generate_signing_key,
    new_key_version,
    parse_signing_keys,
    sign_json,
    signed_bytes,
    verify_bytes,
    verify_json,
)

VECTORS = json.loads(Path(__file__, "../../../vectors/signing.json").resolve().read_text())
KEY = SigningKey(VECTORS["key_id"], decode_base64(VECTORS["seed"]))
KEYS = {KEY.key_id: KEY.verify_key}


def refused(
    kind: type[RanvierError],
    code: str,
    call: Callable[..., object],
    *args: object,
    **kwargs: object,
) -> None:
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    assert caught.value.clause


def vectors(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"] if v["kind"] == kind]


@pytest.mark.req("SIGN-01", "SIGN-03", "CHK-05", "TV-01", "TV-02", "TV-10", "TV-11", "D14-15")
@pytest.mark.parametrize("vector", vectors("signature"))
def test_the_published_vectors_are_signed_to_the_byte(vector: dict[str, Any]) -> None:
    signed = sign_json(vector["input"], VECTORS["name"], KEY)
    assert signed["signatures"] == {VECTORS["name"]: {KEY.key_id: vector["expected"]}}
    assert verify_json(signed, VECTORS["name"], KEYS) == KEY.key_id


@pytest.mark.req("TV-05")
@pytest.mark.parametrize("vector", vectors("verify-key"))
def test_the_public_key_of_the_published_seed(vector: dict[str, Any]) -> None:
    assert encode_base64(KEY.verify_key.key) == vector["expected"]


# --- Signing and checking ---


@pytest.mark.req("SIGN-01", "SIGN-02", "D14-15")
def test_signing_keeps_others_signatures_and_unsigned_and_changes_nothing_given() -> None:
    other = generate_signing_key(b"\x01" * 32, "b_1")
    first = sign_json({"a": 1, "unsigned": {"age": 2}}, "other.org", other)
    before = copy.deepcopy(first)
    both = sign_json(sign_json(first, "domain", KEY), "domain", other)
    assert first == before
    assert both["unsigned"] == {"age": 2}
    assert set(both["signatures"]["domain"]) == {KEY.key_id, other.key_id}
    assert both["signatures"]["other.org"] == first["signatures"]["other.org"]
    assert verify_json({**both, "unsigned": {"age": 3}}, "domain", KEYS) == KEY.key_id


@pytest.mark.req("SIGN-01")
def test_only_the_top_level_loses_its_signatures_and_unsigned() -> None:
    inner: dict[str, Any] = {"signatures": {"x": {}}, "unsigned": {}}
    assert signed_bytes({"a": inner, **inner}) == b'{"a":{"signatures":{"x":{}},"unsigned":{}}}'


@pytest.mark.parametrize("signatures", [None, [], "x", {"domain": []}, {"domain": None}])
def test_signatures_that_are_no_map_of_maps_are_not_signed_over(signatures: object) -> None:
    refused(
        Malformed, "signatures-not-object", sign_json, {"signatures": signatures}, "domain", KEY
    )


def test_what_has_no_canonical_form_is_not_signed() -> None:
    refused(Malformed, "json-not-integer", sign_json, {"a": 1.5}, "domain", KEY)


def altered(signature: str, index: int, change: int) -> str:
    data = bytearray(decode_base64(signature))
    data[index] ^= change
    return encode_base64(bytes(data))


def malleated(signature: str) -> str:
    """S + L instead of S: the same signature to a careless verifier."""
    data = decode_base64(signature)
    greater = int.from_bytes(data[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    return encode_base64(data[:32] + greater.to_bytes(32, "little"))


SIGNED = sign_json({"a": 1}, "domain", KEY)
GOOD = SIGNED["signatures"]["domain"][KEY.key_id]
PADDED = GOOD + "=="

CHECKS = [
    ({}, "signature-missing", "an empty entry (CHK-01)"),
    ({"rsa:1": GOOD}, "signature-unknown-algorithm", "no algorithm we know (CHK-02)"),
    ({"a_1": GOOD}, "signature-unknown-algorithm", "no algorithm at all (CHK-02)"),
    ({"ed25519:2": GOOD}, "signature-unknown-key", "a key nobody knows (CHK-03)"),
    ({"rsa:1": GOOD, "ed25519:2": GOOD}, "signature-unknown-key", "nothing that helps"),
    ({"ed25519:1": GOOD[:-1] + "!"}, "signature-malformed", "bad base64 (CHK-04)"),
    ({"ed25519:1": GOOD.replace("/", "_").replace("+", "-")}, "signature-malformed", "URL-safe"),
    ({"ed25519:1": None}, "signature-malformed", "no string"),
    ({"ed25519:1": 7}, "signature-malformed", "no string"),
    ({"ed25519:1": ""}, "signature-malformed", "0 bytes (CHK-06)"),
    ({"ed25519:1": encode_base64(decode_base64(GOOD)[:63])}, "signature-malformed", "63 bytes"),
    ({"ed25519:1": encode_base64(decode_base64(GOOD) + b"\0")}, "signature-malformed", "65 bytes"),
    ({"ed25519:1": malleated(GOOD)}, "signature-malformed", "S + L (CHK-06)"),
    ({"ed25519:1": altered(GOOD, 0, 1)}, "signature-invalid", "one bit of R (CHK-05)"),
    ({"ed25519:1": altered(GOOD, 33, 1)}, "signature-invalid", "one bit of S (CHK-05)"),
    ({"ed25519:1": encode_base64(bytes(64))}, "signature-invalid", "nothing but zeros"),
    ({"ed25519:1": GOOD}, "", "good"),
    ({"ed25519:1": PADDED}, "", "good, and padded"),
    ({"ed25519:2": "!", "rsa:1": 3, "ed25519:1": GOOD}, "", "good among unknown ones"),
]


@pytest.mark.req("CHK-01", "CHK-02", "CHK-03", "CHK-04", "CHK-05", "CHK-06")
@pytest.mark.parametrize(("own", "code", "reason"), CHECKS, ids=[each[2] for each in CHECKS])
def test_checking_a_signature(own: dict[str, Any], code: str, reason: str) -> None:
    obj = {"a": 1, "signatures": {"domain": own, "other.org": {"ed25519:1": GOOD}}}
    if code:
        refused(NotValid, code, verify_json, obj, "domain", KEYS)
    else:
        assert verify_json(obj, "domain", KEYS) == "ed25519:1"


@pytest.mark.req("CHK-01")
@pytest.mark.parametrize("obj", [{}, {"signatures": 1}, {"signatures": {"domain": []}}])
def test_no_entry_for_the_signer_is_no_signature(obj: dict[str, Any]) -> None:
    assert examine_signatures(obj, "domain", KEYS, most=10) == ()
    refused(NotValid, "signature-missing", verify_json, obj, "domain", KEYS)


@pytest.mark.req("CHK-05")
def test_every_known_key_that_signed_must_have_signed_well() -> None:
    second = generate_signing_key(b"\x02" * 32, "a_2")
    obj = sign_json(SIGNED, "domain", second)
    keys = {**KEYS, second.key_id: second.verify_key}
    assert verify_json(obj, "domain", keys) == KEY.key_id
    obj["signatures"]["domain"][second.key_id] = GOOD
    assert verify_json(obj, "domain", KEYS) == KEY.key_id  # unknown: passed over
    refused(NotValid, "signature-invalid", verify_json, obj, "domain", keys)
    verdicts = [each.verdict for each in examine_signatures(obj, "domain", keys, most=10)]
    assert verdicts == [SignatureVerdict.VALID, SignatureVerdict.INVALID]


@pytest.mark.req("CHK-04", "CHK-06")
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "no string"),
        ("A!", "alphabet"),
        ("A", "no whole bytes"),
        (GOOD[:84], "63 bytes"),
        (malleated(GOOD), "not reduced"),
    ],
)
def test_a_signature_that_cannot_be_tried_says_why(value: object, words: str) -> None:
    obj = {**SIGNED, "signatures": {"domain": {KEY.key_id: value}}}
    [outcome] = examine_signatures(obj, "domain", KEYS, most=10)
    assert outcome.verdict is SignatureVerdict.MALFORMED
    assert words in outcome.reason


def test_more_signatures_than_allowed_are_not_tried_at_all() -> None:
    obj = {"a": 1, "signatures": {"domain": {f"ed25519:{n}": GOOD for n in range(11)}}}
    [outcome] = examine_signatures(obj, "domain", KEYS, most=10)
    assert (outcome.key_id, outcome.verdict) == ("", SignatureVerdict.MALFORMED)
    refused(NotValid, "signature-malformed", verify_json, obj, "domain", KEYS, most=10)
    assert verify_json(obj, "domain", KEYS, most=11) == "ed25519:1"


def test_an_object_without_a_canonical_form_has_no_signature_to_check() -> None:
    [outcome] = examine_signatures({**SIGNED, "b": 0.5}, "domain", KEYS, most=10)
    assert outcome.verdict is SignatureVerdict.MALFORMED
    assert "0.5" in outcome.reason


@pytest.mark.req("CHK-05")
@given(st.dictionaries(st.text(max_size=5), st.integers(-99, 99) | st.text(max_size=5), max_size=4))
def test_we_and_signedjson_take_each_others_signatures(obj: dict[str, Any]) -> None:
    theirs = signedjson.key.decode_signing_key_base64("ed25519", "1", VECTORS["seed"])
    ours = sign_json(obj, "domain", KEY)
    signed = signedjson.sign.sign_json(copy.deepcopy(obj), "domain", theirs)
    assert signed["signatures"] == ours["signatures"]
    signedjson.sign.verify_signed_json(ours, "domain", signedjson.key.get_verify_key(theirs))
    assert verify_json(signed, "domain", KEYS) == KEY.key_id


@pytest.mark.req("CHK-05", "CHK-06")
@given(st.integers(0, 511))
def test_no_bit_of_a_signature_can_be_flipped(bit: int) -> None:
    own = {KEY.key_id: altered(GOOD, bit // 8, 1 << bit % 8)}
    with pytest.raises(NotValid):
        verify_json({"a": 1, "signatures": {"domain": own}}, "domain", KEYS)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), junk), junk, junk)
def test_examining_never_raises(obj: dict[str, Any], signatures: Any, own: Any) -> None:
    for each in (signatures, {"domain": own}, {"domain": {"ed25519:1": own}}):
        for outcome in examine_signatures({**obj, "signatures": each}, "domain", KEYS, most=3):
            assert outcome.verdict is not SignatureVerdict.VALID
            assert outcome.reason


# --- Keys ---

SMALL_ORDER = [
    # The eight points whose order divides 8, then the spellings that are not canonical.
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.req("D15")
@pytest.mark.parametrize("point", SMALL_ORDER)
def test_keys_of_small_order_are_refused(point: str) -> None:
    refused(NotValid, "key-small-order", VerifyKey, "ed25519:1", bytes.fromhex(point))


@pytest.mark.req("D13")
def test_the_leaked_key_is_refused_however_it_is_written() -> None:
    text = "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og"
    for each in (text, text[:-1] + "h", text.replace("/", "_").replace("+", "-")):
        refused(NotValid, "key-leaked", VerifyKey, "ed25519:auto", decode_base64_any(each))


@pytest.mark.req("SIGN-03", "D15")
@pytest.mark.parametrize(
    ("key_id", "key", "code"),
    [
        ("rsa:1", KEY.verify_key.key, "key-algorithm"),
        ("1", KEY.verify_key.key, "key-id"),
        ("ed25519:1", b"", "key-length"),
        ("ed25519:1", KEY.verify_key.key[:31], "key-length"),
        ("ed25519:1", KEY.verify_key.key + b"\0", "key-length"),
        ("ed25519:1", b"\x02" + bytes(31), "key-not-a-point"),  # no such x
        ("ed25519:1", b"\xf0" + b"\xff" * 30 + b"\x7f", "key-not-a-point"),  # y = p + 3
        ("ed25519:1", b"\xff" * 32, "key-not-a-point"),
    ],
)
def test_what_is_no_verify_key(key_id: str, key: bytes, code: str) -> None:
    refused(Malformed, code, VerifyKey, key_id, key)


def test_a_verify_key_is_its_id_and_its_bytes() -> None:
    assert VerifyKey("ed25519:1", KEY.verify_key.key) == KEY.verify_key
    assert VerifyKey("ed25519:2", KEY.verify_key.key) != KEY.verify_key
    assert KEY.verify_key.algorithm == "ed25519"


@pytest.mark.req("D15")
@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_a_key_that_verifies_nothing_by_chance_or_no_key(data: bytes) -> None:
    try:
        key = VerifyKey("ed25519:1", data)
    except (Malformed, NotValid):
        return
    assert not verify_bytes(b"", decode_base64(GOOD), key)


def test_bytes_that_are_no_signature_verify_nothing() -> None:
    assert not verify_bytes(b"", b"short", KEY.verify_key)
    good = KEY.sign(b"abc")
    assert not verify_bytes(good[60:] + b"abc", good[:60], KEY.verify_key)
    assert not verify_bytes(b"bc", good + b"a", KEY.verify_key)
    assert verify_bytes(b"x", KEY.sign(b"x"), KEY.verify_key)


@pytest.mark.req("SEC-17")
def test_a_signing_key_never_shows_its_seed() -> None:
    assert repr(KEY) == str(KEY) == f"{KEY}" == "SigningKey('ed25519:1')"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy, vars, msgspec.json.encode):
        with pytest.raises(TypeError) as caught:
            leak(KEY)
        assert VECTORS["seed"][:8] not in str(caught.value)
    with pytest.raises(AttributeError):
        KEY.key_id = "ed25519:2"  # type: ignore[misc] # it is frozen
    assert decode_base64(VECTORS["seed"]) == KEY.seed


def test_signing_keys_are_equal_by_what_they_publish() -> None:
    twin = generate_signing_key(KEY.seed, "1")
    assert twin == KEY
    assert {twin, KEY} == {KEY}
    assert generate_signing_key(KEY.seed, "2") != KEY
    something: object = KEY.key_id
    assert something != KEY


@pytest.mark.req("D10", "KEY2-05")
@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("auto", "key-version-reserved"),
        ("policy_server", "key-version-reserved"),
        ("a-1", "signing-key-id"),
        ("", "signing-key-id"),
        ("a b", "signing-key-id"),
    ],
)
def test_versions_that_no_key_of_ours_has(version: str, code: str) -> None:
    refused(Malformed, code, generate_signing_key, bytes(32), version)


def test_what_is_no_signing_key() -> None:
    refused(Malformed, "signing-key-seed", generate_signing_key, bytes(31), "1")
    refused(Malformed, "signing-key-id", SigningKey, "rsa:1", bytes(32))


@pytest.mark.req("D10")
@given(st.binary(min_size=4, max_size=8))
def test_new_versions_are_random_letters_that_may_be_published(random: bytes) -> None:
    version = new_key_version(random)
    assert len(version) == 2 + len(random)
    assert generate_signing_key(bytes(32), version).key_id == f"ed25519:{version}"
    assert new_key_version(b"\x00\x19\x1a\x33\x34") == "a_azAZa"


# --- The key file ---


def test_the_key_file_is_synapses() -> None:
    keys = (KEY, generate_signing_key(b"\x07" * 32, "a_wxYZ"))
    text = format_signing_keys(keys)
    assert text.startswith(f"ed25519 1 {VECTORS['seed'][:42]}")
    assert parse_signing_keys(text) == keys
    assert [key.seed for key in parse_signing_keys(text)] == [key.seed for key in keys]
    theirs = signedjson.key.read_signing_keys(text.splitlines())
    assert [f"{key.alg}:{key.version}" for key in theirs] == [key.key_id for key in keys]
    assert [key.encode() for key in theirs] == [key.seed for key in keys]


def test_a_key_file_that_signedjson_wrote_is_read() -> None:
    theirs = [signedjson.key.generate_signing_key(version) for version in ("a_one", "auto")]
    file = io.StringIO()
    signedjson.key.write_signing_keys(file, theirs)
    keys = parse_signing_keys("\r\n" + file.getvalue().replace("\n", " \r\n"))
    assert [key.key_id for key in keys] == ["ed25519:a_one", "ed25519:auto"]
    assert [key.seed for key in keys] == [key.encode() for key in theirs]


@pytest.mark.req("SEC-17", "D10")
@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "key-file-empty", "no key"),
        ("\n \n", "key-file-empty", "no key"),
        ("ed25519 a_1 SECRET", "key-file-line", "line 1"),
        ("\ned25519 a_1 SECRET!", "key-file-line", "line 2"),
        ("ed25519  a_1 SECRET", "key-file-line", "ed25519 version seed"),
        ("ed25519 a_1", "key-file-line", "ed25519 version seed"),
        ("rsa a_1 SECRET", "key-file-line", "ed25519 version seed"),
        ("ed25519 a-1 " + "A" * 43, "key-file-line", "signing-key-id"),
        ("ed25519 policy_server " + "A" * 43, "key-file-line", "policy servers"),
        (("ed25519 a_1 " + "A" * 43 + "\n") * 2, "key-file-twice", "twice"),
    ],
)
def test_a_key_file_that_is_wrong_is_named_by_its_line_not_its_text(
    text: str, code: str, words: str
) -> None:
    with pytest.raises(Malformed) as caught:
        parse_signing_keys(text)
    assert caught.value.code == code
    assert words in caught.value.message
    assert "SECRET" not in caught.value.message + repr(caught.value.__context__)


@given(st.text(max_size=80))
def test_any_text_is_a_key_file_or_malformed(text: str) -> None:
    with contextlib.suppress(Malformed):
        assert parse_signing_keys(format_signing_keys(parse_signing_keys(text)))
