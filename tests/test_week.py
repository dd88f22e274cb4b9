"""A destination that is down for a week: what that costs, and what ends it.

The whole federation in a world: virtual time, the real gate, client and sender.
"""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import pytest

from ranvier import Config, Federation
from ranvier.edges import Edges
from ranvier.errors import Unauthenticated
from ranvier.limits import DAY_MS, Ms
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.edus import UnknownEdu
from ranvier.protocol.keys import build_v2_document
from ranvier.world import World
from ranvier.world.faults import Fault
from tests.services.gaterig import US, request
from tests.services.keyrig import KEY, NAME, OTHER_KEY

IP = "10.0.0.1"
WEEK = 7 * DAY_MS / 1000


class Town:
    """Us, and a peer that can be down; ``came`` is what it got, and when."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.came: list[tuple[int, float]] = []
        self.certificate = self.world.certificate(NAME)
        self.world.dns.address(NAME, IP)
        world = self.world
        edges = Edges(clock=world.clock, dns=world.dns, wire=world.wire, store=world.store)
        config = Config(server_name=US, data=str(folder))
        self.federation = Federation(config=config, edges=edges)

    def down(self) -> None:
        self.world.host(IP, 8448, certificate=self.certificate, fault=Fault.BLACK_HOLE)

    def up(self) -> None:
        self.world.host(IP, 8448, certificate=self.certificate, serves=self._serve)

    async def _serve(self, asked: HttpRequest) -> HttpResponse:
        clock = self.world.clock
        if asked.method == "PUT":
            edus = json.loads(asked.body)["edus"]
            self.came += [(each["content"]["n"], clock.tick()) for each in edus]
            return HttpResponse(status=200, body=b'{"pdus":{}}')
        until = Ms(clock.now() + DAY_MS)
        return HttpResponse(status=200, body=build_v2_document(NAME, (KEY,), valid_until=until))

    async def send(self, *numbers: int) -> None:
        for n in numbers:
            await self.federation.send([NAME], edus=[UnknownEdu(edu_type="x", content={"n": n})])


@pytest.mark.req("TXN-19", "D21")
async def test_after_a_week_an_authenticated_request_brings_all_within_a_second(
    tmp_path: Path,
) -> None:
    town = Town(tmp_path)
    world, wire = town.world, town.world.wire
    town.down()
    async with town.federation as fed:
        idle = len(asyncio.all_tasks())
        await town.send(1, 2)
        await world.clock.sleep(WEEK)
        await town.send(3)

        # What the week cost: a few attempts, further and further apart, and no task.
        at = [each.at for each in wire.attempts]
        assert len(at) < 25 * 3  # routes
        assert max(later - sooner for sooner, later in pairwise(at)) > 12 * 3600
        assert len(asyncio.all_tasks()) == idle
        [lane] = await fed.queue.lanes()
        assert (lane.waiting, lane.leased_by) == (3, "")
        assert lane.because

        # It is up again: nobody looks.
        town.up()
        tried = len(wire.attempts)
        await world.clock.sleep(60)
        assert len(wire.attempts) == tried

        # What is not authenticated changes nothing.
        with pytest.raises(Unauthenticated):
            await fed.gate.authenticate(request(key=OTHER_KEY))
        await world.clock.sleep(60)
        assert town.came == []

        # What is, ends it.
        heard = world.clock.tick()
        await fed.gate.authenticate(request())
        await world.clock.sleep(5)
        assert [n for n, _ in town.came] == [1, 2, 3]
        assert max(when for _, when in town.came) - heard < 1
        assert await fed.queue.lanes() == ()


@pytest.mark.req("TXN-19", "D21")
async def test_the_same_after_a_restart_in_between(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.down()
    async with town.federation:
        await town.send(1)
        await town.world.clock.sleep(WEEK)
        await town.federation._open().sender.stop()  # as if it had ended here
        await town.federation._open().back_offs.load()
        await town.federation._open().sender.start()
        town.up()
        heard = town.world.clock.tick()
        await town.federation.gate.authenticate(request())
        await town.world.clock.sleep(5)
        [(n, when)] = town.came
        assert n == 1
        assert when - heard < 1
