"""The keyring's answers to what strangers send us: keys for a request, keys for an event.

Whoever sends us anything can make us look for keys of any name. So what is asked
of the network here is bounded (SEC-06, KEYF-04):

* memory, then the store, then the origin; who wants the same waits with the first;
* within the budgets of :mod:`ranvier.services.keybudgets`;
* a document that was just fetched is not fetched anew for a key id that it does not
  list, nor because it came to us expired.

Nothing here raises on what a peer did: each key id gets an outcome with its reason,
and a store that fails is gone without. A document near its end is fetched anew
*before* it ends, by a task of the keyring's own, while requests go on with the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import msgspec

from ranvier.errors import RanvierError, StoreFault
from ranvier.limits import Limits, Ms
from ranvier.plugs import Clock, StoredDocument
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict, key_for_request
from ranvier.protocol.names import ServerName
from ranvier.protocol.signing import ED25519
from ranvier.protocol.text import shown
from ranvier.services.bounded import Bounded
from ranvier.services.heldkeys import HeldKeys, InHand
from ranvier.services.inflight import InFlight
from ranvier.services.keptkeys import SeenDocument, event_outcome, event_view, unlisted
from ranvier.services.keybudgets import FOR_EVENTS, Fetches, Rests, Trouble
from ranvier.services.trust import TrustRule
from ranvier.trail import Outcome, Recorder

_CURABLE = frozenset({KeyVerdict.UNKNOWN, KeyVerdict.EXPIRED, KeyVerdict.UNUSABLE})
"""Verdicts that a newer document may change."""


class Origins(Protocol):
    """The keyring, as far as it is needed here."""

    async def recall(self, name: ServerName, recorder: Recorder) -> object:
        """Take what the store has into memory. Raises: StoreFault."""

    async def renew(self, name: ServerName, recorder: Recorder) -> None:
        """Fetch from the origin into memory. Raises: what ``fetch`` does, but StoreFault
        only where the name cannot be judged without the store."""

    async def kept(self, name: ServerName) -> tuple[StoredDocument, ...]:
        """All documents under the name's rule. Raises: StoreFault."""

    def rule_for(self, name: ServerName) -> TrustRule:
        """The rule that the name lives under."""


class EventKeys(msgspec.Struct, frozen=True):
    """A name's event view, as it was when memory held the document of ``latest``."""

    latest: Ms | None
    view: tuple[SeenDocument, ...]


