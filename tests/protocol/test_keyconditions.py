"""Key documents judged: every condition with a good and a bad document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranvier.errors import NotValid, RanvierError
from ranvier.limits import DAY_MS, Limits, Ms
from ranvier.protocol.canonical import decode_base64, encode_base64
from ranvier.protocol.chains import explain_chain
from ranvier.protocol.conditions import Condition, Verdict, first_fatal
from ranvier.protocol.keyconditions import (
    V1_CONDITIONS,
    V1_RULES,
    V2_CONDITIONS,
    V2_RULES,
    examine_key_document,
    verified_key_document,
)
from ranvier.protocol.keys import (
    KeyDocument,
    KeyVersion,
    build_v1_document,
    build_v2_document,
    parse_key_document,
)
from ranvier.protocol.names import TlsName
from ranvier.protocol.signing import SigningKey, VerifyKey, sign_json
from tests.rigs import certs

LIMITS = Limits()
VECTORS = json.loads(Path(__file__, "../../../vectors/key_documents.json").resolve().read_text())
NOW = Ms(VECTORS["now"])
LEAF = decode_base64(VECTORS["leaf"])
ONE = SigningKey("ed25519:1", decode_base64(VECTORS["seed"]))
TWO = SigningKey("ed25519:a_two", bytes([2]) * 32)
NAME = "hs1.test"


def with_leaf(value: Any) -> Any:
    """The vector's value with ``$leaf`` put in."""
    if isinstance(value, dict):
        return {key: with_leaf(each) for key, each in value.items()}
    return VECTORS["leaf"] if value == "$leaf" else value


def read(content: Any, version: KeyVersion = KeyVersion.V2) -> KeyDocument:
    return parse_key_document(json.dumps(content).encode(), version, LIMITS)


def judged(vector: dict[str, Any]) -> tuple[Condition, ...]:
    known = vector.get("known")
    peer = vector.get("peer")
    return examine_key_document(
        read(with_leaf(vector["document"]), KeyVersion(vector["version"])),
        expected_name=vector["asked"],
        now=NOW,
        known_keys=None
        if known is None
        else {key_id: VerifyKey(key_id, decode_base64(text)) for key_id, text in known.items()},
        peer_certificate=None if peer is None else decode_base64(with_leaf(peer)),
    )


def failed(conditions: tuple[Condition, ...]) -> list[str]:
    return [each.id for each in conditions if each.failed]


@pytest.mark.req(
    *("SEED-09", "SEED-10", "SEED-11", "SEED-12", "SEED-13", "SEED-14", "SEED-15"),
    *("REF14-08", "REF14-09", "REF14-10", "KEY2-02", "KEY2-03", "KEY2-06", "KEY2-08", "KEY2-12"),
    *("KEY2-16", "KEYF-01", "KEYF-02", "KEYF-03", "KEYF-15", "KEYF-16", "AMB-03", "AMB-05"),
    *("TV-10", "TV-11", "ERR14-06"),
)
@pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"]])
def test_each_document_fails_exactly_the_conditions_of_its_vector(vector: dict[str, Any]) -> None:
    conditions = judged(vector)
    assert failed(conditions) == vector["expected"]
    assert [each.id for each in conditions] == list(
        V1_CONDITIONS if vector["version"] == "v1" else V2_CONDITIONS
    )


@pytest.mark.parametrize("rules", [V1_RULES, V2_RULES], ids=["v1", "v2"])
def test_every_condition_has_a_good_and_a_bad_document(rules: tuple[Any, ...]) -> None:
    version = "v1" if rules is V1_RULES else "v2"
    seen = {
        (each.id, each.verdict)
        for vector in VECTORS["vectors"]
        if vector["version"] == version
        for each in judged(vector)
    }
    for rule in rules:
        assert (rule.id, Verdict.HELD) in seen
        assert (rule.id, Verdict.FAILED) in seen


@pytest.mark.parametrize("rules", [V1_RULES, V2_RULES], ids=["v1", "v2"])
def test_every_fatal_condition_is_the_reason_of_some_refusal(rules: tuple[Any, ...]) -> None:
    reasons = {
        broken.id
        for vector in VECTORS["vectors"]
        if (broken := first_fatal(judged(vector))) is not None
        and vector["version"] == ("v1" if rules is V1_RULES else "v2")
    }
    assert reasons == {rule.id for rule in rules if rule.fatal}


@pytest.mark.req("D1", "D6")
def test_a_known_key_need_not_vouch_where_an_authority_did() -> None:
    body = build_v1_document(NAME, [ONE], tls_certificate=LEAF)
    document = parse_key_document(body, KeyVersion.V1, LIMITS)
    for authenticated, reason in ((False, "key-signed-by-known"), (True, None)):
        conditions = examine_key_document(
            document,
            expected_name=NAME,
            now=NOW,
            known_keys={TWO.key_id: TWO.verify_key},
            peer_certificate=LEAF,
            authenticated=authenticated,
        )
        assert failed(conditions) == ["key-signed-by-known"]
        assert getattr(first_fatal(conditions), "id", None) == reason


