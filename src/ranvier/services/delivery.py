"""One attempt to hand a transaction over, and what came of it.

The answer is read by the destination's own words: 200 says that every item was
handled, whatever it says of single ones (TXN-05, TXN-06); 400 and 413 refuse these
very bytes; all else means "not now" (D36). Servers that are listed as of 2014 take
the path with its slash and may answer ``null`` (REF14-17).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ranvier.deeds import Sealed, Settlement
from ranvier.errors import Malformed, PeerFault, RanvierError, Rejected
from ranvier.limits import Limits, Ms
from ranvier.plugs import Clock
from ranvier.protocol.retry import NoGood, TryLater, classify
from ranvier.protocol.routes import Mode
from ranvier.protocol.transactions import CLAUSE, ItemResult, parse_answer, send_path
from ranvier.services.client import Answer, Client
from ranvier.services.trust import TrustBook
from ranvier.trail import NO_TRAIL, Recorder, Trail


class DeliveryOutcome(StrEnum):
    """How one attempt ended."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """These bytes will not do: 400, 413."""
    LATER = "later"
    """Not reached, or not now."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt. ``settlement`` says what we do about it.

    ``results``, by event id: what the destination said of each PDU: accepted, an error with its
    text, or not mentioned (it does not know the room). ``not_before`` (ms): it asked
    us to wait at least so long; 0 if it did not.
    """

    destination: str
    txn_id: str
    outcome: DeliveryOutcome
    results: Mapping[str, ItemResult] = {}
    because: str = ""
    not_before: Ms = Ms(0)
    settlement: Settlement | None = None
    trail: Trail = NO_TRAIL


class Courier:
    """Hands transactions over, one at a time."""

    def __init__(self, client: Client, book: TrustBook, clock: Clock, limits: Limits) -> None:
        self._client = client
        self._book = book
        self._clock = clock
        self._limits = limits

    async def deliver(self, sealed: Sealed) -> Delivery:
        """One attempt. Never raises but for our own faults."""
        recorder = Recorder(self._clock.tick)
        try:
            name = self._book.parse_name(sealed.destination)
            seed = self._book.rule_for(name).mode is Mode.SEED
            answer = await self._client.request(
                name,
                "PUT",
                send_path(sealed.txn_id, seed=seed),
                content=sealed.body,
                seconds=self._limits.transaction_seconds,
                insist=True,
                fresh=sealed.failures > 0,
                recorder=recorder,
            )
            results = self._results(sealed, answer, seed)
        except Rejected as error:
            return self._refused(sealed, error)
        except RanvierError as error:
            return self._later(sealed, error, error.trail or recorder.trail)
        return Delivery(
            destination=sealed.destination,
            txn_id=sealed.txn_id,
            outcome=DeliveryOutcome.DELIVERED,
            results=results,
            trail=answer.trail,
        )

    def _results(self, sealed: Sealed, answer: Answer, seed: bool) -> Mapping[str, ItemResult]:
        """What a 200 says of each PDU. An object without results says nothing of any.

        Raises: Malformed (no JSON object: whoever said 200 was no home server), PeerFault
        (another success than 200 does not say that it has everything).
        """
        body = answer.body
        if answer.status != 200:
            raise PeerFault(
                "transaction-answer-status",
                f"{answer.server_name} answered {answer.status}, which is no 200",
                clause=CLAUSE,
            )
        sent = [each.event_id for each in sealed.items if each.event_id]
        try:
            return parse_answer(body, sent, limits=self._limits, seed=seed).items
        except Malformed as error:
            if error.code == "transaction-answer-pdus" and body.lstrip().startswith(b"{"):
                return parse_answer(b'{"pdus":{}}', sent, limits=self._limits).items
            raise

    def _refused(self, sealed: Sealed, error: Rejected) -> Delivery:
        verdict = classify(
            error.status,
            now=self._clock.now(),
            limits=self._limits,
            retry_after=dict(error.headers).get("retry-after"),
            body=error.body,
        )
        outcome, not_before = DeliveryOutcome.LATER, Ms(0)
        if isinstance(verdict, NoGood):
            outcome = DeliveryOutcome.REFUSED
        elif isinstance(verdict, TryLater):
            not_before = verdict.not_before
        return Delivery(
            destination=sealed.destination,
            txn_id=sealed.txn_id,
            outcome=outcome,
            because=_because(error),
            not_before=not_before,
            trail=error.trail,
        )

    def _later(self, sealed: Sealed, error: RanvierError, trail: Trail) -> Delivery:
        return Delivery(
            destination=sealed.destination,
            txn_id=sealed.txn_id,
            outcome=DeliveryOutcome.LATER,
            because=_because(error),
            trail=trail,
        )


def _because(error: RanvierError) -> str:
    return f"{error.message} ({error.code})"
