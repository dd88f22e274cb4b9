"""Codes are literal, slugs, and mean one thing; the texts stand in one snapshot.

That each code is produced by a test is judged at the end of a whole run
(tests/plugins/error_codes.py).
"""

from __future__ import annotations

import ast
import re

import pytest
from tools import reference

from tests.house.codes import CONDITION, Code, find_codes
from tests.house.tree import ROOT, modules

SNAPSHOT = ROOT / "tests" / "house" / "error_texts.txt"
SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
HEAD = "# Every error code and condition with its text; {} varies. Renew on purpose only:\n"
HOW = "#   ./dev test tests/house/test_errors.py --update-error-texts\n"


def snapshot(codes: list[Code]) -> str:
    """One line a code, in the order of the alphabet."""
    lines = sorted({f"{each.owner} {each.code}: {each.text}" for each in codes})
    return HEAD + HOW + "".join(line + "\n" for line in lines)


def test_every_code_can_be_read_in_the_source() -> None:
    _, unread = find_codes()
    assert not unread, "write the code as a literal, or hand on an error's own code"


def test_codes_are_slugs() -> None:
    codes, _ = find_codes()
    assert not [each for each in codes if not SLUG.fullmatch(each.code)]


def test_a_code_belongs_to_one_room() -> None:
    codes, _ = find_codes()
    places: dict[tuple[str, str], set[str]] = {}
    for each in codes:
        if each.where.startswith("src/ranvier/world/"):
            continue  # it imitates the other edges, codes and all
        places.setdefault((each.owner, each.code), set()).add(each.where.split("/")[2])
    assert not {code: files for code, files in places.items() if len(files) > 1}


def test_conditions_are_made_in_one_way() -> None:
    wrong = [
        f"{module.shown}:{node.lineno}: write condition(...)"
        for module in modules().values()
        if module.name != "ranvier.protocol.conditions"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Condition")
    ]
    assert not wrong, "the plugin that watches conditions fail sees only those"


def test_a_code_is_not_an_error_here_and_a_condition_there() -> None:
    codes, _ = find_codes()
    ids = {each.code for each in codes if each.owner == CONDITION}
    errors = {each.code for each in codes if each.owner not in (CONDITION, "NotValid")}
    assert not ids & errors


def test_the_texts_are_the_ones_that_were_agreed(request: pytest.FixtureRequest) -> None:
    codes, _ = find_codes()
    now = snapshot(codes)
    if request.config.getoption("--update-error-texts"):
        SNAPSHOT.write_text(now)
        reference.ERRORS.write_text(reference.errors_page())
    before = SNAPSHOT.read_text().splitlines() if SNAPSHOT.exists() else []
    assert before == now.splitlines(), "renew with --update-error-texts if this is meant"
