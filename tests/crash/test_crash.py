"""The crash harness: nothing is lost, and it would see it if something were.

``./dev crash`` runs 200 rounds; here are ten, and one or two of each deliberate fault.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.ledger import Findings, Side
from tests.crash.plan import WORKERS, How, make_plan
from tests.crash.traps import FAULTS
from tests.house.tree import ROOT

pytestmark = pytest.mark.xdist_group("crash")

FIXED_SEED = 2014
SHOWS = {
    "early-return": "lost",
    "early-settle": "lost",
    "new-id": "duplicated",
    "forgetful": "duplicated",
    "answer-first": "lost",
}


def crash(seed: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.crash", "--seed", str(seed), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    for line in done.stdout.splitlines():
        if line.startswith("The files are in ") and "--fault" in words:
            shutil.rmtree(Path(line.removeprefix("The files are in ").partition(";")[0]))
    return done


@pytest.mark.parametrize("which", ["fixed", "any"])
@pytest.mark.req("TXN-08", "TXN-09", "TXN-10", "TXN-17", "TXN-20")
def test_five_rounds_lose_nothing_double_nothing_and_keep_the_order(
    which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = FIXED_SEED if which == "fixed" else random.randrange(10**6)
    done = crash(seed, "--rounds", "5")
    with capsys.disabled():
        print(f"\n{done.stdout}", flush=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, duplicated 0, out of order 0" in done.stdout
    assert "nothing lost, nothing twice, in order" in done.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_deliberate_fault_is_seen(fault: str) -> None:
    done = crash(FIXED_SEED, "--rounds", "8", "--fault", fault)
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = done.stdout.partition("\ncrash: ")[2]
    assert verdict.startswith(SHOWS[fault]), done.stdout


def test_a_seed_and_a_number_are_a_plan() -> None:
    assert make_plan(7, 3) == make_plan(7, 3)
    assert make_plan(7, 3) != make_plan(7, 4)
    assert make_plan(7, 3) != make_plan(8, 3)


def test_order_is_that_of_first_arrivals_within_a_series() -> None:
    side = Side()
    for series, number in (("a", 1), ("b", 1), ("a", 2), ("a", 1), ("a", 3), ("b", 2)):
        side.add((series, number))
    assert (side.repeats, side.disordered) == (1, 0)
    side.add(("a", 5))
    side.add(("a", 4))
    assert (side.repeats, side.disordered) == (1, 1)


def test_all_that_was_promised_and_not_kept_is_named() -> None:
    assert Findings(sent=9, external_repeats=3, in_flight=2).wrong == {}
    assert Findings(lost=1, torn=2, faults=3).wrong == {"lost": 1, "torn": 2, "faults": 3}


def test_plans_strike_both_sides_in_every_way() -> None:
    blows = [blow for number in range(50) for blow in make_plan(FIXED_SEED, number).blows]
    assert {each.how for each in blows} == set(How)
    assert {each.victim for each in blows} > set(WORKERS)
    for number in range(50):
        victims = {each.victim.partition("-")[0] for each in make_plan(FIXED_SEED, number).blows}
        assert victims == {"worker", "receiver"}
