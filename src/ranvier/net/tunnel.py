"""Going out through an HTTP proxy: CONNECT to the address that was judged (D26).

The proxy is asked for an *address*, never for a name: names are looked up here, and
the address policy has seen what the proxy is asked for. The proxy itself was
configured, so it may stand anywhere and be given by name. What is inside the tunnel
is TLS with the destination; the proxy sees the address and the bytes' number.

====================  ===========================================================
``proxy-unreachable``  there is no connection to it, or it broke
``proxy-refused``      it answered CONNECT with another status than 2xx
``proxy-not-http``     it answered with something else, or with too much of it
====================  ===========================================================
"""

from __future__ import annotations

import asyncio
import socket

import h11

from ranvier.errors import ConnectFault
from ranvier.net.stream import connect
from ranvier.protocol.addresses import Address
from ranvier.protocol.proxy import CLAUSE, Proxy
from ranvier.protocol.text import shown

_PIECE = 4096


async def connect_through(proxy: Proxy, to: Address, budget: int) -> socket.socket:
    """A socket that leads to ``to``. ``budget``: the most that the proxy may say, in bytes.

    Raises: ConnectFault.
    """
    sock = await _connect(proxy)
    try:
        await _ask(sock, proxy, to, budget)
    except OSError as error:
        sock.close()
        message = f"the connection to the proxy {proxy} broke: {error.strerror or error}"
        raise ConnectFault("proxy-unreachable", message, clause=CLAUSE) from error
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(proxy: Proxy) -> socket.socket:
    """To the first of the proxy's addresses that takes a connection. Raises: ConnectFault."""
    loop, why = asyncio.get_running_loop(), "its name has no address"
    try:
        found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        found, why = [], str(error)
    for *_, where in found:
        try:
            return await connect(Address(str(where[0]), proxy.port))
        except ConnectFault as fault:
            why = fault.message
    message = f"there is no connection to the proxy {proxy}: {why}"
    raise ConnectFault("proxy-unreachable", message, clause=CLAUSE)


async def _ask(sock: socket.socket, proxy: Proxy, to: Address, budget: int) -> None:
    """Raises: ConnectFault, OSError."""
    parser, loop = h11.Connection(h11.CLIENT), asyncio.get_running_loop()
    headers = [("Host", str(to))]
    if proxy.authorization:
        headers.append(("Proxy-Authorization", proxy.authorization))
    head = h11.Request(method="CONNECT", target=str(to), headers=headers)
    pieces = (parser.send(head), parser.send(h11.EndOfMessage()))
    await loop.sock_sendall(sock, b"".join(piece or b"" for piece in pieces))
    while not _answered(parser, proxy, to):
        data = await loop.sock_recv(sock, _PIECE)
        budget -= len(data)
        if budget < 0:
            raise _not_http(proxy, "its answer does not come to an end")
        parser.receive_data(data)


def _answered(parser: h11.Connection, proxy: Proxy, to: Address) -> bool:
    """Whether the proxy has said yes. Raises: ConnectFault."""
    event: object = None
    while event is not h11.NEED_DATA:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            raise _not_http(proxy, f"{error!s:.200}") from error
        if isinstance(event, h11.Response):
            if not 200 <= event.status_code < 300:
                said = f"{event.status_code} {shown(event.reason)}"
                message = f"the proxy {proxy} makes no connection to {to}: {said}"
                raise ConnectFault("proxy-refused", message, clause=CLAUSE)
            if parser.trailing_data[0]:  # in TLS the client speaks first
                raise _not_http(proxy, "it says more than yes")
            return True
    return False


def _not_http(proxy: Proxy, why: str) -> ConnectFault:
    message = f"the proxy {proxy} does not answer as a proxy: {why}"
    return ConnectFault("proxy-not-http", message, clause=CLAUSE)
