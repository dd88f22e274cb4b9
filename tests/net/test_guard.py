"""Whatever comes over a connection: a documented answer or a close in time, in JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ranvier.net.guard import GuardedProtocol
from ranvier.net.stay import LINGER_SECONDS
from tests.rigs.listening import Caller, get, limits, listening

VERSION = "/_matrix/federation/v1/version"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was told of the request, after reading the body."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    told = scope["extensions"]["ranvier"]
    answer = json.dumps(
        {
            "raw": told["raw_target"].decode(),
            "from": [*scope["client"], scope["scheme"]],
            "peer": told["peer_leaf"] is not None,
            "local": told["local_leaf"] is not None,
            "headers": [name.decode() for name, _ in scope["headers"]],
            "size": len(body),
        }
    ).encode()
    length = str(len(answer)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


HOST = b"Host: us.test\r\n"
LINE = b"GET /x HTTP/1.1\r\n"
PUT = b"PUT /x HTTP/1.1\r\n" + HOST
CHUNKED = PUT + b"Transfer-Encoding: chunked\r\n\r\n"

BAD = [
    # (bytes, status, code, what is wrong)
    (b"hello\r\n\r\n", 400, "not-http"),  # no request line
    (b"\x16\x03\x01\x02\x00\x01\x00", 400, "not-http"),  # TLS to a plain port
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not-http"),  # HTTP/2
    (b"GET /x HTTP/9.9\r\n\r\n", 400, "not-http"),  # a version that is not there
    (b"GET /x HTTP/2.0\r\n" + HOST + b"\r\n", 505, "version-unknown"),
    (b"GET /x HTTP/0.9\r\n" + HOST + b"\r\n", 505, "version-unknown"),
    (b"FOO /x HTTP/1.1\r\n" + HOST + b"\r\n", 400, "not-http"),  # no method
    (LINE + b"\r\n", 400, "host-not-one"),  # no Host with 1.1
    (LINE + HOST + HOST + b"\r\n", 400, "host-not-one"),  # Host twice
    (LINE + b"HOST: a\r\nhost: b\r\n\r\n", 400, "host-not-one"),  # in two spellings
    (b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host-not-one"),  # 1.0, twice
    (b"CONNECT us.test:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "target-malformed"),
    (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "target-malformed"),
    (b"GET ftp://us.test/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "target-malformed"),
    (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400, "not-http"),  # not ASCII
    (b"GET x HTTP/1.1\r\n" + HOST + b"\r\n", 400, "not-http"),  # no slash
    (PUT + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "not-http"),  # length twice
    (PUT + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "not-http"),  # two lengths
    (PUT + b"Content-Length: -1\r\n\r\n", 400, "not-http"),
    (PUT + b"Content-Length: +1\r\n\r\n", 400, "not-http"),
    (PUT + b"Content-Length: 1, 1\r\n\r\n", 400, "not-http"),
    (PUT + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "not-http"),
    (PUT + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400, "not-http"),
    (PUT + b"Transfer-Encoding: gzip\r\n\r\n", 400, "framing-unclear"),  # not chunked at the end
    (PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "framing-unclear"),
    (b"PUT /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "framing-unclear"),
    (PUT + b"Content-Length: 99999999999\r\n\r\n", 413, "body-too-large"),
    (PUT + b"Content-Length: 99999999999999999999999\r\n\r\n", 400, "not-http"),  # no number
    (CHUNKED + b"zz\r\n", 400, "not-http"),  # no chunk size
    (LINE + HOST + b"X: " + b"a" * 65_536 + b"\r\n\r\n", 431, "head-too-large"),
    (b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431, "head-too-large"),
    (b"GET /" + b"a" * 200_000, 431, "head-too-large"),  # a target without an end
    (LINE + b"X: " + b"a" * 200_000, 431, "head-too-large"),  # a header without an end
    (LINE + b"X" * 200_000, 431, "head-too-large"),  # a header's name without an end
    (b"\r\n" * 50_000, 431, "head-too-large"),  # nothing, at length
    (LINE + HOST + b"X: a\r\n" * 128 + b"\r\n", 431, "head-too-many"),
    (LINE + HOST + b"X:\r\n" * 60_000, 431, "head-too-many"),
    (CHUNKED + b"0\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431, "head-too-many"),  # trailers
    (LINE + b"Host : us.test\r\n\r\n", 400, "not-http"),  # a space before the colon
    (LINE + HOST + b" folded\r\n\r\n", 400, "not-http"),  # an old line folding
    (LINE + HOST + b"X: a\x00b\r\n\r\n", 400, "not-http"),  # a zero
    (get("/x") * 40, 400, "pipeline-too-long"),
]


@pytest.mark.parametrize(("sent", "status", "code"), BAD)
@pytest.mark.req("API-05", "API-06", "API-08", "D19")
async def test_a_bad_request_gets_its_json_answer_and_a_close(
    sent: bytes, status: int, code: str
) -> None:
    async with listening(echo) as house:
        async with await house.call() as caller:
            await caller.send(sent)
            reply = await caller.reply()
            while reply.status == 200:
                reply = await caller.reply()
            await house.later(LINGER_SECONDS)
            assert await caller.end() == b""
        assert reply.status == status
        assert house.refused == {code: 1}
        assert reply.header("content-type") == "application/json"
        assert reply.header("connection") == "close"
        assert set(reply.json) == {"errcode", "error"}
        assert reply.json["errcode"] != "M_UNRECOGNIZED"
        assert (await house.once(get(VERSION))).status == 200


@pytest.mark.req("D18")
@pytest.mark.parametrize("target", ["/x?", "/x", "/x#f", "//x", "http://us.test/x", "/%zz?a=%00"])
async def test_the_raw_target_is_in_the_scope(target: str) -> None:
    async with listening(echo) as house:
        assert (await house.once(get(target))).json["raw"] == target


@pytest.mark.req("D20")
async def test_forwarded_addresses_are_not_believed() -> None:
    lines = ("X-Forwarded-For: 8.8.8.8", "X-Forwarded-Proto: wss", "Forwarded: for=8.8.8.8")
    async with listening(echo) as house:
        ip, port, scheme = (await house.once(get("/x", *lines))).json["from"]
        assert (ip, scheme) == ("127.0.0.1", "http")
        assert port > 0


async def test_the_scope_has_our_leaf_and_no_client_certificate() -> None:
    async with listening(echo, tls=True) as house:
        told = (await house.once(get("/x"))).json
        assert told["local"]
        assert not told["peer"]
    async with listening(echo) as house:
        assert not (await house.once(get("/x"))).json["local"]


async def test_trailers_do_not_become_headers() -> None:
    async with listening(echo) as house:
        sent = CHUNKED + b"3\r\nabc\r\n0\r\nAuthorization: X-Matrix\r\n\r\n"
        told = (await house.once(sent)).json
        assert told["headers"] == ["host", "transfer-encoding"]
        assert told["size"] == 3


async def test_empty_header_values_count_as_given() -> None:
    async with listening(echo) as house:
        assert (await house.once(b"GET /x HTTP/1.1\r\nHost:\r\nX:\r\n\r\n")).status == 200


async def test_a_whole_head_of_the_largest_size_is_taken() -> None:
    async with listening(echo) as house:
        reply = await house.once(LINE + HOST + b"X: " + b"a" * 65_000 + b"\r\n\r\n")
        assert reply.status == 200


async def test_a_connection_without_a_word_is_closed_in_silence() -> None:
    async with listening() as house, await house.call() as caller:
        await house.later(10)
        assert await caller.end() == b""


@pytest.mark.req("D19")
@pytest.mark.parametrize("half", [b"G", LINE, LINE + HOST, LINE + HOST + b"X: a"])
async def test_half_a_head_is_timed_out(half: bytes) -> None:
    async with listening() as house, await house.call() as caller:
        await caller.send(half)
        await house.later(10)
        assert (await caller.reply()).status == 408
        assert await caller.end() == b""
        assert house.refused == {"head-too-slow": 1}


async def test_a_head_is_timed_from_its_first_byte_not_its_last() -> None:
    async with listening() as house, await house.call() as caller:
        await caller.send(LINE)
        await house.later(6)
        await caller.send(HOST)
        await house.later(6)
        assert (await caller.reply()).status == 408


async def test_half_a_head_after_a_whole_request_is_timed_as_a_head() -> None:
    async with listening() as house, await house.call() as caller:
        assert (await caller.ask(get(VERSION) + LINE)).status == 200
        await house.later(11)
        assert (await caller.reply()).status == 408


@pytest.mark.parametrize("started", [b"Content-Length: 5\r\n\r\nabc", b"Content-Length: 5\r\n\r\n"])
async def test_half_a_body_is_timed_out(started: bytes) -> None:
    async with listening(echo) as house, await house.call() as caller:
        await caller.send(PUT + started)
        await house.later(59)
        assert house.refused == {}
        await house.later(1.5)
        assert (await caller.reply()).status == 408
        assert house.refused == {"body-too-slow": 1}


async def test_an_endless_chunked_body_is_cut_at_the_limit() -> None:
    async with listening(echo, budget=limits(listen_body_bytes=100_000)) as house:
        async with await house.call() as caller:
            await caller.send(CHUNKED + b"c350\r\n" + b"a" * 50_000 + b"\r\n")
            await caller.send(b"c350\r\n" + b"a" * 50_000 + b"\r\n" + b"1\r\na\r\n")
            reply = await caller.reply()
        assert reply.status == 413
        assert reply.json["errcode"] == "M_TOO_LARGE"


@pytest.mark.parametrize("flood", [b"1\r\na\r\n" * 60_000, b"3;" + b"x" * 300_000])
async def test_a_body_that_is_mostly_framing_is_refused(flood: bytes) -> None:
    async with listening(echo) as house, await house.call() as caller:
        await caller.send(CHUNKED)
        await asyncio.sleep(0.05)
        await caller.send(flood)
        assert (await caller.reply()).status == 400
        assert house.refused == {"framing-too-large": 1}


async def test_a_body_in_chunks_of_64_bytes_is_taken() -> None:
    async with listening(echo) as house, await house.call() as caller:
        await caller.send(CHUNKED)
        await caller.send(b"".join(b"40\r\n" + b"a" * 64 + b"\r\n" for _ in range(20_000)))
        assert (await caller.ask(b"0\r\n\r\n")).json["size"] == 20_000 * 64


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with listening(echo, budget=limits(listen_body_bytes=100_000)) as house:
        sent = PUT + b"Content-Length: 100000\r\n\r\n" + b"a" * 100_000
        assert (await house.once(sent)).json["size"] == 100_000


@pytest.mark.req("D19")
async def test_a_kept_alive_connection_lasts_125_seconds() -> None:
    async with listening() as house, await house.call() as caller:
        for _ in range(2):
            assert (await caller.ask(get(VERSION))).status == 200
            await house.later(124)
        assert (await caller.ask(get("/nope"))).status == 404
        await house.later(124)
        assert (await caller.ask(get(VERSION))).status == 200
        await house.later(126)
        assert await caller.end() == b""


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with listening(echo) as house, await house.call() as caller:
        await caller.send(
            get("/1") + get(VERSION) + get("/2") + PUT + b"Content-Length: 2\r\n\r\nab"
        )
        first, second, third, fourth = [await caller.reply() for _ in range(4)]
        assert first.json["raw"] == "/1"
        assert second.json["raw"] == VERSION  # the application's turn: an answer is owed
        assert third.json["raw"] == "/2"
        assert fourth.json["size"] == 2


async def test_a_refusal_waits_for_the_answers_that_are_owed() -> None:
    async with listening(echo) as house, await house.call() as caller:
        await caller.send(get("/1") + get("/2") + b"garbage\r\n\r\n")
        assert (await caller.reply()).json["raw"] == "/1"
        assert (await caller.reply()).json["raw"] == "/2"
        assert (await caller.reply()).status == 400


async def test_a_bad_body_that_waits_in_line_is_refused_in_its_turn() -> None:
    async with listening(echo) as house, await house.call() as caller:
        await caller.send(get("/1") + get("/2") + CHUNKED + b"zz\r\n")
        assert (await caller.reply()).json["raw"] == "/1"
        assert (await caller.reply()).json["raw"] == "/2"
        assert (await caller.reply()).status == 400
        assert house.refused == {"not-http": 1}


@pytest.mark.parametrize("target", [VERSION, "/x"])
@pytest.mark.parametrize("last", [b"HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", b"HTTP/1.0\r\n"])
async def test_nothing_is_read_after_the_last_request(target: str, last: bytes) -> None:
    async with listening(echo) as house, await house.call() as caller:
        await caller.send(f"GET {target} ".encode() + last + b"\r\n" + get("/second"))
        reply = await caller.reply()
        assert reply.status == 200
        assert reply.header("connection") == "close"
        assert await caller.end() == b""


async def test_an_upgrade_is_answered_as_a_plain_request_and_closed() -> None:
    async with listening(echo) as house:
        for line in ("Upgrade: websocket", "Upgrade: h2c"):
            async with await house.call() as caller:
                reply = await caller.ask(get("/x", "Connection: Upgrade", line))
                assert reply.status == 200
                assert await caller.end() == b""
            async with await house.call() as caller:
                assert (await caller.ask(get(VERSION, "Connection: Upgrade", line))).status == 200
                assert await caller.end() == b""


async def test_a_bad_body_after_an_early_answer_ends_the_connection() -> None:
    async with listening() as house, await house.call() as caller:
        reply = await caller.ask(CHUNKED)  # FederationApp answers without reading
        assert reply.status == 404
        await caller.send(b"zz\r\n")
        assert await caller.end() == b""


async def test_a_body_after_an_early_answer_is_read_away() -> None:
    async with listening() as house, await house.call() as caller:
        assert (await caller.ask(PUT + b"Content-Length: 5\r\n\r\n")).status == 404
        await caller.send(b"12345" + get(VERSION))
        assert (await caller.reply()).status == 200


async def test_an_application_that_fails_gives_json() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/raises":
            raise ValueError("secret words")

    async with listening(broken) as house:
        for target in ("/raises", "/silent"):
            reply = await house.once(get(target))
            assert reply.status == 500
            assert reply.json["errcode"] == "M_UNKNOWN"
            assert b"secret" not in reply.body


async def test_an_answer_that_broke_off_looks_broken() -> None:
    async def breaking(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", b"10")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
            raise ValueError

    async with listening(breaking) as house, await house.call() as caller:
        await caller.send(get("/"))
        assert (await caller.end()).endswith(b"\r\n\r\n{")


async def test_an_answer_that_broke_off_before_its_body_is_a_500_whole() -> None:
    async def breaking(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", b"10")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            raise ValueError

    async with listening(breaking) as house:
        reply = await house.once(get("/"))
    assert (reply.status, reply.json["errcode"]) == (500, "M_UNKNOWN")


JSON = [(b"content-type", b"application/json")]


@pytest.mark.parametrize(
    ("headers", "whole"),
    [
        ([*JSON, (b"content-length", b"2")], True),
        ([*JSON, (b"content-length", b"2"), (b"x-more", b"1")], False),  # more
        ([(b"content-type", b"text/plain"), (b"content-length", b"2")], False),  # not JSON
    ],
)
async def test_an_answer_of_json_alone_leaves_in_one_write(
    headers: list[tuple[bytes, bytes]], whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    write = GuardedProtocol.whole

    def watched(self: GuardedProtocol, *answer: Any) -> bool:
        told.append(write(self, *answer))
        return told[-1]

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 201, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})

    monkeypatch.setattr(GuardedProtocol, "whole", watched)
    async with listening(answering) as house, await house.call() as caller:
        for _ in range(2):  # the connection lives on
            await caller.send(get("/"))
            reply = await caller.reply()
            assert (reply.status, reply.header("date") is not None) == (201, True)
    assert told == [whole, whole]


async def test_a_bad_body_under_a_streamed_answer_cuts_it() -> None:
    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", b"10")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass

    async with listening(streaming) as house, await house.call() as caller:
        await caller.send(CHUNKED)
        await asyncio.sleep(0.05)
        await caller.send(b"zz\r\n")
        assert (await caller.end()).endswith(b"half")


@pytest.mark.parametrize("reset", [True, False])
async def test_the_application_hears_of_a_lost_connection(reset: bool) -> None:
    """At once after a reset; after a mere end, which may be of one side, in bounded time."""
    heard = asyncio.Event()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            while (await receive())["type"] != "http.disconnect":
                pass
            heard.set()

    async with listening(waiting) as house:
        async with await house.call() as caller:
            await caller.send(get("/1") + get("/2"))
            await asyncio.sleep(0.05)
            if reset:
                caller.reset()
        if not reset:
            await house.later(59)
            assert not heard.is_set()
            await house.later(2)
        async with asyncio.timeout(5):
            await heard.wait()
        await house.later(0)
        assert not house.listener.hall.guests


async def slowly(scope: Any, receive: Any, send: Any) -> None:
    """Answers as :func:`echo`, a moment later."""
    if scope["type"] == "http":
        await asyncio.sleep(0.2)
        await echo(scope, receive, send)


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (get("/1"), 1),
        (PUT + b"Content-Length: 2\r\n\r\nab", 1),
        (get("/1") + get("/2") + get("/3"), 3),
        (get("/1") + LINE, 1),  # half a head more: the whole requests are answered
        (get(VERSION), 1),  # from finished bytes
        (get("/1") + b"garbage\r\n\r\n", 2),  # the refusal too
        (PUT + b"Content-Length: 3\r\n\r\nab", 0),  # half a body
        (LINE, 0),
        (b"", 0),
    ],
)
async def test_a_peer_that_ends_its_own_side_gets_its_answers_and_a_close(
    sent: bytes, answers: int
) -> None:
    async with listening(slowly) as house, await house.call() as caller:
        await caller.send(sent)
        caller.writer.write_eof()
        for _ in range(answers):
            assert (await caller.reply()).status in (200, 400)
        assert await caller.end() == b""


async def test_a_tls_peer_that_ends_is_closed_in_good_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(slowly, tls=True) as house:
        async with await house.call() as caller:
            await caller.send(get("/1"))
            await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await house.listener.hall.empty.wait()
    assert caplog.text == ""


@pytest.mark.req("AUTH-32")
@pytest.mark.parametrize("line", ["X: a", "Expect: 100-continue"])
async def test_too_large_a_body_is_refused_before_a_byte_of_it_is_sent(line: str) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] != "http"

    budget = limits(listen_body_bytes=1000)
    async with listening(never, budget=budget) as house, await house.call() as caller:
        head = f"PUT /x HTTP/1.1\r\nHost: us.test\r\n{line}\r\nContent-Length: 1001\r\n\r\n"
        reply = await caller.ask(head.encode())
        assert (reply.status, reply.json["errcode"]) == (413, "M_TOO_LARGE")
        assert house.refused == {"body-too-large": 1}


async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    big = b"x" * 30_000_000

    async def generous(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", str(len(big)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": big})

    async with listening(generous) as house, await house.call() as caller:
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined] # not in typeshed's base
        await caller.send(get("/"))
        await house.later(61)
        caller.writer.transport.resume_reading()  # type: ignore[attr-defined] # not in typeshed's base
        assert len(await caller.end()) < len(big)


async def test_ready_answers_do_not_pile_up_for_a_peer_that_does_not_read() -> None:
    async with listening() as house, await house.call() as caller:
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined] # not in typeshed's base
        sending = asyncio.create_task(_flood(caller, get(VERSION) * 10))
        await asyncio.sleep(0.5)
        (guest,) = house.listener.hall.guests
        held = guest.transport.get_write_buffer_size()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert held < 1_000_000


async def _flood(caller: Caller, data: bytes) -> None:
    while True:
        await caller.send(data)


async def test_a_peer_that_reads_late_is_served_on() -> None:
    big = b"x" * 20_000_000

    async def generous(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", str(len(big)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": big})

    async with listening(generous) as house, await house.call() as caller:
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined] # not in typeshed's base
        await caller.send(get("/"))
        await house.later(30)
        caller.writer.transport.resume_reading()  # type: ignore[attr-defined] # not in typeshed's base
        assert len((await caller.reply()).body) == len(big)
        await house.later(61)
        assert (await caller.ask(get(VERSION))).status == 200


async def test_a_refusal_over_tls_reaches_the_peer_before_the_close() -> None:
    async with listening(tls=True) as house, await house.call() as caller:
        await caller.send(LINE + b"\r\n")
        await caller.send(b"more of it" * 1000)
        assert (await caller.reply()).status == 400
        await house.later(LINGER_SECONDS)
        assert await caller.end() == b""


async def test_nothing_is_read_after_the_request_that_stopping_waits_for() -> None:
    async with listening(echo) as house, await house.call() as caller:
        await caller.send(PUT + b"Content-Length: 2\r\n\r\na")
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(house.listener.stop())
        await asyncio.sleep(0.05)
        await caller.send(b"b" + get(VERSION))
        assert (await caller.reply()).json["size"] == 2
        assert await caller.end() == b""
        await stopping


async def test_our_own_fault_is_500_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as house:
        monkeypatch.setattr(house.app, "ready", None)
        reply = await house.once(get(VERSION))
        assert (reply.status, house.refused) == (500, {"listener-failed": 1})
        assert "TypeError" in caplog.text
        assert "TypeError" not in reply.body.decode()
