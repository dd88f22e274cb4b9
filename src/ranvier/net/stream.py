"""Bytes over TCP, and then over TLS: one non-blocking socket and two memory buffers.

Why not asyncio's own TLS transport: here the handshake is a step of its own, with
its own time and its own failure; nothing is written unless somebody calls
:meth:`TlsStream.send`; and closing leaves no task behind. What the peer feeds is
bounded: the handshake by ``Limits.handshake_bytes``, everything after it by whoever
calls :meth:`TlsStream.receive` (each call gives at most one piece).
"""

from __future__ import annotations

import _ssl
import asyncio
import contextlib
import errno
import socket
import ssl

from ranvier.errors import ConnectFault, ConnectionLost, TlsFault
from ranvier.protocol.addresses import Address

PIECE = 65_536
"""The most that is read from a socket at once, in bytes."""

# What may hold nothing but session tickets and the like: pieces, and bytes.
_TICKETS = 8
_EMPTY_BYTES = 4 * PIECE

# How a peer says in TLS 1.3, after the handshake, that it does not like our certificate.
_REFUSALS = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    }
)

_UNREACHABLE = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)


async def connect(to: Address) -> socket.socket:
    """A connected TCP socket. Only addresses in numbers: nothing is ever looked up here.

    Raises: ConnectFault.
    """
    family = socket.AF_INET6 if ":" in to.ip else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (to.ip, to.port))
    except OSError as error:
        _close(sock)
        raise _connect_fault(to, error) from error
    except BaseException:
        _close(sock)
        raise
    return sock


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        sock.close()


def _connect_fault(to: Address, error: OSError) -> ConnectFault:
    if isinstance(error, ConnectionRefusedError):
        return ConnectFault(
            "connect-refused", f"{to} refused the connection: nothing listens there"
        )
    if isinstance(error, ConnectionResetError):
        return ConnectFault("connect-reset", f"{to} reset the connection")
    if error.errno in _UNREACHABLE:
        return ConnectFault("connect-unreachable", f"there is no way to {to}: {error.strerror}")
    return ConnectFault("connect-failed", f"no connection to {to}: {error.strerror or error}")


