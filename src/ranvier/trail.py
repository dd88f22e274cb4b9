"""The trail: what was asked, what came back, under which clause, and how long it took.

Every service result and every error that a service raises carries a
:class:`Trail`. The same records feed the command line, the logs, the tests and
(later) the report and the page; there is no second account of what happened.

* :class:`Step` is one question with its answer. ``question`` and ``answer`` are
  sentences for people; ``evidence`` is data (JSON-able) for programs. A
  discovery step keeps its typed question and answer there under ``"asked"``
  and ``"answered"``, so that a saved trail can be replayed as a test.
* :class:`Recorder` collects steps while a service works. It is handed down as
  an argument, never global.

Times are seconds on the monotonic clock (``Clock.tick``): ``started`` counts
from the first step of the trail, ``took`` is the step's own length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import msgspec


class Outcome(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    NOTE = "note"
    """Nothing was asked of anybody: a decision, a cache, a rule."""
    UNUSED = "unused"
    """Asked ahead of need; the answer was not needed."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question and its answer."""

    what: str
    """Stable slug of the kind of step: ``srv``, ``well-known``, ``dial`` ..."""
    question: str
    answer: str
    outcome: Outcome
    number: str = ""
    """The specification's own step number (``3.3``), if it has one."""
    clause: str = ""
    code: str = ""
    """The error's code where the step failed."""
    evidence: dict[str, Any] = {}
    started: float = 0.0
    took: float = 0.0


class Trail(msgspec.Struct, frozen=True):
    """Steps in the order in which they began."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __add__(self, other: Trail) -> Trail:
        return Trail(self.steps + other.steps)

    def of(self, what: str) -> tuple[Step, ...]:
        """The steps of one kind."""
        return tuple(step for step in self.steps if step.what == what)


NO_TRAIL = Trail()


class Asked:
    """A step under way; :meth:`answered` says how it ended."""

    __slots__ = ("answer", "code", "ended", "evidence", "outcome")

    def __init__(self) -> None:
        self.answer = ""
        self.outcome = Outcome.OK
        self.code = ""
        self.evidence: dict[str, Any] = {}
        self.ended: float | None = None
        """The tick at which the answer was there, if the step stays open for longer."""

    def answered(self, answer: str, /, **evidence: Any) -> None:
        """The question was answered well; ``evidence`` must be JSON-able."""
        self.answer = answer
        self.evidence.update(evidence)

    def failed(self, code: str, reason: str, /, **evidence: Any) -> None:
        """The question was answered badly or not at all."""
        self.answer, self.code, self.outcome = reason, code, Outcome.FAILED
        self.evidence.update(evidence)


class Recorder:
    """Collects the steps of one piece of work.

    ``tick`` is the monotonic clock in seconds; ``sink``, if given, is told of
    every step as it ends (progress, logs, metrics).
    """

    def __init__(
        self, tick: Callable[[], float], sink: Callable[[Step], None] | None = None
    ) -> None:
        self._tick = tick
        self._sink = sink
        self._origin = tick()
        self._steps: dict[int, Step] = {}
        self._count = 0

    @property
    def trail(self) -> Trail:
        """What has been recorded so far; steps under way are not in it yet."""
        return Trail(tuple(self._steps[place] for place in sorted(self._steps)))

    @contextmanager
    def asking(
        self, what: str, question: str, *, number: str = "", clause: str = ""
    ) -> Iterator[Asked]:
        """Record one step around a block.

        An exception that leaves the block is recorded as the step's failure
        (with its ``code``, if it has one) and goes on its way.
        """
        place, self._count = self._count, self._count + 1
        began = self._tick()
        asked = Asked()
        try:
            yield asked
        except BaseException as error:
            asked.failed(getattr(error, "code", type(error).__name__), str(error))
            raise
        finally:
            self._keep(
                place,
                Step(
                    what=what,
                    question=question,
                    answer=asked.answer,
                    outcome=asked.outcome,
                    number=number,
                    clause=clause,
                    code=asked.code,
                    evidence=asked.evidence,
                    started=began - self._origin,
                    took=(self._tick() if asked.ended is None else asked.ended) - began,
                ),
            )

    def note(
        self,
        what: str,
        question: str,
        answer: str,
        *,
        number: str = "",
        clause: str = "",
        outcome: Outcome = Outcome.NOTE,
        **evidence: Any,
    ) -> None:
        """Record a step that took no time: a decision, a cached answer, a rule."""
        place, self._count = self._count, self._count + 1
        self._keep(
            place,
            Step(
                what=what,
                question=question,
                answer=answer,
                outcome=outcome,
                number=number,
                clause=clause,
                evidence=evidence,
                started=self._tick() - self._origin,
            ),
        )

    def _keep(self, place: int, step: Step) -> None:
        self._steps[place] = step
        if self._sink is not None:
            self._sink(step)
