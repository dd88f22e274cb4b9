"""One client cannot take the seats of the others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from ranvier.net.proxies import TrustedProxy
from ranvier.net.seats import client_of
from ranvier.protocol.addresses import Address
from tests.rigs.listening import Caller, House, get, limits, listening

VERSION = get("/_matrix/federation/v1/version")
FEW = limits(listen_connections_per_client=3)
LOCAL = TrustedProxy(networks=("127.0.0.0/8",))


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize(
    ("ip", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),  # a socket for both families
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1:2:3", "2001:db8::/64"),  # the same machine, if it likes
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_client_is_an_address_or_what_one_machine_is_given(ip: str, client: str) -> None:
    assert client_of(ip) == client


async def call_from(house: House, ip: str) -> Caller:
    made = socket.socket()
    made.bind((ip, 0))
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, (house.address.ip, house.address.port))
    return Caller(*await asyncio.open_connection(sock=made))


async def served(house: House, ip: str) -> Caller:
    caller = await call_from(house, ip)
    assert (await caller.ask(VERSION)).status == 200
    return caller


async def test_beyond_its_share_a_clients_own_longest_idle_gives_way() -> None:
    async with listening(budget=FEW) as house, contextlib.AsyncExitStack() as stack:
        other = await stack.enter_async_context(await served(house, "127.0.0.9"))
        callers = []
        for _ in range(5):
            callers.append(await stack.enter_async_context(await served(house, "127.0.0.7")))
            await house.later(1)
        for caller in callers[:2]:
            assert await caller.end() == b""
        for caller in (other, *callers[2:]):
            assert (await caller.ask(VERSION)).status == 200


async def test_a_client_whose_share_all_works_is_turned_away_and_others_are_not() -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.Event().wait()

    async with listening(endless, budget=FEW) as house, contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            caller = await stack.enter_async_context(await call_from(house, "127.0.0.7"))
            await caller.send(get("/slow"))
        await house.later(0)
        async with await call_from(house, "127.0.0.7") as turned_away:
            assert await turned_away.end() == b""
        assert house.refused == {"no-seat-for-client": 1}
        async with await served(house, "127.0.0.9"):
            pass


async def test_ten_times_its_share_of_one_client_costs_the_others_nothing() -> None:
    budget = limits(listen_connections=40, listen_connections_per_client=20)
    async with listening(budget=budget) as house, contextlib.AsyncExitStack() as stack:
        other = await stack.enter_async_context(await served(house, "127.0.0.9"))
        await house.later(1)  # it has idled longer than any that comes now
        for _ in range(200):
            await stack.enter_async_context(await call_from(house, "127.0.0.7"))
        await house.later(0)
        assert (await other.ask(VERSION)).status == 200
        assert len(house.listener.hall.guests) <= 21


async def test_handshakes_count_and_a_seat_is_free_again_when_one_ends() -> None:
    async with listening(budget=FEW, tls=True) as house:
        silent = [await call_from(house, "127.0.0.7") for _ in range(3)]
        await house.later(0)
        async with await call_from(house, "127.0.0.7") as turned_away:
            assert await turned_away.end() == b""
        assert house.refused == {"no-seat-for-client": 1}
        for caller in silent:
            caller.writer.close()
        await house.later(0)
        for _ in range(5):
            async with await Caller.to(Address("127.0.0.1", house.address.port), True) as caller:
                assert (await caller.ask(VERSION)).status == 200
        await house.later(0)
        assert house.listener.hall.seats.of("127.0.0.7") == set()
        assert house.listener.hall.seats.of("127.0.0.1") == set()


async def test_a_proxy_of_ours_may_have_all_seats() -> None:
    async with (
        listening(budget=FEW, proxies=(LOCAL,)) as house,
        contextlib.AsyncExitStack() as stack,
    ):
        callers = [await stack.enter_async_context(await house.call()) for _ in range(10)]
        for caller in callers:
            assert (await caller.ask(VERSION)).status == 200
