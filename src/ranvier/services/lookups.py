"""DNS as the services use it: remembered by TTL, failure as a value, addresses as they come.

The code of an answer is never guessed at: SERVFAIL and silence stay what they
are, and only an earlier good answer may stand in for them (SRV-05). They are
remembered for a few seconds, so that a dead name server is not asked by every
caller in turn ``[rfc9520]``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from itertools import chain, zip_longest
from typing import Any

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.plugs import Clock, Dns
from ranvier.protocol.addresses import Address
from ranvier.protocol.records import DnsAnswer, Failed, RecordKind
from ranvier.protocol.routes import Route
from ranvier.protocol.text import shown
from ranvier.services.cache import Cache, Got, Known, Mark, Marks, Worth
from ranvier.services.steps import NOT_NEEDED, asking
from ranvier.trail import Recorder

DnsKnown = Known[DnsAnswer | Failed]

_FAILURE_SECONDS = 5
"""How long the first failure is remembered; doubled for each further one."""
_GRACE_SECONDS = 0.05
"""How long A records wait for the AAAA records ``[rfc8305 3]``."""


class Lookups:
    """DNS questions, each asked once at a time and remembered for as long as it holds."""

    def __init__(self, dns: Dns, clock: Clock, limits: Limits) -> None:
        self.marks = Marks()
        self._dns = dns
        self._clock = clock
        self._limits = limits
        self._cache: Cache[tuple[str, RecordKind], DnsAnswer | Failed] = Cache(
            clock, self.marks, most=limits.cache_entries, longest=limits.dns_ttl_max_seconds
        )

    async def lookup(self, name: str, kind: RecordKind, *, since: Mark | None = None) -> DnsKnown:
        """The answer, whatever it says; :class:`Failed` if nobody gave one.

        ``since`` as in :meth:`Cache.ask`.
        """

        async def work(failures: int) -> Got[DnsAnswer | Failed]:
            try:
                answer = await self._dns.ask(name, kind)
            except DnsFault as fault:
                return self._failure(Failed(code=fault.code, reason=fault.message), failures)
            if not answer.answered:
                return self._failure(answer, failures)
            return self._answer(answer)

        return await self._cache.ask((name.lower(), kind), work, since=since)

    def _answer(self, answer: DnsAnswer) -> Got[DnsAnswer | Failed]:
        if answer.addresses or answer.services:
            seconds = min(answer.ttl, self._limits.dns_ttl_max_seconds)
            return Got(answer=answer, seconds=seconds, worth=Worth.GOOD)
        seconds = min(answer.ttl, self._limits.dns_negative_seconds)
        return Got(answer=answer, seconds=seconds, worth=Worth.PLAIN)

    def _failure(self, answer: DnsAnswer | Failed, failures: int) -> Got[DnsAnswer | Failed]:
        seconds = min(self._limits.dns_negative_seconds, _FAILURE_SECONDS * 2 ** min(failures, 10))
        problem = answer.reason if isinstance(answer, Failed) else f"answered {answer.rcode}"
        return Got(answer=answer, seconds=seconds, worth=Worth.PASSING, problem=problem)

    async def addresses(
        self, route: Route, *, recorder: Recorder, since: Mark | None = None
    ) -> AsyncGenerator[Address, None]:
        """The route's addresses as they come, both families asked at once and taken in turn.

        None of them has been judged yet: that is done on the wire. At most
        ``addresses_per_name``. Closing the generator gives up what is under way.
        """
        if route.is_ip:
            yield Address(route.connect, route.port)
            return
        asked = {
            kind: asyncio.ensure_future(self._family(route, kind, recorder, since))
            for kind in route.families
        }
        given: set[str] = set()
        reason = NOT_NEEDED
        try:
            async with aclosing(self._batches(asked)) as batches:
                async for ips in batches:
                    for ip in ips:
                        if ip not in given and len(given) < self._limits.addresses_per_name:
                            given.add(ip)
                            yield Address(ip, route.port)
        except asyncio.CancelledError as error:
            reason = str(*error.args)
            raise
        finally:
            for task in asked.values():
                task.cancel(reason)
            await asyncio.gather(*asked.values(), return_exceptions=True)

    async def _batches(
        self, asked: Mapping[RecordKind, asyncio.Future[tuple[str, ...]]]
    ) -> AsyncGenerator[list[str], None]:
        """What has come, the families in turn; then what comes later."""
        under_way = set(asked.values())
        while under_way:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            preferred = asked.get(RecordKind.AAAA)
            if preferred in under_way and any(task.result() for task in done):
                late = await self._in_grace(preferred)
                done, under_way = done | late, under_way - late
            columns = [asked[kind].result() for kind in asked if asked[kind] in done]
            yield [ip for ip in chain(*zip_longest(*columns)) if ip is not None]

    async def _in_grace(
        self, preferred: asyncio.Future[tuple[str, ...]]
    ) -> set[asyncio.Future[tuple[str, ...]]]:
        try:
            async with self._clock.timeout(_GRACE_SECONDS):
                await asyncio.wait([preferred])
        except TimeoutError:
            return set()
        return {preferred}

    async def _family(
        self, route: Route, kind: RecordKind, recorder: Recorder, since: Mark | None
    ) -> tuple[str, ...]:
        host = route.connect
        with asking(
            recorder, "address", f"{kind} of {shown(host)}", number=route.step, clause=route.clause
        ) as asked:
            known = await self.lookup(host, kind, since=since)
            answer = known.answer
            asked.evidence.update(name=host, kind=str(kind), **source_evidence(known))
            if isinstance(answer, Failed):
                asked.failed(answer.code, answer.reason)
                return ()
            asked.evidence.update(
                rcode=answer.rcode,
                addresses=list(answer.addresses),
                aliases=list(answer.aliases),
                server=answer.server,
                authentic=answer.authentic,
            )
            if not answer.answered:
                asked.failed("address-unknown", f"the name server answered {answer.rcode}")
                return ()
            found = ", ".join(answer.addresses[: self._limits.addresses_per_name])
            found = found or f"no record ({answer.rcode})"
            asked.answered(f"{found}, by the {answer.server}" if answer.local else found)
        if answer.aliases and route.is_srv:
            note_alias(recorder, route, answer.aliases[0])
        return answer.addresses


def note_alias(recorder: Recorder, route: Route, alias: str) -> None:
    """SRV-03: an SRV target should not be an alias; it is tried all the same."""
    recorder.note(
        "srv-target-alias",
        f"is the SRV target {shown(route.connect)} a host of its own?",
        f"no: it is an alias of {shown(alias)}, which [rfc2782] forbids; tried all the same",
        number=route.step,
        clause="[rfc2782]",
        target=route.connect,
        alias=alias,
    )


def source_evidence(known: Known[Any]) -> dict[str, str | int]:
    """Where an answer came from, as evidence."""
    evidence: dict[str, str | int] = {"source": str(known.source), "seconds": known.seconds}
    if known.problem:
        evidence["problem"] = known.problem
    return evidence