def test_insisting_gives_the_document_back_or_the_first_fatal_reason() -> None:
    body = build_v1_document(NAME, [ONE], tls_certificate=LEAF)
    document = parse_key_document(body, KeyVersion.V1, LIMITS)
    same = verified_key_document(document, expected_name=NAME, now=NOW, peer_certificate=LEAF)
    assert same is document
    with pytest.raises(NotValid) as refused:
        verified_key_document(document, expected_name=NAME, now=NOW, peer_certificate=b"other")
    assert refused.value.code == "key-certificate-matches"
    assert refused.value.clause == "[2014:retrieving-server-keys]"
    assert tuple(each.id for each in refused.value.conditions) == V1_CONDITIONS


def test_the_reason_names_both_certificates_and_hides_odd_characters() -> None:
    body = build_v1_document(NAME, [ONE], tls_certificate=LEAF)
    document = parse_key_document(body, KeyVersion.V1, LIMITS)
    conditions = examine_key_document(document, expected_name="\x1b[2J\u202e", now=NOW)
    sentences = " ".join(each.sentence for each in conditions)
    assert sentences.isascii()
    assert "\x1b" not in sentences
    assert "key-certificate-matches" not in failed(conditions)


def test_many_strange_signers_make_a_short_sentence() -> None:
    content = {"signatures": {NAME: {f"ed25519:{n}{'x' * 200}": "" for n in range(150)}}}
    conditions = examine_key_document(read(content), expected_name=NAME, now=NOW)
    assert all(len(each.sentence) < 1500 for each in conditions)


@pytest.mark.req("REF14-12", "REF14-11")
def test_a_man_in_the_middle_with_his_own_pair_passes_version_1_until_a_key_is_known() -> None:
    """What version 1 proves: the document came from whoever holds the certificate's key."""
    theirs, his = (
        certs.certificate(certs.Kind.SELF_SIGNED, NAME),
        SigningKey("ed25519:1", bytes(32)),
    )
    body = build_v1_document(NAME, [his], tls_certificate=theirs.leaf)
    document = parse_key_document(body, KeyVersion.V1, LIMITS)

    def refused(known: dict[str, VerifyKey] | None) -> list[str]:
        return failed(
            examine_key_document(
                document,
                expected_name=NAME,
                now=NOW,
                known_keys=known,
                peer_certificate=theirs.leaf,
            )
        )

    assert refused(None) == []
    assert refused({ONE.key_id: ONE.verify_key}) == ["key-signed-by-known", "key-bytes-changed"]
    chain = explain_chain(theirs.chain, TlsName(NAME), NOW, (certs.authority().der,))
    assert "chain-not-self-signed" in failed(chain)


# --- Anything ---

GOOD_KEY = encode_base64(ONE.verify_key.key)
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.just(GOOD_KEY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["key", "expired_ts", "ed25519:1", NAME, "x"]), inner)
    ),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    [
        *("server_name", "verify_keys", "old_verify_keys", "valid_until_ts"),
        *("tls_certificate", "signatures"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(content=st.dictionaries(MEMBERS, JSONISH), version=st.sampled_from(list(KeyVersion)))
def test_no_object_brings_anything_but_conditions(
    content: dict[str, Any], version: KeyVersion
) -> None:
    conditions = examine_key_document(
        read(content, version), expected_name=NAME, now=NOW, known_keys={}, peer_certificate=LEAF
    )
    assert first_fatal(conditions) is not None  # nobody signed it


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0), bit=st.integers(0, 7), version=st.sampled_from(list(KeyVersion)))
def test_one_flipped_bit_anywhere_is_refused(place: int, bit: int, version: KeyVersion) -> None:
    body = (
        build_v1_document(NAME, [ONE], tls_certificate=LEAF)
        if version is KeyVersion.V1
        else build_v2_document(NAME, [ONE], valid_until=Ms(NOW + DAY_MS))
    )
    flipped = bytearray(body)
    flipped[place % len(body)] ^= 1 << bit
    try:
        changed = parse_key_document(bytes(flipped), version, LIMITS)
        verified_key_document(changed, expected_name=NAME, now=NOW, peer_certificate=LEAF)
    except RanvierError:
        return
    # What is left: the spare bits in the signature's last character, which carry nothing.
    original = json.loads(body)
    assert {**changed.content, "signatures": None} == {**original, "signatures": None}
    text = changed.content["signatures"][NAME][ONE.key_id]
    assert decode_base64(text) == decode_base64(original["signatures"][NAME][ONE.key_id])


def test_other_signatures_and_unsigned_do_not_disturb() -> None:
    body = build_v2_document(NAME, [ONE], valid_until=NOW)
    content = sign_json({**json.loads(body), "unsigned": {"a": 1}}, "notary.test", TWO)
    assert not failed(examine_key_document(read(content), expected_name=NAME, now=NOW))
