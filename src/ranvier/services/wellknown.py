"""Fetching the well-known file: ordinary HTTPS, redirects followed by our own rules.

Always judged by the web's authorities, whatever trust its name lives under for
federation (WK-01). Each hop is looked up and dialled anew, so that the address
policy sees every address (SEC-05). Nothing but an answer comes out: every
failure is a :class:`~ranvier.protocol.wellknown.WellKnownInvalid`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from ranvier.errors import AddressRefused, ConnectFault, Malformed, NetworkFault
from ranvier.limits import Limits
from ranvier.plugs import Clock, HttpRequest, HttpResponse, Link, Wire
from ranvier.protocol.addresses import Address
from ranvier.protocol.routes import Route
from ranvier.protocol.text import shown
from ranvier.protocol.trust import WebPki
from ranvier.protocol.wellknown import (
    CLAUSE,
    REDIRECTS,
    Headers,
    Place,
    WellKnown,
    WellKnownFound,
    WellKnownInvalid,
    examine_well_known,
    lifetime,
    next_redirect,
    well_known_place,
)
from ranvier.services.cache import Cache, Got, Known, Mark, Worth
from ranvier.services.dialling import Target, dial_recorded, race
from ranvier.services.lookups import Lookups
from ranvier.trail import Recorder

_STEP = "3"
_HEADERS = (("Accept", "application/json"), ("User-Agent", "ranvier"))
_TELLING = ("content-type", "cache-control", "expires", "location", "server")


class WellKnownFiles:
    """Other servers' well-known files, each fetched once at a time and remembered."""

    def __init__(self, lookups: Lookups, wire: Wire, clock: Clock, limits: Limits) -> None:
        self._lookups = lookups
        self._wire = wire
        self._clock = clock
        self._limits = limits
        self._cache: Cache[str, WellKnown] = Cache(
            clock,
            lookups.marks,
            most=limits.cache_entries,
            longest=limits.wellknown_max_seconds,
        )

    async def fetch(
        self, host: str, *, recorder: Recorder, since: Mark | None = None
    ) -> Known[WellKnown]:
        """What the file of ``host`` says, remembered as its headers allow (WK-07 to WK-12)."""

        async def work(failures: int) -> Got[WellKnown]:
            verdict, headers = await self._fetched(host, recorder, since)
            found = isinstance(verdict, WellKnownFound)
            seconds = lifetime(headers, self._clock.now(), found, self._limits, failures=failures)
            verdict = msgspec.structs.replace(verdict, seconds=seconds)
            if isinstance(verdict, WellKnownFound):
                return Got(answer=verdict, seconds=seconds, worth=Worth.GOOD)
            worth = Worth.PASSING if verdict.temporary else Worth.BAD
            return Got(answer=verdict, seconds=seconds, worth=worth, problem=verdict.reason)

        return await self._cache.ask(host.lower(), work, since=since)

    async def _fetched(
        self, host: str, recorder: Recorder, since: Mark | None
    ) -> tuple[WellKnown, Headers]:
        seconds = self._limits.wellknown_seconds
        try:
            async with self._clock.timeout(seconds):
                response = await self._follow(host, recorder, since)
        except TimeoutError:
            return _failed("well-known-timeout", f"no answer within {seconds:g} s"), ()
        except Malformed as error:
            return _failed(error.code, error.message, temporary=False), ()
        except NetworkFault as fault:
            # D29: an address that policy refuses is no passing trouble.
            temporary = not isinstance(fault, AddressRefused)
            return _failed(fault.code, fault.message, temporary=temporary), ()
        verdict = examine_well_known(response.status, response.headers, response.body, self._limits)
        return verdict, response.headers

    async def _follow(self, host: str, recorder: Recorder, since: Mark | None) -> HttpResponse:
        """The last answer of a chain of redirects.

        Raises: Malformed (a redirect that we do not follow), NetworkFault.
        """
        place = well_known_place(host)
        seen = [place]
        while True:
            response = await self._get(place, recorder, since)
            location = response.header("location")
            if response.status not in REDIRECTS or location is None:
                return response
            place = next_redirect(place, location)
            if place in seen:
                raise Malformed(
                    "redirect-loop", f"{shown(place.url)} redirects to itself", clause=CLAUSE
                )
            if len(seen) > self._limits.wellknown_redirects:
                raise Malformed(
                    "redirect-too-many",
                    f"more than {self._limits.wellknown_redirects} redirects",
                    clause="[ranvier:well-known-redirects]",
                )
            seen.append(place)

    async def _get(self, place: Place, recorder: Recorder, since: Mark | None) -> HttpResponse:
        link = await self._connect(place, recorder, since)
        limits = self._limits
        try:
            with recorder.asking(
                "well-known-get", f"GET {shown(place.url, 200)}", number=_STEP, clause=CLAUSE
            ) as asked:
                response = await link.exchange(
                    HttpRequest(
                        method="GET",
                        target=place.target,
                        host=place.host_header,
                        headers=_HEADERS,
                    ),
                    limits.exchange(
                        body_bytes=limits.wellknown_bytes, seconds=limits.wellknown_seconds
                    ),
                )
                asked.answered(
                    f"{response.status}, {len(response.body)} bytes",
                    status=response.status,
                    headers=[
                        [name, value[:500]] for name, value in response.headers if name in _TELLING
                    ],
                )
        finally:
            await link.close()
        return response

    async def _connect(self, place: Place, recorder: Recorder, since: Mark | None) -> Link:
        """Raises: the last attempt's fault; ConnectFault if there was no address."""

        async def dial(address: Address) -> Link:
            target = Target(
                address=address,
                tls_name=place.tls_name,
                trust=WebPki(),
                what="well-known-dial",
                number=_STEP,
            )
            return await dial_recorded(self._wire, target, recorder)

        addresses = self._addresses(place, recorder, since)
        raced = await race(addresses, dial, clock=self._clock, limits=self._limits)
        if raced.won is not None:
            return raced.won[1]
        if raced.faults:
            raise raced.faults[-1]
        raise ConnectFault(
            "well-known-no-address", f"no address of {shown(place.host)} was found", clause=CLAUSE
        )

    def _addresses(
        self, place: Place, recorder: Recorder, since: Mark | None
    ) -> AsyncGenerator[Address, None]:
        route = Route(
            step=_STEP,
            connect=place.host,
            port=place.port,
            host_header=place.host_header,
            tls_name=place.tls_name,
            clause=CLAUSE,
            is_ip=place.is_ip,
        )
        return self._lookups.addresses(route, recorder=recorder, since=since)


def _failed(code: str, reason: str, *, temporary: bool = True) -> WellKnownInvalid:
    return WellKnownInvalid(code=code, reason=reason, temporary=temporary)
