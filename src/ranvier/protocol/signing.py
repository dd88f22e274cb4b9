"""Signatures on JSON, the keys that make and check them, and the file they are kept in.

Signing: take away ``signatures`` and ``unsigned`` at the top level, encode
canonically, sign, put the signature at ``signatures.<name>.<key id>`` and both
members back ``[app:signing-json]``. Checking is the same backwards
``[app:checking-for-a-signature]``. There is one algorithm, ``ed25519``.

Only PyNaCl signs and verifies here: another library in reach accepts public keys
of small order, under which one constant signature verifies every message. Such
keys do not even become a :class:`VerifyKey`.

A :class:`SigningKey` never shows its seed: not when printed, not in a traceback
of an object, not pickled, not encoded by msgspec. Only ``.seed`` and
:func:`format_signing_keys` give it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NoReturn

import msgspec
import nacl.bindings
import nacl.exceptions
import nacl.signing

from ranvier.errors import Malformed, NotValid
from ranvier.limits import Limits
from ranvier.protocol.canonical import JsonObject, decode_base64, encode_base64, encode_canonical
from ranvier.protocol.names import is_publishable_key_id, parse_key_id
from ranvier.protocol.text import shown

_SIGNING = "[app:signing-json]"
_CHECKING = "[app:checking-for-a-signature]"
_PUBLISHING = "[s2s:publishing-keys]"
_OWN_KEYS = "[ranvier:own-keys]"

ED25519 = "ed25519"
POLICY_SERVER = "policy_server"
"""The version of rooms' policy servers' keys, never of a server's own (D10)."""
KEY_BYTES = 32
SIGNATURE_BYTES = 64
MOST_SIGNATURES = Limits().signatures_per_document
"""Of one signer on one object."""
_FIELD = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_BASE_POINT = bytes.fromhex("58" + "66" * 31)

