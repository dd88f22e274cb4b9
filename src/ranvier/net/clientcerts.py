"""Asking clients for a certificate, and taking whatever they show.

A home server's certificate is judged by what its key documents or our
configuration say, byte for byte, and only after its request was authenticated
(D24). So the handshake must take any: of an unknown authority, signed by itself,
expired, made for servers only, of version 1; and clients that show none. The
standard library ends the handshake at the first of these, whatever it is told.

pyOpenSSL can say yes to all, and comes with the extra ``client-certs``.
:class:`AskingContext` is an :class:`ssl.SSLContext` to asyncio and uvloop, with
the same files, suites and versions, and makes its connections by pyOpenSSL. What
the handshake does prove is that the client has the certificate's private key.

A session that is resumed brings the certificate that its first handshake proved.
Tickets are good for one context only, as without asking.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from os import PathLike
from typing import Any, TypeAlias, TypeVar

from ranvier.errors import BadConfiguration
from ranvier.net.tls_server import ServerTls

try:
    from OpenSSL import SSL, crypto
except ImportError:
    SSL = None  # type: ignore[assignment] # looked at where it is needed

RECORD = 16_384
"""What one TLS record holds at most, and one read gives."""

FLIGHT = 65_536
_PROTOCOL = b"http/1.1"
_File: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]

Answer = TypeVar("Answer")


class AskingContext(ssl.SSLContext):
    """A server's TLS context that asks for a client certificate and takes any."""

    def load_cert_chain(
        self,
        certfile: _File,
        keyfile: _File | None = None,
        password: Callable[[], str | bytes | bytearray] | str | bytes | bytearray | None = None,
    ) -> None:
        """Our own pair. Raises as it does without asking."""
        super().load_cert_chain(certfile, keyfile, password)
        suites = [each["name"] for each in self.get_ciphers()]
        try:
            self._asking = _asking_context(suites, certfile, keyfile or certfile)
        except SSL.Error as error:
            raise _ssl_error(error) from None

    def wrap_bio(  # type: ignore[override] # not a subclass of SSLObject: those cannot be made
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> AskingConnection:
        """One connection, as event loops make it."""
        return AskingConnection(self._asking, incoming, outgoing)


class AskingConnection:
    """What event loops need of an :class:`ssl.SSLObject`, by pyOpenSSL."""

    __slots__ = ("_incoming", "_more", "_outgoing", "_tls")

    def __init__(
        self, context: SSL.Context, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._more = False  # there may be more to read of what has arrived
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises: ssl.SSLError, SSLWantReadError."""
        self._try(self._tls.do_handshake)
        self._flush()

    def read(self, size: int = RECORD, buffer: bytearray | memoryview | None = None) -> bytes | int:
        """At most ``size`` bytes, into ``buffer`` if there is one; none at the end.

        Raises: ssl.SSLError, SSLWantReadError.
        """
        try:
            data = self._try(self._tls.recv, min(size, RECORD))
        except ssl.SSLZeroReturnError:
            data = b""
        if buffer is None:
            return data
        buffer[: len(data)] = data
        return len(data)

    def pending(self) -> int:
        """How much there is to read at least, before more arrives."""
        return self._tls.pending() or int(self._more)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Encrypt ``data``; how much of it. Raises: ssl.SSLError."""
        taken = self._try(self._tls.send, data)
        self._flush()
        return taken

    def unwrap(self) -> None:
        """Say that we end, and hear it. Raises: ssl.SSLError, SSLWantReadError."""
        heard = self._try(self._tls.shutdown) or self._try(self._tls.shutdown)
        self._flush()
        if not heard:
            raise ssl.SSLWantReadError

    def getpeercert(self, binary_form: bool = False) -> bytes | dict[str, object] | None:
        """The client's certificate as it was sent (DER), ``None`` if it showed none.

        In words it is never given: nobody has verified it.
        """
        if not binary_form:
            return {}
        shown = self._tls.get_peer_certificate()
        return None if shown is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)

    def cipher(self) -> tuple[str | None, str | None, int | None]:
        """Suite, its protocol version, its bits."""
        tls = self._tls
        return tls.get_cipher_name(), tls.get_cipher_version(), tls.get_cipher_bits()

    def version(self) -> str:
        """The version of TLS, such as ``TLSv1.3``."""
        return self._tls.get_protocol_version_name()

    def compression(self) -> None:
        """Never any."""

    def _try(self, step: Callable[..., Answer], *given: object) -> Answer:
        """One step with all that has arrived; what it gives out goes on its way if it stops."""
        if self._incoming.pending:
            self._more = True
            self._tls.bio_write(self._incoming.read())
        try:
            return step(*given)
        except SSL.Error as error:
            self._more = False
            self._flush()
            raise _ssl_error(error) from None

    def _flush(self) -> None:
        try:
            while True:
                ready = self._tls.bio_read(FLIGHT)
                self._outgoing.write(ready)
                if len(ready) < FLIGHT:
                    return
        except SSL.WantReadError:
            return


class AskingServerTls(ServerTls):
    """A listener's certificate; its clients are asked for theirs.

    Raises BadConfiguration when made: as without asking, or without pyOpenSSL.
    """

    kind = AskingContext

    def _load(self) -> tuple[ssl.SSLContext, bytes]:
        if SSL is None:
            raise BadConfiguration(
                "client-certs-extra",
                "to ask for client certificates, install pyOpenSSL:"
                " pip install 'ranvier[client-certs]'",
            )
        return super()._load()


def _asking_context(suites: list[str], certificate: _File, key: _File) -> SSL.Context:
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.set_min_proto_version(SSL.TLS1_2_VERSION)
    made.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    made.set_cipher_list(":".join(each for each in suites if not each.startswith("TLS_")).encode())
    made.set_alpn_select_callback(_choose_protocol)
    made.use_certificate_chain_file(certificate)
    made.use_privatekey_file(key)
    made.set_session_id(b"ranvier")  # without one, a session that is resumed fails
    made.set_verify_depth(0)  # no work for certificates of a stranger's making
    made.set_verify(SSL.VERIFY_PEER, _take_any)
    return made


def _take_any(*_: object) -> bool:
    return True


def _choose_protocol(_: SSL.Connection, offered: list[bytes]) -> Any:
    return _PROTOCOL if _PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _ssl_error(error: SSL.Error) -> ssl.SSLError:
    """The same in the standard library's words, which event loops know."""
    if isinstance(error, SSL.WantReadError):
        return ssl.SSLWantReadError()
    if isinstance(error, SSL.ZeroReturnError):
        return ssl.SSLZeroReturnError()
    if isinstance(error, SSL.SysCallError):
        return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the connection ended without a word")
    return ssl.SSLError(ssl.SSL_ERROR_SSL, str(error))
