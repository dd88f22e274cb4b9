"""Bodies, targets and headers of signed requests from any bytes."""

from __future__ import annotations

import contextlib
import json

from ranvier.errors import Malformed
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import encode_canonical
from ranvier.protocol.conditions import first_fatal
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.requests import (
    canonical_content,
    examine_request,
    request_bytes,
    sign_request,
)
from ranvier.protocol.signing import generate_signing_key
from ranvier.protocol.xmatrix import XMatrix, parse_authorization, parse_authorizations

INVARIANT = (
    "A request is authentic exactly if our key signed its method, target, names and content, the"
    " signed bytes are those of the whole object, and nothing but Malformed comes out."
)

KEY = generate_signing_key(b"\x2a" * 32, "a_fuzz")
KEYS = {
    KEY.key_id: KeyOutcome(
        key_id=KEY.key_id, verdict=KeyVerdict.GOOD, key=KEY.verify_key, until=Ms(1)
    )
}
LIMITS = Limits()
TARGET = "/_matrix/federation/v1/send/1"
SIGNED = sign_request(
    method="PUT",
    target=TARGET,
    origin="a.example",
    destination="b.example",
    content=b'{"pdus":[]}',
    key=KEY,
)
GOOD = parse_authorization(SIGNED)
SEEDS = (
    SIGNED.encode(),
    b'{"pdus":[]}',
    b'{ "pdus": [{"a": 1.5, "b": 123456789012345678901}] }',
    TARGET.encode(),
)


def check(data: bytes) -> None:
    text = data.decode("latin-1")
    _body(data)
    _target(text)
    with contextlib.suppress(Malformed):
        headers = parse_authorizations((text, SIGNED.replace("a_fuzz", "other")), LIMITS)
        _judged(headers, TARGET, b'{"pdus":[]}')
    with contextlib.suppress(Malformed):
        _judged(parse_authorizations((text,), LIMITS), TARGET, b'{"pdus":[]}')


def _body(data: bytes) -> None:
    for lenient in (False, True):
        with contextlib.suppress(Malformed):
            value, canonical = canonical_content(data, limits=LIMITS, lenient=lenient)
            if not lenient:
                assert value == json.loads(data)
                assert canonical == encode_canonical(value)
            assert GOOD is not None
            _judged((GOOD,), TARGET, canonical)


def _target(text: str) -> None:
    whole = {"method": text, "uri": text, "origin": text, "destination": text, "content": {}}
    assert encode_canonical(whole) == request_bytes(
        method=text, target=text, origin=text, destination=text, content=b"{}"
    )
    assert GOOD is not None
    _judged((GOOD,), text, b'{"pdus":[]}')


def _judged(headers: tuple[XMatrix, ...], target: str, content: bytes) -> None:
    judged = examine_request(
        headers,
        method="PUT",
        targets=(target,),
        destination="b.example",
        content=content,
        keys=KEYS,
    )
    assert (first_fatal(judged.conditions) is None) == bool(judged.key_id)
    ours = [each for each in headers if each.key == KEY.key_id]
    same = target == TARGET and content == b'{"pdus":[]}' and headers[0].origin == "a.example"
    assert GOOD is not None
    signed = any(_bits(each.sig) == _bits(GOOD.sig) for each in ours)
    assert bool(judged.key_id) <= (same and signed)
    if headers == (GOOD,) and same:
        assert judged.key_id == KEY.key_id


def _bits(signature: str) -> str:
    """Without padding and the last digit, whose spare bits may be set."""
    return signature.rstrip("=")[:-1]
