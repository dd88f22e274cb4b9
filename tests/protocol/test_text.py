"""Strangers' text in our sentences."""

from __future__ import annotations

from ranvier.protocol.text import shown


def test_control_characters_and_bidirectional_marks_are_escaped() -> None:
    assert shown("a\x1b[31m\u202eb") == "'a\\x1b[31m\\u202eb'"


def test_long_text_is_cut_and_says_so() -> None:
    assert shown("a" * 80) == "'" + "a" * 80 + "'"
    assert shown("a" * 81) == "'" + "a" * 80 + "'..."
    assert shown(b"abc", 2) == "b'ab'..."


def test_other_values_are_shown_by_their_repr() -> None:
    assert shown(17) == "17"
    assert shown(12345, 3) == "123..."
