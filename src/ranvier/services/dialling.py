"""Several addresses, one connection: staggered, and the first that is judged good wins.

An address that says nothing delays the next one by ``stagger_seconds``; one
that *fails* delays it not at all. Candidates are taken only when the next one
is due, so nothing is looked up that is not needed. When one has won, the others
are cancelled, and closed if they had been won already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import msgspec

from ranvier.errors import NetworkFault, TlsFault
from ranvier.limits import Limits
from ranvier.plugs import Clock, Link, Wire
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import Trust
from ranvier.services.steps import NOT_NEEDED, asking
from ranvier.trail import Recorder

C = TypeVar("C")


class Raced(msgspec.Struct, Generic[C], frozen=True):
    """How a race ended: ``won`` with its link, or only the faults, in order."""

    won: tuple[C, Link] | None
    faults: tuple[NetworkFault, ...]


async def race(
    candidates: AsyncGenerator[C, None],
    dial: Callable[[C], Awaitable[Link]],
    *,
    clock: Clock,
    limits: Limits,
) -> Raced[C]:
    """Dial candidates until one is connected or none is left.

    Raises: whatever ``dial`` raises, unless it is a NetworkFault. The
    candidates are closed in any case.
    """
    async with aclosing(candidates):
        running = _Race(candidates, dial, clock, limits)
        try:
            return await running.run()
        finally:
            await running.end()


class _Race(Generic[C]):
    def __init__(
        self,
        candidates: AsyncGenerator[C, None],
        dial: Callable[[C], Awaitable[Link]],
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._candidates = candidates
        self._dial = dial
        self._clock = clock
        self._stagger = limits.stagger_seconds
        self._left = limits.attempts_per_request
        self._due = True
        self._due_at: float | None = None
        """The tick at which the next attempt is due, if nothing happens before."""
        self._attempts: dict[asyncio.Future[Link], C] = {}
        self._next: asyncio.Future[C | None] | None = None
        self._faults: list[NetworkFault] = []
        self._won: tuple[C, Link] | None = None
        self._reason = ""

    async def run(self) -> Raced[C]:
        """The race itself."""
        while self._won is None:
            if self._due and self._next is None and self._left > 0:
                self._due, self._due_at = False, None
                self._next = asyncio.ensure_future(anext(self._candidates, None))
            under_way = self._under_way()
            if not under_way:
                break
            self._look(await self._ended_of(under_way))
        self._reason = NOT_NEEDED
        return Raced(self._won, tuple(self._faults))

    def _under_way(self) -> list[asyncio.Future[Any]]:
        following = [] if self._next is None else [self._next]
        return [*self._attempts, *following]

    async def _ended_of(self, under_way: list[asyncio.Future[Any]]) -> set[asyncio.Future[Any]]:
        """What has ended, as soon as something has; nothing, when the next one is due."""
        if self._due_at is None:
            return (await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED))[0]
        try:
            async with self._clock.timeout(self._due_at - self._clock.tick()):
                return (await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED))[0]
        except TimeoutError:
            self._due, self._due_at = True, None
            return set()

    def _look(self, done: set[asyncio.Future[Any]]) -> None:
        for attempt in [each for each in self._attempts if each in done]:
            if self._won is None:
                self._judge(attempt)
        if self._won is None and self._next is not None and self._next in done:
            self._start(self._next.result())

    def _judge(self, attempt: asyncio.Future[Link]) -> None:
        """One attempt has ended; a failure makes the next one due at once."""
        candidate = self._attempts.pop(attempt)
        try:
            self._won = candidate, attempt.result()
        except NetworkFault as fault:
            self._faults.append(fault)
            self._due, self._due_at = True, None

    def _start(self, candidate: C | None) -> None:
        self._next = None
        if candidate is None:
            self._left = 0
            return
        self._left -= 1
        self._attempts[asyncio.ensure_future(self._dial(candidate))] = candidate
        self._due, self._due_at = False, self._clock.tick() + self._stagger

    async def end(self) -> None:
        """Give up whatever is still under way, and close what was won too late."""
        rest = self._under_way()
        for task in rest:
            task.cancel(self._reason)
        await asyncio.gather(*rest, return_exceptions=True)
        for attempt in self._attempts:
            if not attempt.cancelled() and attempt.exception() is None:
                await attempt.result().close()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt is for, so that its step can say so."""

    address: Address
    tls_name: TlsName
    trust: Trust
    what: str = "dial"
    number: str = ""
    clause: str = "[s2s:tls]"
    present: bool = False


async def dial_recorded(wire: Wire, target: Target, recorder: Recorder) -> Link:
    """One attempt, and its step: address, outcome, code, certificate fingerprint.

    Raises: AddressRefused, ConnectFault, TlsFault, TimedOut.
    """
    with asking(
        recorder,
        target.what,
        f"connect to {target.address} as {target.tls_name}",
        number=target.number,
        clause=target.clause,
    ) as asked:
        asked.evidence.update(
            address=str(target.address),
            tls_name=target.tls_name.text,
            trust=str(target.trust.__struct_config__.tag),
        )
        try:
            link = await wire.dial(
                target.address, target.tls_name, target.trust, present=target.present
            )
        except TlsFault as fault:
            if fault.certificates:
                asked.evidence["certificate"] = fingerprint(fault.certificates[0])
            raise
        facts = link.facts
        if facts.via:
            asked.evidence["via"] = facts.via
        if facts.offered:
            asked.evidence["offered"] = True
        asked.answered(
            f"connected with {facts.tls_version or 'TLS'}",
            certificate=fingerprint(facts.certificates.leaf),
            tls_version=facts.tls_version,
            cipher=facts.cipher,
            tcp_seconds=facts.tcp_seconds,
            tls_seconds=facts.tls_seconds,
        )
    return link
