"""How long a key may be used, for a request and for an event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.limits import DAY_MS, WEEK_MS, Limits, Ms
from ranvier.protocol.canonical import encode_base64, encode_canonical
from ranvier.protocol.keylife import KeyVerdict, key_for_event, key_for_request, life_ends
from ranvier.protocol.keys import (
    KeyDocument,
    KeyVersion,
    OldVerifyKey,
    build_v1_document,
    build_v2_document,
    parse_key_document,
)
from ranvier.protocol.signing import SigningKey

FETCHED = Ms(1_800_000_000_000)
KEY = SigningKey("ed25519:a", bytes([1]) * 32)
GONE = SigningKey("ed25519:gone", bytes([2]) * 32)
EXPIRED_TS = Ms(FETCHED - DAY_MS)
OLD = OldVerifyKey(GONE.verify_key, EXPIRED_TS)


def version_2(valid_until: int) -> KeyDocument:
    body = build_v2_document("a.test", [KEY], old_keys=[OLD], valid_until=Ms(valid_until))
    return parse_key_document(body, KeyVersion.V2, Limits())


def version_1() -> KeyDocument:
    body = build_v1_document("a.test", [KEY], tls_certificate=b"x")
    return parse_key_document(body, KeyVersion.V1, Limits())


LIVES = [
    (version_2(FETCHED + DAY_MS), DAY_MS, "what it says, if that is less than a week"),
    (version_2(FETCHED + WEEK_MS), WEEK_MS, "a week"),
    (version_2(FETCHED + WEEK_MS + 1), WEEK_MS, "one instant more than a week"),
    (version_2(FETCHED + 365 * DAY_MS), WEEK_MS, "a year ends after a week"),
    (version_2(32_503_680_000_000), WEEK_MS, "the year 3000 ends after a week"),
    (version_2(FETCHED - 1), -1, "over before it was fetched"),
    (version_2(-1), -FETCHED - 1, "before 1970"),
    (version_1(), WEEK_MS, "version 1 has no expiry: our own limit"),
]


@pytest.mark.req("KEYF-06", "SEC-08", "AMB-20", "REF14-11", "KEY2-10")
@pytest.mark.parametrize(
    ("document", "life"), [pytest.param(d, life, id=why) for d, life, why in LIVES]
)
def test_a_life_is_counted_from_the_fetch_and_is_a_week_at_most(
    document: KeyDocument, life: int
) -> None:
    assert life_ends(document, FETCHED) == FETCHED + life
    now = Ms(FETCHED + life)
    last = key_for_request(document, KEY.key_id, now=now, fetched_at=FETCHED)
    assert (last.verdict, last.key, last.until, last.code) == (
        KeyVerdict.GOOD,
        KEY.verify_key,
        now,
        "",
    )
    assert last.good
    late = key_for_request(document, KEY.key_id, now=Ms(now + 1), fetched_at=FETCHED)
    assert (late.verdict, late.key, late.until) == (KeyVerdict.EXPIRED, None, now)
    assert late.code == "key-expired"
    assert not late.good


@pytest.mark.req("KEYF-06", "SEC-08")
@given(valid_until=st.integers(0, 2**53 - 1), fetched=st.integers(0, 2**50))
def test_no_document_outlives_a_week(valid_until: int, fetched: int) -> None:
    assert life_ends(version_2(valid_until), Ms(fetched)) <= fetched + WEEK_MS


@pytest.mark.req("KEY2-07")
def test_an_old_key_never_signs_a_request() -> None:
    document = version_2(FETCHED + DAY_MS)
    outcome = key_for_request(document, GONE.key_id, now=Ms(0), fetched_at=FETCHED)
    assert (outcome.verdict, outcome.key, outcome.until) == (KeyVerdict.OLD_KEY, None, EXPIRED_TS)
    assert outcome.code == "key-old"


@pytest.mark.req("KEY2-07")
def test_a_key_that_is_current_and_old_counts_as_old() -> None:
    text = encode_base64(KEY.verify_key.key)
    body = encode_canonical(
        {
            "verify_keys": {KEY.key_id: {"key": text}},
            "old_verify_keys": {KEY.key_id: {"key": text, "expired_ts": 5}},
        }
    )
    document = parse_key_document(body, KeyVersion.V2, Limits())
    request = key_for_request(document, KEY.key_id, now=Ms(0), fetched_at=Ms(0))
    assert request.verdict is KeyVerdict.OLD_KEY
    event = key_for_event(document, KEY.key_id, at=Ms(6), fetched_at=Ms(0), enforce_validity=False)
    assert event.verdict is KeyVerdict.EXPIRED


EVENTS = [
    ("ed25519:a", FETCHED, True, KeyVerdict.GOOD, "within its life"),
    ("ed25519:a", FETCHED + DAY_MS, True, KeyVerdict.GOOD, "at its last instant"),
    ("ed25519:a", FETCHED + DAY_MS + 1, True, KeyVerdict.EXPIRED, "after its life"),
    ("ed25519:a", FETCHED + 365 * DAY_MS, True, KeyVerdict.EXPIRED, "dated a year ahead"),
    ("ed25519:a", FETCHED + 365 * DAY_MS, False, KeyVerdict.GOOD, "rooms 1 to 4 do not ask"),
    ("ed25519:a", 0, True, KeyVerdict.GOOD, "long before it was fetched"),
    ("ed25519:gone", EXPIRED_TS, True, KeyVerdict.GOOD, "an old key at its last instant"),
    ("ed25519:gone", EXPIRED_TS + 1, True, KeyVerdict.EXPIRED, "an old key too late"),
    ("ed25519:gone", EXPIRED_TS + 1, False, KeyVerdict.EXPIRED, "too late in every version"),
    ("ed25519:b", FETCHED, True, KeyVerdict.UNKNOWN, "not listed"),
]


@pytest.mark.req("KEY2-07", "KEYF-06", "AMB-13", "AMB-21")
@pytest.mark.parametrize(
    ("key_id", "at", "enforce", "verdict"),
    [pytest.param(k, at, e, v, id=why) for k, at, e, v, why in EVENTS],
)
def test_a_key_for_an_event(key_id: str, at: int, enforce: bool, verdict: KeyVerdict) -> None:
    outcome = key_for_event(
        version_2(FETCHED + DAY_MS),
        key_id,
        at=Ms(at),
        fetched_at=FETCHED,
        enforce_validity=enforce,
    )
    assert outcome.verdict is verdict
    assert (outcome.key is not None) == outcome.good == (outcome.code == "")


@pytest.mark.req("KEYF-16")
def test_a_listed_key_that_is_no_good_says_why_and_one_that_is_not_listed_says_so() -> None:
    body = encode_canonical({"verify_keys": {"ed25519:a": {"key": encode_base64(bytes(31))}}})
    document = parse_key_document(body, KeyVersion.V2, Limits())
    listed = key_for_request(document, "ed25519:a", now=Ms(0), fetched_at=Ms(0))
    assert (listed.verdict, listed.code) == (KeyVerdict.UNUSABLE, "key-length")
    assert "31 bytes" in listed.reason
    absent = key_for_request(document, "ed25519:b\x1b", now=Ms(0), fetched_at=Ms(0))
    assert (absent.verdict, absent.code, absent.key) == (KeyVerdict.UNKNOWN, "key-unknown", None)
    assert absent.reason.isascii()
