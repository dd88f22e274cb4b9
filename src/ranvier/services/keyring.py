"""Other servers' keys: fetched from the server itself, examined, kept, with the reason for each.

``fetch`` answers from memory, then from the store, then from the origin. A
document is examined alone and kept as the bytes that came. There are two ways
to an origin, and a name lives under exactly one of them (``services.trust``):

*web-pki*
    The connection is judged by the authorities first; then
    ``/_matrix/key/v2/server`` is asked (``/_matrix/key/v1`` if the name is
    listed as a 2014 server). A failed version 2 never leads to version 1 (D2).
*published-certificate*
    The rule of 2014 ``[2014:retrieving-server-keys]``: ``/_matrix/key/v1``
    names the certificate of the connection that it came over. ``FirstSight``
    in ``services.publishedcert`` does this.

The *request view* is the newest document fetched directly, whatever it says
(D6): an owner can revoke at once. It lives until the earlier of its own
``valid_until_ts`` and seven days after the fetch (KEYF-06, SEC-08).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ranvier.errors import RanvierError, StoreFault, TimedOut
from ranvier.limits import Limits, Ms
from ranvier.plugs import ORIGIN, Clock, Store, StoredDocument
from ranvier.protocol.conditions import Condition
from ranvier.protocol.keylife import KeyOutcome, key_for_request, life_ends
from ranvier.protocol.keys import KeyDocument, KeyVersion
from ranvier.protocol.names import ServerName
from ranvier.protocol.trust import Pinned, Trust, WebPki
from ranvier.services.connector import Connector
from ranvier.services.inboundkeys import InboundKeys
from ranvier.services.inflight import InFlight
from ranvier.services.keptkeys import known_keys
from ranvier.services.keyfetch import ALARMS, Held
from ranvier.services.keysource import KeySource
from ranvier.services.trust import TrustBook, TrustMode, TrustRule
from ranvier.trail import NO_TRAIL, Recorder, Trail


class KeyFetch(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a server's keys now, and how we know it.

    ``outcomes`` has one entry for every key of the document and for every key
    id that was asked for, each with its reason. ``alarms`` are conditions that
    did not stop the fetch but that somebody must look at (a known key id with
    other bytes). ``entered`` says, under ``published-certificate``, by what the
    name came to be trusted. ``source`` is ``memory``, ``store`` or ``origin``;
    ``lives_until`` is the request view's end.
    """

    server_name: str
    version: KeyVersion
    trust: TrustMode
    source: str
    document: KeyDocument
    conditions: tuple[Condition, ...]
    outcomes: tuple[KeyOutcome, ...]
    fetched_at: Ms
    lives_until: Ms
    alarms: tuple[Condition, ...] = ()
    entered: str = ""
    trail: Trail = NO_TRAIL


class Obtained(msgspec.Struct, frozen=True):
    """What the joined work brings to every caller."""

    held: Held
    source: str
    trail: Trail


