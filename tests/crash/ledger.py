"""What must have arrived, what did, and how the two differ.

Only a call of ``send`` that returned must arrive. One that was under way when its
process died may, but whole: one commit holds all its items for all its destinations.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing

import msgspec

from ranvier import Config
from tests.crash.nodes import read_journal
from tests.crash.plan import WORKERS, Call, Plan
from tests.crash.town import Town, external_of, stored_in

Name = tuple[str, int]
"""An item: its series and number."""


class Side:
    """What one destination's handlers of one kind have seen, in order."""

    def __init__(self) -> None:
        self.seen: Counter[Name] = Counter()
        self.disordered = 0
        self._last: dict[str, int] = {}

    def add(self, name: Name) -> None:
        """One more arrival."""
        series, number = name
        if name not in self.seen:
            self.disordered += number < self._last.get(series, 0)
            self._last[series] = max(number, self._last.get(series, 0))
        self.seen[name] += 1

    @property
    def repeats(self) -> int:
        """Arrivals of what had arrived before."""
        return self.seen.total() - len(self.seen)


class Destination:
    """Both kinds of handler of one destination, read on from where we were."""

    def __init__(self, config: Config) -> None:
        self.stored, self.external = Side(), Side()
        self.keys: dict[Name, set[str]] = {}
        self._config = config
        self._place = self._offset = 0

    def read(self) -> None:
        """What has come since the last time."""
        with closing(sqlite3.connect(stored_in(self._config), timeout=10)) as db:
            after = "SELECT place, series, number FROM arrived WHERE place > ? ORDER BY place"
            for place, series, number in db.execute(after, (self._place,)).fetchall():
                self._place = place
                self.stored.add((series, number))
        with external_of(self._config).open() as file:
            file.seek(self._offset)
            for line in file:
                self._offset += len(line)
                key, series, text = line.split()
                self.external.add((series, int(text)))
                self.keys.setdefault((series, int(text)), set()).add(key)


class Findings(msgspec.Struct, kw_only=True):
    """The sum of all rounds. Counted per item and destination, but for ``calls``."""

    calls: int = 0
    sent: int = 0
    in_flight: int = 0
    """Items of calls that were under way at a kill."""
    in_flight_arrived: int = 0
    failed: int = 0
    """Calls that raised."""
    lost: int = 0
    duplicated: int = 0
    disordered: int = 0
    external_lost: int = 0
    external_repeats: int = 0
    external_disordered: int = 0
    other_keys: int = 0
    """Items that came to the external handler under more than one key."""
    torn: int = 0
    """Items of a call that arrived in part."""
    stuck: int = 0
    """Rounds that did not come to an end."""
    faults: int = 0
    """Processes that ended by themselves."""

    @property
    def wrong(self) -> dict[str, int]:
        """What must be 0 and is not."""
        promised = (
            "lost", "duplicated", "disordered", "external_lost", "external_disordered",
            "other_keys", "torn", "stuck", "faults", "failed",
        )  # fmt: skip
        return {each: count for each in promised if (count := getattr(self, each))}


class Ledger:
    """Compares, round by round."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._destinations = [Destination(each) for each in town.destinations]
        self.findings = Findings()

    def done(self, number: int) -> bool:
        """Whether both workers have made all their calls of this round."""
        return all(
            ("done", number, -1) in read_journal(self._town.journal(each)) for each in WORKERS
        )

    def close(self, plan: Plan) -> None:
        """Nothing waits any more: what has arrived?"""
        for each in self._destinations:
            each.read()
        for worker in WORKERS:
            noted = set(read_journal(self._town.journal(worker)))
            for call in plan.calls[worker]:
                self._call(call, plan.number, noted)
        self._sum_up()

    def _call(self, call: Call, number: int, noted: set[tuple[str, int, int]]) -> None:
        found = self.findings
        size = len(call.items) * len(call.to)
        stored, external = self._arrived(call)
        if ("returned", number, call.number) in noted:
            found.calls += 1
            found.sent += size
            found.lost += size - stored
            found.external_lost += size - external
        elif ("begin", number, call.number) in noted:
            found.failed += ("failed", number, call.number) in noted
            found.in_flight += size
            found.in_flight_arrived += stored
            found.torn += size - stored if stored else 0

    def _arrived(self, call: Call) -> tuple[int, int]:
        """How many of its items have, by either kind of handler."""
        names = [(each.series, each.number) for each in call.items]
        to = [self._destinations[each] for each in call.to]
        return (
            _count(names, [each.stored for each in to]),
            _count(names, [each.external for each in to]),
        )

    def _sum_up(self) -> None:
        found, all_ = self.findings, self._destinations
        found.duplicated = sum(each.stored.repeats for each in all_)
        found.disordered = sum(each.stored.disordered for each in all_)
        found.external_repeats = sum(each.external.repeats for each in all_)
        found.external_disordered = sum(each.external.disordered for each in all_)
        found.other_keys = sum(len(keys) > 1 for each in all_ for keys in each.keys.values())


def _count(names: Sequence[Name], sides: Iterable[Side]) -> int:
    return sum(name in side.seen for side in sides for name in names)
