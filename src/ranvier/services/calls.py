"""One request of ours, checked and written before anybody is asked.

The target goes out byte for byte as it was given, so what cannot go out so is
refused here. A method that takes a body always gets one, an object, ``{}`` if there
is nothing to say (API-02); the others never do.
"""

from __future__ import annotations

import re

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import ExchangeLimits, Limits
from ranvier.plugs import HttpRequest
from ranvier.protocol.canonical import JsonObject, encode_canonical
from ranvier.protocol.names import ServerName
from ranvier.protocol.text import shown
from ranvier.trail import Recorder

CLAUSE = "[s2s:request-authentication]"

# request-target = origin-form [rfc9112 3.2.1], visible ASCII without a fragment
_TARGET = re.compile(r'/[!"$-~]*', re.ASCII)

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_METHODS = _WITH_BODY | {"GET", "HEAD", "DELETE", "OPTIONS"}
_REPEATABLE = _METHODS - {"POST", "PATCH"}

_JSON = ("Content-Type", "application/json")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``content`` are its canonical bytes, ``None`` if it has no body."""

    name: ServerName
    method: str
    target: str
    content: bytes | None
    limits: ExchangeLimits
    repeatable: bool
    """Whether it may go out again over a new connection if an open one was dead."""
    fresh: bool
    """Whether the server is to be found anew."""
    recorder: Recorder
    authorization: str = ""

    def written(self, host: str) -> HttpRequest:
        """What goes out."""
        headers = [("Authorization", self.authorization)] if self.authorization else []
        if self.content is not None:
            headers.append(_JSON)
        return HttpRequest(
            method=self.method,
            target=self.target,
            host=host,
            headers=tuple(headers),
            body=self.content or b"",
        )


def check_method(method: str) -> None:
    """Raises: Malformed."""
    if method not in _METHODS:
        known = ", ".join(sorted(_METHODS))
        message = f"{shown(method)} is none of the methods {known}"
        raise Malformed("request-method", message, clause=CLAUSE)


def check_target(target: str) -> None:
    """Raises: Malformed."""
    if _TARGET.fullmatch(target) is None:
        message = f"{shown(target)} is no path with an optional query in visible ASCII"
        raise Malformed("request-target", message, clause=CLAUSE)


def is_repeatable(method: str) -> bool:
    """Whether it does no more when it is done twice."""
    return method in _REPEATABLE


def written_content(
    method: str, content: JsonObject | bytes | None, limits: Limits
) -> bytes | None:
    """The body's canonical bytes, if ``method`` takes a body. Raises: Malformed."""
    if method not in _WITH_BODY:
        if content is not None:
            message = f"a {method} request carries no content"
            raise Malformed("request-content-unexpected", message, clause=CLAUSE)
        return None
    given = {} if content is None else content
    body = given if isinstance(given, bytes) else encode_canonical(given)
    if body[:1] != b"{":
        message = f"the content of a request is a JSON object, not {shown(body)}"
        raise Malformed("content-not-object", message, clause="[s2s:api-standards]")
    if len(body) > limits.request_bytes:
        message = f"the content has {len(body)} bytes, over {limits.request_bytes}"
        raise Malformed("request-too-large", message, clause="[ranvier:limits]")
    return body
