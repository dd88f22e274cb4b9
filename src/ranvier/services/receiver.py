"""Transactions as they come in: each once, item by item, with one answer that stays.

The order ``[s2s:transactions]``:

1. the envelope is read; only what is no transaction at all is refused (D16);
2. copies that arrive at once are joined, and transactions of one origin take turns,
   so that its order holds; more than ``inbox_waiting_per_origin`` are told to wait;
3. what was answered before gets the same answer, and nothing is done twice (TXN-09);
4. each PDU: its room's version, its form, the filter, hash and signatures, the
   handler. Each EDU: its form, that its users are the origin's own (D39), the filter,
   the handler. One bad item spoils only itself;
5. the answer and what handlers wrote through their effects go to disk in ONE commit,
   and only then is the answer sent (D34).

A signature has no time in it, so a captured transaction can be sent again after its
id is forgotten. Therefore EDUs count only from transactions younger than ids are
kept; PDUs have ids of their own (D35).
"""

from __future__ import annotations

import logging
from collections import Counter

import msgspec

from ranvier.deeds import Answered, Done, Effect, Inbox, Reused
from ranvier.errors import (
    EffectFault,
    Malformed,
    NotValid,
    RanvierError,
    StoreFault,
    Unauthenticated,
)
from ranvier.limits import DAY_MS, Limits, Ms
from ranvier.plugs import Clock
from ranvier.protocol.edus import SAYS_STATE, once_name
from ranvier.protocol.names import ServerName
from ranvier.protocol.text import shown
from ranvier.protocol.transactions import (
    ParsedTransaction,
    RawItem,
    build_answer,
    content_digest,
    item_digest,
    parse_transaction,
)
from ranvier.services.bodies import BodyWork
from ranvier.services.gate import Authenticated
from ranvier.services.hooks import FAILED, Called, Effects, Hooks, TryAgain
from ranvier.services.inflight import InFlight
from ranvier.services.inspector import InspectedPdu, Inspector
from ranvier.services.turns import Turns

CLAUSE = "[s2s:transactions]"

logger = logging.getLogger("ranvier.receive")


class Receiver:
    """Receives transactions. ``counts`` says what was done with items, by reason."""

    def __init__(
        self,
        inbox: Inbox,
        inspector: Inspector,
        hooks: Hooks,
        *,
        clock: Clock,
        limits: Limits,
        body_work: BodyWork,
    ) -> None:
        self._inbox = inbox
        self._inspector = inspector
        self._hooks = hooks
        self._clock = clock
        self._limits = limits
        self._in_flight: InFlight[tuple[str, str, bytes], bytes] = InFlight()
        self._turns = Turns()
        self._body_work = body_work
        self.counts: Counter[str] = Counter()

    async def receive(self, request: Authenticated, txn_id: str, *, seed: bool = False) -> bytes:
        """The answer to ``PUT /send/{txnId}``, once it is safe to give it.

        Raises: Malformed (400: no transaction), Unauthenticated (429: too many wait),
        StoreFault and TryAgain (500: come again).
        """
        transaction = await self._body_work.work(
            request.origin.text,
            len(request.body),
            lambda: parse_transaction(request.body, limits=self._limits, seed=seed),
        )
        if transaction.origin != request.origin.text:  # the authenticated one counts (TXN-12)
            self.counts["origin-differs"] += 1
        digest = content_digest(request.canonical or request.body)
        answer, joined = await self._in_flight.join(
            (request.origin.text, txn_id, digest),
            lambda: self._in_turn(request, txn_id, digest, transaction),
        )
        self.counts["joined"] += joined
        return answer

    async def _in_turn(
        self, request: Authenticated, txn_id: str, digest: bytes, transaction: ParsedTransaction
    ) -> bytes:
        origin = request.origin
        self._insist_not_too_many(origin)
        async with self._turns.taken(origin.text):
            seen = await self._inbox.seen(origin.text, txn_id, digest)
            if isinstance(seen, Answered):
                self.counts["repeated"] += 1
                return seen.answer
            done: frozenset[bytes] = frozenset()
            if isinstance(seen, Reused):
                self.counts["id-reused"] += 1
                logger.warning("%s reuses the transaction id %s", origin, shown(txn_id))
                done = seen.done
            work = _Work(request, txn_id, done)
            await self._process(transaction, work)
            return await self._finish(work, digest, transaction)

    async def _finish(self, work: _Work, digest: bytes, transaction: ParsedTransaction) -> bytes:
        """Commit; an item whose effects its tables refuse is spoilt, and no other.

        Raises: StoreFault.
        """
        while True:
            try:
                done = self._done(work, digest, transaction)
                return await self._inbox.finish(done, work.effects)
            except EffectFault as fault:
                self.counts[fault.code] += 1
                logger.error("an item of %s is spoilt: %s", work.origin, fault)
                work.spoil(fault.place)

    def _insist_not_too_many(self, origin: ServerName) -> None:
        users = self._turns.users(origin.text)
        if users > self._limits.inbox_waiting_per_origin:
            raise Unauthenticated(
                "transactions-waiting",
                f"{users} transactions of {origin} are in hand or wait",
                clause=CLAUSE,
                status=429,
                errcode="M_LIMIT_EXCEEDED",
                public="one transaction at a time",
            )

    def _done(self, work: _Work, digest: bytes, transaction: ParsedTransaction) -> Done:
        now, kept = self._clock.now(), self._limits.inbox_days * DAY_MS
        dated = min(max(now, transaction.origin_server_ts), now + kept)
        return Done(
            origin=work.origin.text,
            txn_id=work.txn_id,
            digest=digest,
            answer=build_answer(work.results),
            items=tuple(work.digests),
            once=tuple(work.once),
            received=now,
            forget_at=Ms(dated + kept),
        )

    async def _process(self, transaction: ParsedTransaction, work: _Work) -> None:
        await self._pdus(transaction.pdus, work)
        kept = self._limits.inbox_days * DAY_MS
        age = self._clock.now() - transaction.origin_server_ts
        if transaction.edus and not -kept <= age < kept:
            self.counts["edus-too-old"] += len(transaction.edus)
            days = age / DAY_MS
            logger.warning("%s sent EDUs dated %.0f days ago: dropped", work.origin, days)
            return
        names = [name for name in map(_once, transaction.edus) if name]
        if names:
            work.had.update(await self._inbox.had(work.origin.text, names))
        for place, item in enumerate(transaction.edus):
            if work.begin(item) or _may_repeat(item):
                await self._edu(item, place, work)

    async def _pdus(self, items: tuple[RawItem, ...], work: _Work) -> None:
        todo = [(place, item) for place, item in enumerate(items) if work.begin(item)]
        if todo:
            inspected = await self._inspector.pdus([item for _, item in todo], work.origin)
            for (place, _), each in zip(todo, inspected, strict=True):
                await self._pdu(each, place, work)

    async def _pdu(self, inspected: InspectedPdu, place: int, work: _Work) -> None:
        if inspected.refused is not None:
            self._count("pdu", inspected.refused.code, work.origin, inspected.refused)
            if inspected.event_id:
                work.results[inspected.event_id] = inspected.refused.message
            return
        if inspected.pdu is None:
            self.counts["pdu-unknown-room"] += 1
            return
        effects = work.effects_of("pdu", place, inspected.pdu.raw)
        refused = await self._handled(self._hooks.pdu, inspected.pdu, work, effects)
        work.results[inspected.pdu.event_id] = refused
        if refused is None:
            work.took(effects, event_id=inspected.pdu.event_id)

    async def _edu(self, item: RawItem, place: int, work: _Work) -> None:
        name = _once(item)
        if name in work.had:
            self.counts["edu-repeated"] += 1
            return
        try:
            edu = await self._inspector.edu(item, work.origin)
        except (Malformed, NotValid) as error:
            self._count("edu", error.code, work.origin, error)
            return
        effects = work.effects_of("edu", place, item.raw)
        refused = await self._handled(self._hooks.for_edu(edu), edu, work, effects)
        if refused is None:
            work.took(effects, once=name)

    async def _handled(
        self, called: Called | None, item: object, work: _Work, effects: Effects
    ) -> str | None:
        """``None`` if it was taken, else what the sender may know of the reason.

        Raises: TryAgain, StoreFault.
        """
        if called is None:
            self.counts["no-handler"] += 1
            return None
        try:
            async with self._clock.timeout(self._limits.handler_seconds):
                await called(item, work.origin, effects)
        except (TryAgain, StoreFault):
            raise
        except NotValid as error:
            self.counts[f"handler-{error.code}"] += 1
            return error.message
        except Exception:
            self.counts["handler-failed"] += 1
            logger.exception("the handler of an item of %s failed", work.origin)
            return FAILED
        self.counts["handled"] += 1
        return None

    def _count(self, what: str, code: str, origin: ServerName, error: RanvierError) -> None:
        self.counts[f"{what}-{code}"] += 1
        logger.info("an item of %s is not taken: %s (%s)", origin, error, code)


