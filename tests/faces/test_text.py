"""Trails as lines: marks, nesting, width, and nothing that a terminal would obey."""

from __future__ import annotations

from typing import Any

import pytest

from ranvier.faces.text import printable, render_trail, utc, wrapped
from ranvier.limits import Ms
from ranvier.trail import Outcome, Step, Trail


def step(what: str, question: str, answer: str = "", **members: Any) -> Step:
    outcome = members.pop("outcome", Outcome.OK)
    return Step(what=what, question=question, answer=answer, outcome=outcome, **members)


def test_a_step_is_its_mark_number_question_time_and_below_it_the_answer() -> None:
    one = step("address", "A of 'a.example'", "10.0.0.1", number="2", took=0.0123)
    assert render_trail(Trail((one,))).splitlines() == [
        "ok   2            A of 'a.example'  12 ms",
        "                  -> 10.0.0.1",
    ]


@pytest.mark.parametrize(
    ("outcome", "mark"),
    [
        (Outcome.OK, "ok   "),
        (Outcome.FAILED, "FAIL "),
        (Outcome.NOTE, "     "),  # nobody was asked
        (Outcome.UNUSED, "--   "),  # asked ahead, not needed
    ],
)
def test_every_outcome_has_its_mark(outcome: Outcome, mark: str) -> None:
    assert render_trail(Trail((step("srv", "SRV", outcome=outcome),))).startswith(mark + "srv")


def test_what_answers_the_question_above_is_indented_below_it() -> None:
    trail = Trail(
        (
            step("well-known", "file?", "none", number="3", started=0.0, took=1.0),
            step("address", "A of 'a'", number="3", started=0.1, took=0.1),
            step("srv", "SRV of 'a'", number="4", started=1.0, took=0.1),
            step("address", "A of 'b'", number="4", started=1.2, took=0.1),
        )
    )
    lines = render_trail(trail).splitlines()
    assert [line.index(line[18:].lstrip()[0], 18) for line in lines if "->" not in line] == [
        18,
        20,
        18,
        18,
    ]


def test_conditions_that_failed_are_all_told() -> None:
    conditions = [
        {"id": "a", "verdict": "failed", "sentence": "the first is wrong"},
        {"id": "b", "verdict": "held", "sentence": "the second holds"},
        {"id": "c", "verdict": "failed", "sentence": "the third is wrong"},
    ]
    one = step("key-document", "is it?", "the first is wrong", evidence={"conditions": conditions})
    shown = render_trail(Trail((one,)))
    assert shown.count("the first is wrong") == 1
    assert "-> failed: the third is wrong" in shown
    assert "second" not in shown


def test_lines_are_as_wide_as_the_terminal_and_words_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    url = "https://" + "a" * 90
    lines = render_trail(Trail((step("srv", "where?", f"{'word ' * 30}{url}"),))).splitlines()
    assert [line for line in lines if len(line) > 80] == [" " * 21 + url]
    assert all(line.startswith(" " * 21) for line in lines[2:])
    monkeypatch.setenv("COLUMNS", "20")
    assert max(len(line) for line in wrapped("word " * 30)) > 20


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    assert printable("a\x1b[31mb\r\n\u202e") == "a\\x1b[31mb\\r\\n\\u202e"
    assert "\x1b" not in render_trail(Trail((step("srv", "\x1b[2J", "\x1b[2J"),)))


def test_an_instant_beyond_the_calendar_is_called_so() -> None:
    assert utc(Ms(0)) == "1970-01-01 00:00:00 UTC"
    assert utc(Ms(2**53)) == "beyond the calendar"
