"""X.509: whose certificate is it, for how long, and is it the document's?"""

from __future__ import annotations

import msgspec


class Certificates(msgspec.Struct, frozen=True):
    """The chain that a peer showed, leaf first, as DER. Empty if it showed none."""

    chain: tuple[bytes, ...] = ()

    @property
    def leaf(self) -> bytes:
        """The peer's own certificate; empty bytes if it showed none."""
        return self.chain[0] if self.chain else b""
