"""Signed requests: the bytes that a request signs, signing them, and judging who did.

A request signs one object: ``method``, ``uri``, ``origin``, ``destination`` and, if it
has a body, ``content`` ``[s2s:request-authentication]``. The ``uri`` is the target as it
stands on the request line, byte for byte: nobody normalises an escape, a ``//`` or an
empty query (AUTH-03, D18). The names are those before delegation (AUTH-06).

:func:`request_bytes` writes these bytes without building the object: its members have
a fixed order, and ``content`` comes as canonical JSON, which is copied in as it is. So
a body is parsed and encoded once (:func:`canonical_content`), however many keys signed
and however many spellings of a target are tried.

Keys that are not known are passed over, and so are old and expired ones, which count
for nothing here; every current key that signed must verify, and there must be one (D17).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.canonical import (
    JsonObject,
    JsonValue,
    encode_base64,
    encode_canonical_lenient,
    parse_canonical,
    parse_json_lenient,
)
from ranvier.protocol.conditions import Condition, condition, insist
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.signing import SigningKey, VerifyKey, parse_signature, verify_bytes
from ranvier.protocol.text import shown
from ranvier.protocol.xmatrix import XMatrix, format_authorization

_CLAUSE = "[s2s:request-authentication]"
_KEYS = "[s2s:publishing-keys]"
_SIGNATURES = "[app:checking-for-a-signature]"
_JSON = "[app:canonical-json]"


# --- Signing ---


class _Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed, its members in canonical order."""

    content: msgspec.Raw | msgspec.UnsetType
    destination: str
    method: str
    origin: str
    uri: str


_encoder = msgspec.json.Encoder()


def request_bytes(
    *, method: str, target: str, origin: str, destination: str, content: bytes | None
) -> bytes:
    """The bytes that a request signs.

    ``content`` is canonical JSON already and is not looked at; ``None`` leaves the member
    out, as for a request without a body (AUTH-05). Raises Malformed for half of a
    surrogate pair.
    """
    try:
        return _encoder.encode(
            _Signed(
                content=msgspec.UNSET if content is None else msgspec.Raw(content),
                destination=destination,
                method=method,
                origin=origin,
                uri=target,
            )
        )
    except UnicodeEncodeError:
        raise Malformed(
            "request-surrogate",
            f"{shown(method)} {shown(target)} has half of a surrogate pair in it or in its names",
            clause=_JSON,
        ) from None


def sign_request(
    *,
    method: str,
    target: str,
    origin: str,
    destination: str,
    content: bytes | None,
    key: SigningKey,
) -> str:
    """The value of the ``Authorization`` header to send. Arguments as :func:`request_bytes`.

    Raises Malformed, also for names that no header can carry.
    """
    message = request_bytes(
        method=method, target=target, origin=origin, destination=destination, content=content
    )
    signature = encode_base64(key.sign(message))
    return format_authorization(
        XMatrix(origin=origin, destination=destination, key=key.key_id, sig=signature)
    )


# --- The body ---


def canonical_content(
    body: bytes, *, limits: Limits, lenient: bool = False
) -> tuple[JsonObject, bytes]:
    """The object in a request's body, and its canonical bytes, as its signer had them.

    They are ``body`` itself if that was canonical. ``lenient`` is for transactions,
    whose events may hold floats, large integers and keys that stand twice (D16). Raises
    Malformed: too large, too deep, not JSON, no object, or not canonical.
    """
    value, canonical = _parsed(body, limits, lenient)
    if not isinstance(value, dict):
        raise Malformed(
            "request-content-not-object",
            f"the body is a JSON {type(value).__name__}, not an object",
            clause=_CLAUSE,
        )
    return value, canonical


def _parsed(body: bytes, limits: Limits, lenient: bool) -> tuple[JsonValue, bytes]:
    most, depth = limits.listen_body_bytes, limits.json_depth
    try:
        return parse_canonical(body, max_bytes=most, max_depth=depth)
    except Malformed:
        if not lenient:
            raise
    value = parse_json_lenient(body, max_bytes=most, max_depth=depth)
    return value, encode_canonical_lenient(value)


# --- Judging ---


