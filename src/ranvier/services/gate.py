"""The gate: a request from a stranger goes in, who sent it comes out, or a refusal.

In this order, so that nothing dear happens for what is refused anyway:

1. *Header.* Bounded, read whole; every signature of one origin (D17).
2. *Destination.* One of our names, or left out as in 2014 (AUTH-17); else 401.
3. *Origin.* A server name, and not our own; only now may anything go out (AUTH-24).
4. *Body.* Bounded, then parsed: what was signed is what it says, not its bytes (AUTH-04).
5. *Keys* of the origin, current ones, from memory, the store or itself.
6. *Signature.* Every current key that signed must verify, and one must (D17).
7. *Client certificate*, for names that are configured so (SEED-21).

:meth:`Gate.claim` is steps 1 to 3 alone, for those who can refuse before they read
a body. Whoever passes is *heard from*, which ends our back-off from it (D21).

An error says on the wire only what the sender can put right: that its header, or
its body, cannot be read. Who is not authenticated gets one and the same text, whether
it was the key, the signature, the destination or the certificate (SEC-18); the
message, for our log, says which, and never shows a signature.

**A body of a GET** was signed as its content in the sample of 2014, while its server
read bodies of PUT alone (D14-13, REF14-14). So that no handler ever sees what nobody
signed, a body is content whatever the method is, and an empty one is none (D22).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from ranvier.errors import Malformed, Unauthenticated
from ranvier.limits import Limits
from ranvier.plugs import Clock
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.names import ServerName
from ranvier.protocol.requests import canonical_content, examine_request
from ranvier.protocol.text import shown
from ranvier.protocol.xmatrix import XMatrix, parse_authorizations
from ranvier.services.bodies import Bodies, BodyWork
from ranvier.services.bounded import Bounded
from ranvier.services.keyring import Keyring
from ranvier.services.refusals import insist_signed, unreadable_body, unreadable_header
from ranvier.services.trust import ClientCertificate
from ranvier.trail import NO_TRAIL, Recorder, Trail

_CLAUSE = "[s2s:request-authentication]"
_CERTIFICATES = "[s2s:client-tls-certificates]"


class InboundRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came. ``targets`` are the spellings that its target may have had."""

    method: str
    targets: tuple[str, ...]
    """As on the request line, usually one (D18)."""
    authorization: tuple[str, ...]
    """The value of every ``Authorization`` header, in order."""
    body: bytes = b""
    client: str = ""
    """The address on whose account keys are fetched (SEC-06); empty: nobody's."""
    client_leaf: bytes | None = None
    """The DER of the certificate that the client showed, if it did and was asked."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request says it is from. Nothing of it is proven yet."""

    headers: tuple[XMatrix, ...]
    origin: ServerName
    destination: str
    certificate: ClientCertificate
    """What its client certificate means, by the origin's rule."""


class Authenticated(msgspec.Struct, frozen=True, kw_only=True):
    """A request that ``origin`` signed, for ``destination``, exactly as it is here."""

    origin: ServerName
    key_id: str
    destination: str
    method: str
    target: str
    """As signed: raw, with its query."""
    content: JsonObject | None
    """The body's object; ``None`` if there was no body."""
    body: bytes = b""
    canonical: bytes | None = None
    """The canonical bytes of ``content``: what was signed."""
    client_certificate: str = "not asked"
    """``matched``, ``other`` or ``none`` where a rule asks for it, else ``not asked``."""
    trail: Trail = NO_TRAIL


class _Origin(msgspec.Struct, frozen=True):
    name: ServerName
    certificate: ClientCertificate


def _nobody(origin: str) -> None:
    """Tell nobody."""


