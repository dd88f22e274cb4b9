"""The conductor: starts the processes, strikes them, starts them again, and compares.

Only processes that it started itself are struck, by their id. It is alive throughout
and publishes the sender's keys; the outbox it only looks at.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ranvier import Federation
from tests.crash.ledger import Findings, Ledger
from tests.crash.nodes import Order, Setup, run
from tests.crash.plan import RECEIVERS, WORKERS, Blow, How, Plan, make_plan
from tests.crash.town import LIMITS, make_stores, make_town

ROUND_SECONDS = 40.0
"""A round that takes longer is stuck."""

LOOK_SECONDS = 0.05
_BY_FORK = multiprocessing.get_context("forkserver")
_BY_FORK.set_forkserver_preload(["tests.crash.nodes"])


class Node:
    """One process, started anew whenever it dies."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.deaths: Counter[str] = Counter()
        self.order = Order(round=-1)
        self.back = 0.0
        self._cause = How.AT_A_MOMENT
        self._process: Any = None
        self._orders: Any = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs (or is stopped)."""
        return self._process is not None and self._process.exitcode is None

    def start(self) -> None:
        """Begin its life, and see to it that it has another."""
        self._spawn()
        self._keeper = asyncio.ensure_future(self._keep())

    async def _keep(self) -> None:
        while True:
            await _ended(self._process)
            died = self._process.exitcode == -signal.SIGKILL
            self.deaths[self._cause if died else "by itself"] += 1
            self._cause = How.AT_A_MOMENT
            self._orders.close()
            await asyncio.sleep(self.back)
            self.order = Order(round=self.order.round)  # no second death in this round
            self._spawn()

    def _spawn(self) -> None:
        theirs, self._orders = _BY_FORK.Pipe(duplex=False)
        self._process = _BY_FORK.Process(target=run, args=(self.setup, theirs), daemon=True)
        self._process.start()
        theirs.close()
        if self.order.round >= 0:
            self.tell(self.order)

    def tell(self, order: Order) -> None:
        """Give an order, now and after the next death."""
        self.order = order
        with suppress(OSError):
            self._orders.send(order)

    async def strike(self, blow: Blow) -> None:
        """Kill it, or stop it for a while."""
        await asyncio.sleep(blow.after)
        if blow.how is How.PAUSE and self._signal(signal.SIGSTOP):
            self.deaths[How.PAUSE] += 1
            await asyncio.sleep(blow.back)
            self._signal(signal.SIGCONT)
        elif blow.how is How.AT_A_TIME and self._signal(signal.SIGKILL):
            self._cause = How.AT_A_TIME

    def _signal(self, number: int) -> bool:
        """Only to the process that we started, and only while it has not been waited for."""
        if not self.alive:
            return False
        os.kill(self._process.pid, number)
        return True

    async def stop(self) -> None:
        """The end."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._signal(signal.SIGKILL)
        await _ended(self._process)


async def _ended(process: Any) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()


class Crash:
    """Rounds in one town."""

    def __init__(self, folder: Path, seed: int, fault: str = "") -> None:
        self.seed = seed
        self.rounds = 0
        self.town = make_town(folder)
        self.ledger = Ledger(self.town)
        self.nodes = {
            each: Node(Setup(name=each, seed=seed, fault=fault, town=self.town))
            for each in (*RECEIVERS, *WORKERS)
        }

    @property
    def findings(self) -> Findings:
        """So far."""
        found = self.ledger.findings
        found.faults = self.deaths["by itself"]
        return found

    @property
    def deaths(self) -> Counter[str]:
        """How often processes were struck, by how."""
        return sum((each.deaths for each in self.nodes.values()), Counter())

    def deaths_of(self, names: tuple[str, ...]) -> int:
        """How often these were killed."""
        ways = (How.AT_A_TIME, How.AT_A_MOMENT)
        return sum(self.nodes[each].deaths[how] for each in names for how in ways)

    async def run(self, rounds: range, enough: Callable[[int, Findings], bool]) -> None:
        """All rounds, one after another, until ``enough``, which is told of each."""
        town = self.town
        await make_stores(town)
        keeper = Federation(
            config=town.sender, store=town.outbox, limits=LIMITS, serving=True, delivering=False
        )
        async with keeper, keeper.listening():
            try:
                for each in self.nodes.values():
                    each.start()
                for number in rounds:
                    await self._round(make_plan(self.seed, number), keeper)
                    self.rounds += 1
                    if enough(number, self.findings):
                        break
            finally:
                await asyncio.gather(*(each.stop() for each in self.nodes.values()))

    async def _round(self, plan: Plan, keeper: Federation) -> None:
        at_moments = {each.victim: each for each in plan.blows if each.how is How.AT_A_MOMENT}
        for name, node in self.nodes.items():
            blow = at_moments.get(name)
            order = Order(round=plan.number)
            if blow is not None:
                order = Order(round=plan.number, moment=blow.moment, passing=blow.passing)
            node.tell(order)
        for blow in plan.blows:
            self.nodes[blow.victim].back = blow.back
        strikes = [self.nodes[each.victim].strike(each) for each in plan.blows]
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await asyncio.gather(*strikes)
                while not await self._is_quiet(plan, keeper):
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            self.findings.stuck += 1
        self.ledger.close(plan)

    async def _is_quiet(self, plan: Plan, keeper: Federation) -> bool:
        """All calls made, all that waited delivered, everybody alive."""
        if not all(each.alive for each in self.nodes.values()) or not self.ledger.done(plan.number):
            return False
        return not any(each.waiting for each in await keeper.queue.lanes())
