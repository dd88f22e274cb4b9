"""JSON and base64 from any bytes."""

from __future__ import annotations

import contextlib
import json

from ranvier.errors import Malformed
from ranvier.protocol.canonical import (
    decode_base64_any,
    encode_base64,
    encode_canonical,
    encode_canonical_lenient,
    parse_json,
    parse_json_lenient,
)

INVARIANT = (
    "Any bytes are Malformed, or a value that the standard library reads as well, whose canonical"
    " bytes are strict JSON for the same value and canonical again."
)

ROOM = 1 << 20


def check(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        value = parse_json(data, max_bytes=ROOM)
        assert value == json.loads(data)
        encoded = encode_canonical(value)
        assert parse_json(encoded, max_bytes=ROOM) == value
        assert encode_canonical_lenient(value) == encoded
        assert parse_json_lenient(data, max_bytes=ROOM) == value
    with contextlib.suppress(Malformed):
        value = parse_json_lenient(data, max_bytes=ROOM)
        encoded = encode_canonical_lenient(value)
        assert encode_canonical_lenient(parse_json_lenient(encoded, max_bytes=ROOM)) == encoded
    with contextlib.suppress(Malformed):
        decoded = decode_base64_any(data.decode("latin-1"))
        assert decode_base64_any(encode_base64(decoded)) == decoded