class TlsStream:
    """TLS over a connected socket, seen from the client. One reader and one writer at a time."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        """``server_name`` is checked, and sent as SNI unless it is an IP address."""
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=server_name)
        self._flushing = asyncio.Lock()
        self._spoilt = False
        self._refused = ""

    @property
    def version(self) -> str:
        """``TLSv1.3``."""
        return self._tls.version() or ""

    @property
    def cipher(self) -> str:
        """The cipher's usual name."""
        return (self._tls.cipher() or ("",))[0]

    def chain(self) -> tuple[bytes, ...]:
        """What the peer showed, leaf first, as DER, judged or not."""
        return peer_chain(self._tls)

    async def handshake(self, budget: int) -> None:
        """Shake hands; the certificate is judged within, by the context's rules.

        ``budget`` is the most that the peer may send until it is done, in bytes.

        Raises: ssl.SSLError, TlsFault (the peer went away, or never comes to an end).
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush_handshake()
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # our alert, as far as it goes
                    self._sock.send(self._out.read())
                raise
            else:
                await self._flush_handshake()
                return
            budget -= await self._more_handshake()
            if budget < 0:
                raise TlsFault("tls-handshake-too-long", "its handshake does not come to an end")

    async def _flush_handshake(self) -> None:
        try:
            await self._flush()
        except OSError as error:
            raise TlsFault("tls-closed", f"it went away in the handshake: {error}") from error

    async def _more_handshake(self) -> int:
        try:
            data = await self._loop.sock_recv(self._sock, PIECE)
        except OSError as error:
            raise TlsFault("tls-closed", f"it went away in the handshake: {error}") from error
        if not data:
            raise TlsFault("tls-closed", "it closed the connection in the handshake")
        return self._in.write(data)

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises: ConnectionLost."""
        view = memoryview(data)
        try:
            for start in range(0, len(view), PIECE):
                self._tls.write(view[start : start + PIECE])
                await self._flush()
        except (OSError, ValueError) as error:
            raise ConnectionLost("connection-broken", f"while sending: {error}") from error

    async def receive(self) -> bytes:
        """The next piece; empty at the end that TLS marks as such.

        Raises: ConnectionLost; ``connection-cut`` if TCP ended without TLS's end mark,
        so that an answer without a length may have lost its end on the way;
        ``client-certificate-refused`` if that is why, which in TLS 1.3 shows only here (D24).
        """
        if self._refused:
            raise _certificate_refused(self._refused)
        empty = 0
        while empty <= _EMPTY_BYTES:
            try:
                return self._tls.read(PIECE)
            except ssl.SSLWantReadError:
                pass
            except (OSError, ValueError) as error:
                if _refusal(error):
                    raise _certificate_refused(_refusal(error)) from error
                if _cut_short(error):
                    message = "it ended without TLS's end mark"
                    raise ConnectionLost("connection-cut", message) from error
                raise ConnectionLost("connection-broken", f"while reading: {error}") from error
            empty += await self._more()
        raise ConnectionLost("tls-without-content", "it sends much TLS and nothing in it")

    async def _more(self) -> int:
        try:
            if not self._flushing.locked():  # else the writer takes our few bytes along
                await self._flush()
            data = await self._loop.sock_recv(self._sock, PIECE)
        except (OSError, ValueError) as error:
            raise ConnectionLost("connection-broken", f"while reading: {error}") from error
        if data:
            return self._in.write(data)
        self._in.write_eof()
        return 0

    async def _flush(self) -> None:
        async with self._flushing:
            while self._out.pending:
                await self._loop.sock_sendall(self._sock, self._out.read())

    def quiet(self) -> bool:
        """Whether the connection is open and the peer has nothing to say (tickets aside)."""
        self._spoilt = self._spoilt or not self._listen()
        return not self._spoilt

    def _listen(self) -> bool:
        try:
            for _ in range(_TICKETS):
                try:
                    self._tls.read(1)
                    return False
                except ssl.SSLWantReadError:
                    data = self._sock.recv(PIECE)
                    if not data:
                        return False
                    self._in.write(data)
        except BlockingIOError:
            return True
        except (OSError, ValueError) as error:
            self._refused = _refusal(error)  # whoever reads next shall hear why
            return bool(self._refused)
        return False

    def abandon(self) -> None:
        """Make whoever sends or receives fail at once; never raises."""
        self._spoilt = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye if that takes no waiting, and close; never raises."""
        if self._sock.fileno() < 0:
            return
        self._spoilt = True
        with contextlib.suppress(OSError, ValueError):
            try:
                self._tls.unwrap()
            finally:
                self._sock.send(self._out.read())
        self._sock.close()


def peer_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The chain that the peer showed; the standard library has it in public from 3.13 on."""
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return tuple(public())
    shown = tls._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined] # public from 3.13 on
    return tuple(each.public_bytes(_ssl.ENCODING_DER) for each in shown)


def _cut_short(error: OSError | ValueError) -> bool:
    """Whether TCP ended and TLS had not; early Python 3.11 has no class of its own for it."""
    reason = getattr(error, "reason", "")
    return isinstance(error, ssl.SSLEOFError) or reason == "UNEXPECTED_EOF_WHILE_READING"


def _refusal(error: OSError | ValueError) -> str:
    """OpenSSL's word for it, if the peer refused our certificate."""
    reason = getattr(error, "reason", "") or ""
    return reason if reason in _REFUSALS else ""


def _certificate_refused(reason: str) -> ConnectionLost:
    message = (
        f"it refused our client certificate, or wanted one ({reason});"
        " if the request was sent, what became of it is unknown"
    )
    return ConnectionLost(
        "client-certificate-refused", message, clause="[ranvier:client-certificates]"
    )
