"""Two sides of a row, and the table."""

from __future__ import annotations

import statistics
from typing import Any

import msgspec


class Side(msgspec.Struct):
    """One side's rounds."""

    values: list[float] = []

    def add(self, value: float) -> None:
        """One more round."""
        self.values.append(value)

    @property
    def median(self) -> float:
        """What the row shows."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        return f"{_figure(self.median)} ({_figure(low)}-{_figure(high)})"


class Row(msgspec.Struct):
    """Ours beside another: median, least and most of the rounds, and the ratio."""

    what: str
    unit: str
    ours: Side
    other: Side
    larger_is_better: bool = True
    beside: str = "Synapse"

    @property
    def ratio(self) -> float:
        """How many times better than the other we are."""
        ours, theirs = self.ours.median, self.other.median
        return ours / theirs if self.larger_is_better else theirs / ours

    def as_data(self) -> dict[str, Any]:
        """The same facts for programs."""
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours.values,
            "beside": self.beside,
            "other": self.other.values,
            "ratio": self.ratio,
        }


def render(rows: list[Row]) -> str:
    """The table, a line a row."""
    head = ("", "unit", "Ranvier", "beside", "", "times better")
    cells = [
        (row.what, row.unit, str(row.ours), row.beside, str(row.other), f"{row.ratio:.2f}")
        for row in rows
    ]
    widths = [max(len(line[at]) for line in (head, *cells)) for at in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *cells)
    ]
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
