"""HTTP/1.1 as a client: what goes out, what may come back, and what it may cost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

import pytest

from ranvier.errors import ConnectionLost, NetworkFault, TimedOut
from ranvier.limits import ExchangeLimits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.net.http import HttpLink
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import WebPki
from tests.rigs import certs
from tests.rigs.streams import FACTS, MemoryStream
from tests.rigs.tls import Handler, Peer, TlsListener, answering, http, raw, responding

NAME = TlsName("a.test")
SMALL = ExchangeLimits(head_bytes=400, head_count=8, body_bytes=100, framing_bytes=1000, seconds=5)


def get(host: str = "a.test", **members: object) -> HttpRequest:
    base = {"method": "GET", "target": "/x", "host": host, **members}
    return HttpRequest(**base)  # type: ignore[arg-type] # any field


async def read(
    pieces: Iterable[bytes],
    *,
    ends: str = "end",
    request: HttpRequest | None = None,
    limits: ExchangeLimits = SMALL,
) -> tuple[HttpResponse, HttpLink, MemoryStream]:
    """One exchange over a stream in memory."""
    stream = MemoryStream(pieces, ends=ends)
    link = HttpLink(stream, FACTS, SystemClock())
    return await link.exchange(request or get(), limits), link, stream


# What goes out


@pytest.mark.req("DISC-12")
@pytest.mark.parametrize("host", ["a.test", "a.test:443", "A.Test:8448", "[::1]", "127.0.0.1:1"])
async def test_host_comes_first_and_exactly_as_given(host: str) -> None:
    _, _, stream = await read([http(200)], request=get(host))
    assert bytes(stream.sent) == f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


@pytest.mark.parametrize("target", ["/", "/x?", "/a%2Fb/%21?q=%20&x", "/a//b/../c", "/?"])
async def test_the_target_is_never_rewritten(target: str) -> None:
    _, _, stream = await read([http(200)], request=get(target=target))
    assert stream.sent.startswith(f"GET {target} HTTP/1.1\r\n".encode())


async def test_a_body_has_its_length_and_nothing_is_compressed() -> None:
    request = get(method="PUT", headers=(("Content-Type", "application/json"),), body=b"{}")
    _, _, stream = await read([http(200)], request=request)
    assert bytes(stream.sent) == (
        b"PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )


async def test_an_empty_put_says_so_and_an_own_length_is_kept() -> None:
    _, _, stream = await read([http(200)], request=get(method="PUT"))
    assert b"Content-Length: 0\r\n" in stream.sent
    own = get(method="PUT", headers=(("content-length", "2"),), body=b"{}")
    _, _, stream = await read([http(200)], request=own)
    assert stream.sent.lower().count(b"content-length") == 1


@pytest.mark.parametrize(
    "request_",
    [
        get(target="/a b"),
        get(target="/a\r\nX: y"),
        get(target="/\u00e4"),
        get(host="a\r\nX: y"),
        get(host="\u00e4"),
        get(headers=(("X", "a\nb"),)),
        get(headers=(("X y", "a"),)),
        get(headers=(("Host", "other.test"),)),
        get(method="GET /"),
        get(method="PUT", headers=(("Content-Length", "5"),), body=b"{}"),
    ],
)
async def test_a_request_that_would_break_the_frame_is_not_sent(request_: HttpRequest) -> None:
    stream = MemoryStream([http(200)])
    link = HttpLink(stream, FACTS, SystemClock())
    with pytest.raises(ConnectionLost) as failed:
        await link.exchange(request_, SMALL)
    assert failed.value.code == "request-unsendable"
    assert stream.sent == b""
    assert link.reusable, "nothing was sent, so nothing is lost"


# What comes back


async def test_headers_are_lower_case_in_order_with_repeats() -> None:
    answer = b"HTTP/1.1 200 OK\r\nB-C: 1\r\nA: x\r\nb-c:  2 \r\nContent-Length: 0\r\n\r\n"
    response, _, _ = await read([answer])
    assert response.headers == (("b-c", "1"), ("a", "x"), ("b-c", "2"), ("content-length", "0"))
    assert response.header("b-c") == "1"
    assert response.header("none") is None


async def test_an_answer_that_never_makes_us_wait_does_not_keep_others_waiting() -> None:
    async def answer() -> None:
        chunks = [b"1\r\nx\r\n"] * 50
        await read(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]
        )

    reading, turns = asyncio.ensure_future(answer()), 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    await reading
    assert turns > 50


async def test_an_answer_may_come_byte_by_byte() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    response, link, _ = await read(answer[i : i + 1] for i in range(len(answer)))
    assert response.body == b"abcde"
    assert link.reusable


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", b"abc"),
    ],
)
async def test_an_answer_that_closes_is_whole_and_the_last(answer: bytes, body: bytes) -> None:
    response, link, stream = await read([answer])
    assert response.body == body
    assert not link.reusable
    assert stream.closed


async def test_connection_close_in_the_request_ends_the_link() -> None:
    _, link, stream = await read([http(200)], request=get(headers=(("Connection", "close"),)))
    assert stream.closed
    with pytest.raises(ConnectionLost) as failed:
        await link.exchange(get(), SMALL)
    assert failed.value.code == "connection-closed"


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99999999\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_are_whole_after_the_head(method: str, head: bytes) -> None:
    response, link, _ = await read([head], request=get(method=method), ends="hangs")
    assert response.body == b""
    assert link.reusable


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    response, link, _ = await read([interim + http(200, b"ok")])
    assert (response.status, response.body) == (200, b"ok")
    assert link.reusable


async def test_bytes_after_the_answer_end_the_link() -> None:
    """They would be read as the next answer."""
    response, link, stream = await read([http(200, b"ok") + http(200, b"forged")])
    assert response.body == b"ok"
    assert not link.reusable
    assert stream.closed


async def test_a_link_that_was_spoken_to_unasked_takes_no_request() -> None:
    _, link, stream = await read([http(200)])
    stream.noisy = True
    with pytest.raises(ConnectionLost) as failed:
        await link.exchange(get(), SMALL)
    assert failed.value.code == "connection-closed"


async def test_one_exchange_at_a_time() -> None:
    stream = MemoryStream([], ends="hangs")
    link = HttpLink(stream, FACTS, SystemClock())
    first = asyncio.create_task(link.exchange(get(), SMALL))
    await asyncio.sleep(0.01)
    assert not link.reusable
    with pytest.raises(ConnectionLost) as failed:
        await link.exchange(get(), SMALL)
    assert failed.value.code == "connection-closed"
    await link.close()
    with pytest.raises(ConnectionLost) as failed:
        await first
    assert failed.value.code == "no-answer"
    assert stream.closed


async def test_an_answer_counts_although_the_request_could_not_be_sent_whole() -> None:
    stream = MemoryStream([http(413, b"no")], deaf=True)
    link = HttpLink(stream, FACTS, SystemClock())
    response = await link.exchange(get(method="PUT", body=bytes(1000)), SMALL)
    assert response.status == 413
    assert not link.reusable


# What is refused


def chunks(size: int, *, extension: bytes = b"") -> Iterable[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"%x%b\r\n%b\r\n" % (size, extension, bytes(size))


def trailers() -> Iterable[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    yield from itertools.repeat(b"X: yyyyyyyyyyyyyyyyyyyyy\r\n")


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS: list[tuple[Iterable[bytes], str]] = [
    (itertools.chain([OK + b"Content-Length: 101\r\n\r\n"]), "body-too-large"),
    (itertools.chain([OK + b"Content-Length: 99999999999999999999\r\n\r\n"]), "body-too-large"),
    (itertools.chain([OK + b"\r\n"], itertools.repeat(bytes(10))), "body-too-large"),
    (chunks(10), "body-too-large"),
    (chunks(1, extension=b";x=" + b"y" * 200), "too-much-framing"),
    (itertools.chain([OK], itertools.repeat(b"X: y\r\n")), "head-too-large"),
    (itertools.repeat(b"HTTP"), "head-too-large"),
    (itertools.chain([OK + b"X: "], itertools.repeat(b"y" * 50)), "head-too-large"),
    (itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), "too-many-headers"),
    (itertools.repeat(b"HTTP/1.1 103 x\r\nX: " + b"y" * 100 + b"\r\n\r\n"), "head-too-large"),
    ([OK + b"".join(b"X%d: y\r\n" % i for i in range(9)) + b"\r\n"], "too-many-headers"),
    ([OK + b"X: " + b"y" * 399 + b"\r\nContent-Length: 0\r\n\r\n"], "head-too-large"),
    (trailers(), "head-too-large"),
]


@pytest.mark.req("SEC-07")
@pytest.mark.parametrize(("pieces", "code"), ENDLESS)
async def test_too_much_is_refused_as_soon_as_it_is_too_much(
    pieces: Iterable[bytes], code: str
) -> None:
    stream = MemoryStream(pieces)
    with pytest.raises(ConnectionLost) as failed:
        await HttpLink(stream, FACTS, SystemClock()).exchange(get(), SMALL)
    assert failed.value.code == code
    assert stream.taken < 400
    assert stream.closed


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"<html>\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 200 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused(answer: bytes) -> None:
    with pytest.raises(ConnectionLost) as failed:
        await read([answer], ends="hangs")
    assert failed.value.code == "not-http"


@pytest.mark.parametrize("ends", ["end", "cut"])
@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([], "no-answer"),
        ([b"HTTP/1.1 200 O"], "connection-lost"),
        ([OK + b"Content-Length: 10\r\n\r\n"], "connection-lost"),
        ([OK + b"Content-Length: 10\r\n\r\nabc"], "connection-lost"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab"], "connection-lost"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"], "connection-lost"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], "connection-lost"),
    ],
)
async def test_an_answer_cut_short_is_none(pieces: list[bytes], code: str, ends: str) -> None:
    with pytest.raises(ConnectionLost) as failed:
        await read(pieces, ends=ends)
    assert failed.value.code == code


async def test_an_answer_up_to_the_end_needs_the_end_mark_of_tls() -> None:
    """Else who sits on the line could cut it where he likes."""
    with pytest.raises(ConnectionLost) as failed:
        await read([b"HTTP/1.0 200 OK\r\n\r\nhalf of"], ends="cut")
    assert failed.value.code == "connection-lost"


@pytest.mark.parametrize(
    ("pieces", "state"),
    [
        ([], "nothing had come"),
        ([b"HTTP/1.1 200"], "12 bytes of its head"),
        ([OK + b"Content-Length: 10\r\n\r\nabc"], "3 bytes of body"),
    ],
)
@pytest.mark.req("SEC-07")
async def test_time_runs_out_at_every_stage(pieces: list[bytes], state: str) -> None:
    limits = ExchangeLimits(seconds=0.05)
    with pytest.raises(TimedOut, match=state) as late:
        await read(pieces, ends="hangs", limits=limits)
    assert late.value.code == "exchange-timeout"


# Over real connections


async def over(
    wire: NetWire,
    handler: Handler,
    *requests: HttpRequest,
    limits: ExchangeLimits = SMALL,
) -> tuple[list[HttpResponse], TlsListener]:
    with TlsListener(certs.good("a.test"), handler) as listener:
        link = await wire.dial(listener.address, NAME, WebPki())
        try:
            answers = [await link.exchange(each, limits) for each in requests or (get(),)]
        finally:
            await link.close()
            await link.close()
        listener.settle()
    return answers, listener


async def test_one_connection_serves_one_exchange_after_another(wire: NetWire) -> None:
    requests = [get(target=f"/{i}") for i in range(20)]
    answers, listener = await over(
        wire, responding(lambda seen, _: http(200, seen.target.encode())), *requests
    )
    assert [each.body for each in answers] == [f"/{i}".encode() for i in range(20)]
    assert listener.accepted == 1
    assert listener.requests[0].raw == b"GET /0 HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def test_closing_says_goodbye(wire: NetWire) -> None:
    _, listener = await over(wire, answering())
    assert listener.connections[0].ended == "closed", "the end mark of TLS, not a reset"


async def test_large_bodies_go_both_ways(wire: NetWire) -> None:
    size = 3_000_000
    limits = ExchangeLimits(body_bytes=size, seconds=20)
    request = get(method="PUT", body=bytes(range(256)) * (size // 256))
    answers, _ = await over(
        wire, responding(lambda seen, _: http(200, seen.body)), request, request, limits=limits
    )
    assert [each.body == request.body for each in answers] == [True, True]


@pytest.mark.parametrize("pause", [0.0, 0.2])
async def test_an_early_refusal_of_a_large_body_is_seen(wire: NetWire, pause: float) -> None:
    """Even if it comes in pieces while the peer takes nothing more of the request."""

    def refuse(peer: Peer) -> None:
        peer.receive(1000)
        answer = http(413, b"no")
        peer.send(answer[:30])
        peer.wait(pause)
        peer.send(answer[30:])
        peer.wait(20)

    limits = ExchangeLimits(seconds=5)
    request = get(method="PUT", body=bytes(20_000_000))
    with TlsListener(certs.good("a.test"), refuse) as listener:
        link = await wire.dial(listener.address, NAME, WebPki())
        response = await link.exchange(request, limits)
        assert not link.reusable
    assert response.status == 413


@pytest.mark.parametrize("goodbye", [Peer.half_close, Peer.cut, Peer.reset])
async def test_a_link_that_the_peer_left_is_not_reusable(wire: NetWire, goodbye: Handler) -> None:
    left = asyncio.Event()
    loop = asyncio.get_running_loop()

    def leave(peer: Peer) -> None:
        peer.read_request()
        peer.send(http(200))
        peer.wait(0.1)
        goodbye(peer)
        loop.call_soon_threadsafe(left.set)

    with TlsListener(certs.good("a.test"), leave) as listener:
        link = await wire.dial(listener.address, NAME, WebPki())
        await link.exchange(get(), SMALL)
        await left.wait()
        await asyncio.sleep(0.05)
        assert not link.reusable
        with pytest.raises(ConnectionLost) as failed:
            await link.exchange(get(), SMALL)
        assert failed.value.code == "connection-closed"
        await link.close()


async def test_a_whisper_before_the_question_ends_the_link(wire: NetWire) -> None:
    whispered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def whisper(peer: Peer) -> None:
        peer.send(b"H")
        loop.call_soon_threadsafe(whispered.set)
        peer.receive()

    with TlsListener(certs.good("a.test"), whisper) as listener:
        link = await wire.dial(listener.address, NAME, WebPki())
        await whispered.wait()
        await asyncio.sleep(0.05)
        assert not link.reusable
        assert not link.reusable, "although the one byte has been read"
        await link.close()


def _dripping(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK + b"Content-Length: 90\r\n\r\n")
    while peer.wait(0.02) and peer.send(b"x"):
        pass


def _endless(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK + b"\r\n")
    while peer.send(bytes(65536)):
        pass


def _endless_head(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)
    while peer.send(b"X: y\r\n" * 1000):
        pass


def _hanging(peer: Peer) -> None:
    peer.read_request()
    peer.wait(10)


def _closing(peer: Peer) -> None:
    peer.read_request()
    peer.half_close()


def _cutting(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.0 200 OK\r\n\r\nhalf")
    peer.cut()


def _resetting(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


@pytest.mark.req("SEC-07")
@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (_dripping, "exchange-timeout"),
        (_hanging, "exchange-timeout"),
        (_endless, "body-too-large"),
        (_endless_head, "head-too-large"),
        (_closing, "no-answer"),
        (_resetting, "no-answer"),
        (_cutting, "connection-lost"),
        (raw(b"SSH-2.0-x\r\n\r\n"), "not-http"),
        (raw(OK + b"Content-Length: 50\r\n\r\nabc"), "connection-lost"),
    ],
)
async def test_a_bad_listener_ends_in_a_documented_error(
    wire: NetWire, handler: Handler, code: str
) -> None:
    limits = ExchangeLimits(head_bytes=400, head_count=8, body_bytes=100, seconds=0.5)
    with pytest.raises(NetworkFault) as failed:
        await over(wire, handler, limits=limits)
    assert failed.value.code == code


async def test_an_answer_up_to_the_end_over_tls(wire: NetWire) -> None:
    answers, _ = await over(wire, raw(b"HTTP/1.0 200 OK\r\n\r\nwhole"))
    assert answers[0].body == b"whole"


async def test_closing_under_an_exchange_ends_it(wire: NetWire) -> None:
    with TlsListener(certs.good("a.test"), _hanging) as listener:
        link = await wire.dial(listener.address, NAME, WebPki())
        waiting = asyncio.create_task(link.exchange(get(), SMALL))
        while not listener.requests:
            await asyncio.sleep(0.01)
        await link.close()
        with pytest.raises(ConnectionLost):
            await waiting


async def test_a_cancelled_exchange_closes_the_link(wire: NetWire) -> None:
    with TlsListener(certs.good("a.test"), _hanging) as listener:
        link = await wire.dial(listener.address, NAME, WebPki())
        waiting = asyncio.create_task(
            link.exchange(get(method="PUT", body=bytes(20_000_000)), SMALL)
        )
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not link.reusable
