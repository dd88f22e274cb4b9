"""An ASGI request as the gate takes it: raw target, header values, a bounded body.

Under our own listener the raw target stands in the scope. A foreign server keeps only
the path and the query, and loses whether an empty query had its ``?``: then both
spellings are given, and the signature says which it was (D18).

The head is judged before the body is read, so that nobody's body is read for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ranvier.errors import Unauthenticated
from ranvier.limits import Limits
from ranvier.services.gate import Authenticated, Gate, InboundRequest

Grow = Callable[[int], None]


async def authenticate(
    gate: Gate, scope: Any, receive: Any, *, lenient: bool = False
) -> Authenticated:
    """Who sent it: the head is judged first, then the body is read, then all is judged.

    ``lenient`` is :meth:`Gate.authenticate`'s. Raises: Unauthenticated.
    """
    claim = gate.claim(
        tuple(
            value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"
        )
    )
    with gate.bodies.held(_client(scope)) as grow:
        request = await _read(gate, scope, receive, grow)
        return await gate.authenticate(request, claim=claim, lenient=lenient)


async def _read(gate: Gate, scope: Any, receive: Any, grow: Grow) -> InboundRequest:
    """The request with its body, in time: our own listener sees to that by itself.

    Raises: Unauthenticated.
    """
    limits = gate.limits
    if "ranvier" in (scope.get("extensions") or {}):
        return await read_request(scope, receive, limits, grow)
    try:
        async with gate.clock.timeout(limits.listen_body_seconds):
            return await read_request(scope, receive, limits, grow)
    except TimeoutError:
        raise Unauthenticated(
            "body-not-in-time",
            f"the body did not come within {limits.listen_body_seconds:g} s",
            clause="[ranvier:limits]",
            status=408,
            errcode="M_UNKNOWN",
            public="the body came too slowly",
        ) from None


async def read_request(
    scope: Any, receive: Any, limits: Limits, grow: Grow = lambda size: None
) -> InboundRequest:
    """The whole request. ``grow`` is told of every piece of its body.

    Raises: Unauthenticated (413, or the client has gone), and what ``grow`` raises.
    """
    headers = scope["headers"]
    told = (scope.get("extensions") or {}).get("ranvier") or {}
    return InboundRequest(
        method=scope["method"],
        targets=raw_targets(scope),
        authorization=tuple(
            value.decode("latin-1") for name, value in headers if name == b"authorization"
        ),
        body=await read_body(receive, limits.listen_body_bytes, grow),
        client=_client(scope),
        client_leaf=told.get("peer_leaf"),
    )


def _client(scope: Any) -> str:
    """On whose account it is; nobody's, if a proxy of ours stands for many."""
    told = (scope.get("extensions") or {}).get("ranvier") or {}
    client = scope.get("client")
    return str(told.get("client", client[0] if client else ""))


def raw_targets(scope: Any) -> tuple[str, ...]:
    """The request target as it was sent; every way in which it may have been."""
    told = (scope.get("extensions") or {}).get("ranvier")
    if told is not None:
        return (told["raw_target"].decode("latin-1"),)
    path = (scope.get("raw_path") or scope["path"].encode("utf-8")).decode("latin-1")
    path = path.partition("?")[0]
    query = scope["query_string"].decode("latin-1")
    return (f"{path}?{query}",) if query else (path, f"{path}?")


async def read_body(receive: Any, most: int, grow: Grow = lambda size: None) -> bytes:
    """All of it. Raises: Unauthenticated ``body-too-large`` (413), ``body-cut``."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unauthenticated(
                "body-cut", "the client left before the end of its request", status=400
            )
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise Unauthenticated(
                "body-too-large",
                f"the body has more than {most} bytes",
                clause="[ranvier:limits]",
                status=413,
                errcode="M_TOO_LARGE",
                public="the body is too large",
            )
        grow(len(piece))
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)
