"""What happens to a lane, whatever it is stored in: the rules behind the outbox's deeds.

A store gives its rows as a :class:`~ranvier.lanerows.LaneTable` and calls these
functions inside one atomic deed; nothing here waits or does I/O of its own.

A transaction's bytes are not stored a second time: they follow from (origin, time of
sealing, items), canonical JSON being a function, and items that are sealed cannot change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ranvier.deeds import (
    Delivered,
    Halve,
    HeldOff,
    ItemKind,
    Park,
    Refused,
    Release,
    Sealed,
    SealRule,
    Settlement,
)
from ranvier.lanerows import ALL, Freed, LaneRow, LaneTable, Marks, Waiting
from ranvier.limits import DAY_MS, Ms
from ranvier.protocol.canonical import encode_base64_urlsafe
from ranvier.protocol.transactions import build_transaction

TXN_ID_BYTES = 12

_ENVELOPE_BYTES = 512  # of a transaction besides its items
_IDLE_MS = DAY_MS
_IDLE_AT_ONCE = 10


# --- The deeds ---


def take(
    table: LaneTable,
    node: str,
    *,
    now: Ms,
    until: Ms,
    most: int,
    rule: SealRule,
    only: str | None,
    txn_ids: Iterator[str],
) -> tuple[Sealed, ...]:
    """See :meth:`ranvier.deeds.Outbox.take`."""
    taken: list[Sealed] = []
    while len(taken) < most:
        names = [only] if only is not None else table.due(now, most - len(taken))
        for name in names:
            lane = table.lane(name)
            if lane is not None and lane.waiting and lane.due <= now:
                _lease(lane, node, until)
                if (sealed := _sealed(table, lane, rule, now, txn_ids)) is not None:
                    taken.append(sealed)
                table.keep(lane)
        if only is not None or not names:
            break
    return tuple(taken)


def settle(
    table: LaneTable,
    sealed: Sealed,
    settlement: Settlement,
    *,
    now: Ms,
    until: Ms,
    rule: SealRule,
    txn_ids: Iterator[str],
) -> Sealed | None:
    """See :meth:`ranvier.deeds.Outbox.settle`."""
    lane = table.lane(sealed.destination)
    held = (sealed.node, sealed.epoch, sealed.txn_id)
    if lane is None or (lane.node, lane.epoch, lane.txn_id) != held:
        return None
    following = None
    if _closes(table, lane, settlement, now):
        lane.due = until
        following = _sealed(table, lane, rule, now, txn_ids)
    table.keep(lane)
    return following


def hold_off(
    table: LaneTable, destination: str, *, until: Ms, because: str, failures: int, now: Ms
) -> None:
    """See :meth:`ranvier.deeds.Outbox.hold_off`."""
    table.forget_idle(Ms(now - _IDLE_MS), _IDLE_AT_ONCE)
    lane = table.lane(destination) or LaneRow(destination=destination)
    _held(lane, until, because, failures, now)
    if not lane.node:
        lane.due = until
    table.keep(lane)


def heard_from(table: LaneTable, destination: str, now: Ms) -> bool:
    """See :meth:`ranvier.deeds.Outbox.heard_from`."""
    lane = table.lane(destination)
    if lane is None or not lane.held_until:
        return False
    _reached(lane)
    if not lane.node:
        lane.due = min(lane.due, now)
    table.keep(lane)
    return True


def drop(
    table: LaneTable, destination: str, *, parked_only: bool, ids: Sequence[int] | None
) -> int:
    """See :meth:`ranvier.deeds.Outbox.drop`."""
    lane = table.lane(destination)
    if lane is None:
        return 0
    count = table.drop_parked(destination, ids)
    lane.parked -= count
    if not parked_only and ids is None:
        count += _empty(table, lane)
    table.keep(lane)
    return count


def transaction_ids(random: bytes) -> list[str]:
    """Ids that are never used again: 96 random bits each."""
    starts = range(0, len(random), TXN_ID_BYTES)
    return [encode_base64_urlsafe(random[start : start + TXN_ID_BYTES]) for start in starts]


# --- Their parts ---


def _closes(table: LaneTable, lane: LaneRow, settlement: Settlement, now: Ms) -> bool:
    """Do what the settlement says; whether it is done with and another may follow."""
    match settlement:
        case HeldOff(until=until, because=because, failures=failures):
            _held(lane, until, because, failures, now)
            _give_up(table, lane, until)
            return False
        case Refused(until=until, because=because):
            _reached(lane)
            lane.refusals += 1
            lane.because = because
            _give_up(table, lane, until)
            return False
        case Release():
            _give_up(table, lane, max(now, lane.held_until))
            return False
    _reached(lane)
    if isinstance(settlement, Delivered) or lane.dropped:
        _freed(lane, table.remove(lane.destination, lane.sealed))
    elif isinstance(settlement, Park):
        count, size = table.park(lane.destination, lane.sealed, settlement.because, now)
        lane.parked += count
        _freed(lane, (count, size))
    elif isinstance(settlement, Halve):
        lane.narrow = max(settlement.most, 1)
        lane.narrow_pdu, lane.narrow_edu = lane.last_pdu, lane.last_edu
    _unseal(lane)
    return True


def _lease(lane: LaneRow, node: str, until: Ms) -> None:
    lane.node = node
    lane.epoch += 1
    lane.due = until


def _give_up(table: LaneTable, lane: LaneRow, due: Ms) -> None:
    """The lane is nobody's until ``due``."""
    lane.node = ""
    lane.due = due
    _forget_dropped(table, lane)


