"""An authenticated connection to a server name: the routes, tried until one holds.

Targets go by priority and weight, each target's addresses staggered. A refused
connection and a bad certificate are treated alike: the next one is tried (D31),
and the trail shows every attempt. What is returned has been judged by the
``trust`` that was asked for; nothing has been sent over it.

Whoever keeps connections open hands in ``idle``: asked for each route in turn, before
that route is dialled, it may give an open connection instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

import msgspec

from ranvier.errors import NetworkFault, TimedOut, Unreachable
from ranvier.limits import Limits
from ranvier.plugs import Clock, Link, Wire
from ranvier.protocol.addresses import Address
from ranvier.protocol.names import ServerName
from ranvier.protocol.routes import Discovery, Mode, Route
from ranvier.protocol.trust import Trust
from ranvier.services.cache import Mark
from ranvier.services.dialling import Target, dial_recorded, race
from ranvier.services.resolver import Resolver
from ranvier.trail import Recorder

Idle: TypeAlias = Callable[[Route], Awaitable[Link | None]]
"""Gives an open connection by a route, if there is one."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A judged connection, and by which route it came. Whoever asked for it closes it."""

    link: Link
    route: Route
    discovery: Discovery
    reused: bool = False
    """Whether it was open already."""


async def none_idle(route: Route) -> Link | None:
    """Nothing is kept open."""
    return None


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What one call wants."""

    name: ServerName
    trust: Trust
    mode: Mode
    recorder: Recorder
    fresh: bool
    present: bool
    idle: Idle


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
        present: bool = False,
        idle: Idle = none_idle,
    ) -> Connection:
        """The first connection that ``trust`` accepts, within ``total_seconds`` in all.

        ``present``: offer our client certificate. What ``idle`` gave and is not
        returned has to be closed by whoever gave it.

        Raises: Unreachable, with the trail of every attempt: ``no-route`` (discovery
        says there is none), ``no-address``, ``no-connection`` (every attempt failed)
        or ``connect-out-of-time``.
        """
        recorder = recorder or Recorder(self._clock.tick)
        wanted = _Wanted(
            name=name,
            trust=trust,
            mode=mode,
            recorder=recorder,
            fresh=fresh,
            present=present,
            idle=idle,
        )
        try:
            async with self._clock.timeout(self._limits.total_seconds):
                return await self._connect(wanted)
        except (TimeoutError, TimedOut):
            raise Unreachable(
                "connect-out-of-time",
                f"no connection to {name} within {self._limits.total_seconds:g} s",
                clause="[ranvier:limits]",
                trail=recorder.trail,
            ) from None
        except Unreachable as error:
            raise error.with_trail(recorder.trail) from None

    async def _connect(self, wanted: _Wanted) -> Connection:
        since = self._resolver.mark() if wanted.fresh else None
        resolution = await self._resolver.resolve(
            wanted.name, mode=wanted.mode, fresh=wanted.fresh, recorder=wanted.recorder
        )
        discovery = resolution.discovery
        if discovery.stopped is not None:
            raise Unreachable(
                "no-route",
                f"there is no way to {wanted.name}: {discovery.stopped.reason}",
                clause=discovery.stopped.clause,
            )
        routes = self._resolver.ordered(discovery.routes)
        open_already = await wanted.idle(routes[0])  # the usual case, without a race
        if open_already is not None:
            route, link = routes[0], _used_again(routes[0], open_already, wanted.recorder)
            return Connection(link=link, route=route, discovery=discovery, reused=True)
        return await self._raced(routes, discovery, wanted, since)

    async def _raced(
        self, routes: tuple[Route, ...], discovery: Discovery, wanted: _Wanted, since: Mark | None
    ) -> Connection:
        async def dial(candidate: tuple[Route, Address | Link]) -> Link:
            route, way = candidate
            if not isinstance(way, Address):
                return _used_again(route, way, wanted.recorder)
            target = Target(
                address=way,
                tls_name=route.tls_name,
                trust=wanted.trust,
                number=route.step,
                present=wanted.present,
            )
            return await dial_recorded(self._wire, target, wanted.recorder)

        raced = await race(
            self._candidates(routes, wanted, since), dial, clock=self._clock, limits=self._limits
        )
        if raced.won is None:
            raise _unreachable(wanted.name, raced.faults)
        (route, way), link = raced.won
        return Connection(
            link=link, route=route, discovery=discovery, reused=not isinstance(way, Address)
        )

    async def _candidates(
        self, routes: tuple[Route, ...], wanted: _Wanted, since: Mark | None
    ) -> AsyncGenerator[tuple[Route, Address | Link], None]:
        """Every way of every route, in the order in which to try; looked up when due."""
        for route in routes:
            open_already = await wanted.idle(route)
            if open_already is not None:
                yield route, open_already
            addresses = self._resolver.addresses(route, recorder=wanted.recorder, since=since)
            async with aclosing(addresses):
                async for address in addresses:
                    yield route, address


def _used_again(route: Route, link: Link, recorder: Recorder) -> Link:
    """The link, and the step that says so."""
    address = str(link.facts.address)
    recorder.note(
        "dial",
        f"connect to {address} as {route.tls_name}",
        "over a connection that is open",
        number=route.step,
        clause="[ranvier:pool]",
        address=address,
        reused=True,
    )
    return link


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
