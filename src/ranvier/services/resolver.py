"""From a server name to routes, in life: the machines, driven with DNS and HTTPS.

There is no cache of *routes*. What is remembered are the answers, each for its
own lifetime, and the machine is run again over them: that costs microseconds,
and the trail of a remembered resolution has the same steps as that of a new
one, each saying where its answer came from.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import msgspec

from ranvier.errors import TimedOut
from ranvier.limits import Limits
from ranvier.plugs import Clock, Dns, Wire
from ranvier.protocol.addresses import Address
from ranvier.protocol.discovery import discover
from ranvier.protocol.names import ServerName
from ranvier.protocol.questions import Expect, LookupSrv, Machine, Question, outliving
from ranvier.protocol.routes import Discovery, Mode, Route, clause_of
from ranvier.protocol.srv import weighted_order
from ranvier.protocol.text import shown
from ranvier.protocol.wellknown import WellKnown, WellKnownFound
from ranvier.services.cache import Known, Mark, Source
from ranvier.services.lookups import Lookups
from ranvier.services.srvsteps import SrvSteps, keep_evidence
from ranvier.services.steps import asking
from ranvier.services.wellknown import WellKnownFiles
from ranvier.trail import NO_TRAIL, Outcome, Recorder, Trail


class Resolution(msgspec.Struct, frozen=True):
    """Where a name is found, or why not (``discovery.stopped``), and how we know."""

    discovery: Discovery
    trail: Trail = NO_TRAIL
    from_cache: bool = False
    """Whether every answer was remembered: nobody was asked."""


class Resolver:
    """Finds servers. One for the whole process: it holds what was learnt."""

    def __init__(self, dns: Dns, wire: Wire, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._lookups = Lookups(dns, clock, limits)
        self._files = WellKnownFiles(self._lookups, wire, clock, limits)

    async def resolve(
        self,
        name: ServerName,
        *,
        mode: Mode = Mode.CURRENT,
        fresh: bool = False,
        recorder: Recorder | None = None,
    ) -> Resolution:
        """Routes to ``name``. ``fresh`` asks everything anew, and remembers it.

        A name that leads nowhere is a resolution too: ``discovery.stopped`` says why.

        Raises: TimedOut (``resolve-timeout``, after ``total_seconds``), with its trail.
        """
        recorder = recorder or Recorder(self._clock.tick)
        seconds = self._limits.total_seconds
        since = self.mark() if fresh else None
        services = SrvSteps(self._lookups, self._clock, self._limits, recorder, since)
        driver = _Driver(self._files, services, recorder, since)
        try:
            async with self._clock.timeout(seconds):
                discovery = await driver.drive(discover(name, mode, self._limits))
        except TimeoutError:
            raise TimedOut(
                "resolve-timeout",
                f"{name} was not found within {seconds:g} s",
                clause="[ranvier:limits]",
                trail=recorder.trail,
            ) from None
        _note_end(recorder, discovery)
        return Resolution(discovery, recorder.trail, driver.all_remembered)

    def mark(self) -> Mark:
        """This moment: answers asked ``since`` then are fresh."""
        return self._lookups.marks.now()

    def ordered(self, routes: Iterable[Route]) -> tuple[Route, ...]:
        """The order to try routes in, drawn anew at each call (D32)."""
        known = tuple(routes)
        ranks = [(route.priority, route.weight) for route in known]
        return tuple(known[place] for place in weighted_order(ranks, self._draw))

    def _draw(self, choices: int) -> int:
        return int.from_bytes(self._clock.random_bytes(8)) % choices

    def addresses(
        self, route: Route, *, recorder: Recorder, since: Mark | None = None
    ) -> AsyncGenerator[Address, None]:
        """The route's addresses as they come; with ``since``, none learnt before that moment."""
        return self._lookups.addresses(route, recorder=recorder, since=since)


class _Driver:
    """Runs one machine once: answers its questions and records them."""

    def __init__(
        self, files: WellKnownFiles, services: SrvSteps, recorder: Recorder, since: Mark | None
    ) -> None:
        self._files = files
        self._services = services
        self._recorder = recorder
        self._since = since
        self._lifetimes: list[int] = []
        self._sources: set[Source] = set()

    @property
    def all_remembered(self) -> bool:
        """Whether there were questions, and nobody else had to be asked."""
        return bool(self._sources) and self._sources <= {Source.CACHE, Source.STALE}

    async def drive(self, machine: Machine) -> Discovery:
        """Run the machine to its end."""
        reply: Any = None
        try:
            while True:
                question = machine.send(reply)
                reply = None
                if isinstance(question, Expect):
                    self._services.expect(question.question)
                else:
                    reply = await self._answer(question)
        except StopIteration as end:
            return outliving(end.value, self._lifetimes)
        finally:
            await self._services.end()

    async def _answer(self, question: Question[Any]) -> Any:
        known: Known[Any]
        if isinstance(question, LookupSrv):
            known = await self._services.ask(question)
        else:
            known = await self._well_known(question)
        self._lifetimes.append(known.seconds)
        self._sources.add(known.source)
        return known.answer

    async def _well_known(self, question: Question[Any]) -> Known[WellKnown]:
        with asking(
            self._recorder,
            "well-known",
            f"which server does the well-known file of {shown(question.name)} name?",
            number=question.step,
            clause=clause_of(question.step),
        ) as asked:
            known = await self._files.fetch(
                question.name, recorder=self._recorder, since=self._since
            )
            keep_evidence(asked, question, known)
            if isinstance(known.answer, WellKnownFound):
                asked.answered(known.answer.delegated)
            else:
                asked.failed(known.answer.code, f"none: {known.answer.reason}")
        return known


def _note_end(recorder: Recorder, discovery: Discovery) -> None:
    """The last step: what all that came to."""
    question = f"where is {discovery.server_name}?"
    stopped = discovery.stopped
    if stopped is not None:
        recorder.note(
            "routes",
            question,
            f"nowhere: {stopped.reason}",
            clause=stopped.clause,
            outcome=Outcome.FAILED,
            code=stopped.code,
        )
        return
    first = discovery.routes[0]
    recorder.note(
        "routes",
        question,
        f"step {first.step}: "
        + ", ".join(f"{route.connect} port {route.port}" for route in discovery.routes),
        number=first.step,
        clause=first.clause,
        routes=msgspec.to_builtins(discovery.routes),
        notes=list(discovery.notes),
    )
