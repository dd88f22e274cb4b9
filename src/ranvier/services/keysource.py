"""Where a name's key documents come from: the store, and the server itself.

Both end in memory (:class:`~ranvier.services.heldkeys.HeldKeys`). What the store
has counts only if it came directly from the server and under the rule that the
name lives under now (D2).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ranvier.errors import Malformed, NotValid
from ranvier.limits import Limits, Ms
from ranvier.plugs import ORIGIN, Clock, Store, StoredDocument
from ranvier.protocol.names import ServerName
from ranvier.protocol.signing import VerifyKey
from ranvier.protocol.trust import WebPki
from ranvier.services.connector import Connector
from ranvier.services.heldkeys import HeldKeys
from ranvier.services.keptkeys import request_view
from ranvier.services.keyfetch import Held, ask_for_document
from ranvier.services.publishedcert import FirstSight
from ranvier.services.trust import TrustBook, TrustMode
from ranvier.trail import Outcome, Recorder


class Kept(msgspec.Struct, frozen=True):
    """What the store has of a name, oldest first, and by what the name was let in."""

    documents: tuple[StoredDocument, ...]
    entered: str = ""


class KeySource:
    """Brings documents into memory; examined, whichever way they came."""

    def __init__(
        self, connector: Connector, store: Store, clock: Clock, limits: Limits, book: TrustBook
    ) -> None:
        self.held = HeldKeys(clock, limits)
        self.first_sight = FirstSight(connector, store.notes, clock, limits)
        self.rule_for = book.rule_for
        self.parse_name = book.parse_name
        self._connector = connector
        self._store = store
        self._clock = clock
        self._limits = limits

    async def kept(self, name: ServerName) -> Kept:
        """What was fetched from the server under the same rule (D2). Raises: StoreFault."""
        rule = self.rule_for(name)
        documents = (await self._store.keys.load([name.text])).get(name.text, ())
        fitting = tuple(
            each
            for each in documents
            if each.source == ORIGIN
            and each.trust == rule.trust
            and each.version == rule.key_version
        )
        if rule.trust is TrustMode.WEB_PKI:
            return Kept(fitting)
        entered = (await self.first_sight.pins(name, rule)).entered
        # Not entered: it was accepted before something else was configured.
        return Kept(fitting if entered else (), entered)

    def recalled(self, name: ServerName, kept: Kept, recorder: Recorder) -> Held | None:
        """The kept request view, if it lives and holds, now in memory; the trail says so."""
        question, rule = f"keys of {name}", self.rule_for(name)
        try:
            held = request_view(kept.documents, rule, self._limits) if kept.documents else None
        except (Malformed, NotValid) as error:
            said = f"the kept document does not hold: {error.message}"
            recorder.note("keys", question, said, outcome=Outcome.FAILED)
            return None
        if held is None or not self.held.lives(held):
            return None
        recorder.note("keys", question, "in the store and still good")
        held = msgspec.structs.replace(held, entered=kept.entered)
        self.held.remember(name.text, held)
        return held

    async def fetched(
        self, name: ServerName, known: Mapping[str, VerifyKey], recorder: Recorder
    ) -> Held:
        """A new document from the server, now in memory.

        Raises: Unreachable, PeerFault, ConnectionLost, TimedOut; under
        ``published-certificate`` StoreFault too, for without pins nothing can be judged.
        """
        rule = self.rule_for(name)
        if rule.trust is TrustMode.PUBLISHED_CERTIFICATE:
            held = await self.first_sight.fetch(name, rule, recorder)
        else:
            held = await self._by_authorities(name, known, recorder)
        self.held.remember(name.text, held)
        return held

    async def _by_authorities(
        self, name: ServerName, known: Mapping[str, VerifyKey], recorder: Recorder
    ) -> Held:
        rule = self.rule_for(name)
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

    async def keep(self, name: ServerName, held: Held) -> None:
        """Write a fetched document into the store. Raises: StoreFault."""
        document, now = held.document, held.fetched_at
        keys = [(each.key_id, each.key) for each in document.verify_keys]
        keys += [(each.key.key_id, each.key.key) for each in document.old_verify_keys]
        stored = StoredDocument(
            server_name=name.text,
            version=document.version,
            body=document.body,
            trust=self.rule_for(name).trust,
            source=ORIGIN,
            first_seen=now,
            fetched_at=now,
            valid_until=document.valid_until or Ms(0),
            keys=tuple(keys),
        )
        await self._store.keys.save([stored])
