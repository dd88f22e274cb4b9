"""Which requests are refused before anybody is asked: sizes, counts and ambiguity.

A request that two readers may read in two ways (two ``Host`` fields, a length
given twice, a target that is no path) is refused, never repaired: behind a proxy
the difference is request smuggling.
"""

from __future__ import annotations

import re

from ranvier.limits import Limits

# request-target = origin-form / absolute-form [rfc9112 3.2], visible ASCII only
_TARGET = re.compile(rb"(?:https?://[!-.0-~]+)?/[!-~]*", re.ASCII | re.IGNORECASE)


class Refused(Exception):
    """A request that the listener answers itself. Status 0: say nothing, read no more."""

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.reason = reason


class Budget:
    """What one request has cost so far, in bytes and header fields.

    ``pending`` counts what was read of it and perhaps not yet parsed: a header
    line without an end.
    """

    __slots__ = ("_limits", "body", "count", "head", "pending")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """The next request begins."""
        self.head = self.count = self.body = self.pending = 0

    def spend_head(self, size: int, fields: int = 0) -> None:
        """Raises: Refused."""
        self.head += size
        self.count += fields
        if self.head > self._limits.listen_head_bytes:
            raise Refused(431, "head-too-large", "the head of the request is too large")
        if self.count > self._limits.listen_head_count:
            raise Refused(431, "head-too-many", "the request has too many header fields")

    def spend_body(self, size: int) -> None:
        """Raises: Refused."""
        self.body += size
        if self.body > self._limits.listen_body_bytes:
            raise Refused(413, "body-too-large", "the body of the request is too large")

    def check_pending(self, *, in_body: bool) -> None:
        """A head that is not complete yet, or a body that is mostly framing. Raises: Refused."""
        if not in_body and self.pending > self._limits.listen_head_bytes:
            raise Refused(431, "head-too-large", "the head of the request is too large")
        if self.pending - self.body > 2 * self._limits.listen_head_bytes + self.body // 2:
            raise Refused(400, "framing-too-large", "the body of the request is mostly framing")


def check_head(
    version: str, target: bytes, headers: list[tuple[bytes, bytes]], limits: Limits
) -> bool:
    """Refuse what two readers may read in two ways; say whether a body follows.

    Raises: Refused.
    """
    names = [name for name, _ in headers]
    if version not in ("1.0", "1.1"):
        raise Refused(505, "version-unknown", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if names.count(b"host") > 1 or (version == "1.1" and b"host" not in names):
        raise Refused(400, "host-not-one", "the request needs exactly one Host header field")
    if _TARGET.fullmatch(target) is None:
        raise Refused(400, "target-malformed", "the request target is not a path")
    if b"transfer-encoding" in names:
        coding = [value.lower() for name, value in headers if name == b"transfer-encoding"]
        if coding != [b"chunked"] or b"content-length" in names or version == "1.0":
            raise Refused(400, "framing-unclear", "the length of the body is not clear")
        return True
    if b"content-length" not in names:
        return False
    lengths = [value for name, value in headers if name == b"content-length"]
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 20:
        raise Refused(400, "framing-unclear", "the length of the body is not clear")
    if int(lengths[0]) > limits.listen_body_bytes:
        raise Refused(413, "body-too-large", "the body of the request is too large")
    return True
