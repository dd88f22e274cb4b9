"""Events as they travel (PDUs): their hashes, their ids, their signatures, and reading them.

Three things are taken of an event, and the room's version says how:

- the **content hash**, of everything but ``unsigned``, ``signatures`` and ``hashes``;
  it stands in ``hashes`` and says whether the content is as it was (HASH-01);
- the **signed bytes**, of the redacted event without ``signatures``: so a signature
  outlives redaction (HASH-02);
- the **reference hash**, of the same bytes: from version 3 on it is the event's
  id, always computed and never believed (HASH-03, RVER-04).

:func:`parse_pdu` does it all once. An event whose content hash does not hold is not
dropped: it goes on as *our* redacted copy of it (HASH-09).

From version 6 on an event has a canonical form, or it is none; earlier versions
keep floats and large integers and let the last duplicate key win (CJ-05, CJ-06).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256

import msgspec

from ranvier.errors import Malformed, NotValid
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import (
    JsonObject,
    decode_base64,
    encode_base64,
    encode_base64_urlsafe,
    encode_canonical,
    encode_canonical_lenient,
    encode_strictly_read,
    parse_canonical,
    parse_json_lenient,
)
from ranvier.protocol.conditions import Condition, condition
from ranvier.protocol.eventform import CREATE, PDUS, check_form, server_of
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.redaction import redact
from ranvier.protocol.room_versions import ROOM_VERSIONS, EventIdForm, RoomVersion
from ranvier.protocol.signing import (
    ED25519,
    MOST_SIGNATURES,
    POLICY_SERVER,
    SignatureOutcome,
    SignatureVerdict,
    SigningKey,
    parse_signature,
    verify_bytes,
)
from ranvier.protocol.text import shown

_HASHES = "[s2s:validating-hashes-and-signatures-on-received-events]"

_NOT_HASHED = ("unsigned", "signatures", "hashes")
_NOT_SIGNED = ("unsigned", "signatures")

_Encode = Callable[[JsonObject], bytes]


# --- Hashes and ids ---


def content_hash(event: JsonObject, version: RoomVersion) -> bytes:
    """SHA-256 of all that the event says, before any redaction. Raises Malformed."""
    return _content_hash(event, _encoder(version))


def _content_hash(event: JsonObject, encode: _Encode) -> bytes:
    return sha256(encode(_without(event, _NOT_HASHED))).digest()


def _without(event: JsonObject, members: tuple[str, ...]) -> JsonObject:
    left = event.copy()
    for member in members:
        left.pop(member, None)
    return left


def examine_content_hash(event: JsonObject, version: RoomVersion) -> Condition:
    """Whether ``hashes.sha256`` holds. It is never fatal: the event is then redacted.

    Raises Malformed if the event has no canonical form.
    """
    held = _says_hash(event, content_hash(event, version))
    sentence = f"the content hash {'holds' if held else 'is missing or of another content'}"
    return condition("event-content-hash", held, sentence, clause=_HASHES, fatal=False)


def _says_hash(event: JsonObject, digest: bytes) -> bool:
    """Bytes are compared, not text; no usable hash is a wrong one (HASH-10)."""
    hashes = event.get("hashes")
    text = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(text, str):
        return False
    try:
        return text == encode_base64(digest) or decode_base64(text) == digest
    except Malformed:
        return False


def event_signed_bytes(event: JsonObject, version: RoomVersion) -> bytes:
    """What servers sign and what the id is the hash of. Raises Malformed."""
    return _signed_bytes(redact(event, version), _encoder(version))


def _signed_bytes(redacted: JsonObject, encode: _Encode) -> bytes:
    return encode(_without(redacted, _NOT_SIGNED))


def reference_hash(event: JsonObject, version: RoomVersion) -> bytes:
    """SHA-256 of the redacted event without signatures. Raises Malformed."""
    return sha256(event_signed_bytes(event, version)).digest()


def event_id(event: JsonObject, version: RoomVersion) -> str:
    """``$...``: what the event says in versions 1 and 2, else computed. Raises Malformed."""
    if version.event_id_form is EventIdForm.WIRE:
        return _wire_id(event)
    return _hash_id(reference_hash(event, version), version)


def _wire_id(event: JsonObject) -> str:
    said: str = event.get("event_id", "")
    server_of(said, "$")
    return said


def _hash_id(reference: bytes, version: RoomVersion) -> str:
    if version.event_id_form is EventIdForm.HASH:
        return "$" + encode_base64(reference)
    return "$" + encode_base64_urlsafe(reference)


def room_id_of(event: JsonObject, version: RoomVersion) -> str:
    """Its room; a create event of version 12 is what its room is named by (RVER-03).

    Raises Malformed (``event-room-id``, and as :func:`event_id`).
    """
    if version.create_without_room_id and event.get("type") == CREATE:
        return "!" + event_id(event, version)[1:]
    room_id = event.get("room_id")
    if not isinstance(room_id, str):
        raise Malformed("event-room-id", "`room_id` is missing or no room id", clause=PDUS)
    return room_id


def _encoder(version: RoomVersion) -> _Encode:
    return encode_canonical if version.strict_json else encode_canonical_lenient


# --- Signing ---


def sign_event(event: JsonObject, version: RoomVersion, name: str, key: SigningKey) -> JsonObject:
    """A new event with its content hash and ``name``'s signature; others' signatures stay.

    Raises Malformed: no canonical form, no content, or ``signatures`` is no map of maps.
    """
    hashes = {"sha256": encode_base64(content_hash(event, version))}
    hashed = {**event, "hashes": hashes}
    signature = encode_base64(key.sign(event_signed_bytes(hashed, version)))
    signatures = event.get("signatures", {})
    own = signatures.get(name, {}) if isinstance(signatures, dict) else None
    if not isinstance(own, dict):
        raise Malformed("event-signatures", "`signatures` is no map of maps", clause=PDUS)
    return {**hashed, "signatures": {**signatures, name: {**own, key.key_id: signature}}}


# --- Reading ---


class ParsedPdu(msgspec.Struct, frozen=True, kw_only=True):
    """An event whose form is good. Its signatures are another question."""

    raw: bytes
    """As received."""
    value: JsonObject
    """What to go on with: the event, or if ``redacted`` our redacted copy of it."""
    room_version: str
    event_id: str
    room_id: str
    type: str
    sender: str
    state_key: str | None
    """``None``: this is no state event."""
    origin_server_ts: Ms
    redacted: bool
    """The content hash did not hold (HASH-09, HASH-10)."""
    signed: bytes
    """What its signatures are over."""


def parse_pdu(raw: bytes, version: RoomVersion, limits: Limits) -> ParsedPdu:
    """Read one event. Raises Malformed: it is to be dropped.

    ``raw`` is not held to the canonical form, only its value is.
    """
    event, canonical, encode = _read(raw, version, limits)
    check_form(event, version, limits)
    if len(canonical) > limits.event_bytes:
        raise Malformed(
            "event-too-large",
            f"the event has {len(canonical)} bytes; at most {limits.event_bytes}",
            clause="[cs:size-limits]",
        )
    kept = redact(event, version)
    signed = _signed_bytes(kept, encode)
    named = _id(event, signed, version)
    redacted = not _says_hash(event, _content_hash(event, encode))
    creates = version.create_without_room_id and event["type"] == CREATE
    return ParsedPdu(
        raw=raw,
        value=kept if redacted else event,
        room_version=version.id,
        event_id=named,
        room_id="!" + named[1:] if creates else event["room_id"],
        type=event["type"],
        sender=event["sender"],
        state_key=event.get("state_key"),
        origin_server_ts=Ms(event["origin_server_ts"]),
        redacted=redacted,
        signed=signed,
    )


def _id(event: JsonObject, signed: bytes, version: RoomVersion) -> str:
    if version.event_id_form is EventIdForm.WIRE:
        return _wire_id(event)
    return _hash_id(sha256(signed).digest(), version)


def _read(raw: bytes, version: RoomVersion, limits: Limits) -> tuple[JsonObject, bytes, _Encode]:
    """The event, its canonical bytes, and what encodes parts of it.

    Nearly all events of early versions can be read strictly too, with the same result.
    White space and escapes may make ``raw`` longer than the canonical form.
    """
    most, depth = limits.transaction_bytes, limits.json_depth
    encode: _Encode = encode_strictly_read
    try:
        event, canonical = parse_canonical(raw, max_bytes=most, max_depth=depth)
    except Malformed:
        if version.strict_json:
            raise
        event, encode = parse_json_lenient(raw, max_bytes=most, max_depth=depth), _encoder(version)
        canonical = encode(event)
    if not isinstance(event, dict):
        raise Malformed("event-not-object", "the event is no JSON object", clause=PDUS)
    return event, canonical, encode


# --- Checking signatures ---

_ALGORITHM = f"{ED25519}:"
_POLICY_KEY = _ALGORITHM + POLICY_SERVER
_MEMBER = "m.room.member"


def required_signers(pdu: ParsedPdu) -> tuple[str, ...]:
    """The servers without whose signatures the event is dropped (HASH-04).

    The sender's, unless a third-party invite stands for it (HASH-05); and in versions
    1 and 2 the one that the event's id names.
    """
    signers = () if _by_third_party(pdu) else (server_of(pdu.sender, "@"),)
    if ROOM_VERSIONS[pdu.room_version].event_id_form is not EventIdForm.WIRE:
        return signers
    return tuple(dict.fromkeys((*signers, server_of(pdu.event_id, "$"))))


def _by_third_party(pdu: ParsedPdu) -> bool:
    """Asked of what we go on with: where our redaction took the invite away, the sender's
    server must have signed, or anybody could write invites in its name."""
    content = pdu.value["content"]
    return (
        pdu.type == _MEMBER
        and content.get("membership") == "invite"
        and "third_party_invite" in content
    )


def examine_event_signatures(
    pdu: ParsedPdu, name: str, keys: Mapping[str, KeyOutcome], *, most: int = MOST_SIGNATURES
) -> tuple[SignatureOutcome, ...]:
    """Every signature by ``name``, in its order (D14); never raises on remote data.

    ``keys`` say for the event's own time which may be used. Empty: ``name`` did not sign.
    More than ``most`` signatures are not tried at all.
    """
    own = pdu.value["signatures"].get(name, {})
    if len(own) > most:
        reason = f"{len(own)} signatures; at most {most}"
        return (SignatureOutcome("", SignatureVerdict.MALFORMED, reason),)
    return tuple([_outcome(key_id, own[key_id], keys, pdu.signed) for key_id in own])


def _outcome(
    key_id: str, value: object, keys: Mapping[str, KeyOutcome], message: bytes
) -> SignatureOutcome:
    if key_id == _POLICY_KEY:  # Whoever runs it need not be the server (HASH-08).
        return SignatureOutcome(key_id, SignatureVerdict.POLICY_SERVER, "is a policy server's")
    if not key_id.startswith(_ALGORITHM):
        return SignatureOutcome(key_id, SignatureVerdict.UNKNOWN_ALGORITHM, "not an ed25519 key id")
    known = keys.get(key_id)
    if known is None or known.key is None:
        return _without_key(key_id, known)
    try:
        held = verify_bytes(message, parse_signature(value), known.key)
    except Malformed as error:
        return SignatureOutcome(key_id, SignatureVerdict.MALFORMED, error.message)
    if held:
        return SignatureOutcome(key_id, SignatureVerdict.VALID, "verifies")
    return SignatureOutcome(key_id, SignatureVerdict.INVALID, "does not verify")


def _without_key(key_id: str, known: KeyOutcome | None) -> SignatureOutcome:
    if known is None:
        return SignatureOutcome(key_id, SignatureVerdict.UNKNOWN_KEY, "no such key is known")
    past = known.verdict in (KeyVerdict.EXPIRED, KeyVerdict.OLD_KEY)
    verdict = SignatureVerdict.EXPIRED_KEY if past else SignatureVerdict.UNKNOWN_KEY
    return SignatureOutcome(key_id, verdict, known.reason)


def verified_pdu(
    pdu: ParsedPdu, name: str, keys: Mapping[str, KeyOutcome], *, most: int = MOST_SIGNATURES
) -> str:
    """The key id by which ``name`` is shown to have signed ``pdu`` (HASH-07).

    Signatures by unknown or expired keys are passed over; all by live keys that we
    know must hold, and there must be one. Raises NotValid.
    """
    outcomes = examine_event_signatures(pdu, name, keys, most=most)
    if broken := _first(outcomes, SignatureVerdict.MALFORMED):
        raise _unsigned("event-signature-malformed", name, broken)
    if broken := _first(outcomes, SignatureVerdict.INVALID):
        raise _unsigned("event-signature-invalid", name, broken)
    if valid := _first(outcomes, SignatureVerdict.VALID):
        return valid.key_id
    if expired := _first(outcomes, SignatureVerdict.EXPIRED_KEY):
        raise _unsigned("event-signature-key-expired", name, expired)
    if unknown := _first(outcomes, SignatureVerdict.UNKNOWN_KEY):
        raise _unsigned("event-signature-key-unknown", name, unknown)
    raise _unsigned("event-signature-missing", name, None)


def _first(
    outcomes: tuple[SignatureOutcome, ...], verdict: SignatureVerdict
) -> SignatureOutcome | None:
    for each in outcomes:
        if each.verdict is verdict:
            return each
    return None


def _unsigned(code: str, name: str, why: SignatureOutcome | None) -> NotValid:
    reason = f"{shown(why.key_id)}: {why.reason}" if why else "there is no signature that counts"
    return NotValid(code, f"the event is not signed by {shown(name)}: {reason}", clause=_HASHES)
