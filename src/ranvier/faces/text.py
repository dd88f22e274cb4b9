"""Trails and answers as lines for people, at most as wide as they need.

A peer's text is never echoed raw: control characters and anything that is not
printable are shown as escapes, so that no answer can act on a terminal.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ranvier.limits import Ms
from ranvier.trail import Outcome, Step, Trail

MARKS = {
    Outcome.OK: "ok  ",
    Outcome.FAILED: "FAIL",
    Outcome.NOTE: "    ",
    Outcome.UNUSED: "--  ",
}


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


def render_trail(trail: Trail) -> str:
    """One or two lines a step: mark, number, question, time; then the answer."""
    return "\n".join(line for step in trail.steps for line in _step_lines(step))


def _step_lines(step: Step) -> list[str]:
    took = f"{step.took * 1000:.0f} ms" if step.took >= 0.0005 else ""
    head = f"{MARKS[step.outcome]} {step.number or step.what:<11} {printable(step.question)}"
    lines = [f"{head}  {took}".rstrip()]
    if step.answer:
        lines.append(f"     {'':<11} -> {printable(step.answer)}")
    return lines
