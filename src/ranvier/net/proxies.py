"""Proxies in front of us that end TLS: who they are, and what they say of the client.

Only the socket's peer address tells whether a header was written by a configured
proxy (D20). From such a proxy one header says which certificate the client showed;
from everybody else, and under every name that is configured anywhere, it is taken
out of the request before the application sees it. A header given twice is refused:
one of the two was written by the client.

The certificate may be written in three ways, told apart by their first bytes:

* nginx's ``$ssl_client_escaped_cert``: PEM, percent-encoded;
* HAProxy's ``ssl_c_der,base64``: DER in base64;
* ``Client-Cert`` ``[rfc9440 2.2]``: the same between colons.

None, or an empty value: the client showed none. Behind a proxy the certificate of
the TLS connection itself, if there is one, is the proxy's and is not told.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import re
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from ranvier.errors import BadConfiguration
from ranvier.net.heads import Refused

# field-name = token [rfc9110 5.1, 5.6.2]
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----\s*", re.ASCII
)
_SEQUENCE = b"\x30"
"""The first byte of every certificate in DER."""

_OURS = frozenset({b"authorization", b"content-length", b"content-type", b"host"})
"""Fields that requests need: not to be taken out."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers: TypeAlias = list[tuple[bytes, bytes]]

logger = logging.getLogger("ranvier.listen")


class TrustedProxy(msgspec.Struct, frozen=True, kw_only=True):
    """Proxies at these addresses, and the header in which they give the certificate."""

    networks: tuple[str, ...]
    certificate_header: str = ""


class Proxies:
    """All proxies of one listener. Raises BadConfiguration when made."""

    def __init__(self, trusted: Iterable[TrustedProxy] = ()) -> None:
        self._by_network: list[tuple[Network, bytes]] = []
        for each in trusted:
            name = _field_name(each.certificate_header)
            self._by_network += [(_network(text), name) for text in each.networks]
        self.headers = frozenset(name for _, name in self._by_network if name)

    def header_of(self, client: str) -> bytes | None:
        """The header that is believed from this address; ``None``: it is no proxy of ours.

        Empty: a proxy that tells nothing.
        """
        if not self._by_network:
            return None
        ip = ipaddress.ip_address(client.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return next((name for network, name in self._by_network if ip in network), None)

    def take(self, headers: Headers, believed: bytes | None) -> bytes | None:
        """Take all such headers out; the certificate (DER) that the believed one holds.

        Raises: Refused.
        """
        values = [value for name, value in headers if name == believed]
        headers[:] = [each for each in headers if each[0] not in self.headers]
        if len(values) > 1:
            raise Refused(400, "client-cert-twice", "the client certificate is given twice")
        return read_certificate(values[0]) if values else None


def read_certificate(value: bytes) -> bytes | None:
    """The certificate (DER) in a proxy's header; ``None`` if it is empty. Raises: Refused."""
    text = value.strip()
    if not text:
        return None
    try:
        if text.startswith(b"-----BEGIN"):
            return _der(_pem_body(unquote_to_bytes(text)))
        if text.startswith(b":"):
            return _der(text[1:-1] if text.endswith(b":") and len(text) > 1 else b":")
        return _der(text)
    except ValueError:
        logger.warning("a proxy of ours gives client certificates in a form that is not known")
        raise Refused(
            400, "client-cert-malformed", "the proxy's client certificate cannot be read"
        ) from None


def _pem_body(text: bytes) -> bytes:
    found = _PEM.fullmatch(text)
    if found is None:
        raise ValueError
    return b"".join(found[1].split())


def _der(text: bytes) -> bytes:
    """Raises: ValueError."""
    der = base64.b64decode(text, validate=True)
    if not der.startswith(_SEQUENCE):
        raise binascii.Error
    return der


def _field_name(text: str) -> bytes:
    name = text.lower().encode("utf-8")
    if text and (_FIELD_NAME.fullmatch(text) is None or name in _OURS):
        raise BadConfiguration(
            "proxy-header-name", f"{text!r} cannot be the header of a client certificate"
        )
    return name


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise BadConfiguration(
            "proxy-network", f"{text!r} is not a network of proxies: {error}"
        ) from None
