"""``ranvier demo 2014``: the text of November 2014, played through from end to end.

Each act does one thing that the text introduced, says what was meant to happen and
looks whether it did. What is printed is the trail that the library leaves anyway.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import msgspec

from ranvier.errors import RanvierError
from ranvier.faces.demo.stage import AMBER, BIRCH, WEIGHTS, Stage
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.edus import Edu, Typing
from ranvier.protocol.events import ParsedPdu, sign_event
from ranvier.protocol.names import ServerName
from ranvier.protocol.room_versions import room_version
from ranvier.protocol.transactions import ItemVerdict
from ranvier.services.delivery import Delivery, DeliveryOutcome
from ranvier.services.hooks import Effects
from ranvier.trail import NO_TRAIL, Outcome, Trail

DRAWS = 40
ROOM = f"!meadow:{AMBER}"
WAIT_SECONDS = 30.0
FINDING = ("srv", "routes", "address")
"""Steps of finding a server."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One act as it went. ``held``: it went as it was meant to."""

    title: str
    clause: str
    meant: str
    trail: Trail = NO_TRAIL
    seen: tuple[str, ...] = ()
    held: bool


class Play:
    """The acts in order; what one learns the next ones use."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._delivered: asyncio.Queue[Delivery] = asyncio.Queue()
        self._came: list[str] = []
        self._endpoint = ""

    async def acts(self) -> AsyncIterator[Act]:
        """Play."""
        self._listen()
        yield await self.servers()
        yield await self.finding()
        yield await self.first_contact()
        yield await self.weights()
        yield await self.transaction()
        yield await self.failover()
        yield await self.man_in_the_middle()

    def _listen(self) -> None:
        amber, birch = self._stage.amber, self._stage.birch

        @amber.on_sent
        async def sent(delivery: Delivery) -> None:
            await self._delivered.put(delivery)

        @amber.room_version
        async def ours(room_id: str) -> str | None:
            return "1"

        @birch.room_version
        async def theirs(room_id: str) -> str | None:
            return "1"

        @birch.on_pdu
        async def pdu(pdu: ParsedPdu, origin: ServerName, effects: Effects) -> None:
            self._note(f"PDU {pdu.event_id} of {pdu.sender}", effects)

        @birch.on_edu("m.typing")
        async def typing(edu: Edu, origin: ServerName, effects: Effects) -> None:
            self._note(f"EDU {edu.edu_type}", effects)

    def _note(self, what: str, effects: Effects) -> None:
        request = effects.request
        self._came.append(
            f"birch handled {what}: signed by {request.origin} {request.key_id},"
            f" client certificate {request.client_certificate}"
        )

    async def servers(self) -> Act:
        """Who is on the stage."""
        amber, birch = self._stage.amber, self._stage.birch
        at = self._stage.addresses
        return Act(
            title="Two servers and no authority",
            clause="[2014:retrieving-server-keys]",
            meant="Each has made a signing key and a certificate that it signed itself.",
            seen=(
                f"{AMBER}: key {amber.identity.request_key.key_id}",
                f"{BIRCH}: key {birch.identity.request_key.key_id},"
                f" at two endpoints, {at['one']} and {at['two']}",
            ),
            held=amber.identity.request_key != birch.identity.request_key,
        )

    async def finding(self) -> Act:
        """Resolving a server name."""
        found = await self._stage.amber.resolve(BIRCH)
        places = {(each.port, each.weight) for each in found.discovery.routes}
        meant = {(self._stage.addresses[name].port, WEIGHTS[name]) for name in WEIGHTS}
        return Act(
            title=f"Where is {BIRCH}?",
            clause="[2014:resolving-server-names]",
            meant="The name has no port, so DNS is asked for SRV records: two endpoints share"
            " the load.",
            trail=found.trail,
            seen=tuple(
                f"{each.connect} port {each.port}, weight {each.weight}"
                for each in found.discovery.routes
            ),
            held=places == meant,
        )

    async def first_contact(self) -> Act:
        """Key version 1, matched with the connection that it came over."""
        keys = await self._stage.amber.fetch_keys(BIRCH)
        named = keys.document.tls_certificate
        return Act(
            title="Who is it, really?",
            clause="[2014:retrieving-server-keys]",
            meant="The document names the certificate of the very connection that it came over,"
            " and is signed by the keys in it. From here on that certificate is the only one"
            " that amber sends anything to. It came by first use: compare the fingerprint"
            " another way, and you know that it was birch.",
            trail=_told(keys.trail),
            seen=(f"sha256:{fingerprint(named) if named else '-'}",),
            held=keys.version == "v1" and all(not each.failed for each in keys.conditions),
        )

    async def weights(self) -> Act:
        """Load balancing."""
        ports = {address.port: name for name, address in self._stage.addresses.items()}
        went: Counter[str] = Counter()
        for _ in range(DRAWS):
            version = await self._stage.amber.version(BIRCH)
            went[ports[_connected(version.trail)]] += 1
        return Act(
            title="Three quarters to one, one quarter to the other",
            clause="[rfc2782]",
            meant=f"{DRAWS} new connections, each to the endpoint that the weights 3 and 1 draw.",
            seen=tuple(f"{name}.{BIRCH}  {'#' * went[name]} {went[name]}" for name in WEIGHTS),
            held=went["one"] > went["two"] > 0,
        )

    async def transaction(self) -> Act:
        """A signed PUT over the pinned connection."""
        delivery = await self._send(1)
        ports = {address.port: name for name, address in self._stage.addresses.items()}
        self._endpoint = ports[_connected(delivery.trail)]
        accepted = [each.verdict is ItemVerdict.ACCEPTED for each in delivery.results.values()]
        matched = [each for each in self._came if each.endswith("certificate matched")]
        return Act(
            title="A transaction: one PDU, one EDU",
            clause="[2014:request-authentication]",
            meant="Amber signs the PUT, sends it over a connection pinned to birch's certificate,"
            " and shows its own certificate when birch asks. Birch fetches amber's keys in the"
            " same way, checks the signature, and finds the certificate to be amber's own.",
            trail=_told(delivery.trail),
            seen=(*self._came, *(f"birch's answer: {key} accepted" for key in delivery.results)),
            held=delivery.outcome is DeliveryOutcome.DELIVERED
            and accepted == [True]
            and len(matched) == 2,
        )

    async def failover(self) -> Act:
        """One endpoint dies."""
        await self._stage.close_endpoint(self._endpoint)
        delivery, number = None, 1
        while delivery is None or (not _failed_over(delivery.trail) and number < DRAWS):
            self._came.clear()
            number += 1
            delivery = await self._send(number)
        return Act(
            title=f"The endpoint {self._endpoint} dies",
            clause="[2014:resolving-server-names]",
            meant="DNS still names it, and the weights still draw it. Its connection is gone and a"
            " new one is refused, so the other endpoint gets the transaction.",
            trail=_told(delivery.trail),
            seen=tuple(self._came),
            held=_failed_over(delivery.trail) and len(self._came) == 2,
        )

    async def man_in_the_middle(self) -> Act:
        """Somebody else answers for birch."""
        mallory = await self._stage.let_mallory_in()
        trail, said = NO_TRAIL, "it was answered"
        try:
            await self._stage.amber.get(BIRCH, "/_matrix/federation/v1/query/profile", insist=True)
        except RanvierError as error:
            trail, said = error.trail, f"{error.message} ({error.code})"
        leaked = [each for each in mallory.heard if not each.startswith("GET /_matrix/key/v1")]
        return Act(
            title="A man in the middle",
            clause="[2014:response-authentication]",
            meant="Now DNS leads to mallory, with a certificate and keys of his own and a document"
            " that fits them. His certificate is not the accepted one, so the request stays here."
            " Is it birch's, renewed? Amber asks for the keys. Only one that it accepted before"
            " could vouch for another certificate, and mallory has none.",
            trail=_told(trail),
            seen=(
                f"amber: {said}",
                f"all that mallory was sent: {', '.join(mallory.heard) or 'nothing'}",
            ),
            held=said != "it was answered" and not leaked,
        )

    async def _send(self, number: int) -> Delivery:
        amber = self._stage.amber
        event = self._event(number)
        typing = Typing(room_id=ROOM, user_id=f"@ann:{AMBER}", typing=True)
        await amber.send([BIRCH], pdus=[event], edus=[typing])
        while True:
            async with self._stage.clock.timeout(WAIT_SECONDS):
                delivery = await self._delivered.get()
            if delivery.outcome is DeliveryOutcome.DELIVERED:
                return delivery

    def _event(self, number: int) -> JsonObject:
        event: JsonObject = {
            "event_id": f"${number}:{AMBER}",
            "type": "m.room.message",
            "room_id": ROOM,
            "sender": f"@ann:{AMBER}",
            "origin": AMBER,
            "origin_server_ts": self._stage.clock.now(),
            "depth": number,
            "auth_events": [],
            "prev_events": [],
            "content": {"msgtype": "m.text", "body": "Hello, birch"},
        }
        key = self._stage.amber.identity.request_key
        return sign_event(event, room_version("1"), AMBER, key)


def _connected(trail: Trail) -> int:
    """The port that the last request went to."""
    address: str = [each for each in trail.of("dial") if each.outcome == "ok"][-1].evidence[
        "address"
    ]
    return int(address.rpartition(":")[2])


def _failed_over(trail: Trail) -> bool:
    """Whether one endpoint refused, and the other took it."""
    return any(each.outcome is Outcome.FAILED for each in trail.of("dial"))


def _told(trail: Trail) -> Trail:
    """Without the way through DNS, which the second act has told."""
    return Trail(tuple(each for each in trail.steps if each.what not in FINDING))
