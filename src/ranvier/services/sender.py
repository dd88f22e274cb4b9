"""Transactions as they go out: every lane in order, each until it is taken.

What is to be sent is stored first; :meth:`Sender.add` returns when it is on disk.
From then on it is the store's lanes that say what is to be done (``ranvier.deeds``):

* one task asks for lanes that are due, as many as there are free places, and one
  task per lane *in flight* sends its transactions one after another, each until it
  is settled. Lanes whose destination takes its time have places of their own, so that
  many who never answer do not take those of the others. A lane that sleeps has no
  task and no timer: its next try stands in the store, and the one task sleeps until
  the earliest of them, or until it is nudged;
* id and bytes are fixed before they go out and stay the same at every attempt
  (TXN-08, TXN-10). Failures hold the lane off, longer and longer, for ever if need
  be; nothing is given up because it is old;
* bytes that are *refused* several times are halved, down to the one item that is
  poison; it is parked for people to see, and the others go on (D36);
* leases are renewed while something is in flight. A worker that was stopped and lost
  its lease can send once more what was sealed then, and nothing after it: what it
  writes down changes nothing, for whoever holds the lane now has sent the same id and
  bytes again (D40).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from ranvier.deeds import (
    Delivered,
    Halve,
    HeldOff,
    Outbox,
    OutItem,
    Park,
    Refused,
    Release,
    Sealed,
    SealRule,
    Settlement,
)
from ranvier.errors import RanvierError, StoreFault
from ranvier.limits import Limits, Ms
from ranvier.plugs import Clock
from ranvier.protocol.retry import AgainSoon, HalveAt, ParkIt, after_refusal
from ranvier.services.backoff import BackOffs
from ranvier.services.delivery import Delivery, DeliveryOutcome

FAIR_ROUNDS = 16
"""Transactions of one lane before others that are due come first."""
SLOW_SECONDS = 5.0
"""A lane whose destination has not answered for so long leaves its place to another."""

logger = logging.getLogger("ranvier.send")

OnSent = Callable[[Delivery], Awaitable[None]]
"""Told of every attempt, once its settlement is written."""


class Sender:
    """Sends what the outbox holds. One per process and store; ``node`` is unique."""

    def __init__(
        self,
        outbox: Outbox,
        deliver: Callable[[Sealed], Awaitable[Delivery]],
        *,
        node: str,
        origin: str,
        clock: Clock,
        limits: Limits,
        back_offs: BackOffs,
        on_sent: OnSent,
    ) -> None:
        self._outbox = outbox
        self._deliver = deliver
        self._node = node
        self._clock = clock
        self._limits = limits
        self._back_offs = back_offs
        self._on_sent = on_sent
        self._rule = SealRule(
            origin=origin,
            pdus=limits.transaction_pdus,
            edus=limits.transaction_edus,
            bytes=limits.transaction_bytes,
        )
        self._flying: dict[str, asyncio.Task[None]] = {}
        self._since: dict[str, float] = {}  # ticks: when what is in flight went out
        self._again: dict[str, Sealed] = {}
        self._latest_now = Ms(0)
        self._nudged = asyncio.Event()
        self._aloft = asyncio.Event()
        self._work: list[asyncio.Task[None]] = []

    # --- What others call ---

    async def add(self, to: Sequence[str], items: Sequence[OutItem]) -> None:
        """Store it; it goes out by itself. Raises: QueueFull, StoreFault."""
        await self._outbox.add(to, items, now=self._clock.now())
        self.nudge()

    def nudge(self) -> None:
        """Something may be due."""
        self._nudged.set()

    async def start(self) -> None:
        """Begin to send, with what earlier runs left. Raises: StoreFault."""
        await self._set_right()
        self._work = [asyncio.ensure_future(each) for each in (self._run(), self._renew())]

    async def stop(self) -> None:
        """Begin nothing more; what is in flight is given up and stays in the store."""
        self._again.clear()
        tasks = [*self._work, *self._flying.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(StoreFault):  # who takes them next need not wait for the leases' end
            await self._outbox.end_leases(self._node, now=self._clock.now())

    @property
    def in_flight(self) -> int:
        """Lanes that are being worked on."""
        return len(self._flying)

    # --- The one task that looks for work ---

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            try:
                seconds = await self._round()
            except StoreFault as error:
                logger.error("the outbox cannot be read: %s", error)
                seconds = self._limits.refusal_retry_seconds
            except Exception:  # a fault of our own: said, and not the end of all sending
                logger.exception("a look for lanes that are due failed")
                seconds = self._limits.refusal_retry_seconds
            with suppress(TimeoutError):
                async with self._clock.timeout(seconds):
                    await self._nudged.wait()

    async def _round(self) -> float:
        """Take what is due; how long there is nothing more to take, in seconds."""
        places = self._limits.outbox_in_flight - self._quick()
        if places * 2 < self._limits.outbox_in_flight:
            return SLOW_SECONDS  # whoever lands nudges
        now = self._clock.now()
        if now < self._latest_now - self._limits.lease_seconds * 1000:
            await self._set_right()  # the clock was set back
        self._latest_now = now
        taken = await self._outbox.take(
            self._node, now=now, until=self._until(), most=places, rule=self._rule
        )
        for sealed in taken:
            self._start(sealed)
        due = await self._outbox.next_due()
        if due is None:
            return self._limits.lease_seconds
        # A look round once per lease finds lanes whose worker has died.
        return min(max((due - self._clock.now()) / 1000, 0.0), self._limits.lease_seconds)

    async def _set_right(self) -> None:
        """Nothing waits longer than we ever wait, whatever a wrong clock wrote."""
        now, limits = self._clock.now(), self._limits
        self._latest_now = now
        longest = 2 * limits.back_off_max_seconds + limits.lease_seconds
        await self._outbox.set_right(now=now, latest=Ms(now + round(longest * 1000)))
        await self._back_offs.load()

    def _quick(self) -> int:
        """Lanes in flight, but for those that are slow: so many of them as may be."""
        flying = len(self._flying)
        if flying * 2 <= self._limits.outbox_in_flight:
            return flying
        since = self._clock.tick() - SLOW_SECONDS
        slow = sum(began <= since for began in self._since.values())
        return flying - min(slow, self._limits.outbox_in_flight_slow)

    async def _renew(self) -> None:
        while await self._aloft.wait():
            await self._clock.sleep(self._limits.lease_seconds / 3)
            if self._flying:
                try:
                    await self._outbox.renew(self._node, until=self._until())
                except StoreFault as error:  # others may take our lanes over: same id, same bytes
                    logger.warning("our leases are not renewed: %s", error)
            else:
                self._aloft.clear()

    def _until(self) -> Ms:
        return Ms(self._clock.now() + round(self._limits.lease_seconds * 1000))

    # --- One lane ---

    def _start(self, sealed: Sealed) -> None:
        if sealed.destination in self._flying:  # our own lease ran out under us
            self._again[sealed.destination] = sealed
            return
        task = asyncio.ensure_future(self._lane(sealed))
        self._flying[sealed.destination] = task
        self._aloft.set()
        task.add_done_callback(lambda _: self._landed(sealed.destination))

    def _landed(self, destination: str) -> None:
        self._flying.pop(destination, None)
        self._since.pop(destination, None)
        if sealed := self._again.pop(destination, None):
            self._start(sealed)
        self.nudge()

    async def _lane(self, sealed: Sealed) -> None:
        following: Sealed | None = sealed
        rounds = 0
        while following is not None:
            rounds += 1
            following = await self._transaction(following)
            if following is not None and rounds >= FAIR_ROUNDS:
                await self._settle(following, Release())
                return

    async def _transaction(self, sealed: Sealed) -> Sealed | None:
        """One attempt, and what follows from it. The lane's next transaction, if any."""
        self._since[sealed.destination] = self._clock.tick()
        delivery = await self._attempt(sealed)
        settlement = self._settlement(sealed, delivery)
        if not isinstance(settlement, HeldOff):
            await self._back_offs.reached(sealed.destination)
        following = await self._settle(sealed, settlement)
        try:
            async with self._clock.timeout(self._limits.handler_seconds):
                await self._on_sent(msgspec.structs.replace(delivery, settlement=settlement))
        except Exception:
            logger.exception("the handler of deliveries failed at %s", sealed.destination)
        return following

    async def _attempt(self, sealed: Sealed) -> Delivery:
        """A fault of our own is an attempt that failed, or the lane would be nobody's."""
        try:
            return await self._deliver(sealed)
        except Exception as error:
            logger.exception("we failed at a transaction for %s", sealed.destination)
            return Delivery(
                destination=sealed.destination,
                txn_id=sealed.txn_id,
                outcome=DeliveryOutcome.LATER,
                because=f"we failed ourselves: {type(error).__name__}",
            )

    def _settlement(self, sealed: Sealed, delivery: Delivery) -> Settlement:
        if delivery.outcome is DeliveryOutcome.DELIVERED:
            return Delivered()
        because = delivery.because
        if delivery.outcome is DeliveryOutcome.REFUSED:
            verdict = after_refusal(len(sealed.items), sealed.refusals + 1, self._limits)
            match verdict:
                case HalveAt(most):
                    return Halve(most=most, because=because)
                case ParkIt():
                    return Park(because=because)
                case AgainSoon(seconds):
                    until = Ms(self._clock.now() + round(seconds * 1000))
                    return Refused(until=until, because=because)
        failures = sealed.failures + 1
        until = max(self._back_offs.after_failure(failures), delivery.not_before)
        return HeldOff(until=until, because=because, failures=failures)

    async def _settle(self, sealed: Sealed, settlement: Settlement) -> Sealed | None:
        name = sealed.destination
        if isinstance(settlement, HeldOff):
            self._back_offs.note(
                name,
                until=settlement.until,
                failures=settlement.failures,
                because=settlement.because,
            )
        while True:
            try:
                return await self._outbox.settle(
                    sealed, settlement, now=self._clock.now(), until=self._until(), rule=self._rule
                )
            except RanvierError as error:
                logger.error("what became of %s's transaction is not written: %s", name, error)
                await self._clock.sleep(self._limits.refusal_retry_seconds)
