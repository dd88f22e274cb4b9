"""Connections that stay open for the next request, never mixed up.

An idle connection serves again only where a new one would be the same: the same
route, ``Host``, TLS name, the same judgement and the same readiness to show our
certificate (D25). Names that lead to one route share its connections; when a
name's trust changes, the connections that served it are closed, idle or lent (D5).

What idles is bounded per route and in all; beyond that, whoever has idled longest
goes. All idle for the same time at most, so they stand in the order of going, and
one task sweeps from the front. It exists only while something idles, and a request
costs the same however many destinations there are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec

from ranvier.limits import Limits
from ranvier.plugs import Clock, Link
from ranvier.protocol.names import ServerName, TlsName
from ranvier.protocol.routes import Discovery, Mode, Route
from ranvier.protocol.trust import Trust
from ranvier.services.connector import Connector, none_idle
from ranvier.trail import Recorder


class _Way(msgspec.Struct, frozen=True):
    """What has to be the same for one connection to serve in another's place."""

    connect: str
    port: int
    host_header: str
    tls_name: TlsName
    trust: Trust
    present: bool


class _Kept:
    """One connection of the pool, idle or lent."""

    __slots__ = ("link", "names", "since", "spoilt", "way")

    def __init__(self, link: Link, way: _Way) -> None:
        self.link = link
        self.way = way
        self.names: set[str] = set()
        self.since = 0.0
        self.spoilt = False


class Borrowed(msgspec.Struct, frozen=True, kw_only=True):
    """A judged connection for one exchange; it goes back with :meth:`Pool.give_back`."""

    link: Link
    route: Route
    discovery: Discovery
    reused: bool
    kept: _Kept


class Pool:
    """Lends connections to server names."""

    def __init__(self, connector: Connector, clock: Clock, limits: Limits) -> None:
        self._connector = connector
        self._clock = clock
        self._limits = limits
        self._idle: dict[_Way, list[_Kept]] = {}
        self._order: OrderedDict[_Kept, None] = OrderedDict()
        self._lent: set[_Kept] = set()
        self._views: OrderedDict[str, tuple[Trust, bool]] = OrderedDict()
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._order)

    async def borrow(
        self,
        name: ServerName,
        *,
        trust: Trust,
        mode: Mode = Mode.CURRENT,
        present: bool = False,
        recorder: Recorder,
        again: bool = True,
        fresh: bool = False,
    ) -> Borrowed:
        """A connection that ``trust`` accepts, open already or new; without ``again``, new.

        ``fresh`` passes the resolver's caches by.

        Raises: Unreachable, with its trail.
        """
        await self._view(name, trust, present)
        taken: list[_Kept] = []

        async def idle(route: Route) -> Link | None:
            kept = await self._take(_way(route, trust, present))
            if kept is None:
                return None
            taken.append(kept)
            return kept.link

        lent: _Kept | None = None
        try:
            connection = await self._connector.connect(
                name,
                trust=trust,
                mode=mode,
                recorder=recorder,
                present=present,
                fresh=fresh,
                idle=idle if again else none_idle,
            )
            lent = next((each for each in taken if each.link is connection.link), None)
            lent = lent or _Kept(connection.link, _way(connection.route, trust, present))
        finally:
            for each in taken:
                if each is not lent:  # taken for a race that another won
                    await each.link.close()
        lent.names.add(name.text)
        self._lent.add(lent)
        return Borrowed(
            link=lent.link,
            route=connection.route,
            discovery=connection.discovery,
            reused=connection.reused,
            kept=lent,
        )

    async def give_back(self, borrowed: Borrowed) -> None:
        """Keep the connection for the next one, if it is good for that; else close it."""
        kept = borrowed.kept
        self._lent.discard(kept)
        if self._closed or kept.spoilt or not kept.link.reusable:
            await kept.link.close()
            return
        same = self._idle.setdefault(kept.way, [])
        same.append(kept)
        kept.since = self._clock.tick()
        self._order[kept] = None
        if len(same) > self._limits.pool_per_route:
            await self._drop(same[0])
        if len(self._order) > self._limits.pool_connections:
            await self._drop(next(iter(self._order)))
        if self._sweeper is None and self._order:
            self._sweeper = asyncio.ensure_future(self._sweep())

    async def forget(self, name: ServerName) -> None:
        """Close what served ``name``; what is lent at this moment, when it comes back (D5)."""
        for kept in [each for each in self._order if name.text in each.names]:
            await self._drop(kept)
        for kept in self._lent:
            kept.spoilt = kept.spoilt or name.text in kept.names

    async def close_all(self) -> None:
        """Close everything; what is lent, when it comes back. Never raises."""
        self._closed = True
        for kept in list(self._order):
            await self._drop(kept)
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.cancel()
            await asyncio.wait([sweeper])

    async def _view(self, name: ServerName, trust: Trust, present: bool) -> None:
        """If ``name`` is judged otherwise than before, its connections go."""
        view, before = (trust, present), self._views.get(name.text)
        if before is not None and before != view:
            await self.forget(name)
        self._views[name.text] = view
        self._views.move_to_end(name.text)
        if len(self._views) > self._limits.cache_entries:
            self._views.popitem(last=False)

    async def _take(self, way: _Way) -> _Kept | None:
        """The one that was used last, of those that are still good."""
        while same := self._idle.get(way):
            kept = same[-1]
            self._remove(kept)
            if kept.link.reusable:
                return kept
            await kept.link.close()
        return None

    async def _drop(self, kept: _Kept) -> None:
        self._remove(kept)
        await kept.link.close()

    def _remove(self, kept: _Kept) -> None:
        """It idles no more."""
        if kept not in self._order:
            return  # somebody else was faster
        del self._order[kept]
        same = self._idle[kept.way]
        same.remove(kept)
        if not same:
            del self._idle[kept.way]

    async def _sweep(self) -> None:
        """Close what has idled long enough, until nothing idles."""
        while self._order:
            oldest = next(iter(self._order))
            left = oldest.since + self._limits.pool_idle_seconds - self._clock.tick()
            if left > 0:
                await self._clock.sleep(left)
            else:
                await self._drop(oldest)
        self._sweeper = None


def _way(route: Route, trust: Trust, present: bool) -> _Way:
    return _Way(route.connect, route.port, route.host_header, route.tls_name, trust, present)
