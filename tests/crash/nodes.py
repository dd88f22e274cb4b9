"""The processes that are killed: two workers on one outbox, and the receivers.

Each is started anew after it died and knows only what is on disk. It is told the number
of the round, and perhaps a moment at which to kill itself; what is to be done follows
from the seed. A worker writes down when it begins a call of ``send`` and when that
returned, and never begins the same call twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from ranvier import Config, Federation, RanvierError, ServerName
from ranvier.edges import EDGES, load_edge
from ranvier.plugs import Clock, Store
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.edus import Edu, UnknownEdu
from ranvier.protocol.events import ParsedPdu, sign_event
from ranvier.protocol.room_versions import room_version
from ranvier.services.hooks import Effects
from tests.crash.plan import WORKERS, Call, Item, make_plan
from tests.crash.town import LIMITS, Town, external_of
from tests.crash.traps import Trap, TrappedStore

LOADED = tuple(load_edge(plug) for plug in EDGES)
"""Everything is imported once, in the process that the others are forked from."""

ROOM, VERSION = "!crash:test", "11"
_ARRIVED = "INSERT INTO arrived (series, number) VALUES (?, ?)"


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is started with."""

    name: str
    seed: int
    fault: str
    town: Town


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A round begins, or goes on. ``moment``: when to die in it, if at all."""

    round: int
    moment: str = ""
    passing: int = 0


class TrappedFederation(Federation):
    """A federation whose store is :class:`TrappedStore`."""

    def __init__(self, config: Config, trap: Trap, fault: str, **more: Any) -> None:
        super().__init__(config=config, store=config.path("ranvier.db"), limits=LIMITS, **more)
        self._trap, self._fault = trap, fault

    async def _opened_store(self, clock: Clock) -> Store:
        store: Any = TrappedStore(
            await super()._opened_store(clock), self._trap.passing, self._fault
        )
        return store  # type: ignore[no-any-return] # an edge is Any


def run(setup: Setup, orders: Connection) -> None:
    """The whole life of a process."""
    logging.basicConfig(
        filename=setup.town.log(setup.name),
        level=logging.WARNING,
        format="%(asctime)s %(process)d %(name)s %(message)s",
    )
    part = work if setup.name in WORKERS else receive
    asyncio.run(_obeying(setup, orders, part))


Part = Callable[[Setup, Trap, "asyncio.Queue[Order]"], Awaitable[None]]


async def _obeying(setup: Setup, orders: Connection, part: Part) -> None:
    """Hear orders while the part is played; end when nobody gives any more."""
    trap, heard = Trap(), asyncio.Queue[Order]()

    def hear() -> None:
        try:
            order: Order = orders.recv()
        except (EOFError, OSError):
            os._exit(0)
        trap.set(order.moment, order.passing)
        heard.put_nowait(order)

    asyncio.get_running_loop().add_reader(orders.fileno(), hear)
    await part(setup, trap, heard)


# --- Workers ---


async def work(setup: Setup, trap: Trap, orders: asyncio.Queue[Order]) -> None:
    """Send what the plan says, and whatever waits."""
    journal = Journal(setup.town.journal(setup.name))
    async with TrappedFederation(setup.town.sender, trap, setup.fault) as federation:
        while True:
            order = await orders.get()
            for call in make_plan(setup.seed, order.round).calls[setup.name]:
                if (order.round, call.number) not in journal.begun:
                    await asyncio.sleep(call.pause)
                    await _send(federation, setup.town, journal, order.round, call)
            journal.write("done", order.round, -1)


async def _send(
    federation: Federation, town: Town, journal: Journal, number: int, call: Call
) -> None:
    pdus = [_event(federation, each) for each in call.items if each.kind == "pdu"]
    edus = [
        UnknownEdu(edu_type="test.crash", content=_content(each))
        for each in call.items
        if each.kind == "edu"
    ]
    to = [town.destinations[each].server_name for each in call.to]
    journal.write("begin", number, call.number)
    try:
        await federation.send(to, pdus=pdus, edus=edus)
    except RanvierError as error:
        logging.getLogger("crash").error("send failed: %s (%s)", error, error.code)
        journal.write("failed", number, call.number)
    else:
        journal.write("returned", number, call.number)


def _content(item: Item) -> JsonObject:
    return {"series": item.series, "number": item.number, "ballast": "x" * item.size}


def _event(federation: Federation, item: Item) -> JsonObject:
    name = federation.config.server_name
    made = {
        "type": "test.crash",
        "room_id": ROOM,
        "sender": f"@crash:{name}",
        "origin_server_ts": item.number,
        "depth": 1,
        "auth_events": [],
        "prev_events": [],
        "content": _content(item),
    }
    return sign_event(made, room_version(VERSION), name, federation.identity.request_key)


class Journal:
    """What a worker has done, on disk before it goes on. Lines: what, round, call."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        self.begun = {(each[1], each[2]) for each in read_journal(path) if each[0] == "begin"}

    def write(self, what: str, number: int, call: int) -> None:
        os.write(self._file, f"{what} {number} {call}\n".encode())
        if what == "begin":
            self.begun.add((number, call))


def read_journal(path: Path) -> list[tuple[str, int, int]]:
    """All lines of a worker's journal."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, int(number), int(call)) for what, number, call in map(str.split, lines)]


# --- Receivers ---


async def receive(setup: Setup, trap: Trap, orders: asyncio.Queue[Order]) -> None:
    """Be this process's share of the destinations."""
    async with AsyncExitStack() as stack:
        for config in setup.town.share_of(setup.name):
            federation = TrappedFederation(config, trap, setup.fault, serving=True)
            _handle(federation, config, trap)
            await stack.enter_async_context(federation)
            await stack.enter_async_context(federation.listening())
        while True:
            await orders.get()


def _handle(federation: Federation, config: Config, trap: Trap) -> None:
    """Each item is handled by both kinds of handler."""
    external = os.open(external_of(config), os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    async def both(content: JsonObject, effects: Effects) -> None:
        series, number = content["series"], content["number"]
        effects.execute(_ARRIVED, series, number)
        os.write(external, f"{effects.key} {series} {number}\n".encode())
        trap.passing("handling")
        await asyncio.sleep(0)

    @federation.room_version
    async def version(room_id: str) -> str | None:
        return VERSION if room_id == ROOM else None

    @federation.on_pdu
    async def pdu(pdu: ParsedPdu, origin: ServerName, effects: Effects) -> None:
        await both(pdu.value["content"], effects)

    @federation.on_edu("test.crash")
    async def edu(edu: Edu, origin: ServerName, effects: Effects) -> None:
        await both(edu.content, effects)
