"""Which addresses we may connect to."""

from __future__ import annotations

import msgspec


class Address(msgspec.Struct, frozen=True, order=True):
    """An IP address in text (no brackets) and a port: what a socket connects to."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"
