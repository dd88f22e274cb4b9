"""Signed requests: the bytes, the header, the body, and who is taken to have signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed, NotValid
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import decode_base64, encode_canonical
from ranvier.protocol.conditions import Verdict
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.requests import (
    ExaminedRequest,
    canonical_content,
    examine_request,
    request_bytes,
    sign_request,
    verified_request,
)
from ranvier.protocol.signing import SigningKey, generate_signing_key
from ranvier.protocol.xmatrix import XMatrix, parse_authorization, parse_authorizations

VECTORS = json.loads(Path(__file__, "../../../vectors/requests.json").resolve().read_text())
KEY = SigningKey(VECTORS["key_id"], decode_base64(VECTORS["seed"]))
OTHER = generate_signing_key(b"\x01" * 32, "b_1")
LIMITS = Limits()
NAMES = {"origin": "domain", "destination": "dest.example"}
TARGET = "/_matrix/federation/v1/send/1"


def outcome(key: SigningKey, verdict: KeyVerdict = KeyVerdict.GOOD) -> KeyOutcome:
    good = verdict is KeyVerdict.GOOD
    return KeyOutcome(
        key_id=key.key_id,
        verdict=verdict,
        key=key.verify_key if good else None,
        until=Ms(2000),
        code="" if good else "key-some",
    )


def refused(code: str, call: Callable[..., object], *args: object, **kwargs: object) -> None:
    with pytest.raises(Malformed) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    assert caught.value.clause


def header(key: SigningKey = KEY, **changed: Any) -> XMatrix:
    """Of the PUT that the tests below send, or of one that is ``changed``."""
    request = {"method": "PUT", "target": TARGET, "content": b"{}", **NAMES, **changed}
    read = parse_authorization(sign_request(key=key, **request))
    assert read is not None
    return read


def examined(*headers: XMatrix, **changed: Any) -> ExaminedRequest:
    """The same request as it comes in, or one that was ``changed`` on its way."""
    asked: dict[str, Any] = {
        "method": "PUT",
        "targets": (TARGET,),
        "destination": "dest.example",
        "content": b"{}",
        "keys": {each.key_id: outcome(each) for each in (KEY, OTHER)},
        **changed,
    }
    judged = examine_request(headers, **asked)
    if judged.key_id:
        assert verified_request(headers, **asked) == judged.key_id
        assert judged.target in asked["targets"]
    else:
        with pytest.raises(NotValid) as caught:
            verified_request(headers, **asked)
        assert caught.value.conditions == judged.conditions
        assert caught.value.clause
    return judged


def failed(judged: ExaminedRequest) -> list[str]:
    """What failed, the first fatal one first; ``~`` marks what is not fatal."""
    broken = [each for each in judged.conditions if each.failed]
    assert bool(judged.key_id) == all(not each.fatal for each in broken)
    return [f"{'' if each.fatal else '~'}{each.id}" for each in broken]


# --- The bytes ---


@pytest.mark.req(
    "AUTH-02", "AUTH-03", "AUTH-04", "AUTH-05", "AUTH-07", "TV-08", "TV-09", "D14-11", "ERR14-04"
)
@pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"]])
def test_the_vectors_are_signed_and_verified(vector: dict[str, Any]) -> None:
    content = None
    if "body" in vector:
        body, lenient = vector["body"].encode(), vector.get("lenient", False)
        value, content = canonical_content(body, limits=LIMITS, lenient=lenient)
        assert value == json.loads(vector["body"])
        assert content.decode() == vector["canonical"]
    request = {name: vector[name] for name in ("method", "target", "origin", "destination")}
    sent = sign_request(**request, content=content, key=KEY)
    expected = (
        f'X-Matrix origin="{vector["origin"]}",destination="{vector["destination"]}",'
        f'key="{KEY.key_id}",sig="{vector["sig"]}"'
    )
    assert sent == expected
    judged = examine_request(
        parse_authorizations((sent,), LIMITS),
        method=vector["method"],
        targets=(vector["target"],),
        destination=vector["destination"],
        content=content,
        keys={KEY.key_id: outcome(KEY)},
    )
    assert (judged.key_id, judged.target) == (KEY.key_id, vector["target"])


@pytest.mark.req("AUTH-03", "AUTH-05")
def test_no_two_vectors_of_other_requests_share_a_signature() -> None:
    signatures = {v["sig"] for v in VECTORS["vectors"]}
    assert len(signatures) == len(VECTORS["vectors"]) - 1  # One came with white space, too.


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.req("AUTH-02")
@given(TEXT, TEXT, TEXT, TEXT, st.none() | st.dictionaries(TEXT, VALUE, max_size=4))
def test_the_bytes_are_those_of_the_whole_object(
    method: str, target: str, origin: str, destination: str, content: dict[str, Any] | None
) -> None:
    whole = {"method": method, "uri": target, "origin": origin, "destination": destination}
    spliced = None
    if content is not None:
        whole["content"] = content  # type: ignore[assignment] # any JSON
        spliced = encode_canonical(content)
    assert encode_canonical(whole) == request_bytes(
        method=method, target=target, origin=origin, destination=destination, content=spliced
    )


def test_half_of_a_surrogate_pair_is_not_signed() -> None:
    for name in ("method", "target", "origin", "destination"):
        request = {"method": "GET", "target": "/", **NAMES, name: "\ud800"}
        refused("request-surrogate", sign_request, **request, content=None, key=KEY)


@pytest.mark.req("AUTH-14")
def test_a_name_that_no_header_can_carry_is_not_signed() -> None:
    for name in ("origin", "destination"):
        request = {"method": "GET", "target": "/", **NAMES, name: "a,b"}
        refused("xmatrix-unwritable", sign_request, **request, content=None, key=KEY)


# --- With signedjson ---


@pytest.mark.req("AUTH-07")
@given(st.none() | st.dictionaries(TEXT, VALUE, max_size=4))
def test_signedjson_verifies_ours_and_we_verify_its(content: dict[str, Any] | None) -> None:
    whole: dict[str, Any] = {"method": "PUT", "uri": TARGET, **NAMES}
    encoded = None
    if content is not None:
        whole["content"] = content
        encoded = encode_canonical(content)
    ours = header(content=encoded)
    signed = {**whole, "signatures": {ours.origin: {ours.key: ours.sig}}}
    theirs = signedjson.key.decode_verify_key_bytes(KEY.key_id, KEY.verify_key.key)
    signedjson.sign.verify_signed_json(signed, "domain", theirs)
    secret = signedjson.key.decode_signing_key_base64("ed25519", "1", VECTORS["seed"])
    signature = signedjson.sign.sign_json(whole, "domain", secret)["signatures"]["domain"]
    back = msgspec.structs.replace(ours, sig=signature[KEY.key_id])
    assert failed(examined(back, content=encoded)) == []


# --- The body ---


@pytest.mark.req("AUTH-04", "AUTH-05")
@pytest.mark.parametrize(
    ("body", "strict", "lenient"),
    [
        (b"{}", "", ""),
        (b' {"b": [], "a": {}} ', "", ""),
        (b'{"a":1,"a":1}', "json-duplicate-key", ""),  # Judged one event at a time later (D16).
        (b'{"a":1.0}', "json-not-integer", ""),
        (b'{"a":-0}', "json-not-integer", ""),
        (b'{"a":9007199254740992}', "json-integer-range", ""),
        (b"", "json-not-json", "json-not-json"),
        (b"nope", "json-not-json", "json-not-json"),
        (b"{}{}", "json-not-json", "json-not-json"),
        (b'{"a":"\xff"}', "json-not-utf8", "json-not-utf8"),
        (b'{"a":"\\ud800"}', "json-surrogate", "json-surrogate"),
        (b'{"a":NaN}', "json-not-finite", "json-not-finite"),
        (b'{"a":1e999}', "json-not-integer", "json-not-finite"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "json-too-deep", "json-too-deep"),
        (b'{"a":"' + b"x" * 1000 + b'"}', "json-too-large", "json-too-large"),
        (b"[]", "request-content-not-object", "request-content-not-object"),
        (b"null", "request-content-not-object", "request-content-not-object"),
        (b'"x"', "request-content-not-object", "request-content-not-object"),
        (b"1.5", "json-not-integer", "request-content-not-object"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_bodies(body: bytes, strict: str, lenient: str) -> None:
    limits = Limits(listen_body_bytes=1000)
    for patient, code in ((False, strict), (True, lenient)):
        if code:
            refused(code, canonical_content, body, limits=limits, lenient=patient)
        else:
            value, canonical = canonical_content(body, limits=limits, lenient=patient)
            assert value == json.loads(body)
            again = canonical_content(canonical, limits=limits, lenient=patient)
            assert again == (value, canonical)


# --- Judging ---


@pytest.mark.req("AUTH-20")
def test_a_request_by_a_current_key_is_authentic() -> None:
    judged = examined(header())
    assert (judged.key_id, judged.target) == (KEY.key_id, TARGET)
    assert failed(judged) == []
    assert {each.verdict for each in judged.conditions} == {Verdict.HELD}
    assert judged.insisted() is judged


@pytest.mark.req("AUTH-17")
def test_a_destination_that_is_left_out_is_our_own_name() -> None:
    silent = msgspec.structs.replace(header(), destination=None)
    assert failed(examined(silent)) == []
    assert failed(examined(silent, destination="another.name.of.ours")) == [
        "request-signature-invalid"
    ]


@pytest.mark.req("AUTH-02", "AUTH-03", "AUTH-05", "AUTH-18", "AUTH-23")
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"method": "POST"}, "request-signature-invalid"),
        ({"method": "put"}, "request-signature-invalid"),  # Methods have a case.
        ({"targets": (TARGET + "?",)}, "request-signature-invalid"),
        ({"targets": (TARGET + "/",)}, "request-signature-invalid"),
        ({"targets": (TARGET.replace("/send", "/%73end"),)}, "request-signature-invalid"),
        ({"targets": ("https://dest.example" + TARGET,)}, "request-signature-invalid"),
        ({"targets": ()}, "request-signature-invalid"),
        ({"targets": ("\ud800",)}, "request-signature-malformed"),  # Nobody can have signed it.
        ({"content": None}, "request-signature-invalid"),
        ({"content": b'{"a":1}'}, "request-signature-invalid"),
        ({"destination": "other.example"}, "request-destination"),
        ({"keys": {}}, "request-key-unknown"),
        ({"keys": {KEY.key_id: outcome(OTHER)}}, "request-signature-invalid"),  # Another's bytes.
        ({"keys": {KEY.key_id: outcome(KEY, KeyVerdict.OLD_KEY)}}, "request-key-old"),
        ({"keys": {KEY.key_id: outcome(KEY, KeyVerdict.EXPIRED)}}, "request-key-expired"),
        ({"keys": {KEY.key_id: outcome(KEY, KeyVerdict.UNUSABLE)}}, "request-key-unusable"),
        ({"keys": {KEY.key_id: outcome(KEY, KeyVerdict.UNKNOWN)}}, "request-key-unknown"),
        (
            {"keys": {KEY.key_id: msgspec.structs.replace(outcome(KEY), key=None)}},
            "request-key-unknown",  # Said to be good, but not there.
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_whatever_is_changed_on_the_way_is_refused(changed: dict[str, Any], code: str) -> None:
    assert failed(examined(header(), **changed)) == [code]


@pytest.mark.req("AUTH-07", "AUTH-23")
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"sig": "AAAA"}, "request-signature-malformed"),  # Too short.
        ({"sig": "not base64!"}, "request-signature-malformed"),
        ({"sig": "A" * 86}, "request-signature-invalid"),
        ({"sig": "/" * 86}, "request-signature-malformed"),  # S is not reduced.
        ({"origin": "other.example"}, "request-signature-invalid"),
        ({"destination": "other.example"}, "request-destination"),
        ({"key": "ed25519:none"}, "request-key-unknown"),
        ({"key": "rsa:1"}, "request-key-unknown"),
        ({"key": OTHER.key_id}, "request-signature-invalid"),
    ],
)
def test_whatever_is_changed_in_the_header_is_refused(changed: dict[str, str], code: str) -> None:
    assert failed(examined(msgspec.structs.replace(header(), **changed))) == [code]


def test_without_a_header_nobody_signed() -> None:
    assert failed(examined()) == ["request-unsigned"]


@pytest.mark.req("AUTH-18")
def test_a_foreign_destination_is_refused_before_any_signature_is_looked_at() -> None:
    foreign = header(destination="other.example")
    judged = examined(msgspec.structs.replace(foreign, sig="!"))
    assert failed(judged) == ["request-destination"]
    skipped = {each.id for each in judged.conditions if each.verdict is Verdict.NOT_APPLICABLE}
    assert skipped == {"request-signature-malformed", "request-signature-invalid"}


# D17: keys that are not current are passed over, every current one that signed must verify.
GOOD_KEYS = {KEY.key_id: outcome(KEY), OTHER.key_id: outcome(OTHER)}
OLD_OTHER = {**GOOD_KEYS, OTHER.key_id: outcome(OTHER, KeyVerdict.OLD_KEY)}


@pytest.mark.req("AUTH-20", "AUTH-22", "D17")
@pytest.mark.parametrize(
    ("second", "keys", "expected"),
    [
        (header(OTHER), GOOD_KEYS, []),
        (header(OTHER, method="GET"), GOOD_KEYS, ["request-signature-invalid"]),
        (header(OTHER), {KEY.key_id: outcome(KEY)}, ["~request-key-unknown"]),
        (header(OTHER), OLD_OTHER, ["~request-key-old"]),
        (header(OTHER, method="GET"), OLD_OTHER, ["~request-key-old"]),  # It is not even tried.
        (
            header(OTHER),
            {OTHER.key_id: outcome(OTHER, KeyVerdict.EXPIRED)},
            ["request-key-expired", "request-key-unknown"],
        ),
        (header(OTHER), {}, ["request-key-unknown"]),
    ],
)
def test_two_keys(second: XMatrix, keys: dict[str, KeyOutcome], expected: list[str]) -> None:
    for headers in ((header(), second), (second, header())):
        judged = examined(*headers, keys=keys)
        assert failed(judged) == expected
        if judged.key_id:
            current = {key_id for key_id, each in keys.items() if each.good}
            assert judged.key_id == next(each.key for each in headers if each.key in current)


@pytest.mark.req("AUTH-03")
def test_the_spelling_that_was_signed_is_found() -> None:
    judged = examined(header(target=TARGET + "?"), targets=(TARGET, TARGET + "?"))
    assert judged.target == TARGET + "?"
    assert failed(judged) == []


@pytest.mark.req("AUTH-03", "AUTH-22")
def test_all_keys_must_have_signed_the_same_spelling() -> None:
    two = (header(), header(OTHER, target=TARGET + "?"))
    judged = examined(*two, targets=(TARGET, TARGET + "?"))
    assert failed(judged) == ["request-signature-invalid"]


@pytest.mark.req("AUTH-26")
def test_the_same_request_verifies_twice_because_nothing_in_it_says_when() -> None:
    assert examined(header()) == examined(header())


def test_a_strangers_text_is_quoted_in_sentences() -> None:
    judged = examined(msgspec.structs.replace(header(), key="\x1b[31m" * 100))
    text = " ".join(each.sentence for each in judged.conditions)
    assert "\x1b" not in text
    assert len(text) < 1500
