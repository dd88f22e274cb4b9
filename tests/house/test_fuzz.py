"""Every parser's harness holds on some hundred inputs; `./dev fuzz` tries more."""

from __future__ import annotations

import pytest
from fuzz import run

from tests.house.tree import ROOT

COUNT = 1500
SECONDS = 20.0
SEED = 2014

EASY = run.Harness("easy", "It never meets two zeros.", lambda data: None, (b"abc",))


@pytest.mark.parametrize("room", run.rooms())
def test_the_invariant_holds(room: str) -> None:
    harness = run.load(room)
    tried, finding = run.fuzz(harness, seed=SEED, count=COUNT, seconds=SECONDS)
    assert tried > 10
    assert finding is None, f"{harness.invariant}\n{finding.trouble}\n{finding.data!r}"


@pytest.mark.parametrize("room", run.rooms())
def test_the_invariant_is_one_sentence(room: str) -> None:
    invariant = run.load(room).invariant
    assert invariant.endswith(".")
    assert ". " not in invariant


def test_the_same_seed_gives_the_same_inputs() -> None:
    one, two = run.inputs(EASY, 7), run.inputs(EASY, 7)
    assert [next(one) for _ in range(200)] == [next(two) for _ in range(200)]


def test_a_finding_is_made_smaller() -> None:
    def check(data: bytes) -> None:
        assert b"\x00" not in data

    harness = EASY._replace(check=check)
    _, finding = run.fuzz(harness, seed=1, count=10_000, seconds=20)
    assert finding is not None
    assert finding.data == b"\x00"
    assert "AssertionError" in finding.trouble


def test_an_endless_loop_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(data: bytes) -> None:
        while data:
            pass

    monkeypatch.setattr(run, "SECONDS_PER_INPUT", 0.05)
    assert "TooSlow" in run.trouble_with(EASY._replace(check=check), b"x")


def test_each_harness_belongs_to_a_room() -> None:
    names = {path.stem for path in (ROOT / "src" / "ranvier").rglob("*.py")}
    assert [room for room in run.rooms() if room not in names] == []
