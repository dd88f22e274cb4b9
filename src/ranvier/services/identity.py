"""Who we are to others: the server name, its signing keys, and the documents that say so.

The documents are kept as finished bytes:

* **Version 2** is valid for :data:`LIFE_MS` and signed again when half of that has
  passed, so that no answer ever expires within the hour ``[s2s:publishing-keys]``.
  If the wall clock was set back it is signed again at once.
* **Version 1** holds the TLS certificate of the very connection that asks, so there
  is one for each leaf that is in use ``[2014:retrieving-server-keys]``. Behind a
  proxy that ends TLS that leaf must be configured (D4).

Every current key signs both (KEY2-09); the first key signs requests. A retired
key's public half stays published under ``old_verify_keys``, for events only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from ranvier.errors import BadConfiguration
from ranvier.limits import DAY_MS, Ms
from ranvier.plugs import Clock
from ranvier.protocol.keys import OldVerifyKey, build_v1_document, build_v2_document
from ranvier.protocol.names import ServerName
from ranvier.protocol.signing import SigningKey

LIFE_MS = DAY_MS
"""How long a version 2 document is valid; it is renewed at half of this."""

LEAVES_MOST = 16
"""Version 1 documents kept ready: one for each certificate lately in use."""


def no_leaf() -> bytes | None:
    """There is no certificate besides the connection's own."""
    return None


class Identity:
    """One server name with its keys.

    ``outer_leaf`` gives the certificate (DER) that peers see when a proxy ends TLS,
    or ``None``; it is asked at each use, so that a renewal counts at once.

    Raises: BadConfiguration (no key, a key id twice or not publishable).
    """

    def __init__(
        self,
        server_name: ServerName,
        signing_keys: Sequence[SigningKey],
        *,
        clock: Clock,
        old_keys: Sequence[OldVerifyKey] = (),
        outer_leaf: Callable[[], bytes | None] = no_leaf,
    ) -> None:
        self.server_name = server_name
        self.signing_keys = tuple(signing_keys)
        self.old_keys = tuple(old_keys)
        self._clock = clock
        self._outer_leaf = outer_leaf
        self._v2 = b""
        self._v2_until = Ms(0)
        self._v1: OrderedDict[bytes, bytes] = OrderedDict()
        self.document_v2()

    def __repr__(self) -> str:
        ids = ", ".join(key.key_id for key in self.signing_keys)
        return f"Identity({self.server_name.text!r}, {ids})"

    @property
    def request_key(self) -> SigningKey:
        """The key that signs requests."""
        return self.signing_keys[0]

    def document_v2(self) -> bytes:
        """Today's document; between half of :data:`LIFE_MS` and all of it is left."""
        now = self._clock.now()
        if not LIFE_MS // 2 <= self._v2_until - now <= LIFE_MS:
            until = Ms(now + LIFE_MS)
            self._v2 = build_v2_document(
                self.server_name.text, self.signing_keys, old_keys=self.old_keys, valid_until=until
            )
            self._v2_until = until
        return self._v2

    def document_v1(self, leaf: bytes | None) -> bytes | None:
        """The 2014 document for the connection whose leaf (DER) this is.

        Without TLS of our own it is for the configured outer leaf; ``None`` if there
        is none, because the document would vouch for nothing.
        """
        leaf = leaf or self._outer_leaf()
        if not leaf:
            return None
        known = self._v1.get(leaf)
        if known is None:
            known = self._v1[leaf] = build_v1_document(
                self.server_name.text, self.signing_keys, tls_certificate=leaf
            )
            if len(self._v1) > LEAVES_MOST:
                self._v1.popitem(last=False)
        return known

    def retired(self, key_id: str, successor: SigningKey | None = None) -> Identity:
        """This identity from now on without a key; its public half becomes an old key.

        ``successor`` takes the first place. Write the new key file before using this:
        the private half of a retired key must be gone (KEY2-15).

        Raises: BadConfiguration (no such key, or none would be left).
        """
        gone = next((key for key in self.signing_keys if key.key_id == key_id), None)
        if gone is None:
            raise BadConfiguration("retire-no-such-key", f"{key_id!r} is not one of our keys")
        stay = tuple(key for key in self.signing_keys if key is not gone)
        old = OldVerifyKey(key=gone.verify_key, expired_ts=self._clock.now())
        return Identity(
            self.server_name,
            stay if successor is None else (successor, *stay),
            clock=self._clock,
            old_keys=(*self.old_keys, old),
            outer_leaf=self._outer_leaf,
        )
