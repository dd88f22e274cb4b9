"""Key documents: how a server publishes its keys, in both versions, read and written.

A document is read into :class:`KeyDocument` without judging it: only bytes that
are no JSON object within the limits are refused. What is wrong with a single
key spoils that key alone and is kept as a :class:`KeyProblem` (KEYF-16); what is
wrong with the document is for :mod:`ranvier.protocol.keyconditions`, which
names every condition, and how long a key lives is for
:mod:`ranvier.protocol.keylife`.

``content`` and ``body`` stay as received, unknown members included, because the
signature is over what was sent, never over what we understood of it (KEYF-03).

Version 1 (2014) is ``server_name``, ``verify_keys`` (id to text),
``tls_certificate`` (the leaf) and ``signatures``; it has no expiry. The sample in
the 2014 text is not JSON: a comma is missing (ERR14-01). Version 2 (today) has
``{"key": text}`` for a key, ``old_verify_keys``, and ``valid_until_ts`` for life.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from ranvier.errors import BadConfiguration, Malformed, NotValid
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import (
    JsonObject,
    decode_base64,
    encode_base64,
    encode_canonical,
    parse_json_object,
)
from ranvier.protocol.names import is_publishable_key_id, parse_key_id
from ranvier.protocol.signing import ED25519, POLICY_SERVER, SigningKey, VerifyKey, sign_json
from ranvier.protocol.text import shown

V1_CLAUSE = "[2014:retrieving-server-keys]"
V2_CLAUSE = "[s2s:publishing-keys]"


class KeyVersion(StrEnum):
    """Which of the two documents."""

    V1 = "v1"
    V2 = "v2"

    @property
    def clause(self) -> str:
        """The text that defines it."""
        return V1_CLAUSE if self is KeyVersion.V1 else V2_CLAUSE


class OldVerifyKey(msgspec.Struct, frozen=True):
    """A key that signs no more; for events up to ``expired_ts``, never for requests (KEY2-07)."""

    key: VerifyKey
    expired_ts: Ms


class KeyProblem(msgspec.Struct, frozen=True):
    """Why one listed key, or one member beside the keys, is not used."""

    key_id: str
    code: str
    reason: str


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One document, read but not judged. ``None``: the member is missing or has another form."""

    version: KeyVersion
    body: bytes
    content: JsonObject
    server_name: str | None
    verify_keys: tuple[VerifyKey, ...]
    old_verify_keys: tuple[OldVerifyKey, ...]
    valid_until: Ms | None
    """Always ``None`` in version 1."""
    tls_certificate: bytes | None
    """Decoded, not looked into; always ``None`` in version 2."""
    problems: tuple[KeyProblem, ...]

    @property
    def listed(self) -> tuple[str, ...]:
        """The key ids under ``verify_keys`` as written, those we cannot use included."""
        return tuple(_table(self.content, "verify_keys") or ())

    def signatures_of(self, name: str) -> JsonObject | None:
        """What stands under ``signatures`` for ``name``, key id to signature."""
        return _table(_table(self.content, "signatures") or {}, name)


def parse_key_document(body: bytes, version: KeyVersion, limits: Limits) -> KeyDocument:
    """Read a document. Raises Malformed if it is no JSON object within the limits."""
    content = parse_json_object(
        body, max_bytes=limits.key_document_bytes, max_depth=limits.json_depth
    )
    _insist_on_counts(content, limits)
    problems: list[KeyProblem] = []
    keys = _current_keys(content, version, problems)
    name = content.get("server_name")
    first = version is KeyVersion.V1
    return KeyDocument(
        version=version,
        body=body,
        content=content,
        server_name=name if isinstance(name, str) else None,
        verify_keys=keys,
        old_verify_keys=() if first else _old_keys(content, problems),
        valid_until=None if first else _instant(content.get("valid_until_ts")),
        tls_certificate=_certificate(content, problems) if first else None,
        problems=tuple(problems),
    )


def _table(content: JsonObject, member: str) -> JsonObject | None:
    table = content.get(member)
    return table if isinstance(table, dict) else None


def _insist_on_counts(content: JsonObject, limits: Limits) -> None:
    keys = sum(len(_table(content, each) or ()) for each in ("verify_keys", "old_verify_keys"))
    if keys > limits.keys_per_document:
        raise Malformed(
            "key-document-too-many-keys",
            f"the document lists {keys} keys; at most {limits.keys_per_document}",
            clause=V2_CLAUSE,
        )
    signers = (_table(content, "signatures") or {}).values()
    signatures = sum(len(each) for each in signers if isinstance(each, dict))
    if signatures > limits.signatures_per_document:
        raise Malformed(
            "key-document-too-many-signatures",
            f"the document has {signatures} signatures; at most {limits.signatures_per_document}",
            clause=V2_CLAUSE,
        )


def _current_keys(
    content: JsonObject, version: KeyVersion, problems: list[KeyProblem]
) -> tuple[VerifyKey, ...]:
    keys = []
    for key_id, value in (_table(content, "verify_keys") or {}).items():
        text = value if version is KeyVersion.V1 else _member(value, "key")
        try:
            keys.append(_key(key_id, text))
        except (Malformed, NotValid) as error:
            problems.append(KeyProblem(key_id, error.code, error.message))
    return tuple(keys)


