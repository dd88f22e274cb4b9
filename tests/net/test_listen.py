"""The listener: where it binds, who gets a seat, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from typing import Any

import pytest

from ranvier.errors import BadConfiguration
from ranvier.faces.asgi import FederationApp
from ranvier.limits import Limits
from ranvier.net.listen import Listener
from ranvier.protocol.addresses import Address
from ranvier.protocol.canonical import encode_base64
from tests.rigs.listening import Caller, ShiftedClock, get, identity, limits, listening

VERSION = get("/_matrix/federation/v1/version")


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


def listener(host: str = "127.0.0.1", port: int = 0, **options: Any) -> Listener:
    clock = ShiftedClock()
    app = FederationApp(identity(clock))
    served = options.pop("app", app)
    return Listener(served, app, host=host, port=port, clock=clock, limits=Limits(), **options)


async def test_the_port_that_is_bound_is_told() -> None:
    ours = listener("localhost")
    address = await ours.start()
    assert address.ip == "127.0.0.1"
    async with await Caller.to(address) as caller:
        assert (await caller.ask(VERSION)).status == 200
    await ours.stop()
    await ours.stop()  # twice is once
    with pytest.raises(ConnectionRefusedError):
        await Caller.to(address)


@pytest.mark.parametrize(("host", "reached"), [("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1")])
async def test_ipv6_is_served_and_everything_means_both_families(host: str, reached: str) -> None:
    ours = listener(host)
    address = await ours.start()
    async with await Caller.to(Address(reached, address.port)) as caller:
        assert (await caller.ask(VERSION)).status == 200
    await ours.stop()


async def test_a_busy_port_is_an_error_with_its_cure() -> None:
    first = listener()
    taken = (await first.start()).port
    with pytest.raises(BadConfiguration, match="taken by another program") as caught:
        await listener(port=taken).start()
    assert caught.value.code == "listen-port-busy"
    await first.stop()


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("192.0.2.1", "listen-not-possible"),  # not an address of this machine
        ("example.org", "listen-host-not-ip"),
        ("127.0.0.1:80", "listen-host-not-ip"),
        ("", "listen-host-not-ip"),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_an_error(host: str, code: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        await listener(host, 18448).start()
    assert caught.value.code == code


async def test_a_port_without_the_rights_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: socket.socket, address: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ranvier.net.listen.socket.socket.bind", forbidden, raising=False)
    with pytest.raises(BadConfiguration, match="above 1023") as caught:
        await listener(port=443).start()
    assert caught.value.code == "listen-port-forbidden"


async def test_the_application_is_started_and_stopped_with_the_listener() -> None:
    heard = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = (await receive())["type"]
                heard.append(message)
                await send({"type": f"{message}.complete"})

    ours = listener(app=app)
    await ours.start()
    assert heard == ["lifespan.startup"]
    await ours.stop()
    assert heard == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_application_that_does_not_start_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no disk"})

    ours = listener(app=app)
    with pytest.raises(BadConfiguration) as caught:
        await ours.start()
    assert caught.value.code == "listen-app-failed"
    await ours.stop()


async def test_stopping_lets_an_answer_finish_and_closes_the_idle() -> None:
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await go.wait()
            headers = [(b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})

    async with listening(slow) as house, await house.call() as busy, await house.call() as idle:
        await idle.ask(VERSION)
        await busy.send(get("/slow"))
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(house.listener.stop())
        assert await idle.end() == b""
        go.set()
        reply = await busy.reply()
        assert reply.header("connection") == "close"
        assert await busy.end() == b""
        await stopping


async def test_answers_in_two_pieces_are_not_held_back() -> None:
    async with listening() as house, await house.call() as caller:
        await caller.ask(VERSION)
        [guest] = house.listener.hall.guests
        sock = guest.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_stopping_does_not_wait_for_ever() -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.Event().wait()

    async with listening(endless) as house, await house.call() as caller:
        await caller.send(get("/"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await house.listener.stop()
        assert await caller.end() == b""


async def test_no_log_of_requests_and_no_word_of_the_software(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with listening() as house:
        caplog.clear()
        for target in ("/_matrix/federation/v1/version", "/nope"):
            reply = await house.once(get(target))
            assert [name for name, _ in reply.headers] == ["date", "content-type", "content-length"]
    assert "GET" not in caplog.text


@pytest.mark.req("SEC-17")
async def test_no_secret_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(tls=True) as house:
        for sent in (VERSION, get("/_matrix/key/v1"), get("/nope"), b"garbage\r\n\r\n"):
            await house.once(sent)
        key = house.app.identity.request_key
        secrets = (encode_base64(key.seed), repr(key.seed), "PRIVATE KEY")
    assert caplog.text
    assert not [secret for secret in secrets if secret in caplog.text]


async def test_the_date_follows_the_clock() -> None:
    async with listening() as house, await house.call() as caller:
        first = (await caller.ask(VERSION)).header("date")
        await house.later(60)
        assert (await caller.ask(VERSION)).header("date") != first
        assert (await caller.ask(get("/nope"))).header("date") != first


async def test_the_longest_idle_gives_way_when_seats_are_short() -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(listening(budget=limits(listen_connections=3)))
        callers = []
        for _ in range(4):
            caller = await stack.enter_async_context(await house.call())
            assert (await caller.ask(VERSION)).status == 200
            await house.later(1)
            callers.append(caller)
        assert await callers[0].end() == b""
        for caller in callers[1:]:
            assert (await caller.ask(VERSION)).status == 200


async def test_a_newcomer_waits_outside_while_every_seat_works() -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.Event().wait()

    budget = limits(listen_connections=2)
    async with (
        listening(endless, budget=budget) as house,
        await house.call() as one,
        await house.call() as two,
    ):
        for caller in (one, two):
            await caller.send(get("/"))
        await asyncio.sleep(0.05)
        async with await house.call() as three:
            assert await three.end() == b""
        assert house.refused == {"no-seat": 1}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "sent",
    [b"PUT /x HTTP/1.1\r\nHost: us.test\r\nContent-Length: 9\r\n\r\n1", b"?\r\n\r\n"],
    ids=["half-a-body", "refused-and-still-there"],
)
async def test_who_dawdles_gives_way_when_nobody_rests(sent: bytes, tls: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        budget = limits(listen_connections=2)
        house = await stack.enter_async_context(listening(tls=tls, budget=budget))
        for _ in range(2):
            caller = await stack.enter_async_context(await house.call())
            await caller.send(sent)
            await caller.reply()
        assert (await house.once(VERSION)).status == 200
        assert "no-seat" not in house.refused


async def test_without_descriptors_the_longest_idle_gives_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as house, await house.call() as idle:
        await idle.ask(VERSION)
        await house.later(1)
        loop = asyncio.get_running_loop()
        accept, short = loop.sock_accept, [OSError(errno.EMFILE, "too many open files")]

        async def accepting(listening: socket.socket) -> Any:
            found = await accept(listening)
            if short:
                found[0].close()
                raise short.pop()
            return found

        monkeypatch.setattr(loop, "sock_accept", accepting)
        async with await house.call():  # the listener waits in the accept of before
            async with await house.call() as unlucky:
                await unlucky.end()
            assert await idle.end() == b""
            assert (await house.once(VERSION)).status == 200
        assert not caplog.records


async def test_the_oldest_handshake_gives_way_to_a_newcomer() -> None:
    async with contextlib.AsyncExitStack() as stack:
        budget = limits(listen_connections=4)
        house = await stack.enter_async_context(listening(tls=True, budget=budget))
        silent = [await stack.enter_async_context(await Caller.to(house.address)) for _ in range(4)]
        await asyncio.sleep(0.05)
        assert (await house.once(VERSION)).status == 200
        assert await silent[0].end() == b""
        assert house.refused == {"no-handshake": 1}


async def test_a_handshake_that_never_began_leaves_no_socket_behind() -> None:
    async with listening(tls=True) as house:
        ours, theirs = socket.socketpair()
        house.listener._welcome(ours, "127.0.0.1", None)
        next(iter(house.listener._greetings)).cancel()
        await asyncio.sleep(0.01)
        assert ours.fileno() == -1
        theirs.close()


async def test_a_path_cannot_write_lines_of_its_own_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise ValueError("a bug")

    async with listening(failing) as house:
        assert (await house.once(get("/%0aERROR%20forged%1b[31m"))).status == 500
    [record] = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.getMessage() == r"the application failed at GET '/\nERROR forged\x1b[31m'"


async def test_a_sweep_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as house:
        monkeypatch.setattr("ranvier.net.listen.SWEEP_SECONDS", 0.01)
        monkeypatch.setattr(house.listener.hall, "sweep", None)
        await asyncio.sleep(0.4)
        assert caplog.text.count("a sweep failed") > 1


async def test_out_of_descriptors_it_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as house:
        loop = asyncio.get_running_loop()
        real = type(loop).sock_accept
        failed: list[int] = []

        async def failing(self: Any, *args: Any) -> Any:
            if not failed:
                failed.append(1)
                raise OSError(24, "Too many open files")
            return await real(self, *args)

        try:
            monkeypatch.setattr(type(loop), "sock_accept", failing)
        except TypeError:
            pytest.skip("uvloop's loop cannot be made to fail")
        assert (await house.once(VERSION)).status == 200  # the accept that was waiting
        assert (await house.once(VERSION)).status == 200
        assert failed


@pytest.mark.parametrize("tls", [False, True])
async def test_it_serves_on_under_half_open_connections_and_garbage(tls: bool) -> None:
    async with listening(tls=tls) as house:
        loop = asyncio.get_running_loop()
        crowd = []
        for number in range(200):
            one = socket.socket()
            one.setblocking(False)
            await loop.sock_connect(one, (house.address.ip, house.address.port))
            rubbish = [b"", b"\x16\x03\x01", b"GET / HT", os.urandom(3000), VERSION * 50]
            await loop.sock_sendall(one, rubbish[number % 5])
            crowd.append(one)
        async with asyncio.timeout(5):
            reply = await house.once(VERSION)
        assert reply.status == 200
        for one in crowd:
            one.close()
        async with asyncio.timeout(5):
            assert (await house.once(VERSION)).status == 200


async def test_a_slow_tls_handshake_is_timed_out() -> None:
    async with listening(tls=True, budget=limits(listen_head_seconds=0.3)) as house:
        async with await Caller.to(house.address) as caller:
            await caller.send(b"\x16\x03\x01\x02\x00\x01\x00")
            assert await caller.end() == b""
        assert house.refused == {"no-handshake": 1}


@pytest.mark.req("TLS-01")
async def test_plain_http_to_the_tls_port_gets_no_answer() -> None:
    async with listening(tls=True) as house, await Caller.to(house.address) as caller:
        await caller.send(VERSION)
        assert b"HTTP/1.1 200" not in await caller.end()


async def test_stopping_ends_handshakes_under_way() -> None:
    async with listening(tls=True) as house, await Caller.to(house.address) as caller:
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await house.listener.stop()
        assert await caller.end() == b""
