"""``./dev crash``: kill -9 the sender's workers and the receivers, and count what is lost."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.ledger import Findings
from tests.crash.plan import DESTINATIONS, RECEIVERS, WORKERS, How
from tests.crash.rounds import Crash
from tests.crash.traps import FAULTS


def main(words: list[str]) -> int:
    """Run, report; 0 if everything that was promised was kept."""
    options = _options(words)
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    rounds = range(options.first, options.first + options.rounds)
    folder = Path(tempfile.mkdtemp(prefix="ranvier-crash-"))
    crash = Crash(folder, seed, options.fault)
    print(f"crash: seed {seed}, files in {folder}", flush=True)
    began = time.monotonic()
    asyncio.run(crash.run(rounds, _Told(only_see=bool(options.fault))))
    print(report(crash, time.monotonic() - began))
    if crash.findings.wrong or options.keep:
        print(f"The files are in {folder}; what processes said: *.log")
        return 1 if crash.findings.wrong else 0
    shutil.rmtree(folder)
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev crash", description="Two workers, 20 destinations, kill -9 at random points."
    )
    parser.add_argument("--rounds", type=int, default=200, help="default 200")
    parser.add_argument("--seed", type=int, help="what a round does follows from it; default: any")
    parser.add_argument("--first", type=int, default=1, help="the first round's number; default 1")
    parser.add_argument("--keep", action="store_true", help="leave the files")
    parser.add_argument(
        "--fault", default="", choices=["", *FAULTS], help="break something, to see that it shows"
    )
    return parser.parse_args(words)


class _Told:
    """Says what went wrong in the round where it did, and now and then that all is well.

    Enough is enough: a town that is stuck stays so. ``only_see``: anything wrong is enough.
    """

    def __init__(self, *, only_see: bool) -> None:
        self._wrong: dict[str, int] = {}
        self._only_see = only_see

    def __call__(self, number: int, findings: Findings) -> bool:
        if findings.wrong != self._wrong:
            self._wrong = findings.wrong
            print(f"  round {number}: {_counts(self._wrong)}", flush=True)
        elif number % 20 == 0:
            print(f"  round {number}: {findings.sent} sent", flush=True)
        return findings.stuck > 2 or (self._only_see and bool(self._wrong))


def report(crash: Crash, seconds: float) -> str:
    """What came of it, for people."""
    found, deaths = crash.findings, crash.deaths
    killed = f"workers {crash.deaths_of(WORKERS)} times, receivers {crash.deaths_of(RECEIVERS)}"
    verdict = _counts(found.wrong) if found.wrong else "nothing lost, nothing twice, in order"
    return "\n".join(
        (
            f"seed {crash.seed}, {crash.rounds} rounds: {DESTINATIONS} destinations in"
            f" {len(RECEIVERS)} processes, {len(WORKERS)} workers on one outbox",
            f"  kill -9        {killed}: {deaths[How.AT_A_TIME]} at a time,"
            f" {deaths[How.AT_A_MOMENT]} at a moment; {deaths[How.PAUSE]} workers paused",
            f"  sent           {found.calls} calls returned: {found.sent} items to arrive;"
            f" {found.in_flight} in flight at a kill, {found.in_flight_arrived} of them arrived,"
            f" torn {found.torn}",
            f"  transactional  lost {found.lost}, duplicated {found.duplicated},"
            f" out of order {found.disordered}",
            f"  external       lost {found.external_lost}, repeated {found.external_repeats}"
            f" (under another key: {found.other_keys}),"
            f" out of order {found.external_disordered}",
            f"  time           {seconds:.0f} s, {seconds / max(crash.rounds, 1):.1f} s a round",
            f"crash: {verdict}",
        )
    )


def _counts(wrong: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in wrong.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