class InboundKeys:
    """The questions of the receiving side. Part of the keyring."""

    def __init__(self, origins: Origins, held: HeldKeys, clock: Clock, limits: Limits) -> None:
        self._origins = origins
        self._held = held
        self._clock = clock
        self._limits = limits
        self._rests = Rests(clock, limits)
        self._views: Bounded[EventKeys] = Bounded(
            most=limits.cache_entries, most_bytes=limits.documents_cached_bytes
        )
        self._fetches = Fetches(limits)
        self._under_way: InFlight[str, Trouble | None] = InFlight()
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """End what was begun in the background; never raises."""
        tasks = tuple(self._refreshing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- For a request now ---

    async def for_request(
        self, name: ServerName, key_ids: tuple[str, ...], *, client: str, recorder: Recorder
    ) -> Mapping[str, KeyOutcome]:
        """One outcome for each key id. Raises nothing."""
        entry = self._held.get(name.text)
        if entry is not None:
            now = self._clock.now()
            if now >= entry.refresh_at:
                self._refresh(name)
            good = entry.good
            if now <= entry.until and all(each in good for each in key_ids):
                return {each: good[each] for each in key_ids}
        return await self._found_for_request(name, key_ids, client, recorder)

    async def _found_for_request(
        self, name: ServerName, key_ids: tuple[str, ...], client: str, recorder: Recorder
    ) -> Mapping[str, KeyOutcome]:
        if self._held.living(name.text) is None:
            try:
                await self._origins.recall(name, recorder)
            except StoreFault as error:
                _without_store(recorder, name, error)
        outcomes = self._request_outcomes(name, key_ids)
        if not _worth_asking(outcomes):
            return outcomes
        trouble = await self._fetch(name, client, recorder)
        return self._request_outcomes(name, key_ids, trouble)

    def _request_outcomes(
        self, name: ServerName, key_ids: tuple[str, ...], trouble: Trouble | None = None
    ) -> Mapping[str, KeyOutcome]:
        entry, now = self._held.get(name.text), self._clock.now()
        if entry is None:
            return _nothing_in_hand(key_ids, trouble)
        document, fetched_at = entry.held.document, entry.held.fetched_at
        return {
            each: _explained(
                key_for_request(document, each, now=now, fetched_at=fetched_at), trouble
            )
            for each in key_ids
        }

    # --- For an event then ---

    async def for_event(
        self,
        name: ServerName,
        key_ids: tuple[str, ...],
        *,
        at: Ms,
        enforce_validity: bool,
        recorder: Recorder,
    ) -> Mapping[str, KeyOutcome]:
        """One outcome for each key id, from every document ever accepted. Raises nothing."""

        async def judged(trouble: Trouble | None = None) -> Mapping[str, KeyOutcome]:
            view = await self._view(name, recorder)
            empty = _nothing_in_hand(key_ids, trouble)
            found = {
                each: event_outcome(view, each, at=at, enforce_validity=enforce_validity)
                for each in key_ids
            }
            return {each: _explained(found[each] or empty[each], trouble) for each in key_ids}

        outcomes = await judged()
        if not _worth_asking(outcomes):
            return outcomes
        return await judged(await self._fetch(name, FOR_EVENTS, recorder))

    async def _view(self, name: ServerName, recorder: Recorder) -> tuple[SeenDocument, ...]:
        entry = self._held.get(name.text)
        latest = entry.held.fetched_at if entry else None
        known = self._views.get(name.text)
        if known is not None and known.latest == latest:
            return known.view
        try:
            kept = await self._origins.kept(name)
        except StoreFault as error:
            _without_store(recorder, name, error)
            return (SeenDocument.of(entry.held, entry.held.fetched_at),) if entry else ()
        view = event_view(kept, self._origins.rule_for(name), self._limits)
        size = sum(len(each.body) for each in kept)
        self._views.put(name.text, EventKeys(latest, view), size)
        return view

    # --- From the origin ---

    async def _fetch(self, name: ServerName, client: str, recorder: Recorder) -> Trouble | None:
        """Renew what memory holds of ``name``; why not, if that is not to be had."""
        joined = self._under_way.under_way(name.text)
        trouble = None if joined else self._not_now(name, client)
        if trouble is None:
            trouble, _ = await self._under_way.join(
                name.text, lambda: self._ask(name, client, recorder)
            )
        if joined or trouble is not None:
            said = trouble.reason if trouble else "joined a fetch that was under way"
            outcome = Outcome.FAILED if trouble else Outcome.NOTE
            recorder.note("keys", f"newer keys of {name}", said, outcome=outcome)
        return trouble

    async def _ask(self, name: ServerName, client: str, recorder: Recorder) -> Trouble | None:
        busy = self._fetches.full(client)  # others may have begun since we looked
        if busy is not None:
            return busy
        with self._fetches.taken(client):
            try:
                await self._origins.renew(name, recorder)
            except RanvierError as error:
                return self._rests.failed(name.text, error)
        self._rests.succeeded(name.text)
        return None

    def _not_now(self, name: ServerName, client: str) -> Trouble | None:
        entry = self._held.get(name.text)
        if entry is not None and self._is_new(entry):
            return Trouble("", f"fetched less than {self._limits.key_unknown_seconds} s ago")
        return self._rests.of(name.text) or self._fetches.full(client)

    def _is_new(self, entry: InHand) -> bool:
        age = self._clock.now() - entry.held.fetched_at
        return age < self._limits.key_unknown_seconds * 1000

    def _refresh(self, name: ServerName) -> None:
        if name.text in self._refreshing or self._not_now(name, "") is not None:
            return

        async def work() -> None:
            await self._fetch(name, "", Recorder(self._clock.tick))

        task = asyncio.get_running_loop().create_task(work())
        self._refreshing[name.text] = task
        task.add_done_callback(lambda _: self._refreshing.pop(name.text, None))


def _without_store(recorder: Recorder, name: ServerName, error: StoreFault) -> None:
    recorder.note("keys", f"keys of {name}", error.message, outcome=Outcome.FAILED)


def _worth_asking(outcomes: Mapping[str, KeyOutcome]) -> bool:
    """One good key is enough (D17); an algorithm that we do not know is never cured."""
    if any(each.good for each in outcomes.values()):
        return False
    return any(
        each.verdict in _CURABLE and each.key_id.startswith(f"{ED25519}:")
        for each in outcomes.values()
    )


def _nothing_in_hand(key_ids: tuple[str, ...], trouble: Trouble | None) -> Mapping[str, KeyOutcome]:
    code = (trouble.code if trouble else "") or "key-unknown"
    reason = trouble.reason if trouble else "no document lists it"
    return {each: unlisted(each, code, f"{shown(each)}: {reason}") for each in key_ids}


def _explained(outcome: KeyOutcome, trouble: Trouble | None) -> KeyOutcome:
    """An outcome that a newer document might have changed says why there is none."""
    if trouble is None or outcome.verdict not in _CURABLE:
        return outcome
    return msgspec.structs.replace(
        outcome,
        code=trouble.code or outcome.code,
        reason=f"{outcome.reason}; and no newer document: {trouble.reason}",
    )