def examine_request(
    headers: tuple[XMatrix, ...],
    *,
    method: str,
    targets: tuple[str, ...],
    destination: str,
    content: bytes | None,
    keys: Mapping[str, KeyOutcome],
) -> ExaminedRequest:
    """Who signed the request that came in; never raises on remote data.

    ``headers`` are :func:`~ranvier.protocol.xmatrix.parse_authorizations`'s: all of one
    origin, whose ``keys`` are given by id, each as
    :func:`~ranvier.protocol.keylife.key_for_request` judged it. ``targets`` are the
    spellings that the target may have had on the wire, usually one (D18): all current
    keys must have signed the same. ``destination`` is the name of ours that is meant;
    a header that names another one fails, whatever its signature. ``content`` as for
    :func:`request_bytes`.
    """
    malformed, key_id, target = "", "", ""
    try:
        signers = _signers(headers, destination, keys)
        for spelling in targets if signers else ():
            message = request_bytes(
                method=method,
                target=spelling,
                origin=headers[0].origin,
                destination=destination,
                content=content,
            )
            if all(verify_bytes(message, signature, key) for key, signature in signers):
                key_id, target = signers[0][0].key_id, spelling
                break
    except Malformed as error:
        malformed = error.message
    return ExaminedRequest(
        method=method,
        targets=targets,
        destination=destination,
        headers=headers,
        keys=keys,
        malformed=malformed,
        key_id=key_id,
        target=target,
    )


def verified_request(
    headers: tuple[XMatrix, ...],
    *,
    method: str,
    targets: tuple[str, ...],
    destination: str,
    content: bytes | None,
    keys: Mapping[str, KeyOutcome],
) -> str:
    """The id of the key that signed the request, insisted upon. Arguments as above.

    Raises NotValid with all conditions; the code is the first one's that failed.
    """
    examined = examine_request(
        headers,
        method=method,
        targets=targets,
        destination=destination,
        content=content,
        keys=keys,
    )
    return examined.insisted().key_id


def _signers(
    headers: tuple[XMatrix, ...], destination: str, keys: Mapping[str, KeyOutcome]
) -> list[tuple[VerifyKey, bytes]]:
    """Every current key that signed, with its signature; none if the request is not for us."""
    signers: list[tuple[VerifyKey, bytes]] = []
    for header in headers:
        if header.destination is not None and header.destination != destination:
            return []
        outcome = keys.get(header.key)
        if outcome is not None and outcome.good and outcome.key is not None:
            signers.append((outcome.key, parse_signature(header.sig)))
    return signers


class ExaminedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request's signatures. It is authentic if ``key_id`` is not empty."""

    method: str
    targets: tuple[str, ...]
    destination: str
    headers: tuple[XMatrix, ...]
    keys: Mapping[str, KeyOutcome]
    malformed: str = ""
    """Why a current key's signature is none; empty if all are."""
    key_id: str = ""
    """The first current key that signed; empty if the request is not authentic."""
    target: str = ""
    """The spelling that was signed; empty as above."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every rule, judged, in the order in which production stops."""
        ours = self._names_us()
        current = self._keys(KeyVerdict.GOOD)
        return (
            condition(
                "request-unsigned",
                bool(self.headers),
                f"{len(self.headers)} headers say who signed",
                clause=_CLAUSE,
            ),
            condition(
                "request-destination",
                ours,
                f"the request is {'' if ours else 'not '}for {shown(self.destination)}",
                clause=_CLAUSE,
            ),
            condition(
                "request-signature-malformed",
                not self.malformed if ours and current else None,
                self.malformed or "nothing is wrong with the form of a signature",
                clause=_SIGNATURES,
            ),
            condition(
                "request-signature-invalid",
                bool(self.key_id) if ours and current and not self.malformed else None,
                f"{self.method} {_list(self.targets)} is {'' if self.key_id else 'not '}"
                f"signed by {_list(current)}",
                clause=_CLAUSE,
            ),
            self._no("request-key-old", KeyVerdict.OLD_KEY, "old, which counts for events only"),
            self._no("request-key-expired", KeyVerdict.EXPIRED, "expired"),
            self._no("request-key-unusable", KeyVerdict.UNUSABLE, "none that we can use"),
            self._no("request-key-unknown", KeyVerdict.UNKNOWN, "not known"),
        )

    def insisted(self) -> ExaminedRequest:
        """The same, if the request is authentic. Raises NotValid with all conditions."""
        if not self.key_id:
            insist(self.conditions)
        return self

    def _names_us(self) -> bool:
        return all(each.destination in (None, self.destination) for each in self.headers)

    def _keys(self, verdict: KeyVerdict) -> tuple[str, ...]:
        return tuple(each.key for each in self.headers if _verdict(self.keys, each) is verdict)

    def _no(self, id: str, verdict: KeyVerdict, what: str) -> Condition:
        """No key of that verdict signed; fatal unless a current one did."""
        found = self._keys(verdict)
        said = f"signed by {_list(found)}, {what}" if found else f"signed by no key that is {what}"
        return condition(id, not found, said, clause=_KEYS, fatal=not self._keys(KeyVerdict.GOOD))


def _verdict(keys: Mapping[str, KeyOutcome], header: XMatrix) -> KeyVerdict:
    outcome = keys.get(header.key)
    if outcome is None or (outcome.good and outcome.key is None):
        return KeyVerdict.UNKNOWN
    return outcome.verdict


def _list(texts: tuple[str, ...]) -> str:
    return ", ".join(map(shown, texts))
