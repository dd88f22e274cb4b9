"""What a discovery machine may ask, and who answers.

A machine is a generator. It yields a question, and is sent the answer; a
failure *is* an answer, so a machine has no error path beside the specification's
own. Three drivers run the same machines: :func:`drive` with any function
(tests), :func:`replay_machine` with the answers of a saved trail, and the resolver
service with DNS and HTTPS.

:class:`Expect` is only a hint: the next question will probably be this one, ask
ahead if that is cheap. Whoever ignores it loses time, never correctness.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from ranvier.errors import Malformed
from ranvier.protocol.records import DnsAnswer, Failed
from ranvier.protocol.routes import Discovery
from ranvier.protocol.wellknown import WellKnown
from ranvier.trail import Trail

A = TypeVar("A")
SrvAnswer: TypeAlias = DnsAnswer | Failed


class Question(msgspec.Struct, Generic[A], frozen=True):
    """A question whose answer is an ``A``; ``step`` is the specification's number."""

    step: str
    name: str

    @property
    def subject(self) -> tuple[str, str]:
        """What is asked, whichever step asks it: equal subjects have one answer.

        Caches go by it (AMB-18); DNS does not tell upper from lower case.
        """
        return str(self.__struct_config__.tag), self.name.lower()


class LookupSrv(Question[SrvAnswer], frozen=True, tag="lookup-srv"):
    """The SRV records of a name such as ``_matrix-fed._tcp.example.org``."""


class FetchWellKnown(Question[WellKnown], frozen=True, tag="fetch-well-known"):
    """``https://<name>/.well-known/matrix/server``, redirects followed, judged."""


class Expect(msgspec.Struct, frozen=True):
    """A hint: this question may follow, whatever the one before it brings."""

    question: LookupSrv


Machine: TypeAlias = Generator[Question[Any] | Expect, Any, Discovery]


def ask(question: Question[A]) -> Generator[Question[Any] | Expect, Any, A]:
    """Ask, and have the answer with its type."""
    answer: A = yield question
    return answer


def expect(question: LookupSrv) -> Generator[Question[Any] | Expect, Any, None]:
    """Hint that ``question`` may follow."""
    yield Expect(question)


def drive(machine: Machine, answer: Callable[[Question[Any]], Any]) -> Discovery:
    """Run a machine to its end with answers from a plain function."""
    reply: Any = None
    lifetimes: list[int] = []
    while True:
        try:
            question = machine.send(reply)
        except StopIteration as end:
            return outliving(end.value, lifetimes)
        reply = None
        if not isinstance(question, Expect):
            reply = answer(question)
            lifetimes.append(seconds_of(reply))


def seconds_of(answer: SrvAnswer | WellKnown) -> int:
    """How long an answer holds from when it was given."""
    match answer:
        case DnsAnswer():
            return answer.ttl
        case Failed():
            return 0
        case _:
            return answer.seconds


def outliving(discovery: Discovery, lifetimes: list[int]) -> Discovery:
    """The same discovery, living no longer than the answers that led to it."""
    shortest = min([discovery.lifetime_seconds, *lifetimes])
    return msgspec.structs.replace(discovery, lifetime_seconds=shortest)


def answers_in(trail: Trail) -> dict[tuple[str, str], SrvAnswer | WellKnown]:
    """Every discovery answer that a trail holds, by the question's subject.

    Raises: Malformed, if the trail's evidence is not what a resolver writes.
    """
    found: dict[tuple[str, str], SrvAnswer | WellKnown] = {}
    for step in trail.steps:
        if "asked" in step.evidence and "answered" in step.evidence:
            question = _decoded(step.evidence["asked"], _QUESTIONS)
            found[question.subject] = _decoded(step.evidence["answered"], _ANSWERS[type(question)])
    return found


def replay_machine(machine: Machine, trail: Trail) -> Discovery:
    """Run a machine again, offline, with the answers that a saved trail holds.

    Raises: Malformed, if the trail does not hold an answer that is needed.
    """
    answers = answers_in(trail)

    def recall(question: Question[Any]) -> Any:
        if question.subject not in answers:
            raise Malformed(
                "trail-incomplete",
                f"the trail does not hold the answer to step {question.step},"
                f" {' '.join(question.subject)!r}",
                clause="[ranvier:trail]",
            )
        return answers[question.subject]

    return drive(machine, recall)


_QUESTIONS: Any = LookupSrv | FetchWellKnown
_ANSWERS: dict[type, Any] = {LookupSrv: SrvAnswer, FetchWellKnown: WellKnown}


def _decoded(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Malformed(
            "trail-not-replayable",
            f"the trail's evidence is not a discovery question or answer: {error}",
            clause="[ranvier:trail]",
        ) from error
