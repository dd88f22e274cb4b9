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

from collections import OrderedDict
from collections.abc import Iterator, Mapping

import msgspec

from ranvier.errors import Malformed, NotValid, RanvierError, TimedOut
from ranvier.limits import Limits, Ms
from ranvier.plugs import ORIGIN, Clock, Store, StoredDocument
from ranvier.protocol.conditions import Condition, insist
from ranvier.protocol.keyconditions import examine_key_document
from ranvier.protocol.keylife import KeyOutcome, key_for_request, life_ends
from ranvier.protocol.keys import KeyDocument, KeyVersion, parse_key_document
from ranvier.protocol.names import ServerName
from ranvier.protocol.signing import VerifyKey
from ranvier.protocol.trust import Pinned, Trust, WebPki
from ranvier.services.connector import Connector
from ranvier.services.inflight import InFlight
from ranvier.services.keyfetch import ALARMS, Held, ask_for_document
from ranvier.services.publishedcert import FirstSight
from ranvier.services.trust import TrustBook, TrustMode, TrustRule
from ranvier.trail import NO_TRAIL, Outcome, Recorder, Trail


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
        self._connector = connector
        self._store = store
        self._clock = clock
        self._limits = limits
        self._book = book
        self._first_sight = FirstSight(connector, store.notes, clock, limits)
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._held_bytes = 0
        self._in_flight: InFlight[tuple[str, bool], Obtained] = InFlight()

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
        rule = self._book.rule_for(name)
        if rule.trust is TrustMode.WEB_PKI:
            return WebPki()
        pins = await self._first_sight.pins(name, rule)
        if not pins.leaves:
            await self.fetch(name, fresh=True, recorder=recorder)
            pins = await self._first_sight.pins(name, rule)
        return Pinned(frozenset(pins.leaves))

    def rule_for(self, name: ServerName) -> TrustRule:
        """The rule that ``name`` lives under."""
        return self._book.rule_for(name)

    async def _obtain(self, name: ServerName, fresh: bool, recorder: Recorder) -> Obtained:
        rule = self._book.rule_for(name)
        try:
            async with self._clock.timeout(self._limits.total_seconds):
                held, source = await self._held_or_fetched(name, rule, fresh, recorder)
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
        self, name: ServerName, rule: TrustRule, fresh: bool, recorder: Recorder
    ) -> tuple[Held, str]:
        held = self._held.get(name.text)
        if not fresh and held is not None and self._lives(held):
            self._held.move_to_end(name.text)
            recorder.note("keys", f"keys of {name}", "in memory and still good")
            return held, "memory"
        kept, entered = await self._kept(name, rule), ""
        if rule.trust is TrustMode.PUBLISHED_CERTIFICATE:
            entered = (await self._first_sight.pins(name, rule)).entered
            kept = kept if entered else ()  # accepted before something else was configured
        newest = None if fresh else self._still_good(name, kept, rule, recorder)
        if newest is not None:
            newest = msgspec.structs.replace(newest, entered=entered)
            self._remember(name, newest)
            return newest, "store"
        held = await self._from_origin(name, rule, _known_keys(kept), recorder)
        await self._keep(name, rule, held)
        return held, ORIGIN

    def _still_good(
        self,
        name: ServerName,
        kept: tuple[StoredDocument, ...],
        rule: TrustRule,
        recorder: Recorder,
    ) -> Held | None:
        """The kept request view, if there is one that lives and holds; the trail says so."""
        question = f"keys of {name}"
        try:
            held = _request_view(kept, rule, self._limits) if kept else None
        except (Malformed, NotValid) as error:
            said = f"the kept document does not hold: {error.message}"
            recorder.note("keys", question, said, outcome=Outcome.FAILED)
            return None
        if held is None or not self._lives(held):
            return None
        recorder.note("keys", question, "in the store and still good")
        return held

    async def _kept(self, name: ServerName, rule: TrustRule) -> tuple[StoredDocument, ...]:
        """What the store has that was fetched from the origin under the same rule (D2)."""
        documents = (await self._store.keys.load([name.text])).get(name.text, ())
        return tuple(
            each
            for each in documents
            if each.source == ORIGIN
            and each.trust == rule.trust
            and each.version == rule.key_version
        )

    async def _from_origin(
        self, name: ServerName, rule: TrustRule, known: Mapping[str, VerifyKey], recorder: Recorder
    ) -> Held:
        if rule.trust is TrustMode.PUBLISHED_CERTIFICATE:
            return await self._first_sight.fetch(name, rule, recorder)
        connection = await self._connector.connect(
            name, trust=WebPki(), mode=rule.mode, recorder=recorder
        )
        try:
            document = await ask_for_document(connection, rule.key_version, self._limits, recorder)
            return Held.examined(
                document,
                expected_name=name.text,
                now=self._clock.now(),
                known_keys=known,
                peer_certificate=connection.link.facts.certificates.leaf,
                recorder=recorder,
                authenticated=True,
            )
        finally:
            await connection.link.close()

    async def _keep(self, name: ServerName, rule: TrustRule, held: Held) -> None:
        document, now = held.document, held.fetched_at
        keys = [(each.key_id, each.key) for each in document.verify_keys]
        keys += [(each.key.key_id, each.key.key) for each in document.old_verify_keys]
        stored = StoredDocument(
            server_name=name.text,
            version=document.version,
            body=document.body,
            trust=rule.trust,
            source=ORIGIN,
            first_seen=now,
            fetched_at=now,
            valid_until=document.valid_until or Ms(0),
            keys=tuple(keys),
        )
        await self._store.keys.save([stored])
        self._remember(name, held)

    def _remember(self, name: ServerName, held: Held) -> None:
        self._forget(name.text)
        self._held[name.text] = held
        self._held_bytes += len(held.document.body)
        most = self._limits
        while self._held and (
            len(self._held) > most.cache_entries or self._held_bytes > most.documents_cached_bytes
        ):
            self._forget(next(iter(self._held)))

    def _forget(self, name: str) -> None:
        gone = self._held.pop(name, None)
        self._held_bytes -= len(gone.document.body) if gone else 0

    def _lives(self, held: Held) -> bool:
        return self._clock.now() < life_ends(held.document, held.fetched_at)

    def _answer(
        self, name: ServerName, obtained: Obtained, key_ids: tuple[str, ...], trail: Trail
    ) -> KeyFetch:
        held, rule, now = obtained.held, self._book.rule_for(name), self._clock.now()
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


