"""Signed objects, verify keys and key files from any bytes."""

from __future__ import annotations

import contextlib

from ranvier.errors import Malformed, NotValid
from ranvier.protocol.canonical import parse_json_object
from ranvier.protocol.signing import (
    SignatureVerdict,
    VerifyKey,
    examine_signatures,
    format_signing_keys,
    generate_signing_key,
    parse_signing_keys,
    verify_bytes,
    verify_json,
)

INVARIANT = (
    "No bytes that our key did not sign verify under it, no 32 bytes are a key under which a"
    " signature by another verifies, and nothing but Malformed and NotValid comes out."
)

KEY = generate_signing_key(b"\x2a" * 32, "a_fuzz")
KEYS = {
    KEY.key_id: KEY.verify_key,
    "ed25519:1": VerifyKey("ed25519:1", KEY.verify_key.key),
}
SIGNATURE = KEY.sign(b"")


def check(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        obj = parse_json_object(data, max_bytes=1 << 20)
        for name in ("domain", "d", ""):
            for outcome in examine_signatures(obj, name, KEYS, most=10):
                assert outcome.verdict is not SignatureVerdict.VALID
            with contextlib.suppress(NotValid):
                raise AssertionError(verify_json(obj, name, KEYS))
    with contextlib.suppress(Malformed, NotValid):
        key = VerifyKey("ed25519:1", data[:32])
        assert key.key == KEY.verify_key.key or not verify_bytes(b"", SIGNATURE, key)
    assert data[:64] == SIGNATURE or not verify_bytes(b"", data[:64], KEY.verify_key)
    with contextlib.suppress(Malformed):
        keys = parse_signing_keys(data.decode("utf-8", "surrogateescape"))
        assert parse_signing_keys(format_signing_keys(keys)) == keys
