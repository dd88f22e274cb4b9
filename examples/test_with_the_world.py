"""Test your own code against servers that are slow, dead or lying. No socket, no waiting.

./dev test examples/test_with_the_world.py
"""

import asyncio

import pytest

from ranvier import Edges, Federation
from ranvier.errors import PeerFault
from ranvier.world import DocumentFlaw, Fault, World


async def first_key_of(fed: Federation, name: str) -> str:
    """The code under test: yours would be longer."""
    fetched = await fed.fetch_keys(name)
    return next(outcome.key_id for outcome in fetched.outcomes if outcome.good)


def federation_in(world: World) -> Federation:
    edges = Edges(clock=world.clock, dns=world.dns, wire=world.wire, store=world.store)
    return Federation(edges=edges)


def test_a_dead_ipv6_address_costs_a_quarter_of_a_second() -> None:
    world = World()
    server = world.server("chat.example", ip="10.0.0.1")
    world.dns.address("chat.example", "10.0.0.1", "fd00::1")
    world.host("fd00::1", 8448, fault=Fault.BLACK_HOLE)

    async def scenario() -> None:
        async with federation_in(world) as fed:
            began = world.clock.tick()
            assert await first_key_of(fed, "chat.example") == server.keys[0].key_id
            assert world.clock.tick() - began < 0.5  # virtual: the test itself takes no time

    asyncio.run(scenario())


def test_a_document_with_one_bit_flipped_is_refused() -> None:
    world = World()
    world.server("chat.example").flaw = DocumentFlaw.FLIPPED_BIT

    async def scenario() -> None:
        async with federation_in(world) as fed:
            with pytest.raises(PeerFault) as caught:
                await first_key_of(fed, "chat.example")
            assert caught.value.code == "key-signatures-verify"

    asyncio.run(scenario())
