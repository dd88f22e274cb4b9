"""A CONNECT proxy for tests: threads on loopback, and it says what it was asked.

``answer`` gives the bytes for one CONNECT request's head, or ``None`` to make the
connection. A destination may be sent elsewhere by ``leads``.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from ranvier.protocol.addresses import Address

YES = b"HTTP/1.1 200 Connection established\r\n\r\n"


def yes(head: bytes) -> bytes | None:
    return None


class ConnectProxy:
    """``heads`` are the requests, byte for byte."""

    def __init__(
        self, answer: Callable[[bytes], bytes | None] = yes, *, hello: bytes = YES
    ) -> None:
        self.heads: list[bytes] = []
        self._answer = answer
        self._hello = hello
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def __enter__(self) -> ConnectProxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open.append(self._listener)
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self._start(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def targets(self) -> list[str]:
        """What it was asked to connect to."""
        return [head.split(b" ")[1].decode() for head in self.heads]

    def _start(self, work: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=work, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stopping.is_set():
                sock, _ = self._listener.accept()
                self._open.append(sock)
                self._start(self._tunnel, sock)

    def _tunnel(self, sock: socket.socket) -> None:
        with contextlib.closing(sock), contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                more = sock.recv(65536)
                if not more:
                    return
                head += more
            self.heads.append(head)
            refusal = self._answer(head)
            if refusal is not None:
                sock.sendall(refusal)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
                return
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            far = socket.create_connection((host.strip("[]"), int(port)), 5)
            self._open.append(far)
            sock.sendall(self._hello)
            self._start(_pump, far, sock)
            _pump(sock, far)


def _pump(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)
