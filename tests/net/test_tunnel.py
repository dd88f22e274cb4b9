"""Going out through a proxy: what it is asked, and each way in which it fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from ranvier.errors import AddressRefused, ConnectFault, TimedOut, TlsFault
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.plugs import HttpRequest
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.names import TlsName
from ranvier.protocol.proxy import Proxy, parse_proxy
from ranvier.protocol.trust import WebPki
from tests.rigs import certs
from tests.rigs.certs import Kind
from tests.rigs.proxy import YES, ConnectProxy
from tests.rigs.tls import TlsListener, answering

NAME = TlsName("a.test")
GET = HttpRequest(method="GET", target="/", host="a.test")


@pytest.fixture
def listener() -> Iterator[TlsListener]:
    with TlsListener(certs.certificate(Kind.GOOD, "a.test"), answering(b"{}")) as running:
        yield running


def through(proxy: Proxy, limits: Limits | None = None, *, private: bool = True) -> NetWire:
    policy = AddressPolicy(allow_private=private)
    ca_file = certs.authority().file
    return NetWire(SystemClock(), limits or Limits(), policy, ca_file, proxy=proxy)


def at(proxy: ConnectProxy, user: str = "") -> Proxy:
    return parse_proxy(f"http://{user}{proxy.address}")


async def refused(wire: NetWire, to: Address) -> ConnectFault:
    with pytest.raises(ConnectFault) as caught:
        await wire.dial(to, NAME, WebPki())
    assert caught.value.clause == "[ranvier:proxy]"
    return caught.value


@pytest.mark.req("D26")
async def test_the_proxy_is_asked_for_the_address_and_sees_only_tls(
    listener: TlsListener,
) -> None:
    with ConnectProxy() as proxy:
        link = await through(at(proxy)).dial(listener.address, NAME, WebPki())
        assert (await link.exchange(GET, Limits().exchange(body_bytes=100))).body == b"{}"
        await link.close()
    assert link.facts.address == listener.address
    assert link.facts.via == str(proxy.address)
    to = str(listener.address)
    assert proxy.heads == [f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode()]
    assert listener.connections[0].sni == "a.test"


async def test_a_look_goes_through_the_proxy_too(listener: TlsListener) -> None:
    with ConnectProxy() as proxy:
        assert (await through(at(proxy)).look(listener.address, NAME)).chain
    assert proxy.targets == [str(listener.address)]


async def test_an_ipv6_address_stands_in_brackets() -> None:
    with (
        TlsListener(certs.certificate(Kind.GOOD, "a.test"), answering(b""), ip="::1") as listener,
        ConnectProxy() as proxy,
    ):
        await (await through(at(proxy)).dial(listener.address, NAME, WebPki())).close()
    assert proxy.targets == [f"[::1]:{listener.address.port}"]


async def test_the_proxy_may_be_given_by_name(listener: TlsListener) -> None:
    with ConnectProxy() as proxy:
        named = Proxy("localhost", proxy.address.port)
        await (await through(named).dial(listener.address, NAME, WebPki())).close()
    assert proxy.targets == [str(listener.address)]


async def test_credentials_go_to_the_proxy_and_into_no_message(listener: TlsListener) -> None:
    def wants(head: bytes) -> bytes | None:
        if b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in head:
            return None
        return b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"

    with ConnectProxy(wants) as proxy:
        await (
            await through(at(proxy, "me:secret@")).dial(listener.address, NAME, WebPki())
        ).close()
        fault = await refused(through(at(proxy, "me:wrong@")), listener.address)
    assert fault.code == "proxy-refused"
    assert "407" in fault.message
    assert "wrong" not in fault.message
    assert b"secret" not in listener.application_bytes


async def test_the_certificate_is_judged_behind_a_proxy_too() -> None:
    bad = certs.certificate(Kind.EXPIRED, "a.test")
    with TlsListener(bad, answering(b"")) as listener, ConnectProxy() as proxy:
        with pytest.raises(TlsFault) as caught:
            await through(at(proxy)).dial(listener.address, NAME, WebPki())
        assert caught.value.code == "tls-expired"
        assert caught.value.certificates == bad.chain
    assert set(proxy.targets) == {str(listener.address)}


@pytest.mark.req("SEC-05")
async def test_the_policy_holds_for_what_the_proxy_is_asked_for_and_not_for_the_proxy() -> None:
    with ConnectProxy() as proxy:
        wire = through(at(proxy), private=False)
        with pytest.raises(AddressRefused):
            await wire.dial(Address("127.0.0.1", 1), NAME, WebPki())
        assert not proxy.heads


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "proxy-refused"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "proxy-refused"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "proxy-refused"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\n\r\n", "proxy-refused"),
        (b"", "proxy-not-http"),
        (b"HTTP/1.1 200 OK", "proxy-not-http"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "proxy-not-http"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 5000, "proxy-not-http"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "proxy-not-http"),
        (YES + b"\x16\x03\x01", "proxy-not-http"),
    ],
)
async def test_each_answer_that_is_no_yes_has_its_code(
    listener: TlsListener, answer: bytes, code: str
) -> None:
    with ConnectProxy(lambda head: answer) as proxy:
        wire = through(at(proxy), Limits(proxy_head_bytes=1000))
        assert (await refused(wire, listener.address)).code == code
    assert listener.accepted == 0


async def test_a_proxy_that_says_yes_in_pieces_is_understood(listener: TlsListener) -> None:
    hello = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 Fine\r\nVia: x\r\n\r\n"
    with ConnectProxy(hello=hello) as proxy:
        await (await through(at(proxy)).dial(listener.address, NAME, WebPki())).close()


async def test_a_proxy_that_is_not_there_is_told_from_a_destination_that_is_not(
    listener: TlsListener,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    for host in ("127.0.0.1", "localhost", "no-such-host.invalid", "a" * 64 + ".invalid"):
        fault = await refused(through(Proxy(host, port)), listener.address)
        assert fault.code == "proxy-unreachable"
        assert str(Proxy(host, port)) in fault.message


async def test_a_proxy_that_breaks_off_is_unreachable(listener: TlsListener) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: writer.transport.abort(), "127.0.0.1", 0
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        fault = await refused(through(Proxy("127.0.0.1", port)), listener.address)
    assert fault.code in ("proxy-unreachable", "proxy-not-http")


async def test_a_silent_proxy_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wire = through(Proxy(*silent.getsockname()), Limits(connect_seconds=0.3))
        with pytest.raises(TimedOut) as caught:
            await wire.dial(Address("127.0.0.1", 1), NAME, WebPki())
    assert caught.value.code == "proxy-timeout"