# The y coordinates of every point whose order divides 8, canonical or not, sign bit clear.
_SMALL_ORDER = frozenset(
    bytes.fromhex(each)
    for each in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
# Its seed is public knowledge: whoever likes can sign with it.
_LEAKED = frozenset({decode_base64("l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og")})


# --- Keys ---


class VerifyKey(msgspec.Struct, frozen=True):
    """A public key under its id. Made only if it can be trusted to tell signers apart.

    Raises Malformed (id, algorithm, length, not a point of the curve) and NotValid
    (small order, or a key whose seed is public knowledge).
    """

    key_id: str
    key: bytes

    def __post_init__(self) -> None:
        if self.algorithm != ED25519:
            raise Malformed(
                "key-algorithm", f"{shown(self.key_id)} is not of ed25519", clause=_SIGNING
            )
        if len(self.key) != KEY_BYTES:
            raise Malformed(
                "key-length",
                f"{shown(self.key_id)} has {len(self.key)} bytes, not {KEY_BYTES}",
                clause=_SIGNING,
            )
        _check_point(self.key_id, self.key)
        if self.key in _LEAKED:
            raise NotValid(
                "key-leaked",
                f"{shown(self.key_id)} is a key whose secret half is public knowledge",
                clause="[ranvier:leaked-keys]",
            )

    @property
    def algorithm(self) -> str:
        """``ed25519``."""
        return parse_key_id(self.key_id).algorithm


def _check_point(key_id: str, key: bytes) -> None:
    y = key[:31] + bytes([key[31] & 0x7F])
    if y in _SMALL_ORDER:
        raise NotValid(
            "key-small-order",
            f"{shown(key_id)} is of small order: one signature would fit every message",
            clause="[rfc8032 5.1]",
        )
    try:
        if int.from_bytes(y, "little") < _FIELD:
            nacl.bindings.crypto_core_ed25519_add(key, _BASE_POINT)  # Fails off the curve.
            return
    except nacl.exceptions.RuntimeError:
        pass
    raise Malformed(
        "key-not-a-point", f"{shown(key_id)} is no point of the curve", clause="[rfc8032 5.1.3]"
    )


class SigningKey:
    """A secret key under its id. ``seed`` is the only way to the secret."""

    __slots__ = ("_secret", "_verify_key")

    def __init__(self, key_id: str, seed: bytes) -> None:
        """Raises Malformed: an id that may not be published, or a seed of the wrong length."""
        if not is_publishable_key_id(key_id) or parse_key_id(key_id).algorithm != ED25519:
            raise Malformed(
                "signing-key-id",
                f"{shown(key_id)} is not ed25519: and letters, digits and underscores",
                clause=_PUBLISHING,
            )
        if len(seed) != KEY_BYTES:
            raise Malformed(
                "signing-key-seed",
                f"the seed of {key_id} is not {KEY_BYTES} bytes",
                clause=_SIGNING,
            )
        self._secret = nacl.signing.SigningKey(seed)
        self._verify_key = VerifyKey(key_id, bytes(self._secret.verify_key))

    @property
    def verify_key(self) -> VerifyKey:
        """The public half."""
        return self._verify_key

    @property
    def key_id(self) -> str:
        """``ed25519:a_1``."""
        return self._verify_key.key_id

    @property
    def seed(self) -> bytes:
        """32 secret bytes."""
        return bytes(self._secret)

    @property
    def version(self) -> str:
        """The key id after its colon."""
        return parse_key_id(self.key_id).version

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._secret.sign(message).signature

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and self.verify_key == other.verify_key

    def __hash__(self) -> int:
        return hash(self.verify_key)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SigningKey is not pickled or copied: it would take its seed along")


# `auto` was everybody's once.
_RESERVED_VERSIONS = ("auto", POLICY_SERVER)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def generate_signing_key(seed: bytes, version: str) -> SigningKey:
    """A new key from 32 random bytes, usually with :func:`new_key_version`. Raises Malformed."""
    if version in _RESERVED_VERSIONS:
        raise Malformed(
            "key-version-reserved", f"no key of ours is ever named {version!r}", clause=_OWN_KEYS
        )
    return SigningKey(f"{ED25519}:{version}", seed)


def new_key_version(random: bytes) -> str:
    """``a_`` and a letter for each random byte: give 4 or more. Never reused (D10)."""
    return "a_" + "".join(_LETTERS[each % len(_LETTERS)] for each in random)


# A line of the key file: algorithm SP version SP unpadded-base64(seed)
_LINE = re.compile(r"(?P<algorithm>\S+) (?P<version>\S+) (?P<seed>\S+)")


def parse_signing_keys(text: str) -> tuple[SigningKey, ...]:
    """Synapse's ``signing.key`` file: a key a line, the first one signs requests.

    Empty lines and white space at the ends are skipped. Raises Malformed with the
    line's number; no error shows what stands in the file.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    keys = tuple(_line(number, line) for number, line in lines if line)
    if not keys:
        raise Malformed("key-file-empty", "the key file holds no key", clause=_OWN_KEYS)
    if len({each.key_id for each in keys}) != len(keys):
        raise Malformed("key-file-twice", "the key file has a key id twice", clause=_OWN_KEYS)
    return keys


def _line(number: int, line: str) -> SigningKey:
    parts = _LINE.fullmatch(line)
    if parts is None or parts["algorithm"] != ED25519:
        reason = "is not `ed25519 version seed`"
    elif parts["version"] == POLICY_SERVER:
        reason = "has the version of policy servers, who keep their keys elsewhere"
    else:
        try:
            return SigningKey(f"{ED25519}:{parts['version']}", decode_base64(parts["seed"]))
        except (Malformed, NotValid) as error:
            reason = f"holds no key ({error.code})"
    raise Malformed("key-file-line", f"line {number} of the key file {reason}", clause=_OWN_KEYS)


def format_signing_keys(keys: Iterable[SigningKey]) -> str:
    """The text of the key file, seeds included: write it with mode 0600."""
    return "".join(f"{ED25519} {key.version} {encode_base64(key.seed)}\n" for key in keys)


# --- Signing ---


def signed_bytes(obj: JsonObject) -> bytes:
    """What is signed: canonical, without the top level's ``signatures`` and ``unsigned``.

    Raises Malformed if ``obj`` has no canonical form.
    """
    return encode_canonical(
        {key: value for key, value in obj.items() if key not in ("signatures", "unsigned")}
    )


def sign_json(obj: JsonObject, name: str, key: SigningKey) -> JsonObject:
    """A new object with ``name``'s signature added; ``obj`` and others' signatures stay.

    Raises Malformed if ``obj`` has no canonical form or ``signatures`` is no map of maps.
    """
    signatures = obj.get("signatures", {})
    own = signatures.get(name, {}) if isinstance(signatures, dict) else None
    if not isinstance(own, dict):
        raise Malformed("signatures-not-object", "`signatures` is no map of maps", clause=_SIGNING)
    signature = encode_base64(key.sign(signed_bytes(obj)))
    return {**obj, "signatures": {**signatures, name: {**own, key.key_id: signature}}}


# --- Checking ---


class SignatureVerdict(StrEnum):
    """What became of one signature. ``MALFORMED``: it could not even be tried.

    The last two are of events alone: the key was no longer, or is of another office."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_ALGORITHM = "unknown-algorithm"
    MALFORMED = "malformed"
    EXPIRED_KEY = "expired-key"
    POLICY_SERVER = "policy-server"


class SignatureOutcome(msgspec.Struct, frozen=True):
    """One signature, judged. ``key_id`` is a stranger's text; empty: about all of them."""

    key_id: str
    verdict: SignatureVerdict
    reason: str


def examine_signatures(
    obj: JsonObject, name: str, keys: Mapping[str, VerifyKey], *, most: int
) -> tuple[SignatureOutcome, ...]:
    """Every signature by ``name`` on ``obj``, in its order; never raises on remote data.

    ``keys`` are the ones known for ``name``, by key id. Empty: ``name`` did not sign
    (CHK-01). More than ``most`` signatures are not tried at all.
    """
    signatures = obj.get("signatures")
    own = signatures.get(name) if isinstance(signatures, dict) else None
    if not isinstance(own, dict):
        return ()
    if len(own) > most:
        reason = f"{len(own)} signatures; at most {most}"
        return (SignatureOutcome("", SignatureVerdict.MALFORMED, reason),)
    try:
        message = signed_bytes(obj)
    except Malformed as error:
        return (SignatureOutcome("", SignatureVerdict.MALFORMED, error.message),)
    return tuple(_outcome(key_id, own[key_id], keys, message) for key_id in own)


def _outcome(
    key_id: str, value: object, keys: Mapping[str, VerifyKey], message: bytes
) -> SignatureOutcome:
    if key_id.partition(":")[0] != ED25519:
        return SignatureOutcome(key_id, SignatureVerdict.UNKNOWN_ALGORITHM, "not an ed25519 key id")
    key = keys.get(key_id)
    if key is None:
        return SignatureOutcome(key_id, SignatureVerdict.UNKNOWN_KEY, "no such key is known")
    try:
        signature = parse_signature(value)
    except Malformed as error:
        return SignatureOutcome(key_id, SignatureVerdict.MALFORMED, error.message)
    if verify_bytes(message, signature, key):
        return SignatureOutcome(key_id, SignatureVerdict.VALID, "verifies")
    return SignatureOutcome(key_id, SignatureVerdict.INVALID, "does not verify")


def parse_signature(value: object) -> bytes:
    """64 bytes whose second half is the one canonical number (CHK-06). Raises Malformed."""
    if not isinstance(value, str):
        raise Malformed("signature-not-text", "a signature is no string", clause=_CHECKING)
    signature = decode_base64(value)
    if len(signature) != SIGNATURE_BYTES:
        raise Malformed(
            "signature-length",
            f"a signature has {len(signature)} bytes, not {SIGNATURE_BYTES}",
            clause=_CHECKING,
        )
    if int.from_bytes(signature[32:], "little") >= _ORDER:
        raise Malformed(
            "signature-malleable", "a signature's S is not reduced", clause="[rfc8032 5.1.7]"
        )
    return signature


def verify_bytes(message: bytes, signature: bytes, key: VerifyKey) -> bool:
    """Whether ``signature`` is ``key``'s over exactly ``message``."""
    if len(signature) != SIGNATURE_BYTES:  # Else a part of one would be taken for the other's.
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, key.key)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def verify_json(
    obj: JsonObject, name: str, keys: Mapping[str, VerifyKey], *, most: int = MOST_SIGNATURES
) -> str:
    """The key id by which ``name`` is shown to have signed ``obj``.

    Unknown keys and algorithms are passed over; every signature by a known key
    must hold, and there must be one. Raises NotValid.
    """
    outcomes = examine_signatures(obj, name, keys, most=most)
    found = {each.verdict: each for each in reversed(outcomes)}  # The first of each verdict.
    if not outcomes:
        raise _refusal("signature-missing", name, "there is no signature")
    if broken := found.get(SignatureVerdict.MALFORMED):
        raise _refusal("signature-malformed", name, _told(broken))
    if broken := found.get(SignatureVerdict.INVALID):
        raise _refusal("signature-invalid", name, _told(broken))
    if valid := found.get(SignatureVerdict.VALID):
        return valid.key_id
    if unknown := found.get(SignatureVerdict.UNKNOWN_KEY):
        raise _refusal("signature-unknown-key", name, _told(unknown))
    raise _refusal("signature-unknown-algorithm", name, "none is by an algorithm we know")


def _told(outcome: SignatureOutcome) -> str:
    return f"{shown(outcome.key_id)}: {outcome.reason}" if outcome.key_id else outcome.reason


def _refusal(code: str, name: str, reason: str) -> NotValid:
    return NotValid(code, f"not signed by {shown(name)}: {reason}", clause=_CHECKING)
