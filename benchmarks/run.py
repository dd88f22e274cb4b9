"""``./dev bench [ROW ...]``: ourselves and others side by side, in one run, taking turns.

Nothing here is a test: machines differ, so only the ratio of two sides measured
together means anything, and no time is ever asserted.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.envelopes import envelopes
from benchmarks.fan_out import fan_out
from benchmarks.first_contact import first_contact
from benchmarks.own_keys import own_keys
from benchmarks.signed import Traffic
from benchmarks.table import Row, render

from tests.peers.availability import SYNAPSE, availability
from tests.peers.internet import Internet


class Bench:
    """The rows by name. The mini-internet and its servers are made when they are first needed."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        self.rows: dict[str, Callable[[], list[Row]]] = {
            "own-keys": self._own_keys,
            "first-contact": self._first_contact,
            "signed-get": lambda: self._traffic.profiles(),
            "forged": lambda: self._traffic.forged(),
            "send": lambda: self._traffic.transactions(),
            "fan-out": lambda: fan_out(rounds=min(3, options.rounds)),
            "envelope": lambda: envelopes(rounds=2 * options.rounds),
        }

    def close(self) -> None:
        """End what was started."""
        if "_internet" in self.__dict__:
            self._internet.close()

    def _own_keys(self) -> list[Row]:
        return own_keys(self._internet, rounds=self._options.rounds, seconds=self._options.seconds)

    def _first_contact(self) -> list[Row]:
        return first_contact(self._internet, rounds=self._options.contacts)

    @functools.cached_property
    def _internet(self) -> Internet:
        return Internet(self._folder, quiet=True)

    @functools.cached_property
    def _traffic(self) -> Traffic:
        return Traffic(self._internet, rounds=self._options.rounds, seconds=self._options.seconds)


def main(words: list[str]) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="ranvier-bench-") as folder:
        options = _options(words)
        bench = Bench(Path(folder), options)
        wanted = options.rows or list(bench.rows)
        for unknown in set(wanted) - set(bench.rows):
            print(f"bench: no row {unknown!r}; there are {', '.join(bench.rows)}", file=sys.stderr)
            return 2
        for peer in map(availability().__getitem__, (SYNAPSE, "wrk")):
            if not peer.ready and set(wanted) - {"fan-out", "envelope"}:
                print(f"bench: {peer}", file=sys.stderr)
                return 1
        try:
            rows = [row for name in wanted for row in _told(name, bench.rows[name])]
        finally:
            bench.close()
    print(_as_json(rows) if options.json else _as_text(rows, options))
    return 0


def _told(name: str, measure: Callable[[], list[Row]]) -> list[Row]:
    print(f"bench: {name} ...", file=sys.stderr, flush=True)
    return measure()


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="Beside a real Synapse.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="of each row (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="of each round (default 3)")
    parser.add_argument("--contacts", type=int, default=20, help="first contacts (default 20)")
    parser.add_argument("--json", action="store_true", help="every round as data")
    return parser.parse_args(words)


def _as_text(rows: list[Row], options: argparse.Namespace) -> str:
    machine = f"Python {platform.python_version()}, {os.cpu_count()} CPUs"
    about = (
        f"{options.rounds} rounds of {options.seconds} s and {options.contacts} first contacts,"
        f" taking turns; {machine}.\nMedian (least-most). Synapse: one process, SQLite, quiet log."
    )
    return f"{render(rows)}\n\n{about}"


def _as_json(rows: list[Row]) -> str:
    return json.dumps([row.as_data() for row in rows], indent=2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
