"""What we publish over HTTP, as a plain ASGI application.

Mount it in any ASGI server or framework. Under our own listener the two key
documents, the version and the well-known file are answered from
:meth:`FederationApp.ready` without reaching the application.

Every answer is a JSON object. A path that is not known is 404 and a method that
a path does not have is 405 (with ``Allow``), both ``M_UNRECOGNIZED`` and both
without asking who is there ``[s2s:unsupported-endpoints]``. HEAD is GET without
the body.

Version 1 of the key document needs the certificate that the peer sees: our
listener says which, any other server may by ASGI's ``tls`` extension; otherwise
it is the configured certificate of the proxy, and without that the path is not
known (D4).
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable
from typing import Any

from ranvier import __version__
from ranvier.faces.answers import Answer, send_answer
from ranvier.faces.exchange import Exchange
from ranvier.protocol.canonical import encode_canonical
from ranvier.protocol.names import ServerName
from ranvier.protocol.wellknown import build_well_known
from ranvier.services.identity import Identity

KEYS_V1 = ("/_matrix/key/v1", "/_matrix/key/v1/")
KEYS_V2 = ("/_matrix/key/v2/server", "/_matrix/key/v2/server/")
VERSION = "/_matrix/federation/v1/version"
WELL_KNOWN = "/.well-known/matrix/server"

# Before 1.6 the path ended in a key id; all keys are the answer (KEY2-13, KEY2-14).
_KEYS_V2_BY_ID = re.compile(r"/_matrix/key/v2/server/[^/]+", re.ASCII)

_ERRCODES = {404: "M_UNRECOGNIZED", 405: "M_UNRECOGNIZED", 413: "M_TOO_LARGE"}

logger = logging.getLogger("ranvier.publish")


class FederationApp:
    """The published side of one identity.

    ``well_known``: the server name to delegate to; without it the path is not known.
    ``exchange``: answers signed requests; without it there is nothing to sign for.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        well_known: ServerName | None = None,
        exchange: Callable[[], Exchange | None] = lambda: None,
    ) -> None:
        self.identity = identity
        self._exchange = exchange
        version = encode_canonical({"server": {"name": "Ranvier", "version": __version__}})
        self._bodies: dict[str, Callable[[bytes | None], bytes | None]] = {
            **dict.fromkeys(KEYS_V1, identity.document_v1),
            **dict.fromkeys(KEYS_V2, lambda _: identity.document_v2()),
            VERSION: lambda _: version,
        }
        if well_known is not None:
            delegation = build_well_known(well_known)
            self._bodies[WELL_KNOWN] = lambda _: delegation
        self._targets = {path.encode("ascii"): body for path, body in self._bodies.items()}
        self._told = False

    # --- What our listener asks ---

    def ready(self, target: bytes, leaf: bytes | None) -> bytes | None:
        """The body for a GET of this raw target, if it is exactly one of ours."""
        body = self._targets.get(target)
        return None if body is None else body(leaf)

    def refusal(self, status: int, reason: str) -> bytes:
        """An error body. 400 is never ``M_UNRECOGNIZED``: Synapse would ask again (D23)."""
        return encode_canonical({"errcode": _ERRCODES.get(status, "M_UNKNOWN"), "error": reason})

    # --- ASGI ---

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope: ``http``, ``lifespan``, or a refused ``websocket``."""
        if scope["type"] == "http":
            await send_answer(await self._answer(scope, receive), scope["method"], send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Any, receive: Any) -> Answer:
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        exchange = self._exchange()
        methods = exchange.methods(path) if exchange is not None else None
        if exchange is None or methods is None:
            return self.answer(scope, path)
        if scope["method"] != methods:
            return self._refused(
                405, f"this path has {methods} only", (b"allow", methods.encode("ascii"))
            )
        return await exchange.answer(scope, receive, path)

    def answer(self, scope: Any, path: str) -> Answer:
        """The answer to a request that takes no body, from its scope alone."""
        make = self._bodies.get(path)
        if make is None and _KEYS_V2_BY_ID.fullmatch(path):
            make = self._bodies[KEYS_V2[0]]
        if make is None:
            return self._refused(404, "there is nothing at this path")
        if scope["method"] not in ("GET", "HEAD"):
            return self._refused(405, "this path has GET only", (b"allow", b"GET, HEAD"))
        body = make(_leaf(scope))
        if body is None:
            self._tell_once()
            return self._refused(404, "key version 1 is not published here")
        return Answer(200, body)

    def _refused(self, status: int, reason: str, *headers: tuple[bytes, bytes]) -> Answer:
        return Answer(status, self.refusal(status, reason), headers)

    def _tell_once(self) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "/_matrix/key/v1 is off: this server does not end TLS, so it does not know which"
                " certificate peers see; configure listen.proxy_certificate"
            )


def _leaf(scope: Any) -> bytes | None:
    """The certificate (DER) that this connection's peer saw, if the server says."""
    extensions = scope.get("extensions") or {}
    if "ranvier" in extensions:
        leaf: bytes | None = extensions["ranvier"]["local_leaf"]
        return leaf
    pem = (extensions.get("tls") or {}).get("server_cert")
    return ssl.PEM_cert_to_DER_cert(pem) if pem else None


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
