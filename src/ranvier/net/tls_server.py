"""Our certificate: read again when its files change, without dropping a connection.

Every accepted connection takes the context that is current at its handshake;
the files are looked at (two ``stat`` calls) at each handshake, so that a new
certificate counts at once. A connection keeps the context and the leaf it began
with: version 1 of the key document names *that* leaf ``[2014:retrieving-server-keys]``.
No context is ever changed, and each has session tickets of its own, so that a
session cannot be resumed across a change of certificate.

A pair that is half-written, does not match or cannot be read changes nothing:
the old one stays, and the fault is logged once and kept in
:attr:`ServerTls.problem`.

We never ask for a client certificate here: the standard library cannot accept
one of an unknown authority without ending the handshake. :mod:`ranvier.net.clientcerts` can.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from ranvier.errors import BadConfiguration
from ranvier.net.files import Watch, read_file, read_secret
from ranvier.plugs import Clock

logger = logging.getLogger("ranvier.listen")


class ServerTls:
    """The certificate files of a listener, and the context made from them.

    Raises BadConfiguration when made: with no usable pair there is nothing to keep.
    """

    kind: type[ssl.SSLContext] = ssl.SSLContext

    def __init__(self, certificate: Path, key: Path, clock: Clock) -> None:
        self._paths = (certificate, key)
        self._watch = Watch(self._paths, clock)
        self._content: tuple[bytes, bytes] | None = None
        self.problem: BadConfiguration | None = None
        self._watch.changed()
        self._context, self._leaf = self._load()

    def current(self) -> tuple[ssl.SSLContext, bytes]:
        """The context for the next handshake, and the leaf (DER) that it shows."""
        if self._watch.changed():
            self._reload()
        return self._context, self._leaf

    def _reload(self) -> None:
        before = self._content
        try:
            content = self._read()
            if content == before:
                return
            self._context, self._leaf = self._load()
        except BadConfiguration as error:
            if self.problem is None or self.problem.message != error.message:
                logger.warning("the old certificate stays in use: %s", error)
            self.problem = error
        else:
            self.problem = None
            logger.info("the certificate in %s is in use now", self._paths[0])

    def _read(self) -> tuple[bytes, bytes]:
        certificate, key = self._paths
        return read_file(certificate), read_secret(key, group_may_read=True)

    def _load(self) -> tuple[ssl.SSLContext, bytes]:
        self._content = self._read()
        certificate, key = self._paths
        context = _context(self.kind)
        try:
            context.load_cert_chain(certificate, key, password=lambda: b"")
            return context, shown_leaf(context)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise BadConfiguration(
                "certificate-unusable",
                f"{certificate} and {key} are not a certificate and its unencrypted key: {reason}",
            ) from None


class LeafFile:
    """The certificate that peers see when a proxy ends TLS (D4); read again when it changes.

    Raises BadConfiguration when made and there is no certificate.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._watch = Watch((path,), clock)
        self._watch.changed()
        self._leaf = self._load()

    def current(self) -> bytes:
        """The first certificate in the file, as DER; the last good one if it is broken now."""
        if self._watch.changed():
            try:
                self._leaf = self._load()
            except BadConfiguration as error:
                logger.warning("the proxy's old certificate stays in use: %s", error)
        return self._leaf

    def _load(self) -> bytes:
        text = read_file(self._path).decode("ascii", "replace")
        begins, ends = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
        try:
            return ssl.PEM_cert_to_DER_cert(text[begins : ends + len(ssl.PEM_FOOTER)])
        except ValueError:
            raise BadConfiguration(
                "certificate-not-pem", f"{self._path} holds no PEM certificate"
            ) from None


def _context(kind: type[ssl.SSLContext]) -> ssl.SSLContext:
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def shown_leaf(context: ssl.SSLContext) -> bytes:
    """The leaf (DER) that ``context`` shows, found out by a handshake in memory.

    Raises: ssl.SSLError (the pair cannot serve).
    """
    viewer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    viewer.check_hostname = False
    viewer.verify_mode = ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (viewer.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True))
    for end in (ends[0], ends[1], ends[0], ends[1]):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends[0].getpeercert(binary_form=True) or b""
