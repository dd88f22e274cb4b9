"""Lanes and items in dictionaries, with a heap for what is due: rows for :mod:`ranvier.lanes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice

import msgspec

from ranvier import lanerows
from ranvier.deeds import ItemKind, OutItem, ParkedItem, QueuedItem
from ranvier.lanerows import Freed, LaneRow, Marks, Waiting
from ranvier.limits import Limits, Ms

_HEAP_SLACK = 1000


class _Kept(msgspec.Struct):
    """One item of one lane."""

    id: int
    item: OutItem
    added_at: Ms


Kept = dict[int, _Kept]
"""By id, in order."""


class MemoryLaneTable:
    """The :class:`ranvier.lanerows.LaneTable` in dictionaries, with a heap for what is due."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items: dict[tuple[str, ItemKind], Kept] = {}
        self._places: dict[tuple[str, str], _Kept] = {}  # the latest of each replacement key
        self._last_id = 0
        self._total = 0
        self._heap: list[tuple[Ms, str]] = []
        self.lanes: dict[str, LaneRow] = {}
        self.parked: dict[str, dict[int, ParkedItem]] = {}

    # --- Lanes ---

    def lane(self, destination: str) -> LaneRow | None:
        """The lane, if there is one."""
        return self.lanes.get(destination)

    def keep(self, lane: LaneRow) -> None:
        """Remember it, or forget it if it is idle."""
        if lane.is_idle:
            self.lanes.pop(lane.destination, None)
            return
        self.lanes[lane.destination] = lane
        if lane.waiting:
            heappush(self._heap, (lane.due, lane.destination))
        if len(self._heap) > 2 * len(self.lanes) + _HEAP_SLACK:
            self._heap = [(each.due, each.destination) for each in self._alive()]
            heapify(self._heap)

    def _alive(self) -> Iterator[LaneRow]:
        return (each for each in self.lanes.values() if each.waiting)

    def next_due(self) -> Ms | None:
        """The earliest of all lanes where something waits."""
        while self._heap:
            due, destination = self._heap[0]
            lane = self.lanes.get(destination)
            if lane is not None and lane.waiting and lane.due == due:
                return due
            heappop(self._heap)
        return None

    def due(self, now: Ms, most: int) -> Sequence[str]:
        """Taken off the heap; who works on them keeps them anew."""
        found: dict[str, None] = {}
        while len(found) < most and (due := self.next_due()) is not None and due <= now:
            found[heappop(self._heap)[1]] = None
        return tuple(found)

    def forget_idle(self, before: Ms, most: int) -> None:
        """Forget some back-offs that ended long ago."""
        ended = (
            each.destination
            for each in self.lanes.values()
            if not each.waiting and not each.parked and each.held_until < before
        )
        for name in list(islice(ended, most)):
            del self.lanes[name]

    def oldest(self, destination: str) -> Ms:
        """When the oldest item was added; 0 if nothing waits."""
        heads = (next(iter(self._of(destination, kind).values()), None) for kind in ItemKind)
        return min((each.added_at for each in heads if each is not None), default=Ms(0))

    # --- Items ---

    def add(self, to: Sequence[str], items: Sequence[OutItem], now: Ms) -> None:
        """Every item to every destination, or none. Raises: QueueFull."""
        plan = {name: self._grown(name, items) for name in to}
        if self._total + sum(count for count, _ in plan.values()) > self._limits.outbox_items:
            raise lanerows.full_in_all(self._limits)
        for name, (count, size) in plan.items():
            lane = self.lanes.get(name) or LaneRow(destination=name, due=now)
            over = lanerows.full(lane, count, size, self._limits)
            if over is not None:
                raise over
        for name in to:
            self._add(name, items, now)

    def _grown(self, name: str, items: Sequence[OutItem]) -> Freed:
        """By how many items and bytes the lane would grow."""
        marks = lanerows.marks(self.lanes.get(name))
        sizes: dict[str, int] = {}  # of what now waits with these keys
        count = size = 0
        for item in items:
            key = lanerows.replacement_key(item)
            found = self._replaced(name, item, marks)
            replaced = sizes.get(key, -1 if found is None else len(found.item.body)) if key else -1
            count += replaced < 0
            size += len(item.body) - max(replaced, 0)
            sizes[key] = len(item.body)
        return count, size

    def _add(self, name: str, items: Sequence[OutItem], now: Ms) -> None:
        lane = self.lanes.get(name) or LaneRow(destination=name)
        if not lane.waiting:
            lane.due = max(now, lane.held_until)
        for item in items:
            found = self._replaced(name, item, lane.sealed)
            if found is None:
                self._append(lane, item, now)
            else:
                lane.waiting_bytes += len(item.body) - len(found.item.body)
                found.item = item
        self.keep(lane)

    def _append(self, lane: LaneRow, item: OutItem, now: Ms) -> None:
        self._last_id += 1
        self._total += 1
        kept = _Kept(self._last_id, item, now)
        self._items.setdefault((lane.destination, item.kind), {})[kept.id] = kept
        if key := lanerows.replacement_key(item):
            self._places[lane.destination, key] = kept
        lane.waiting += 1
        lane.waiting_bytes += len(item.body)

    def _replaced(self, name: str, item: OutItem, sealed: Marks) -> _Kept | None:
        """The one that waits unsealed with the same key."""
        key = lanerows.replacement_key(item)
        found = self._places.get((name, key)) if key else None
        return found if found is not None and found.id > sealed.edu else None

    def _of(self, destination: str, kind: ItemKind) -> Kept:
        return self._items.get((destination, kind), {})

    def _upto(self, destination: str, upto: Marks) -> Iterator[_Kept]:
        for kind, last in ((ItemKind.PDU, upto.pdu), (ItemKind.EDU, upto.edu)):
            for each in self._of(destination, kind).values():
                if each.id > last:
                    break
                yield each

    def first(self, destination: str, upto: Marks, *, pdus: int, edus: int) -> list[Waiting]:
        """The first so many of each kind (-1: all), in order of id."""
        found: list[_Kept] = []
        for most, part in ((pdus, Marks(pdu=upto.pdu)), (edus, Marks(edu=upto.edu))):
            found += islice(self._upto(destination, part), None if most < 0 else most)
        found.sort(key=lambda each: each.id)
        return [(_queued(each), each.item.body) for each in found]

    def _take_out(self, destination: str, items: Sequence[_Kept]) -> Freed:
        for each in items:
            mine = self._items[destination, each.item.kind]
            del mine[each.id]
            if self._places.get((destination, each.item.replaces)) is each:
                del self._places[destination, each.item.replaces]
            if not mine:
                del self._items[destination, each.item.kind]
        self._total -= len(items)
        return len(items), sum(len(each.item.body) for each in items)

    def remove(self, destination: str, upto: Marks) -> Freed:
        """Forget these items."""
        return self._take_out(destination, list(self._upto(destination, upto)))

    def remove_after(self, destination: str, marks: Marks) -> Freed:
        """Forget the items behind the marks."""
        before = {id(each) for each in self._upto(destination, marks)}
        rest = [each for each in self._upto(destination, lanerows.ALL) if id(each) not in before]
        return self._take_out(destination, rest)

    def expire(self, destination: str, now: Ms) -> Freed:
        """Forget what has expired."""
        edus = self._of(destination, ItemKind.EDU).values()
        return self._take_out(destination, [e for e in edus if 0 < e.item.expires <= now])

    # --- Parked ---

    def park(self, destination: str, upto: Marks, because: str, now: Ms) -> Freed:
        """Set these items aside."""
        items = list(self._upto(destination, upto))
        for each in items:
            self.parked.setdefault(destination, {})[each.id] = ParkedItem(
                id=each.id,
                destination=destination,
                kind=each.item.kind,
                event_id=each.item.event_id,
                body=each.item.body,
                because=because,
                parked_at=now,
            )
        freed = self._take_out(destination, items)
        self._total += len(items)
        return freed

    def unpark(self, destination: str, ids: Sequence[int] | None, now: Ms) -> int:
        """Put them back at the end."""
        items = self._take_parked(destination, ids)
        lane = self.lanes.get(destination)
        if lane is None or not items:
            return 0
        if not lane.waiting:
            lane.due = max(now, lane.held_until)
        for each in items:
            item = OutItem(kind=each.kind, body=each.body, event_id=each.event_id)
            self._append(lane, item, now)
        lane.parked -= len(items)
        self.keep(lane)
        return len(items)

    def drop_parked(self, destination: str, ids: Sequence[int] | None) -> int:
        """Forget them."""
        return len(self._take_parked(destination, ids))

    def _take_parked(self, destination: str, ids: Sequence[int] | None) -> list[ParkedItem]:
        mine = self.parked.get(destination, {})
        chosen = sorted(mine if ids is None else set(ids) & mine.keys())
        items = [mine.pop(each) for each in chosen]
        if not mine:
            self.parked.pop(destination, None)
        self._total -= len(items)
        return items


def _queued(kept: _Kept) -> QueuedItem:
    item = kept.item
    return QueuedItem(id=kept.id, kind=item.kind, event_id=item.event_id, size=len(item.body))
