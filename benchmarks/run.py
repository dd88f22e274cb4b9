"""``./dev bench``: ourselves and a real Synapse side by side, in one run, taking turns.

Nothing here is a test: machines differ, so only the ratio of two sides measured
together means anything, and no time is ever asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks.first_contact import first_contact
from benchmarks.own_keys import own_keys
from benchmarks.table import Row, render

from tests.peers.availability import SYNAPSE, availability
from tests.peers.internet import Internet


def main(words: list[str]) -> int:
    """Measure and print."""
    options = _options(words)
    for need in (SYNAPSE, "wrk"):
        peer = availability()[need]
        if not peer.ready:
            print(f"bench: {peer}", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory(prefix="ranvier-bench-") as folder:
        internet = Internet(Path(folder), quiet=True)
        try:
            rows = own_keys(internet, rounds=options.rounds, seconds=options.seconds)
            rows += first_contact(internet, rounds=options.contacts)
        finally:
            internet.close()
    print(_as_json(rows) if options.json else _as_text(rows, options))
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="Beside a real Synapse.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of row 1 (default 5)")
    parser.add_argument("--seconds", type=int, default=4, help="of each round (default 4)")
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
