"""What the kernel says that a process has cost: CPU seconds and peak memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, and of children that were waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICK


def peak_memory(pid: int) -> int:
    """The most resident memory it ever had (VmHWM), in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


class Spent:
    """The CPU seconds of a block; filled when the block ends."""

    seconds = 0.0


@contextmanager
def spending(pid: int) -> Iterator[Spent]:
    """Measure what ``pid`` spends while the block runs."""
    spent, before = Spent(), cpu_seconds(pid)
    yield spent
    spent.seconds = cpu_seconds(pid) - before
