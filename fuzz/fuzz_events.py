"""Any bytes as an event of each room version."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from ranvier.errors import Malformed, NotValid
from ranvier.limits import Limits
from ranvier.protocol.canonical import (
    JsonObject,
    encode_base64_urlsafe,
    encode_canonical,
    parse_json_lenient,
)
from ranvier.protocol.conditions import Verdict
from ranvier.protocol.events import (
    ParsedPdu,
    event_id,
    event_signed_bytes,
    examine_content_hash,
    examine_event_signatures,
    parse_pdu,
    required_signers,
    room_id_of,
    sign_event,
    verified_pdu,
)
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.redaction import redact
from ranvier.protocol.room_versions import (
    ROOM_VERSIONS,
    EventIdForm,
    RoomVersion,
    parse_room_version_id,
)
from ranvier.protocol.signing import SignatureVerdict, SigningKey

INVARIANT = (
    "An event is refused as Malformed, or it has one id, one room and signed bytes that its"
    " redacted copy shares; only what our key signed verifies, and what we sign is read as valid."
)

LIMITS = Limits()
KEY = SigningKey("ed25519:fuzz", b"\x2b" * 32)
NAME = "domain"
KEYS = {
    key_id: KeyOutcome(key_id=key_id, verdict=KeyVerdict.GOOD, key=KEY.verify_key)
    for key_id in (KEY.key_id, "ed25519:1", "ed25519:policy_server")
}


def _seeds() -> tuple[bytes, ...]:
    path = Path(__file__, "../../vectors/events.json").resolve()
    events = [each for each in json.loads(path.read_text())["vectors"] if each["kind"] == "event"]
    return tuple(
        encode_canonical(sign_event(each["input"], ROOM_VERSIONS[each["version"]], NAME, KEY))
        for each in events
        if not each["id"].startswith("numbers")
    )


SEEDS = _seeds()
_SIGNED = frozenset(
    event_signed_bytes(parse_json_lenient(seed, max_bytes=len(seed)), version)
    for seed in SEEDS
    for version in ROOM_VERSIONS.values()
)


def check(data: bytes) -> None:
    _check_room_version(data)
    for version in ROOM_VERSIONS.values():
        try:
            pdu = parse_pdu(data, version, LIMITS)
        except Malformed:
            _check_loose(data, version)
            continue
        _check_pdu(pdu, version)
        _check_signatures(pdu)
        _check_ours(pdu, version)


def _check_room_version(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        assert parse_room_version_id(text) == text
        assert 0 < len(text) <= 32
    except Malformed:
        return


def _check_loose(data: bytes, version: RoomVersion) -> None:
    """What is no event still gives nothing but the documented errors."""
    try:
        event = parse_json_lenient(data, max_bytes=100_000)
        if not isinstance(event, dict):
            return
        room_id_of(event, version)
        assert event_id(event, version).startswith("$")
        examine_content_hash(event, version)
        sign_event(event, version, NAME, KEY)
    except Malformed:
        return


def _check_pdu(pdu: ParsedPdu, version: RoomVersion) -> None:
    event: JsonObject = parse_json_lenient(pdu.raw, max_bytes=len(pdu.raw))
    assert pdu.event_id == event_id(event, version)
    assert pdu.room_id == room_id_of(event, version)
    assert pdu.room_id.startswith("!")
    kept = redact(event, version)
    assert pdu.signed == event_signed_bytes(event, version) == event_signed_bytes(kept, version)
    assert pdu.value == (kept if pdu.redacted else event)
    held = examine_content_hash(event, version).verdict is Verdict.HELD
    assert pdu.redacted is not held
    if version.event_id_form is EventIdForm.HASH_URLSAFE:
        assert pdu.event_id == "$" + encode_base64_urlsafe(sha256(pdu.signed).digest())


def _check_signatures(pdu: ParsedPdu) -> None:
    for name in {NAME, *required_signers(pdu)}:
        outcomes = examine_event_signatures(pdu, name, KEYS)
        for each in outcomes:
            genuine = pdu.signed in _SIGNED
            assert each.verdict is not SignatureVerdict.VALID or genuine
        try:
            assert verified_pdu(pdu, name, KEYS) in {each.key_id for each in outcomes}
        except NotValid:
            continue


def _check_ours(pdu: ParsedPdu, version: RoomVersion) -> None:
    ours = sign_event({**pdu.value, "signatures": {}}, version, NAME, KEY)
    try:
        again = parse_pdu(json.dumps(ours, ensure_ascii=False).encode(), version, LIMITS)
    except Malformed as error:
        if error.code != "event-too-large":  # It was at the edge before.
            raise
        return
    assert not again.redacted
    assert verified_pdu(again, NAME, KEYS) == KEY.key_id
