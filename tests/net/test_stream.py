"""The stream under the link: what breaks below HTTP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, cast

import pytest

from ranvier.errors import ConnectFault, ConnectionLost, TlsFault
from ranvier.limits import Limits
from ranvier.net.dial import NetWire
from ranvier.net.judge import looking_context
from ranvier.net.stream import TlsStream, connect, peer_chain
from ranvier.protocol.addresses import Address
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import FirstContact
from tests.rigs import certs
from tests.rigs.tls import Peer, TlsListener, answering, http

NAME = TlsName("a.test")


async def stream_to(listener: TlsListener) -> TlsStream:
    stream = TlsStream(await connect(listener.address), looking_context(), "a.test")
    await stream.handshake(Limits().handshake_bytes)
    return stream


def _echo(peer: Peer) -> None:
    while data := peer.receive():
        peer.send(data)


def _goodbye(peer: Peer) -> None:
    peer.send(b"last words")
    peer.half_close()


def _cut(peer: Peer) -> None:
    peer.send(b"last words")
    peer.cut()


def _false_record(peer: Peer) -> None:
    peer.send(b"last words")
    peer.wait(0.05)
    socket.socket.send(peer.sock, b"\x17\x03\x03\x00\x20" + bytes(32))
    peer.wait(1)


def _resets_while_receiving(peer: Peer) -> None:
    peer.receive(10)
    peer.wait(0.05)
    peer.reset()


async def test_bytes_go_both_ways_whole_and_in_order() -> None:
    data = bytes(range(256)) * 2000
    with TlsListener(certs.good("a.test"), _echo) as listener:
        stream = await stream_to(listener)
        sending = asyncio.create_task(stream.send(data))
        back = b""
        while len(back) < len(data):
            back += await stream.receive()
        await sending
        assert stream.quiet()
        stream.close()
        stream.close()
        assert not stream.quiet()
    assert back == data


async def test_the_end_that_tls_marks_is_an_end() -> None:
    with TlsListener(certs.good("a.test"), _goodbye) as listener:
        stream = await stream_to(listener)
        assert await stream.receive() == b"last words"
        assert await stream.receive() == b""
        assert await stream.receive() == b""
        stream.close()


@pytest.mark.parametrize(
    ("handler", "code"), [(_cut, "connection-cut"), (_false_record, "connection-broken")]
)
async def test_any_other_end_is_none(handler: Any, code: str) -> None:
    with TlsListener(certs.good("a.test"), handler) as listener:
        stream = await stream_to(listener)
        assert await stream.receive() == b"last words"
        with pytest.raises(ConnectionLost) as failed:
            await stream.receive()
        stream.close()
    assert failed.value.code == code


async def test_a_reset_while_sending_and_a_closed_stream_are_faults() -> None:
    with TlsListener(certs.good("a.test"), _resets_while_receiving) as listener:
        stream = await stream_to(listener)
        for _ in range(2):
            with pytest.raises(ConnectionLost) as failed:
                await stream.send(bytes(20_000_000))
            assert failed.value.code == "connection-broken"
        stream.close()
        with pytest.raises(ConnectionLost):
            await stream.send(b"x")
        with pytest.raises(ConnectionLost):
            await stream.receive()


async def test_a_false_record_ends_quiet() -> None:
    def false_record(peer: Peer) -> None:
        socket.socket.send(peer.sock, b"\x17\x03\x03\x00\x20" + bytes(32))
        peer.wait(1)

    with TlsListener(certs.good("a.test"), false_record) as listener:
        stream = await stream_to(listener)
        await asyncio.sleep(0.1)
        assert not stream.quiet()
        stream.close()


async def test_the_network_failing_under_the_handshake_is_a_fault(
    wire: NetWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise BrokenPipeError(32, "broken pipe")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_sendall", fails)
    with TlsListener(certs.good("a.test"), answering()) as listener:
        with pytest.raises(TlsFault, match="broken pipe") as failed:
            await wire.dial(listener.address, NAME, FirstContact())
        monkeypatch.undo()
    assert failed.value.code == "tls-closed"


async def test_having_no_socket_left_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "too many open files")

    monkeypatch.setattr("ranvier.net.stream.socket.socket", none_left)
    with pytest.raises(ConnectFault, match="too many open files") as failed:
        await connect(Address("127.0.0.1", 1))
    monkeypatch.undo()
    assert failed.value.code == "connect-failed"


def test_the_chain_is_read_in_public_where_python_has_it() -> None:
    class Newer:
        def get_unverified_chain(self) -> list[bytes]:
            return [b"leaf", b"issuer"]

    assert peer_chain(cast("ssl.SSLObject", Newer())) == (b"leaf", b"issuer")


async def test_tickets_are_not_taken_for_an_answer() -> None:
    """TLS 1.3 sends session tickets after the handshake, before any answer."""
    with TlsListener(certs.good("a.test"), _echo) as listener:
        stream = await stream_to(listener)
        assert stream.version == "TLSv1.3"
        await asyncio.sleep(0.1)
        assert stream.quiet()
        await stream.send(http(200))
        assert await stream.receive() == http(200)
        stream.close()


def _many_tickets(context: ssl.SSLContext) -> None:
    context.num_tickets = 3000


async def test_tls_that_carries_nothing_comes_to_an_end() -> None:
    with TlsListener(certs.good("a.test"), answering(), tweak=_many_tickets) as listener:
        stream = await stream_to(listener)
        with pytest.raises(ConnectionLost) as lost:
            await stream.receive()
        assert lost.value.code == "tls-without-content"
        stream.close()
