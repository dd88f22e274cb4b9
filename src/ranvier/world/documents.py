"""Key documents of both versions, right and wrong in every named way.

Apart from its flaw a document is as right as can be: where the flaw lies before
the signing, the signatures are good ones over the flawed content.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec

from ranvier.limits import Ms
from ranvier.protocol.canonical import decode_base64, encode_base64, encode_canonical
from ranvier.protocol.keys import KeyVersion, build_v1_document, build_v2_document
from ranvier.protocol.signing import SigningKey, generate_signing_key, sign_json


class DocumentFlaw(StrEnum):
    """What is wrong with a key document."""

    # What it says
    NO_NAME = "no-name"
    WRONG_NAME = "wrong-name"
    """Another server's name, signed under that name."""
    NO_KEYS = "no-keys"
    """``verify_keys`` is an empty object."""
    NO_EXPIRY = "no-expiry"
    EXPIRED = "expired"
    """``valid_until_ts`` was an hour ago."""
    NO_CERTIFICATE = "no-certificate"
    OTHER_CERTIFICATE = "other-certificate"
    """A certificate of the right form, but not the one on the wire."""
    BAD_CERTIFICATE = "bad-certificate"
    """``tls_certificate`` is not base64."""

    # Who signed it
    NO_SIGNATURES = "no-signatures"
    EMPTY_SIGNATURES = "empty-signatures"
    """An entry for the server with nothing in it."""
    SIGNED_BY_ANOTHER_NAME = "signed-by-another-name"
    """The right key's signature, but under another server's name."""
    SILENT_KEY = "silent-key"
    """A second key is listed that did not sign."""
    UNLISTED_SIGNER = "unlisted-signer"
    """A second key signed that is not listed."""
    FLIPPED_BIT = "flipped-bit"
    """One bit of one signature."""
    CHANGED_AFTERWARDS = "changed-afterwards"
    """A member was added after the signing."""
    OTHER_KEY = "other-key"
    """All is right, but by a key that nobody has seen before."""
    OTHER_BYTES = "other-bytes"
    """All is right, but by another key under the known key id."""

    # What it is
    NOT_JSON = "not-json"
    NOT_AN_OBJECT = "not-an-object"
    TWICE = "twice"
    """A member stands twice."""
    DEEP = "deep"
    """A member 10,000 arrays deep."""
    HUGE = "huge"
    """A member of two megabytes, beyond ``Limits.key_document_bytes``."""


STRANGER = generate_signing_key(sha256(b"ranvier world: a stranger's key").digest(), "stranger")
"""The key that signs where it should not, or does not where it should."""

ANOTHER_NAME = "another.invalid"


class Making(msgspec.Struct, frozen=True, kw_only=True):
    """What a document is made of: ``certificate`` (DER) for version 1, ``valid_until`` for 2."""

    version: KeyVersion
    server_name: str
    keys: Sequence[SigningKey]
    certificate: bytes = b""
    now: Ms
    valid_until: Ms


def make_document(making: Making, flaw: DocumentFlaw | None = None) -> bytes:
    """The document's bytes, wrong as told."""
    if flaw is DocumentFlaw.OTHER_KEY:
        making = msgspec.structs.replace(making, keys=(STRANGER,))
    elif flaw is DocumentFlaw.OTHER_BYTES:
        same_id = SigningKey(making.keys[0].key_id, STRANGER.seed)
        making = msgspec.structs.replace(making, keys=(same_id, *making.keys[1:]))
    whole = _whole(making)
    if flaw is None:
        return whole
    content: dict[str, Any] = msgspec.json.decode(whole)
    del content["signatures"]
    _spoil_content(content, flaw, making)
    for key in _signers(making, flaw):
        content = sign_json(content, _signing_name(making, flaw), key)
    _spoil_signatures(content, flaw, making)
    return _spoil_bytes(encode_canonical(content), flaw)


def _whole(making: Making) -> bytes:
    if making.version is KeyVersion.V1:
        return build_v1_document(
            making.server_name, making.keys, tls_certificate=making.certificate
        )
    return build_v2_document(making.server_name, making.keys, valid_until=making.valid_until)


def _spoil_content(content: dict[str, Any], flaw: DocumentFlaw, making: Making) -> None:
    match flaw:
        case DocumentFlaw.NO_NAME:
            del content["server_name"]
        case DocumentFlaw.WRONG_NAME:
            content["server_name"] = ANOTHER_NAME
        case DocumentFlaw.NO_KEYS:
            content["verify_keys"] = {}
        case DocumentFlaw.NO_EXPIRY:
            content.pop("valid_until_ts", None)
        case DocumentFlaw.EXPIRED:
            content["valid_until_ts"] = int(making.now) - 3_600_000
        case DocumentFlaw.NO_CERTIFICATE:
            content.pop("tls_certificate", None)
        case DocumentFlaw.OTHER_CERTIFICATE:
            content["tls_certificate"] = encode_base64(
                making.certificate[:-1] + bytes([making.certificate[-1] ^ 1])
            )
        case DocumentFlaw.BAD_CERTIFICATE:
            content["tls_certificate"] = "not base64!"
        case DocumentFlaw.SILENT_KEY:
            public = encode_base64(STRANGER.verify_key.key)
            first = making.version is KeyVersion.V1
            content["verify_keys"][STRANGER.key_id] = public if first else {"key": public}
        case DocumentFlaw.HUGE:
            content["padding"] = "x" * 2_000_000
        case _:
            pass


def _signers(making: Making, flaw: DocumentFlaw) -> Sequence[SigningKey]:
    if flaw is DocumentFlaw.UNLISTED_SIGNER:
        return (*making.keys, STRANGER)
    return making.keys


def _signing_name(making: Making, flaw: DocumentFlaw) -> str:
    if flaw in (DocumentFlaw.WRONG_NAME, DocumentFlaw.SIGNED_BY_ANOTHER_NAME):
        return ANOTHER_NAME
    return making.server_name


def _spoil_signatures(content: dict[str, Any], flaw: DocumentFlaw, making: Making) -> None:
    match flaw:
        case DocumentFlaw.NO_SIGNATURES:
            del content["signatures"]
        case DocumentFlaw.EMPTY_SIGNATURES:
            content["signatures"] = {making.server_name: {}}
        case DocumentFlaw.FLIPPED_BIT:
            own = content["signatures"][making.server_name]
            signature = bytearray(decode_base64(own[making.keys[0].key_id]))
            signature[0] ^= 1
            own[making.keys[0].key_id] = encode_base64(bytes(signature))
        case DocumentFlaw.CHANGED_AFTERWARDS:
            content["added"] = True
        case _:
            pass


def _spoil_bytes(body: bytes, flaw: DocumentFlaw) -> bytes:
    match flaw:
        case DocumentFlaw.NOT_JSON:
            return b"<html>" + body
        case DocumentFlaw.NOT_AN_OBJECT:
            return b"[" + body + b"]"
        case DocumentFlaw.TWICE:
            return b'{"server_name":"first.invalid",' + body[1:]
        case DocumentFlaw.DEEP:
            return b'{"deep":' + b"[" * 10_000 + b"]" * 10_000 + b"," + body[1:]
        case _:
            return body
