"""SRV questions in the trail: in turn, or asked ahead and perhaps not needed."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import msgspec

from ranvier.limits import Limits
from ranvier.plugs import Clock
from ranvier.protocol.questions import LookupSrv, Question
from ranvier.protocol.records import RecordKind, SrvRecord
from ranvier.protocol.routes import clause_of
from ranvier.protocol.srv import NoService, NotOffered, SrvTargets, judge_srv
from ranvier.protocol.text import shown
from ranvier.services.cache import Known, Mark
from ranvier.services.lookups import DnsKnown, Lookups, source_evidence
from ranvier.services.steps import NOT_NEEDED, asking
from ranvier.trail import Asked, Outcome, Recorder


def keep_evidence(asked: Asked, question: Question[Any], known: Known[Any]) -> None:
    """Question and answer as data, so that the trail can be replayed."""
    asked.evidence.update(
        asked=msgspec.to_builtins(question),
        answered=msgspec.to_builtins(known.answer),
        **source_evidence(known),
    )


class SrvSteps:
    """Asks and records the SRV questions of one resolution."""

    def __init__(
        self,
        lookups: Lookups,
        clock: Clock,
        limits: Limits,
        recorder: Recorder,
        since: Mark | None,
    ) -> None:
        self._lookups = lookups
        self._most = limits.srv_targets
        self._recorder = recorder
        self._since = since
        self._expected: list[LookupSrv] = []
        self._ahead: dict[LookupSrv, _Ahead] = {}
        self.tick = clock.tick

    async def ask(self, question: LookupSrv) -> DnsKnown:
        """The answer, from the question asked ahead if there was one."""
        if question in self._ahead:
            return await self._ahead.pop(question).take()
        with self.asking(question) as asked:
            for expected in self._expected:
                self._ahead[expected] = _Ahead(self, expected)
            self._expected.clear()
            known = await self.lookup(question)
            self.record(asked, question, known)
        return known

    def expect(self, question: LookupSrv) -> None:
        """Ask ahead, beside the next question: it will probably be needed."""
        self._expected.append(question)

    async def end(self) -> None:
        """Give up what was asked ahead and not taken."""
        while self._ahead:
            await self._ahead.popitem()[1].give_up()

    async def lookup(self, question: LookupSrv) -> DnsKnown:
        """Ask, without a word in the trail."""
        return await self._lookups.lookup(question.name, RecordKind.SRV, since=self._since)

    def asking(self, question: LookupSrv) -> AbstractContextManager[Asked]:
        """The step around one question."""
        return asking(
            self._recorder,
            "srv",
            f"SRV of {shown(question.name)}",
            number=question.step,
            clause=clause_of(question.step),
        )

    def record(self, asked: Asked, question: LookupSrv, known: DnsKnown) -> None:
        """What was answered, and what it means."""
        keep_evidence(asked, question, known)
        verdict = judge_srv(known.answer, most=self._most)
        match verdict:
            case SrvTargets(records):
                asked.answered(", ".join(_target(each) for each in records))
            case NoService(why):
                asked.answered("no record" + (" (NXDOMAIN)" if why == "nxdomain" else ""))
            case NotOffered(code, reason):
                asked.failed(code, reason)
            case _:
                asked.failed("srv-unknown", verdict.reason)


def _target(record: SrvRecord) -> str:
    return f"{record.target}:{record.port} (priority {record.priority}, weight {record.weight})"


class _Ahead:
    """One question asked ahead: its step stays open until it is known if it was needed."""

    def __init__(self, steps: SrvSteps, question: LookupSrv) -> None:
        self._steps = steps
        self._question = question
        self._open = ExitStack()
        self._asked = self._open.enter_context(steps.asking(question))
        self._task = asyncio.ensure_future(self._lookup())

    async def _lookup(self) -> DnsKnown:
        known = await self._steps.lookup(self._question)
        self._asked.ended = self._steps.tick()
        return known

    async def take(self) -> DnsKnown:
        """It is needed: its answer, recorded as any other."""
        with self._open:
            known = await self._task
            self._steps.record(self._asked, self._question, known)
        return known

    async def give_up(self) -> None:
        """It is not needed: the step says so, and keeps the answer if there is one."""
        with self._open:
            if self._task.done() and self._task.exception() is None:
                self._steps.record(self._asked, self._question, self._task.result())
            self._task.cancel(NOT_NEEDED)
            await asyncio.gather(self._task, return_exceptions=True)
            self._asked.answer = f"not needed ({self._asked.answer or 'nor waited for'})"
            self._asked.outcome, self._asked.code = Outcome.UNUSED, ""
