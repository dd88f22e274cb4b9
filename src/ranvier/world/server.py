"""A whole healthy Matrix server of the world, and how to make it sick.

It answers what every server publishes: both key documents, its version and its
well-known file. ``flaw`` spoils its key documents; ``answers`` replaces the
answer to one target with anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from ranvier.limits import DAY_MS, Ms
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.keys import KeyVersion
from ranvier.protocol.signing import SigningKey
from ranvier.world.certs import Credential
from ranvier.world.clock import VirtualClock
from ranvier.world.documents import DocumentFlaw, Making, make_document
from ranvier.world.faults import Fault
from ranvier.world.host import Host, nothing_here

KEY_V1 = "/_matrix/key/v1"
KEY_V2 = "/_matrix/key/v2/server"
VERSION = "/_matrix/federation/v1/version"
WELL_KNOWN = "/.well-known/matrix/server"

Answer: TypeAlias = HttpResponse | Fault | bytes
"""A response, a fault, or just the body of a 200 with JSON."""


class MatrixServer:
    """One server name with its keys, its certificate and its hosts.

    ``host`` serves federation, ``web`` port 443 (``None``: nothing listens there).
    ``keys`` may be changed while the world runs, and so may ``valid_for`` (ms, how
    long a fresh version 2 document lives) and ``well_known`` (the ``m.server``).
    """

    def __init__(
        self, clock: VirtualClock, name: str, keys: Sequence[SigningKey], certificate: Credential
    ) -> None:
        self.name = name
        self.keys = tuple(keys)
        self.certificate = certificate
        self.well_known: str | None = None
        self.valid_for = DAY_MS
        self.flaw: DocumentFlaw | None = None
        self.answers: dict[str, Answer] = {}
        self.requests: list[HttpRequest] = []
        self.host: Host
        self.web: Host | None = None
        self._clock = clock

    def document(self, version: KeyVersion, flaw: DocumentFlaw | None = None) -> bytes:
        """The key document as of now."""
        now = self._clock.now()
        making = Making(
            version=version,
            server_name=self.name,
            keys=self.keys,
            certificate=self.certificate.leaf,
            now=now,
            valid_until=Ms(now + self.valid_for),
        )
        return make_document(making, flaw)

    def renew(self, certificate: Credential) -> None:
        """Show another certificate from now on, and publish it in version 1."""
        self.certificate = certificate
        for host in (self.host, self.web):
            if host is not None:
                host.certificates = {None: certificate.certificates}

    async def serve(self, request: HttpRequest) -> HttpResponse | Fault:
        """The handler of its hosts."""
        self.requests.append(request)
        told = self.answers.get(request.target)
        if isinstance(told, bytes):
            return json_response(told)
        if told is not None:
            return told
        body = self._body(request.target) if request.method == "GET" else None
        return await nothing_here(request) if body is None else json_response(body)

    def _body(self, target: str) -> bytes | None:
        path = target.partition("?")[0].rstrip("/")
        if path == KEY_V1:
            return self.document(KeyVersion.V1, self.flaw)
        if path == KEY_V2 or path.startswith(KEY_V2 + "/"):
            return self.document(KeyVersion.V2, self.flaw)
        if path == VERSION:
            return b'{"server":{"name":"World","version":"1.0"}}'
        if path == WELL_KNOWN and self.well_known is not None:
            return msgspec.json.encode({"m.server": self.well_known})
        return None


def json_response(
    body: bytes, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    """A response that says it is JSON."""
    own = ("content-type", "application/json")
    return HttpResponse(status=status, headers=(own, *headers), body=body)