def _sealed(
    table: LaneTable, lane: LaneRow, rule: SealRule, now: Ms, txn_ids: Iterator[str]
) -> Sealed | None:
    """The lane's transaction: as it was sealed, or sealed now. Without one the lane is free."""
    _forget_dropped(table, lane)
    if lane.txn_id:
        return _as_sent(lane, table.first(lane.destination, lane.sealed, pdus=-1, edus=-1))
    if lane.waiting:
        _freed(lane, table.expire(lane.destination, now))
    if not lane.waiting:
        _give_up(table, lane, max(now, lane.held_until))
        return None
    chosen = _fitting(_candidates(table, lane, rule), rule)
    lane.txn_id = next(txn_ids)
    lane.origin = rule.origin
    lane.sealed_at = now
    lane.last_pdu = _last(chosen, ItemKind.PDU)
    lane.last_edu = _last(chosen, ItemKind.EDU)
    return _as_sent(lane, chosen)


def _candidates(table: LaneTable, lane: LaneRow, rule: SealRule) -> list[Waiting]:
    """What may go together: of a part that was halved, few; else what the rule says."""
    if lane.narrow:
        part = Marks(lane.narrow_pdu, lane.narrow_edu)
        narrow = table.first(lane.destination, part, pdus=rule.pdus, edus=rule.edus)
        if narrow:
            return narrow[: lane.narrow]
        lane.narrow = lane.narrow_pdu = lane.narrow_edu = 0
    return table.first(lane.destination, ALL, pdus=rule.pdus, edus=rule.edus)


def _fitting(waiting: list[Waiting], rule: SealRule) -> list[Waiting]:
    """As many as fit the budget; one in any case."""
    spent = _ENVELOPE_BYTES
    for place, (item, _) in enumerate(waiting):
        spent += item.size + 1
        if place and spent > rule.bytes:
            return waiting[:place]
    return waiting


def _last(chosen: list[Waiting], kind: ItemKind) -> int:
    return max((item.id for item, _ in chosen if item.kind is kind), default=0)


def _as_sent(lane: LaneRow, items: list[Waiting]) -> Sealed:
    bodies: dict[ItemKind, list[bytes]] = {ItemKind.PDU: [], ItemKind.EDU: []}
    for item, body in items:
        bodies[item.kind].append(body)
    return Sealed(
        destination=lane.destination,
        node=lane.node,
        epoch=lane.epoch,
        txn_id=lane.txn_id,
        body=build_transaction(
            lane.origin, lane.sealed_at, bodies[ItemKind.PDU], bodies[ItemKind.EDU]
        ),
        items=tuple(item for item, _ in items),
        sealed_at=lane.sealed_at,
        refusals=lane.refusals,
        failures=lane.failures,
    )


def _unseal(lane: LaneRow) -> None:
    lane.txn_id = ""
    lane.last_pdu = lane.last_edu = lane.refusals = 0
    lane.dropped = False


def _forget_dropped(table: LaneTable, lane: LaneRow) -> None:
    if lane.dropped:
        _freed(lane, table.remove(lane.destination, lane.sealed))
        _unseal(lane)


def _empty(table: LaneTable, lane: LaneRow) -> int:
    """Forget what waits, of a lane that is held the sealed part later. How many."""
    if lane.dropped:
        return _freed(lane, table.remove_after(lane.destination, lane.sealed))
    before = lane.waiting
    if lane.txn_id and lane.node:
        _freed(lane, table.remove_after(lane.destination, lane.sealed))
        lane.dropped = True
    else:
        _freed(lane, table.remove(lane.destination, ALL))
        _unseal(lane)
    return before


def _freed(lane: LaneRow, freed: Freed) -> int:
    count, size = freed
    lane.waiting -= count
    lane.waiting_bytes -= size
    return count


def _held(lane: LaneRow, until: Ms, because: str, failures: int, now: Ms) -> None:
    lane.held_until = until
    lane.because = because
    lane.failures = failures
    lane.since = lane.since or now


def _reached(lane: LaneRow) -> None:
    lane.held_until = lane.since = Ms(0)
    lane.failures = 0
    lane.because = ""
