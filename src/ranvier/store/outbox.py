"""The outbox on SQLite: each deed is one call of a rule, inside one commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

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
from ranvier.plugs import Clock
from ranvier.store.adding import add, append
from ranvier.store.lanetable import LANES, PARKED, SqliteLaneTable, lane_of, parked_of
from ranvier.store.thread import StoreThread

_RENEW = "UPDATE lane SET due = :until WHERE node = :node AND node <> '' AND due < :until"
_END_LEASES = "UPDATE lane SET due = :now WHERE node = :node AND node <> '' AND due > :now"
_SET_RIGHT = """
    UPDATE lane SET due = min(due, :now), held_until = min(held_until, :now)
    WHERE due > :latest OR held_until > :latest
"""  # walks through all lanes; done at a start, and when a clock was set back
_FEWER_PARKED = "UPDATE lane SET parked = parked - ? WHERE destination = ?"
_NEXT_DUE = "SELECT min(due) FROM lane WHERE waiting > 0"
_BACK_OFFS = LANES + "WHERE held_until > 0 ORDER BY held_until DESC, destination LIMIT ?"
_ALL_LANES = LANES + "ORDER BY waiting DESC, destination LIMIT ?"
_ONE_LANE = LANES + "WHERE destination = ? LIMIT ?"
_ALL_PARKED = PARKED + "ORDER BY k.parked_at, k.destination, k.id LIMIT ?"
_PARKED_OF = PARKED + "WHERE k.destination = ? ORDER BY k.parked_at, k.id LIMIT ?"


class SqliteOutbox:
    """The :class:`ranvier.deeds.Outbox` on SQLite."""

    def __init__(
        self, reader: StoreThread, writer: StoreThread, clock: Clock, limits: Limits
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._limits = limits

    async def add(self, to: Sequence[str], items: Sequence[OutItem], *, now: Ms) -> None:
        """Every item to every destination. Raises: QueueFull, StoreFault."""
        names, new = tuple(dict.fromkeys(to)), tuple(items)
        if names and new:
            full = await self._writer.do(lambda db: add(db, names, new, now, self._limits))
            if full is not None:
                raise full

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
        txn_ids = self._txn_ids(most)
        return await self._writer.do(
            lambda db: lanes.take(
                SqliteLaneTable(db), node, now=now, until=until, most=most, rule=rule, only=only,
                txn_ids=iter(txn_ids),
            )
        )  # fmt: skip

    async def settle(
        self, sealed: Sealed, settlement: Settlement, *, now: Ms, until: Ms, rule: SealRule
    ) -> Sealed | None:
        """Write down how it went; what comes next. Raises: StoreFault."""
        txn_ids = self._txn_ids(1)
        return await self._writer.do(
            lambda db: lanes.settle(
                SqliteLaneTable(db), sealed, settlement, now=now, until=until, rule=rule,
                txn_ids=iter(txn_ids),
            )
        )  # fmt: skip

    def _txn_ids(self, count: int) -> list[str]:
        """Drawn beforehand: a deed may be done twice."""
        return lanes.transaction_ids(self._clock.random_bytes(count * lanes.TXN_ID_BYTES))

    async def renew(self, node: str, *, until: Ms) -> None:
        """Lengthen the leases of ``node``. Raises: StoreFault."""
        row = {"node": node, "until": until}
        await self._writer.do(lambda db: db.execute(_RENEW, row).rowcount)

    async def end_leases(self, node: str, *, now: Ms) -> None:
        """What ``node`` holds is due now. Raises: StoreFault."""
        row = {"node": node, "now": now}
        await self._writer.do(lambda db: db.execute(_END_LEASES, row).rowcount)

    async def set_right(self, *, now: Ms, latest: Ms) -> None:
        """What is due too late is due now. Raises: StoreFault."""
        row = {"now": now, "latest": latest}
        await self._writer.do(lambda db: db.execute(_SET_RIGHT, row).rowcount)

    async def next_due(self) -> Ms | None:
        """The earliest of all. Raises: StoreFault."""
        (due,) = await self._reader.do(lambda db: db.execute(_NEXT_DUE).fetchone())
        return None if due is None else Ms(due)

    async def hold_off(
        self, destination: str, *, until: Ms, because: str, failures: int, now: Ms
    ) -> None:
        """Back off. Raises: StoreFault."""
        await self._writer.do(
            lambda db: lanes.hold_off(
                SqliteLaneTable(db), destination, until=until, because=because,
                failures=failures, now=now,
            )
        )  # fmt: skip

    async def heard_from(self, destination: str, *, now: Ms) -> bool:
        """Clear the back-off. Raises: StoreFault."""
        return await self._writer.do(
            lambda db: lanes.heard_from(SqliteLaneTable(db), destination, now)
        )

    async def back_offs(self, *, most: int = 1000) -> Mapping[str, BackOff]:
        """Who is being held off from. Raises: StoreFault."""
        rows = await self._reader.do(lambda db: db.execute(_BACK_OFFS, (most,)).fetchall())
        held = map(lane_of, rows)
        return {lane.destination: lanerows.back_off(lane) for lane in held}

    async def lanes(
        self, destination: str | None = None, *, most: int = 1000
    ) -> tuple[LaneState, ...]:
        """Lanes as they are, most waiting first. Raises: StoreFault."""
        return await self._reader.do(lambda db: _states(db, destination, most))

    async def parked(
        self, destination: str | None = None, *, most: int = 1000
    ) -> tuple[ParkedItem, ...]:
        """What was set aside, oldest first. Raises: StoreFault."""
        asked = _asked(_ALL_PARKED, _PARKED_OF, destination, most)
        rows = await self._reader.do(lambda db: db.execute(*asked).fetchall())
        return tuple(map(parked_of, rows))

    async def unpark(self, destination: str, *, ids: Sequence[int] | None = None, now: Ms) -> int:
        """Put parked items back. Raises: StoreFault."""
        return await self._writer.do(lambda db: _unpark(db, destination, ids, now))

    async def drop(
        self, destination: str, *, parked_only: bool = False, ids: Sequence[int] | None = None
    ) -> int:
        """Forget what waits or is parked. Raises: StoreFault."""
        return await self._writer.do(
            lambda db: lanes.drop(
                SqliteLaneTable(db), destination, parked_only=parked_only, ids=ids
            )
        )


def _asked(
    of_all: str, of_one: str, destination: str | None, most: int
) -> tuple[str, tuple[object, ...]]:
    return (of_all, (most,)) if destination is None else (of_one, (destination, most))


def _states(db: sqlite3.Connection, destination: str | None, most: int) -> tuple[LaneState, ...]:
    rows = db.execute(*_asked(_ALL_LANES, _ONE_LANE, destination, most)).fetchall()
    table = SqliteLaneTable(db)
    return tuple(
        lanerows.state(lane, table.oldest(lane.destination)) for lane in map(lane_of, rows)
    )


def _unpark(db: sqlite3.Connection, destination: str, ids: Sequence[int] | None, now: Ms) -> int:
    """They leave the count of all items for a moment: :func:`append` counts them anew."""
    table = SqliteLaneTable(db)
    payloads = table.take_parked(destination, ids)
    if payloads:
        db.execute(_FEWER_PARKED, (len(payloads), destination))
        table.fewer(len(payloads))
        append(db, destination, payloads, now)
    return len(payloads)
