"""One line that protects the endpoints of any ASGI application by request signatures.

::

    app = FastAPI(lifespan=fed.lifespan)
    app.add_middleware(RequireSignature, federation=fed, paths="/_matrix/policy/")

A request under one of the ``paths`` reaches the application only if it is authentic.
The head is judged before the body is read, and the body is read to its bound before
it is judged; then the application gets the same body again, and what was proven in
``scope["ranvier.authenticated"]`` (:func:`ranvier.web.authenticated` takes it out).
Everybody else gets a JSON error that says less than our log.

Under our own listener the signed target is the raw one. Under a foreign server it is
what the server kept of it: if there is no query, both ``/x`` and ``/x?`` are tried
(D18). What it cannot keep (``#``, an absolute form) is refused by the signature.

Paths are compared as routers compare them: decoded, without ``root_path``, letter by
letter. ``/a/`` protects all below it and ``/a`` itself. There is no signature on a
web socket, so on these paths there are none.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from ranvier.errors import BadConfiguration, Unauthenticated
from ranvier.faces.answers import refused, send_answer
from ranvier.faces.inbound import authenticate
from ranvier.protocol.text import shown
from ranvier.services.gate import Gate

AUTHENTICATED = "ranvier.authenticated"
"""The key in the scope."""

POLICY_VIOLATION = 1008
"""What a web socket is closed with ``[rfc6455 7.4.1]``."""

Asgi = Callable[[Any, Any, Any], Awaitable[None]]

logger = logging.getLogger("ranvier.receive")


class Gated(Protocol):
    """Whoever has a gate: a :class:`~ranvier.federation.Federation`."""

    @property
    def gate(self) -> Gate:
        """Its gate; asked at each request, so that it need not be open before."""


class RequireSignature:
    """ASGI middleware. ``paths``: a prefix or several; by default everything is protected.

    Raises: BadConfiguration (``web-paths``), for paths that would protect nothing.
    """

    def __init__(self, app: Asgi, federation: Gated, paths: str | Sequence[str] = "/") -> None:
        self._app = app
        self._federation = federation
        self._prefixes = (paths,) if isinstance(paths, str) else tuple(paths)
        if not self._prefixes or not all(each.startswith("/") for each in self._prefixes):
            raise BadConfiguration(
                "web-paths", f"paths {self._prefixes!r}: each begins with a slash, as in '/a/'"
            )
        self._whole = frozenset(each.rstrip("/") for each in self._prefixes)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope."""
        if scope["type"] not in ("http", "websocket") or not self.protects(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        else:
            await self._judge(scope, receive, send)

    def protects(self, scope: Any) -> bool:
        """Whether the path is one that needs a signature."""
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        return path.startswith(self._prefixes) or path in self._whole

    async def _judge(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            authenticated = await authenticate(self._federation.gate, scope, receive)
        except Unauthenticated as error:
            place = f"{shown(scope['method'])} {shown(scope['path'], 200)}"
            logger.info("refused %s: %s (%s)", place, error, error.code)
            answer = refused(error.status, error.errcode, error.public)
            await send_answer(answer, scope["method"], send)
            return
        scope[AUTHENTICATED] = authenticated
        await self._app(scope, _again(authenticated.body, receive), send)


def _again(body: bytes, receive: Any) -> Callable[[], Awaitable[Any]]:
    """A ``receive`` that gives the body that was read, and then what still comes."""
    given = False

    async def receiving() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
