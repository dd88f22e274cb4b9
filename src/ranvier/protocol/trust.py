"""How a connection's certificate is judged: three rules, as values.

* :class:`WebPki`: a chain to a known authority, valid now, for the TLS name
  ``[s2s:tls]``. The default everywhere.
* :class:`Pinned`: the leaf is one of a name's accepted set, by SHA-256 of its
  DER; nothing else is looked at ``[2014:retrieving-server-keys]``.
* :class:`FirstContact`: anything goes. Only ``GET /_matrix/key/v1`` may be sent
  over such a connection, because the document that comes back is what the
  certificate is then compared with. No signature, no client certificate, no
  secret goes out before that comparison.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ranvier.errors import TlsFault
from ranvier.protocol.certificates import Certificates, fingerprint


class WebPki(msgspec.Struct, frozen=True, tag="web-pki"):
    """The system's authorities, or the ones the wire was made with."""


class Pinned(msgspec.Struct, frozen=True, tag="pinned"):
    """Accepted leaves: lower-case hex SHA-256 of the DER."""

    leaves: frozenset[str]


class FirstContact(msgspec.Struct, frozen=True, tag="first-contact"):
    """Judged afterwards, by the key document that comes over it."""


Trust: TypeAlias = WebPki | Pinned | FirstContact


def insist_leaf(certificates: Certificates, trust: Trust) -> None:
    """What is left to judge after a handshake: that there is a leaf, and a pinned one's pin.

    Raises: TlsFault, with the chain.
    """
    if not certificates.leaf:
        raise TlsFault("tls-certificate-missing", "it showed no certificate")
    leaf = fingerprint(certificates.leaf)
    if isinstance(trust, Pinned) and leaf not in trust.leaves:
        raise TlsFault(
            "tls-pin-mismatch",
            f"its certificate {leaf} is not among the accepted ones of this name"
            f" ({len(trust.leaves)})",
            clause="[2014:retrieving-server-keys]",
            certificates=certificates.chain,
        )
