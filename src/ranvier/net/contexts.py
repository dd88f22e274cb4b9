"""The TLS contexts of a wire: one for each kind of trust, with and without our certificate.

A context costs about 50 ms (reading the authorities), so each is made when it is
first needed and kept. Those that offer our client certificate are made anew when its
files have changed: a renewed certificate is offered from the next connection on.
"""

from __future__ import annotations

import os
import ssl

from ranvier.errors import BadConfiguration
from ranvier.net.judge import looking_context, verifying_context
from ranvier.protocol.trust import Trust, WebPki

_Stamp = tuple[tuple[int, int, int], ...]

_NO_FILES: _Stamp = ()


class Contexts:
    """``ca_file`` (PEM) replaces the system's authorities; ``client`` are the PEM files of our
    client certificate, leaf first, and its key, or ``None``."""

    def __init__(self, ca_file: str | None, client: tuple[str, str] | None) -> None:
        self._ca_file = ca_file
        self._client = client
        self._kept: dict[tuple[bool, bool], tuple[ssl.SSLContext, _Stamp]] = {}

    def prepare(self) -> None:
        """Read all files now. Raises: BadConfiguration."""
        self.of(WebPki())
        if self._client is not None:
            self.of(WebPki(), present=True)

    def offers(self, present: bool) -> bool:
        """Whether a certificate of ours is offered, if that is wanted."""
        return present and self._client is not None

    def of(self, trust: Trust | None, *, present: bool = False) -> ssl.SSLContext:
        """The context that judges by ``trust``; for all but WebPki the handshake judges nothing.

        Raises: BadConfiguration.
        """
        judged, offering = isinstance(trust, WebPki), self.offers(present)
        known = self._kept.get((judged, offering))
        stamp = self._stamp() if offering else _NO_FILES
        if known is not None and stamp in (known[1], _NO_FILES):
            return known[0]
        made = verifying_context(self._ca_file) if judged else looking_context()
        if offering:
            self._load_client(made)
        self._kept[judged, offering] = made, stamp
        return made

    def _stamp(self) -> _Stamp:
        """Tells one state of our files from another."""
        try:
            states = [os.stat(path) for path in self._client or ()]
        except OSError:
            return _NO_FILES  # while they are being replaced, what was loaded serves
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in states)

    def _load_client(self, context: ssl.SSLContext) -> None:
        """Raises: BadConfiguration."""
        certificate, key = self._client or ("", "")
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            pem = "they are no certificate in PEM with its unencrypted key"
            reason = getattr(error, "strerror", "") if not isinstance(error, ssl.SSLError) else pem
            raise BadConfiguration(
                "client-certificate-unusable",
                f"the client certificate {certificate!r} with key {key!r} cannot be used:"
                f" {reason or error}",
            ) from error


def _no_password() -> str:
    """Without this OpenSSL would ask at the terminal."""
    return ""
