"""The outbox in memory: the same rules as on disk (:mod:`ranvier.lanes`), gone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ranvier import lanerows, lanes
from ranvier.deeds import (
    BackOff,
    LaneState,
    OutItem,
    ParkedItem,
    Sealed,
    SealRule,
    Settlement,
)
from ranvier.limits import Limits, Ms
from ranvier.world.lanetable import MemoryLaneTable


class MemoryOutbox:
    """The :class:`ranvier.deeds.Outbox` in memory."""

    def __init__(
        self, check: Callable[[], None], random_bytes: Callable[[int], bytes], limits: Limits
    ) -> None:
        self._check = check
        self._random_bytes = random_bytes
        self._table = MemoryLaneTable(limits)

    async def add(self, to: Sequence[str], items: Sequence[OutItem], *, now: Ms) -> None:
        """Every item to every destination. Raises: QueueFull, StoreFault."""
        self._check()
        self._table.add(tuple(dict.fromkeys(to)), items, now)

    async def take(
        self,
        node: str,
        *,
        now: Ms,
        until: Ms,
        most: int,
        rule: SealRule,
        only: str | None = None,
    ) -> tuple[Sealed, ...]:
        """Lease and seal what is due. Raises: StoreFault."""
        self._check()
        return lanes.take(
            self._table, node, now=now, until=until, most=most, rule=rule, only=only,
            txn_ids=self._txn_ids(),
        )  # fmt: skip

    async def settle(
        self, sealed: Sealed, settlement: Settlement, *, now: Ms, until: Ms, rule: SealRule
    ) -> Sealed | None:
        """Write down how it went; what comes next. Raises: StoreFault."""
        self._check()
        return lanes.settle(
            self._table, sealed, settlement, now=now, until=until, rule=rule,
            txn_ids=self._txn_ids(),
        )  # fmt: skip

    def _txn_ids(self) -> Iterator[str]:
        while True:
            yield from lanes.transaction_ids(self._random_bytes(lanes.TXN_ID_BYTES))

    async def renew(self, node: str, *, until: Ms) -> None:
        """Lengthen the leases of ``node``. Raises: StoreFault."""
        self._check()
        for lane in self._table.lanes.values():
            if lane.node == node and lane.due < until:
                lane.due = until
                self._table.keep(lane)

    async def end_leases(self, node: str, *, now: Ms) -> None:
        """What ``node`` holds is due now. Raises: StoreFault."""
        self._check()
        for lane in self._table.lanes.values():
            if lane.node == node and lane.due > now:
                lane.due = now
                self._table.keep(lane)

    async def set_right(self, *, now: Ms, latest: Ms) -> None:
        """What is due too late is due now. Raises: StoreFault."""
        self._check()
        for lane in list(self._table.lanes.values()):
            if max(lane.due, lane.held_until) > latest:
                lane.due = min(lane.due, now)
                lane.held_until = min(lane.held_until, now)
                self._table.keep(lane)

    async def next_due(self) -> Ms | None:
        """The earliest of all. Raises: StoreFault."""
        self._check()
        return self._table.next_due()

    async def hold_off(
        self, destination: str, *, until: Ms, because: str, failures: int, now: Ms
    ) -> None:
        """Back off. Raises: StoreFault."""
        self._check()
        lanes.hold_off(
            self._table, destination, until=until, because=because, failures=failures, now=now
        )

    async def heard_from(self, destination: str, *, now: Ms) -> bool:
        """Clear the back-off. Raises: StoreFault."""
        self._check()
        return lanes.heard_from(self._table, destination, now)

    async def back_offs(self, *, most: int = 1000) -> Mapping[str, BackOff]:
        """Who is being held off from. Raises: StoreFault."""
        self._check()
        held = [each for each in self._table.lanes.values() if each.held_until]
        held.sort(key=lambda lane: (-lane.held_until, lane.destination))
        return {lane.destination: lanerows.back_off(lane) for lane in held[:most]}

    async def lanes(
        self, destination: str | None = None, *, most: int = 1000
    ) -> tuple[LaneState, ...]:
        """Lanes as they are, most waiting first. Raises: StoreFault."""
        self._check()
        found = [
            lane
            for lane in self._table.lanes.values()
            if destination is None or lane.destination == destination
        ]
        found.sort(key=lambda lane: (-lane.waiting, lane.destination))
        return tuple(
            lanerows.state(each, self._table.oldest(each.destination)) for each in found[:most]
        )

    async def parked(
        self, destination: str | None = None, *, most: int = 1000
    ) -> tuple[ParkedItem, ...]:
        """What was set aside, oldest first. Raises: StoreFault."""
        self._check()
        names = self._table.parked if destination is None else (destination,)
        found = [each for name in names for each in self._table.parked.get(name, {}).values()]
        found.sort(key=lambda each: (each.parked_at, each.destination, each.id))
        return tuple(found[:most])

    async def unpark(self, destination: str, *, ids: Sequence[int] | None = None, now: Ms) -> int:
        """Put parked items back. Raises: StoreFault."""
        self._check()
        return self._table.unpark(destination, ids, now)

    async def drop(
        self, destination: str, *, parked_only: bool = False, ids: Sequence[int] | None = None
    ) -> int:
        """Forget what waits or is parked. Raises: StoreFault."""
        self._check()
        return lanes.drop(self._table, destination, parked_only=parked_only, ids=ids)
