"""With which status, error code and text a request is refused before anybody handles it.

The codes are those of what went wrong; the wire learns less than our log (SEC-18).
Never 400 ``M_UNRECOGNIZED``: Synapse would ask again with a trailing slash (D23).
"""

from __future__ import annotations

from collections.abc import Mapping

from ranvier.errors import Malformed, NotValid, Unauthenticated
from ranvier.protocol.keylife import KeyOutcome
from ranvier.protocol.requests import ExaminedRequest
from ranvier.services.keybudgets import KEY_BUSY

_LIMITS = "[ranvier:limits]"
_NOT_JSON = frozenset({"json-not-json", "json-not-utf8"})


def unreadable_header(error: Malformed) -> Unauthenticated:
    """401 if there is no header at all, else 400: its sender can put that right."""
    if error.code == "xmatrix-missing":
        return Unauthenticated(
            "auth-missing", error.message, clause=error.clause, public="the request is not signed"
        )
    return Unauthenticated(
        error.code,
        error.message,
        clause=error.clause,
        status=400,
        public="the Authorization header cannot be read",
    )


def unreadable_body(error: Malformed) -> Unauthenticated:
    """400, or 413; and what is wrong with it, which is no secret."""
    status, errcode = 400, "M_BAD_JSON"
    if error.code == "json-too-large":
        status, errcode = 413, "M_TOO_LARGE"
    elif error.code in _NOT_JSON:
        errcode = "M_NOT_JSON"
    return Unauthenticated(
        error.code,
        f"the body: {error.message}",
        clause=error.clause,
        status=status,
        errcode=errcode,
        public=f"the body: {error.message}",
    )


def insist_signed(examined: ExaminedRequest, keys: Mapping[str, KeyOutcome]) -> None:
    """Raises: Unauthenticated; 429 if we could not look for keys just now."""
    if examined.key_id:
        return
    if any(each.code == KEY_BUSY for each in keys.values()):
        raise Unauthenticated(
            "auth-busy",
            "; ".join(each.reason for each in keys.values()),
            clause=_LIMITS,
            status=429,
            errcode="M_LIMIT_EXCEEDED",
            public="too many keys are being fetched",
        )
    try:
        examined.insisted()
    except NotValid as error:
        reasons = [each.reason for each in keys.values() if not each.good]
        message = "; ".join((error.message, *reasons))
        raise Unauthenticated(error.code, message, clause=error.clause) from None
