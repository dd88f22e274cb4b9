"""Row of fan-out: one EDU to many destinations, and what each costs us.

CPU time of the whole process that sends, from ``fed.send`` until the last destination
has answered, SQLite included, over a wire in memory (``scripts/fan_out.py``). Each
figure is from a process of its own, to destinations that it has never met; the sizes
take turns. The first size is what the others are held against.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.table import Row, Side

_HERE = Path(__file__).parent
_SIZES = {100: 20, 1_000: 3, 10_000: 1}
"""How many destinations, and how often for one figure."""
_WARM = 1_000  # more than connections may idle, so that these do not count


def fan_out(*, rounds: int) -> list[Row]:
    """Cost per destination at each size, and the memory that a destination keeps."""
    found = {size: Side([]) for size in _SIZES}
    for _ in range(rounds):
        for size, side in found.items():
            side.add(_run(size, _SIZES[size])["cpu"] * 1e6)
    least = min(_SIZES)
    rows = [
        Row(
            f"one EDU to {size:,} destinations",
            "CPU us each",
            side,
            found[least],
            larger_is_better=False,
            beside=f"to {least}",
        )
        for size, side in found.items()
    ]
    kept = Side([_run(8_000, memory=True)["bytes"]])
    fewer = Side([_run(1_000, memory=True)["bytes"]])
    what = "memory of an idle destination"
    return [*rows, Row(what, "bytes", kept, fewer, larger_is_better=False, beside="of 1,000")]


def _run(count: int, times: int = 1, *, memory: bool = False) -> dict[str, float]:
    order = {"warm": _WARM, "count": count, "times": times, "memory": memory}
    done = subprocess.run(
        [sys.executable, str(_HERE / "scripts" / "fan_out.py")],
        input=json.dumps(order).encode(),
        capture_output=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr.decode(errors="replace"))
    return dict(json.loads(done.stdout))