def _request_view(kept: tuple[StoredDocument, ...], rule: TrustRule, limits: Limits) -> Held:
    """The newest direct fetch holds, even if it says less than an older one (D6).

    Raises: Malformed, NotValid (what we kept is damaged, or the limits are other ones now).
    """
    newest = max(reversed(kept), key=lambda each: each.fetched_at)
    older = tuple(each for each in kept if each is not newest)
    document = parse_key_document(newest.body, KeyVersion(newest.version), limits)
    conditions = examine_key_document(
        document,
        expected_name=newest.server_name,
        now=newest.fetched_at,
        known_keys=_known_keys(older) or None,
        authenticated=rule.trust is TrustMode.WEB_PKI,
    )
    insist(conditions)
    return Held(document=document, conditions=conditions, fetched_at=newest.fetched_at)


def _known_keys(kept: tuple[StoredDocument, ...]) -> Mapping[str, VerifyKey]:
    """Every key of the kept documents. A known id never takes other bytes (D8).

    So the alarm does not fall silent because the other bytes were seen a second time.
    """
    known: dict[str, bytes] = {}
    for stored in sorted(kept, key=lambda each: each.first_seen):
        for key_id, key in stored.keys:
            known.setdefault(key_id, key)
    return _Known(known)


class _Known(Mapping[str, VerifyKey]):
    """Keys by id, each examined when it is asked for: there may be many that never are."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = keys

    def __getitem__(self, key_id: str) -> VerifyKey:
        try:
            return VerifyKey(key_id, self._keys[key_id])
        except (Malformed, NotValid):  # it was good enough once
            raise KeyError(key_id) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
