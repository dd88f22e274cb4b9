"""Addresses for the loopback interface of a private namespace, by netlink.

Whoever asks for this outside of a namespace without any other interface is refused:
the addresses are those of others there.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable

_NEWADDR, _ERROR = 20, 2
_REQUEST_ACK_CREATE = 0x1 | 0x4 | 0x400
_ADDRESS, _LOCAL = 1, 2
_NO_DUPLICATE_CHECK = 0x02
_EXISTS = 17


def insist_private() -> None:
    """Raises: RuntimeError, unless loopback is all there is."""
    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        raise RuntimeError(f"this is no private network namespace: it has {names}")


def add_addresses(ips: Iterable[str]) -> None:
    """Make each of ``ips`` one of our own. Raises: OSError, RuntimeError."""
    insist_private()
    index = socket.if_nametoindex("lo")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.bind((0, 0))
        for ip in ips:
            link.send(_message(ip, index))
            _acknowledged(link.recv(65536), ip)


def _message(ip: str, index: int) -> bytes:
    packed = ipaddress.ip_address(ip).packed
    family, bits = (socket.AF_INET, 32) if len(packed) == 4 else (socket.AF_INET6, 128)
    body = struct.pack("=BBBBi", family, bits, _NO_DUPLICATE_CHECK, 0, index)
    for kind in (_LOCAL, _ADDRESS):
        body += struct.pack("=HH", 4 + len(packed), kind) + packed
    return struct.pack("=IHHII", 16 + len(body), _NEWADDR, _REQUEST_ACK_CREATE, 1, 0) + body


def _acknowledged(answer: bytes, ip: str) -> None:
    kind = struct.unpack_from("=H", answer, 4)[0]
    error = -struct.unpack_from("=i", answer, 16)[0] if kind == _ERROR else 0
    if error not in (0, _EXISTS):
        raise OSError(error, f"{ip} cannot be ours: {os.strerror(error)}")
