"""``./dev`` helps who has never seen it."""

from __future__ import annotations

import subprocess
import sys

from tests.house.tree import ROOT


def dev(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "dev"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_without_a_word_it_lists_the_words() -> None:
    done = dev()
    assert (done.returncode, done.stderr) == (0, "")
    assert "serve  run a home server" in done.stdout


def test_a_command_of_ranvier_as_a_word_gets_told_where_those_are() -> None:
    done = dev("keys", "fetch", "example.org")
    assert done.returncode == 2
    assert done.stderr == "./dev has no word 'keys'. Ranvier's commands: ./dev run --help\n"
