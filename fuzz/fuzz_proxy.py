"""The proxy's URL from any bytes: a secret in it shows nowhere."""

from __future__ import annotations

import contextlib
import re

from ranvier.errors import Malformed
from ranvier.protocol.proxy import parse_proxy

INVARIANT = (
    "Any text is Malformed in the same words, or a proxy with a host in ASCII and a port in range"
    " whose credentials are one header value and in none of its texts."
)

SEEDS = (
    b"http://127.0.0.1:3128",
    b"http://me:pass%20word@proxy.internal:80/",
    b"http://[::1]:3128",
)

_VALUE = re.compile(r"(?:Basic [A-Za-z0-9+/]+={0,2})?", re.ASCII)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(Malformed):
        proxy = parse_proxy(text)
        assert proxy.host.isascii()
        assert 1 <= proxy.port <= 65535
        assert _VALUE.fullmatch(proxy.authorization)
        assert (
            str(proxy) == f"{f'[{proxy.host}]' if ':' in proxy.host else proxy.host}:{proxy.port}"
        )
        assert repr(proxy) == f"Proxy({proxy})"
