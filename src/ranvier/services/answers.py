"""An answer that is not 200: what it means, told apart once for all callers.

"There is no such endpoint" and "there is no such thing" are different answers:
only the first may lead a caller to another endpoint ``[s2s:unsupported-endpoints]``.
Servers from before that rule say 400, or 404 without an ``errcode``.
"""

from __future__ import annotations

import msgspec

from ranvier.errors import Malformed, PeerFault, Rejected
from ranvier.limits import Limits
from ranvier.plugs import HttpResponse
from ranvier.protocol.canonical import parse_json_object
from ranvier.protocol.text import shown

CLAUSE = "[s2s:unsupported-endpoints]"


class Refusal(msgspec.Struct, frozen=True):
    """What an answer that is no success means; ``errcode`` is Matrix's, if there was one."""

    code: str
    message: str
    errcode: str


def insist_on_200(response: HttpResponse, host: str, path: str, limits: Limits) -> None:
    """Raises: PeerFault, ``answer-unsupported``, ``answer-not-found`` or ``answer-status``."""
    if response.status != 200:
        refusal = refusal_of(response, host, path, limits)
        raise PeerFault(refusal.code, refusal.message, clause=CLAUSE)


def insist_on_success(response: HttpResponse, host: str, path: str, limits: Limits) -> None:
    """Raises: Rejected with the same codes, or ``answer-redirect``: none is followed (API-09)."""
    if 200 <= response.status < 300:
        return
    refusal = refusal_of(response, host, path, limits)
    code, message = refusal.code, refusal.message
    if 300 <= response.status < 400:
        code, message = "answer-redirect", f"{message}: redirects are not followed"
    raise Rejected(
        code,
        message,
        clause=CLAUSE,
        status=response.status,
        errcode=refusal.errcode,
        body=response.body,
        headers=response.headers,
    )


def refusal_of(response: HttpResponse, host: str, path: str, limits: Limits) -> Refusal:
    """What it means that ``response`` is no success."""
    errcode = _errcode(response, limits)
    said = f"{host} answered {response.status} for {path}"
    if errcode:
        said += f" with {shown(errcode)}"
    unrecognized = response.status in (400, 404, 405) and errcode == "M_UNRECOGNIZED"
    if unrecognized or (response.status == 404 and not errcode):
        return Refusal("answer-unsupported", f"{said}: it has no such endpoint", errcode)
    if response.status == 404:
        return Refusal("answer-not-found", f"{said}: it has no such thing", errcode)
    return Refusal("answer-status", f"{said}, not 200", errcode)


def _errcode(response: HttpResponse, limits: Limits) -> str:
    """The Matrix error code, if the body is the JSON of an error."""
    try:
        body = parse_json_object(
            response.body, max_bytes=limits.key_document_bytes, max_depth=limits.json_depth
        )
    except Malformed:
        return ""
    errcode = body.get("errcode")
    return errcode if isinstance(errcode, str) else ""