def _once(item: RawItem) -> str:
    """What of an EDU may come only once, if it is of a type that says so; else nothing."""
    return once_name(item.value) if item.value is not None else ""


def _may_repeat(item: RawItem) -> bool:
    """Whether it says how things are now: said again under a used id, it is heard again.

    There are servers whose ids are hashes of what they send (D35).
    """
    return item.value is not None and item.value.get("edu_type") in SAYS_STATE


class _Owner(msgspec.Struct, frozen=True):
    """The item that an effect is wanted for."""

    key: str
    event_id: str
    once: str


class _Work:
    """One transaction in hand."""

    def __init__(self, request: Authenticated, txn_id: str, done: frozenset[bytes]) -> None:
        self.request = request
        self.origin = request.origin
        self.txn_id = txn_id
        self.results: dict[str, str | None] = {}
        self.effects: list[Effect] = []
        self._owners: list[_Owner] = []  # of each effect
        self.digests: list[bytes] = []
        self.had: set[str] = set()
        self.once: list[str] = []
        self._already = done

    def effects_of(self, kind: str, place: int, raw: bytes) -> Effects:
        """For the handler of one item. Under a used id its place has stood for another one."""
        key = f"{self.origin}/{self.txn_id}/{kind}/{place}"
        if self._already:
            key = f"{key}/{item_digest(raw).hex()}"
        return Effects(key, self.request)

    def took(self, effects: Effects, *, event_id: str = "", once: str = "") -> None:
        """An item was taken, and this is what is to be written for it."""
        owner = _Owner(effects.key, event_id, once)
        self.effects.extend(effects.wanted)
        self._owners.extend(owner for _ in effects.wanted)
        if once:
            self.had.add(once)
            self.once.append(once)

    def spoil(self, place: int) -> None:
        """The item that wants the effect at ``place`` fails, with all that it wants."""
        owner = self._owners[place]
        left = [each for each, its in zip(self.effects, self._owners, strict=True) if its != owner]
        self._owners = [its for its in self._owners if its != owner]
        self.effects = left
        if owner.event_id:
            self.results[owner.event_id] = FAILED
        if owner.once:
            self.once.remove(owner.once)

    def begin(self, item: RawItem) -> bool:
        """Note the item; whether it is still to be done under this id."""
        digest = item_digest(item.raw)
        self.digests.append(digest)
        return digest not in self._already
