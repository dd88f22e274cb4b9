"""The rule of November 2014: a server's key document names its certificate.

The document comes over the connection that it vouches for, so it cannot judge
that connection beforehand. Hence (D1):

1. A name with accepted leaves is dialled with those leaves, and with nothing else.
2. Only a name that has none, or whose server shows another leaf than before, is
   dialled as a *first contact*; over that connection goes ``GET /_matrix/key/v1``
   and nothing more.
3. The document must name the very leaf of that connection. If keys are already
   accepted for the name, one of them must have signed it: that is how a
   certificate is renewed, and how a second endpoint of the name comes in.
4. Then the leaf joins the accepted set, and the document's keys the accepted keys.

What first use proves is little: that the document came from whoever holds the
certificate's private key. A man in the middle at that moment passes with a pair
of his own; ``Pins.entered`` keeps the difference visible for ever.
"""

from __future__ import annotations

import msgspec

from ranvier.errors import Malformed, NotValid, StoreFault, Unreachable
from ranvier.limits import Limits
from ranvier.plugs import Clock, Notes
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.keys import V1_CLAUSE, KeyVersion
from ranvier.protocol.names import ServerName
from ranvier.protocol.trust import FirstContact, Pinned
from ranvier.services.connector import Connection, Connector
from ranvier.services.keyfetch import Held, ask_for_document
from ranvier.services.trust import Pins, TrustRule
from ranvier.services.turns import Turns
from ranvier.trail import Recorder

NOTE_KIND = "pins"


class FirstSight:
    """Fetches version 1 documents of listed names and keeps their pins."""

    def __init__(self, connector: Connector, notes: Notes, clock: Clock, limits: Limits) -> None:
        self._connector = connector
        self._notes = notes
        self._clock = clock
        self._limits = limits
        self._turns = Turns()

    async def pins(self, name: ServerName, rule: TrustRule) -> Pins:
        """What is accepted for ``name``: configured pins, and kept ones beside them.

        Raises: StoreFault.
        """
        kept = await self._notes.read(NOTE_KIND, name.text)
        return (Pins() if kept is None else _read_pins(kept, name)).under(rule)

    async def fetch(self, name: ServerName, rule: TrustRule, recorder: Recorder) -> Held:
        """Fetch, examine and pin. One at a time for a name: there is one first contact.

        Raises: Unreachable, PeerFault, ConnectionLost, StoreFault.
        """
        async with self._turns.taken(name.text):
            return await self._fetch(name, rule, recorder)

    async def _fetch(self, name: ServerName, rule: TrustRule, recorder: Recorder) -> Held:
        pins = await self.pins(name, rule)
        entered = pins.entered or _how_it_enters(rule)
        recorder.note(
            "trust",
            f"how is {name} judged?",
            f"published-certificate, by {entered};"
            f" certificates accepted so far: {len(pins.leaves)}",
            clause=V1_CLAUSE,
            entered=entered,
        )
        connection = await self._connect(name, rule, pins, recorder)
        try:
            document = await ask_for_document(connection, KeyVersion.V1, self._limits, recorder)
            leaf = connection.link.facts.certificates.leaf
            held = Held.examined(
                document,
                expected_name=name.text,
                now=self._clock.now(),
                known_keys=pins.verify_keys(),
                peer_certificate=leaf,
                recorder=recorder,
                entered=entered,
            )
        finally:
            await connection.link.close()
        accepted = msgspec.structs.replace(pins, entered=entered).accepting(
            fingerprint(leaf), document.verify_keys, self._limits
        )
        await self._notes.write(NOTE_KIND, name.text, msgspec.json.encode(accepted))
        return held

    async def _connect(
        self, name: ServerName, rule: TrustRule, pins: Pins, recorder: Recorder
    ) -> Connection:
        if not pins.leaves:
            return await self._connector.connect(
                name, trust=FirstContact(), mode=rule.mode, recorder=recorder
            )
        try:
            return await self._connector.connect(
                name, trust=Pinned(frozenset(pins.leaves)), mode=rule.mode, recorder=recorder
            )
        except Unreachable:
            shown_another = any(
                step.code == "tls-pin-mismatch" for step in recorder.trail.of("dial")
            )
            if not (shown_another and pins.keys):
                raise
        recorder.note(
            "trust",
            f"{name} shows a certificate that is not accepted",
            "asking its key document; only an accepted key can vouch for the new one",
            clause=V1_CLAUSE,
        )
        return await self._connector.connect(
            name, trust=FirstContact(), mode=rule.mode, recorder=recorder
        )


def _how_it_enters(rule: TrustRule) -> str:
    if rule.leaves:
        return "configured certificate"
    return "configured key" if rule.verify_keys else "first use"


def _read_pins(kept: bytes, name: ServerName) -> Pins:
    try:
        pins = msgspec.json.decode(kept, type=Pins)
        pins.verify_keys()
    except (msgspec.MsgspecError, Malformed, NotValid) as error:
        raise StoreFault("pins-unreadable", f"the kept pins of {name} cannot be read") from error
    return pins