class Gate:
    """Authenticates requests to ``names``; the first is meant if a request names none.

    ``heard`` is told the name of every origin that passes. ``body_work`` is shared with
    whoever else reads large bodies in this process: one at a time is one in all.
    """

    def __init__(
        self,
        keyring: Keyring,
        names: Iterable[str],
        *,
        clock: Clock,
        limits: Limits,
        body_work: BodyWork,
        heard: Callable[[str], None] = _nobody,
    ) -> None:
        self.clock = clock
        self.limits = limits
        self.bodies = Bodies(limits)
        self._body_work = body_work
        self._keyring = keyring
        self._names = tuple(names)
        self._heard = heard
        # Those that have passed before: strangers cannot fill it.
        self._met: Bounded[_Origin] = Bounded(most=limits.cache_entries)

    def claim(self, authorization: tuple[str, ...]) -> Claim:
        """What the headers say, if they can be meant for us.

        Raises: Unauthenticated (``xmatrix-...``, ``auth-...``).
        """
        try:
            headers = parse_authorizations(authorization, self.limits)
        except Malformed as error:
            raise unreadable_header(error) from None
        destination = headers[0].destination
        if destination is None:
            destination = self._names[0]
        elif destination not in self._names:
            raise Unauthenticated(
                "auth-destination", f"it is for {shown(destination)}, not for us", clause=_CLAUSE
            )
        origin = self._origin(headers[0].origin)
        return Claim(
            headers=headers,
            origin=origin.name,
            destination=destination,
            certificate=origin.certificate,
        )

    async def authenticate(
        self,
        request: InboundRequest,
        *,
        claim: Claim | None = None,
        lenient: bool = False,
        recorder: Recorder | None = None,
    ) -> Authenticated:
        """Who sent this. ``claim`` is :meth:`claim`'s, if that was asked before.

        ``lenient``: the numbers and duplicate keys in the body are judged later, one
        event at a time (D16).

        Raises: Unauthenticated, with the status and text for the wire and, for the
        log, its message and trail.
        """
        own = recorder or Recorder(self.clock.tick)
        try:
            claim = claim or self.claim(request.authorization)
            passed = await self._judged(request, claim, lenient, own)
        except Unauthenticated as refusal:
            question = f"who sent {shown(request.method)} {shown(request.targets[0])}?"
            with suppress(Unauthenticated), own.asking("gate", question, clause=refusal.clause):
                raise refusal
            raise refusal.with_trail(own.trail) from None
        if self._met.get(passed.origin.text) is None:
            self._met.put(passed.origin.text, _Origin(claim.origin, claim.certificate))
        self._heard(passed.origin.text)
        return passed

    async def _judged(
        self, request: InboundRequest, claim: Claim, lenient: bool, recorder: Recorder
    ) -> Authenticated:
        value, content = None, None
        if request.body:
            value, content = await self._body_work.work(
                request.client, len(request.body), lambda: self._content(request.body, lenient)
            )
        keys = await self._keyring.keys_for_request(
            claim.origin,
            tuple(each.key for each in claim.headers),
            client=request.client,
            recorder=recorder,
        )
        examined = examine_request(
            claim.headers,
            method=request.method,
            targets=request.targets,
            destination=claim.destination,
            content=content,
            keys=keys,
        )
        insist_signed(examined, keys)
        return Authenticated(
            origin=claim.origin,
            key_id=examined.key_id,
            destination=claim.destination,
            method=request.method,
            target=examined.target,
            content=value,
            body=request.body,
            canonical=content,
            client_certificate=await self._certificate(claim, request.client_leaf),
            trail=recorder.trail,
        )

    def _origin(self, text: str) -> _Origin:
        met = self._met.get(text)
        if met is not None:
            return met
        if text in self._names:
            raise Unauthenticated(
                "auth-own-name", "it says to be from ourselves, who never ask us", clause=_CLAUSE
            )
        try:
            name = self._keyring.parse_name(text)
        except Malformed as error:
            raise Unauthenticated(
                "auth-origin",
                f"the origin is no server name: {error.message}",
                clause=error.clause,
                status=400,
                public="the origin in the Authorization header is no server name",
            ) from None
        return _Origin(name, self._keyring.rule_for(name).client_certificate)

    def _content(self, body: bytes, lenient: bool) -> tuple[JsonObject, bytes]:
        try:
            return canonical_content(body, limits=self.limits, lenient=lenient)
        except Malformed as error:
            raise unreadable_body(error) from None

    async def _certificate(self, claim: Claim, leaf: bytes | None) -> str:
        """How the client's certificate stands to the origin's own. Raises: Unauthenticated."""
        origin, policy = claim.origin, claim.certificate
        if policy is ClientCertificate.IGNORE:
            return "not asked"
        found = "none"
        if leaf:
            accepted = await self._keyring.leaves_for(origin)
            found = "matched" if fingerprint(leaf) in accepted else "other"
        if policy is ClientCertificate.REQUIRE and found != "matched":
            raise Unauthenticated(
                "auth-client-certificate",
                f"{origin} must show its own certificate; this client showed "
                f"{'none' if found == 'none' else 'another one'}",
                clause=_CERTIFICATES,
            )
        return found
