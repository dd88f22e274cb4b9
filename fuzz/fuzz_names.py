"""Server names, identifiers and key ids from any bytes."""

from __future__ import annotations

import contextlib

from ranvier.errors import Malformed
from ranvier.protocol.names import (
    Grammar,
    ServerName,
    is_publishable_key_id,
    parse_key_id,
    split_identifier,
)

INVARIANT = (
    "Any text is Malformed, or a name that gives back the same letters, whose port is in range"
    " and whose TLS name is ASCII without brackets."
)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for grammar in Grammar:
        with contextlib.suppress(Malformed):
            check_name(ServerName(text, grammar), text)
    with contextlib.suppress(Malformed):
        identifier = split_identifier(text)
        assert text == f"{identifier.sigil}{identifier.localpart}:{identifier.server_name}"
    with contextlib.suppress(Malformed):
        assert parse_key_id(text).text == text
    if is_publishable_key_id(text):
        assert text.isascii()


def check_name(name: ServerName, text: str) -> None:
    assert str(name) == text
    assert text.startswith(name.hostname)
    assert name.port is None or 1 <= name.port <= 65535
    assert name.tls_name.text.isascii()
    assert "[" not in name.tls_name.text
    assert name.resolvable or name.notes