class Keyring:
    """Keys of other servers. One per process; safe to call from many tasks."""

    def __init__(
        self, connector: Connector, store: Store, clock: Clock, limits: Limits, book: TrustBook
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._source = KeySource(connector, store, clock, limits, book)
        self._held = self._source.held
        self._in_flight: InFlight[tuple[str, bool], Obtained] = InFlight()
        self._inbound = InboundKeys(self, self._held, clock, limits)

    async def close(self) -> None:
        """End what runs in the background; never raises."""
        await self._inbound.close()

    async def fetch(
        self,
        name: ServerName,
        *,
        key_ids: tuple[str, ...] = (),
        fresh: bool = False,
        recorder: Recorder | None = None,
    ) -> KeyFetch:
        """The keys of ``name``; ``fresh`` asks the origin whatever is in hand.

        Raises: Unreachable (no authenticated connection), PeerFault (it answered,
        but not with a document that holds), ConnectionLost, TimedOut, StoreFault;
        each with its trail.
        """
        own = recorder or Recorder(self._clock.tick)
        obtained, joined = await self._in_flight.join(
            (name.text, fresh), lambda: self._obtain(name, fresh, own)
        )
        trail = own.trail
        if joined:
            own.note("keys", f"keys of {name}", "joined a fetch that was under way")
            trail = own.trail + obtained.trail
        return self._answer(name, obtained, key_ids, trail)

    async def trust_for(self, name: ServerName, recorder: Recorder) -> Trust:
        """By what a connection for a *request* to ``name`` is judged, before a byte is sent.

        Under ``published-certificate`` this is the accepted set of leaves; a name
        that has none yet is first asked for its keys (D1).

        Raises: StoreFault, and what :meth:`fetch` raises if it had to ask.
        """
        rule = self.rule_for(name)
        if rule.trust is TrustMode.WEB_PKI:
            return WebPki()
        pins = await self._source.first_sight.pins(name, rule)
        if not pins.leaves:
            await self.fetch(name, fresh=True, recorder=recorder)
            pins = await self._source.first_sight.pins(name, rule)
        return Pinned(frozenset(pins.leaves))

    def rule_for(self, name: ServerName) -> TrustRule:
        """The rule that ``name`` lives under."""
        return self._source.rule_for(name)

    def parse_name(self, text: str) -> ServerName:
        """:meth:`TrustBook.parse_name`. Raises: Malformed."""
        return self._source.parse_name(text)

    # --- Asked because of what strangers sent us: services.inboundkeys ---

    async def keys_for_request(
        self,
        name: ServerName,
        key_ids: tuple[str, ...],
        *,
        client: str = "",
        recorder: Recorder,
    ) -> Mapping[str, KeyOutcome]:
        """May these keys of ``name`` sign a request that is received now? Raises nothing.

        ``client`` is the address on whose account a fetch goes (SEC-06); ``""``: nobody's.
        Outcomes whose code is ``key-fetches-busy`` or ``key-unavailable`` say that we
        could not ask; the others, what the server's own document says.
        """
        return await self._inbound.for_request(name, key_ids, client=client, recorder=recorder)

    async def keys_for_event(
        self,
        name: ServerName,
        key_ids: tuple[str, ...],
        *,
        at: Ms,
        enforce_validity: bool,
        recorder: Recorder,
    ) -> Mapping[str, KeyOutcome]:
        """May these keys of ``name`` have signed an event of the instant ``at``? Raises nothing.

        Every document ever accepted counts (D6, D8); ``enforce_validity`` is the room
        version's word on current keys. Codes as for :meth:`keys_for_request`.
        """
        return await self._inbound.for_event(
            name, key_ids, at=at, enforce_validity=enforce_validity, recorder=recorder
        )

    async def leaves_for(self, name: ServerName) -> frozenset[str]:
        """Fingerprints of the certificates that are accepted as ``name``'s own (SEED-21).

        The configured ones, and under ``published-certificate`` those of its key documents.
        Without the store, the configured ones alone. Raises nothing.
        """
        rule = self.rule_for(name)
        if rule.trust is TrustMode.WEB_PKI:
            return rule.leaves
        try:
            return frozenset((await self._source.first_sight.pins(name, rule)).leaves)
        except StoreFault:
            return rule.leaves

    async def recall(self, name: ServerName, recorder: Recorder) -> None:
        """Take what the store has and is still good into memory. Raises: StoreFault."""
        self._source.recalled(name, await self._source.kept(name), recorder)

    async def renew(self, name: ServerName, recorder: Recorder) -> None:
        """Fetch from the origin into memory, and into the store if it takes it.

        Raises: as :meth:`fetch`; StoreFault only under ``published-certificate``.
        """
        before = self._held.get(name.text)
        try:
            await self.fetch(name, fresh=True, recorder=recorder)
        except StoreFault:
            if self._held.get(name.text) is before:  # not even fetched
                await self._source.fetched(name, {}, recorder)

    async def kept(self, name: ServerName) -> tuple[StoredDocument, ...]:
        """All of the name's documents that count under its rule. Raises: StoreFault."""
        return (await self._source.kept(name)).documents

    async def _obtain(self, name: ServerName, fresh: bool, recorder: Recorder) -> Obtained:
        try:
            async with self._clock.timeout(self._limits.total_seconds):
                held, source = await self._held_or_fetched(name, fresh, recorder)
        except TimeoutError:
            raise TimedOut(
                "key-fetch-timeout",
                f"the keys of {name} did not come within {self._limits.total_seconds:g} s",
                clause="[ranvier:limits]",
                trail=recorder.trail,
            ) from None
        except RanvierError as error:
            raise error.with_trail(recorder.trail) from None
        return Obtained(held, source, recorder.trail)

    async def _held_or_fetched(
        self, name: ServerName, fresh: bool, recorder: Recorder
    ) -> tuple[Held, str]:
        held = None if fresh else self._held.living(name.text)
        if held is not None:
            recorder.note("keys", f"keys of {name}", "in memory and still good")
            return held, "memory"
        kept = await self._source.kept(name)
        held = None if fresh else self._source.recalled(name, kept, recorder)
        if held is not None:
            return held, "store"
        held = await self._source.fetched(name, known_keys(kept.documents), recorder)
        await self._source.keep(name, held)
        return held, ORIGIN

    def _answer(
        self, name: ServerName, obtained: Obtained, key_ids: tuple[str, ...], trail: Trail
    ) -> KeyFetch:
        held, rule, now = obtained.held, self.rule_for(name), self._clock.now()
        document = held.document
        wanted = [each.key_id for each in document.verify_keys]
        wanted += [each.key.key_id for each in document.old_verify_keys]
        wanted += [each.key_id for each in document.problems]
        wanted += key_ids
        return KeyFetch(
            server_name=name.text,
            version=document.version,
            trust=rule.trust,
            source=obtained.source,
            document=document,
            conditions=held.conditions,
            outcomes=tuple(
                key_for_request(document, each, now=now, fetched_at=held.fetched_at)
                for each in dict.fromkeys(wanted)
            ),
            fetched_at=held.fetched_at,
            lives_until=life_ends(document, held.fetched_at),
            alarms=tuple(each for each in held.conditions if each.failed and each.id in ALARMS),
            entered=held.entered,
            trail=trail,
        )
