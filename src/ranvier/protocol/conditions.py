"""Examine, then insist: one list of named conditions for production and diagnosis.

``examine_...`` functions never raise on remote data; they name every condition
with its verdict, its clause and the evidence. Production calls :func:`insist`,
which raises on the first fatal one that failed; diagnosis prints them all.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ranvier.errors import NotValid


class Verdict(StrEnum):
    """What became of a condition."""

    HELD = "held"
    FAILED = "failed"
    NOT_APPLICABLE = "not-applicable"


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule, judged. ``id`` is stable and doubles as the error's code."""

    id: str
    verdict: Verdict
    sentence: str
    clause: str = ""
    fatal: bool = True
    evidence: dict[str, str] = {}

    @property
    def failed(self) -> bool:
        """Whether the rule was broken (fatal or not)."""
        return self.verdict is Verdict.FAILED


def condition(
    id: str,
    held: bool | None,
    sentence: str,
    *,
    clause: str = "",
    fatal: bool = True,
    **evidence: str,
) -> Condition:
    """A condition from a truth value; ``None`` means not applicable."""
    verdict = Verdict.NOT_APPLICABLE
    if held is not None:
        verdict = Verdict.HELD if held else Verdict.FAILED
    return Condition(
        id=id, verdict=verdict, sentence=sentence, clause=clause, fatal=fatal, evidence=evidence
    )


def first_fatal(conditions: tuple[Condition, ...]) -> Condition | None:
    """The condition that production stops at, if there is one."""
    return next((each for each in conditions if each.failed and each.fatal), None)


def insist(conditions: tuple[Condition, ...]) -> None:
    """Raise :class:`~ranvier.errors.NotValid` for the first fatal failure."""
    broken = first_fatal(conditions)
    if broken is not None:
        raise NotValid(broken.id, broken.sentence, clause=broken.clause, conditions=conditions)
