"""Authorization headers from any bytes."""

from __future__ import annotations

from ranvier.errors import Malformed
from ranvier.protocol.xmatrix import format_authorization, parse_authorization, parse_authorizations

INVARIANT = (
    "A header is read, is of another scheme or is Malformed, and whatever is read and can be"
    " written again is read the same."
)

PARAMETERS = b'origin="a.example",destination="b.example",key="ed25519:1",sig="c2ln"'
SEEDS = (
    b"X-Matrix " + PARAMETERS,
    b'x-matrix  sig = c2ln\t, ,KEY="ed25519\\:1" ,Origin=[::1]:8448,foo=bar,',
    b'X-Matrix origin=a.example,key="ed25519:1",sig="c2ln"',
    PARAMETERS,
)


def check(data: bytes) -> None:
    for text in (data.decode("latin-1"), "X-Matrix " + data.decode("utf-8", "replace")):
        _check(text)


def _check(text: str) -> None:
    try:
        read = parse_authorization(text)
    except Malformed:
        return
    assert (read is None) or text.strip().lower().startswith("x-matrix")
    if read is None:
        return
    assert read.origin
    assert read.key
    assert read.sig
    assert parse_authorizations((text, "Basic eA")) == (read,)
    try:
        written = format_authorization(read)
    except Malformed:
        return
    assert parse_authorization(written) == read
