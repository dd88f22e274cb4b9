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


class WebPki(msgspec.Struct, frozen=True, tag="web-pki"):
    """The system's authorities, or the ones the wire was made with."""


class Pinned(msgspec.Struct, frozen=True, tag="pinned"):
    """Accepted leaves: lower-case hex SHA-256 of the DER."""

    leaves: frozenset[str]


class FirstContact(msgspec.Struct, frozen=True, tag="first-contact"):
    """Judged afterwards, by the key document that comes over it."""


Trust: TypeAlias = WebPki | Pinned | FirstContact
