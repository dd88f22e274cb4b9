"""``ranvier demo 2014``: every act goes as it was meant to, on real sockets, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranvier.faces.cli import run
from ranvier.faces.demo.acts import Act, Play
from ranvier.faces.demo.stage import Stage, set_up
from ranvier.trail import Outcome

TITLES = 7


async def played(folder: Path) -> list[Act]:
    async with set_up(folder) as stage:
        return [act async for act in Play(stage).acts()]


@pytest.mark.req(
    "SEED-01", "SEED-19", "SEED-20", "SEED-21", "D14-02", "D14-11", "D14-12", "REF14-16"
)
async def test_the_seed_works_as_one_system(tmp_path: Path) -> None:
    acts = await played(tmp_path)
    assert len(acts) == TITLES
    assert [act.title for act in acts if not act.held] == []
    transaction, failover, refused = acts[4:]
    request = transaction.trail.of("request")[-1]
    assert "PUT" in request.question
    assert sum("client certificate matched" in each for each in transaction.seen) == 2
    dials = failover.trail.of("dial")
    assert dials[0].outcome is Outcome.FAILED
    assert refused.trail.of("dial")[0].code == "tls-pin-mismatch"
    assert refused.trail.of("key-document")[-1].code == "key-signed-by-known"
    assert refused.trail.of("request") == ()
    assert refused.seen[-1] == "all that mallory was sent: GET /_matrix/key/v1"


def test_the_story_is_told_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "2014"]) == 0
    told = capsys.readouterr().out
    assert told.rstrip().endswith("Everything went as it was meant to.")
    assert [f"{number}. " in told for number in range(1, TITLES + 1)] == [True] * TITLES
    assert max(len(line) for line in told.splitlines() if "https://" not in line) <= 100


async def test_an_act_that_goes_wrong_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nothing_dies(self: Stage, name: str) -> None:
        return None

    monkeypatch.setattr(Stage, "close_endpoint", nothing_dies)
    acts = await played(tmp_path)
    assert [act.title.partition(" ")[0] for act in acts if not act.held] == ["The"]
