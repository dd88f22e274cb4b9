"""Trails and answers as lines for people, as wide as the terminal (80 columns without one).

A peer's text is never echoed raw: control characters and anything that is not
printable are shown as escapes, so that no answer can act on a terminal.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ranvier.limits import Ms
from ranvier.trail import Outcome, Step, Trail

MARKS = {
    Outcome.OK: "ok  ",
    Outcome.FAILED: "FAIL",
    Outcome.NOTE: "    ",
    Outcome.UNUSED: "--  ",
}
NARROWEST = 60
_LABEL = 12
_GLUE = "\u00a0"
"""A space at which no line is broken."""


def printable(text: str) -> str:
    """``text`` without anything that a terminal would obey."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def utc(instant: Ms) -> str:
    """A wall-clock instant for people; far-off ones are only called so."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant)
    except OverflowError:
        return "beyond the calendar"
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def wrapped(text: str, *, first: str = "", later: str = "  ") -> list[str]:
    """Lines no wider than the terminal, without breaking a word (a URL, a fingerprint)."""
    width = max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def render_trail(trail: Trail) -> str:
    """A step: mark, number, question, time; below it the answer.

    What was done to answer the question above it is indented.
    """
    return "\n".join(line for step, depth in _nested(trail) for line in _step_lines(step, depth))


def _nested(trail: Trail) -> Iterator[tuple[Step, int]]:
    """Each step, and 1 if it is part of the well-known fetch before it, else 0."""
    whole: Step | None = None
    for step in trail.steps:
        if step.what == "well-known":
            whole = step
        inside = (
            whole is not None
            and step is not whole
            and step.number == whole.number
            and step.started <= whole.started + whole.took
        )
        yield step, int(inside)


def _step_lines(step: Step, depth: int) -> list[str]:
    took = f"{_GLUE}{_GLUE}{step.took * 1000:.0f}{_GLUE}ms" if step.took >= 0.0005 else ""
    label = f"{MARKS[step.outcome]} {printable(step.number or step.what):<{_LABEL}} {'  ' * depth}"
    room = " " * len(label)
    asked = wrapped(printable(step.question) + took, first=label, later=room)
    lines = [line.replace(_GLUE, " ") for line in asked]
    for answer in (step.answer, *_also(step)):
        if answer:
            lines += wrapped(printable(answer), first=f"{room}-> ", later=f"{room}   ")
    return lines


def _also(step: Step) -> list[str]:
    """The conditions that failed besides the one that the answer tells."""
    conditions = step.evidence.get("conditions", ())
    failed = [each["sentence"] for each in conditions if each["verdict"] == "failed"]
    return [f"failed: {sentence}" for sentence in failed if sentence != step.answer]
