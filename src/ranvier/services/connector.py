"""An authenticated connection to a server name: the routes, tried until one holds.

Targets go by priority and weight, each target's addresses staggered. A refused
connection and a bad certificate are treated alike: the next one is tried (D31),
and the trail shows every attempt. What is returned has been judged by the
``trust`` that was asked for; nothing has been sent over it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from ranvier.errors import NetworkFault, TimedOut, Unreachable
from ranvier.limits import Limits
from ranvier.plugs import Clock, Link, Wire
from ranvier.protocol.addresses import Address
from ranvier.protocol.names import ServerName
from ranvier.protocol.routes import Discovery, Mode, Route
from ranvier.protocol.trust import Trust
from ranvier.services.dialling import Target, dial_recorded, race
from ranvier.services.memory import Mark
from ranvier.services.resolver import Resolver
from ranvier.trail import Recorder


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A judged connection, and by which route it came. Whoever asked for it closes it."""

    link: Link
    route: Route
    discovery: Discovery


class Connector:
    """Connects to server names."""

    def __init__(self, resolver: Resolver, wire: Wire, clock: Clock, limits: Limits) -> None:
        self._resolver = resolver
        self._wire = wire
        self._clock = clock
        self._limits = limits

    async def connect(
        self,
        name: ServerName,
        *,
        trust: Trust,
        mode: Mode = Mode.CURRENT,
        recorder: Recorder | None = None,
        fresh: bool = False,
    ) -> Connection:
        """The first connection that ``trust`` accepts, within ``total_seconds`` in all.

        Raises: Unreachable, with the trail of every attempt: ``no-route`` (discovery
        says there is none), ``no-address``, ``no-connection`` (every attempt failed)
        or ``connect-out-of-time``.
        """
        recorder = recorder or Recorder(self._clock.tick)
        try:
            async with self._clock.timeout(self._limits.total_seconds):
                return await self._connect(name, trust, mode, recorder, fresh)
        except (TimeoutError, TimedOut):
            raise Unreachable(
                "connect-out-of-time",
                f"no connection to {name} within {self._limits.total_seconds:g} s",
                clause="[ranvier:limits]",
                trail=recorder.trail,
            ) from None
        except Unreachable as error:
            raise error.with_trail(recorder.trail) from None

    async def _connect(
        self, name: ServerName, trust: Trust, mode: Mode, recorder: Recorder, fresh: bool
    ) -> Connection:
        since = self._resolver.mark() if fresh else None
        resolution = await self._resolver.resolve(name, mode=mode, fresh=fresh, recorder=recorder)
        discovery = resolution.discovery
        if discovery.stopped is not None:
            raise Unreachable(
                "no-route",
                f"there is no way to {name}: {discovery.stopped.reason}",
                clause=discovery.stopped.clause,
            )

        async def dial(candidate: tuple[Route, Address]) -> Link:
            route, address = candidate
            target = Target(
                address=address, tls_name=route.tls_name, trust=trust, number=route.step
            )
            return await dial_recorded(self._wire, target, recorder)

        raced = await race(
            self._candidates(discovery, recorder, since),
            dial,
            clock=self._clock,
            limits=self._limits,
        )
        if raced.won is None:
            raise _unreachable(name, raced.faults)
        (route, _), link = raced.won
        return Connection(link=link, route=route, discovery=discovery)

    async def _candidates(
        self, discovery: Discovery, recorder: Recorder, since: Mark | None
    ) -> AsyncGenerator[tuple[Route, Address], None]:
        """Every address of every route, in the order in which to try; looked up when due."""
        for route in self._resolver.ordered(discovery.routes):
            addresses = self._resolver.addresses(route, recorder=recorder, since=since)
            async with aclosing(addresses):
                async for address in addresses:
                    yield route, address


def _unreachable(name: ServerName, faults: tuple[NetworkFault, ...]) -> Unreachable:
    if not faults:
        clause = "[s2s:resolving-server-names]"
        return Unreachable("no-address", f"no address was found for {name}", clause=clause)
    last = faults[-1]
    if len(faults) == 1:
        return Unreachable(
            "no-connection",
            f"no connection to {name}: {last.message}",
            clause=last.clause or "[s2s:tls]",
        )
    counted = Counter(fault.code for fault in faults)
    codes = ", ".join(f"{code} ({count})" for code, count in counted.items())
    return Unreachable(
        "no-connection",
        f"no connection to {name} after {len(faults)} attempts: {codes};"
        f" the last one: {last.message}",
        clause=last.clause or "[s2s:tls]",
    )
