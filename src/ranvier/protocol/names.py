"""Server names, TLS names and key ids."""

from __future__ import annotations

import msgspec


class TlsName(msgspec.Struct, frozen=True):
    """What a certificate must be for: a DNS name, or an IP address (then no SNI)."""

    text: str
    is_ip: bool = False

    def __str__(self) -> str:
        return self.text