def _old_keys(content: JsonObject, problems: list[KeyProblem]) -> tuple[OldVerifyKey, ...]:
    keys = []
    if not isinstance(content.get("old_verify_keys", {}), dict):
        problems.append(KeyProblem("", "old-keys-not-object", "old_verify_keys is no object"))
    for key_id, value in (_table(content, "old_verify_keys") or {}).items():
        try:
            keys.append(OldVerifyKey(_key(key_id, _member(value, "key")), _expiry(value)))
        except (Malformed, NotValid) as error:
            problems.append(KeyProblem(key_id, error.code, error.message))
            continue
        if key_id in (_table(content, "verify_keys") or {}):
            reason = "it is listed as current and as old; it counts as old"
            problems.append(KeyProblem(key_id, "key-current-and-old", reason))
    return tuple(keys)


def _member(value: object, member: str) -> object:
    return value.get(member) if isinstance(value, dict) else None


def _key(key_id: str, text: object) -> VerifyKey:
    """One listed key. Raises Malformed or NotValid, which spoil this key alone."""
    named = parse_key_id(key_id)
    if named.version == POLICY_SERVER:
        raise Malformed(
            "key-reserved", f"{shown(key_id)} is reserved for policy servers", clause=V2_CLAUSE
        )
    if named.algorithm != ED25519:
        raise Malformed(
            "key-algorithm", f"{shown(key_id)} is of another algorithm", clause=V2_CLAUSE
        )
    if not isinstance(text, str):
        raise Malformed(
            "key-without-text", f"{shown(key_id)} comes without base64 text", clause=V2_CLAUSE
        )
    return VerifyKey(key_id, decode_base64(text))


def _expiry(value: object) -> Ms:
    expired = _instant(_member(value, "expired_ts"))
    if expired is None:
        raise Malformed("key-expired-ts", "expired_ts is not an integer", clause=V2_CLAUSE)
    return expired


def _instant(value: object) -> Ms | None:
    return Ms(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _certificate(content: JsonObject, problems: list[KeyProblem]) -> bytes | None:
    """Padded or not: we compare decoded bytes, not text (REF14-09)."""
    text = content.get("tls_certificate")
    if not isinstance(text, str):
        return None
    try:
        return decode_base64(text)
    except Malformed as error:
        problems.append(KeyProblem("", error.code, f"tls_certificate: {error.message}"))
        return None


def build_v1_document(
    server_name: str, signing_keys: Sequence[SigningKey], *, tls_certificate: bytes
) -> bytes:
    """The 2014 document for the leaf (DER) that peers see: canonical, signed by every key.

    Base64 is unpadded: the reference fetcher compared text (REF14-05, 09).
    Raises BadConfiguration.
    """
    _insist_on_publishable(signing_keys, ())
    if not tls_certificate:
        raise BadConfiguration(
            "publish-no-certificate", "version 1 needs the TLS certificate", clause=V1_CLAUSE
        )
    content = {
        "server_name": server_name,
        "verify_keys": {key.key_id: encode_base64(key.verify_key.key) for key in signing_keys},
        "tls_certificate": encode_base64(tls_certificate),
    }
    return _signed(content, server_name, signing_keys)


def build_v2_document(
    server_name: str,
    signing_keys: Sequence[SigningKey],
    *,
    old_keys: Sequence[OldVerifyKey] = (),
    valid_until: Ms,
) -> bytes:
    """Today's document: canonical, signed by every current key (KEY2-09).

    Raises BadConfiguration.
    """
    _insist_on_publishable(signing_keys, old_keys)
    content = {
        "server_name": server_name,
        "verify_keys": {
            key.key_id: {"key": encode_base64(key.verify_key.key)} for key in signing_keys
        },
        "old_verify_keys": {
            old.key.key_id: {"key": encode_base64(old.key.key), "expired_ts": int(old.expired_ts)}
            for old in old_keys
        },
        "valid_until_ts": int(valid_until),
    }
    return _signed(content, server_name, signing_keys)


def _signed(content: JsonObject, name: str, keys: Iterable[SigningKey]) -> bytes:
    for key in keys:
        content = sign_json(content, name, key)
    return encode_canonical(content)


def _insist_on_publishable(keys: Sequence[SigningKey], old: Sequence[OldVerifyKey]) -> None:
    if not keys:
        raise BadConfiguration("publish-no-key", "there is no signing key", clause=V2_CLAUSE)
    seen: set[str] = set()
    for key_id in [*(each.key_id for each in keys), *(each.key.key_id for each in old)]:
        if not is_publishable_key_id(key_id):
            raise BadConfiguration(
                "publish-key-id",
                f"{shown(key_id)} cannot be published: a version is letters, digits and _",
                clause=V2_CLAUSE,
            )
        if parse_key_id(key_id).version == POLICY_SERVER:
            raise BadConfiguration(
                "publish-key-id-reserved",
                f"{shown(key_id)} is reserved for policy servers",
                clause=V2_CLAUSE,
            )
        if key_id in seen:
            raise BadConfiguration(
                "publish-key-id-twice",
                f"{shown(key_id)} stands for two keys; ids are never reused",
                clause=V2_CLAUSE,
            )
        seen.add(key_id)
