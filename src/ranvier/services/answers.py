"""An answer that is not 200: what it means, told apart once for all callers.

"There is no such endpoint" and "there is no such thing" are different answers:
only the first may lead a caller to another endpoint ``[s2s:unsupported-endpoints]``.
Servers from before that rule say 400, or 404 without an ``errcode``.
"""

from __future__ import annotations

from enum import StrEnum

from ranvier.errors import Malformed, PeerFault, Rejected
from ranvier.limits import Limits
from ranvier.plugs import HttpResponse
from ranvier.protocol.canonical import parse_json_object
from ranvier.protocol.text import shown

CLAUSE = "[s2s:unsupported-endpoints]"


class Meaning(StrEnum):
    """What an answer means that is no success."""

    UNSUPPORTED = "unsupported"
    NOT_FOUND = "not-found"
    REDIRECT = "redirect"
    STATUS = "status"


_CODES = {
    Meaning.UNSUPPORTED: "answer-unsupported",
    Meaning.NOT_FOUND: "answer-not-found",
    Meaning.REDIRECT: "answer-redirect",
    Meaning.STATUS: "answer-status",
}
_WORDS = {
    Meaning.UNSUPPORTED: ": it has no such endpoint",
    Meaning.NOT_FOUND: ": it has no such thing",
    Meaning.REDIRECT: ": redirects are not followed",
    Meaning.STATUS: ", which is no success",
}


def _clause(meaning: Meaning) -> str:
    """Only what is missing is of the rule about missing things."""
    missing = meaning in (Meaning.UNSUPPORTED, Meaning.NOT_FOUND)
    return CLAUSE if missing else "[s2s:api-standards]"


def insist_on_200(response: HttpResponse, host: str, path: str, limits: Limits) -> None:
    """Raises: PeerFault, ``answer-unsupported``, ``answer-not-found``, ``answer-redirect`` or
    ``answer-status``."""
    if response.status != 200:
        meaning, message, _ = refusal_of(response, host, path, limits)
        raise PeerFault(_CODES[meaning], message, clause=_clause(meaning))


def insist_on_success(response: HttpResponse, host: str, path: str, limits: Limits) -> None:
    """Raises: Rejected, with the same codes."""
    if not 200 <= response.status < 300:
        meaning, message, errcode = refusal_of(response, host, path, limits)
        raise Rejected(
            _CODES[meaning],
            message,
            clause=_clause(meaning),
            status=response.status,
            errcode=errcode,
            body=response.body,
            headers=response.headers,
        )


def refusal_of(
    response: HttpResponse, host: str, path: str, limits: Limits
) -> tuple[Meaning, str, str]:
    """What it means that ``response`` is no success, in words, and Matrix's error code."""
    errcode = _errcode(response, limits)
    meaning = _meaning(response.status, errcode)
    said = f" with {shown(errcode)}" if errcode else ""
    message = f"{host} answered {response.status} for {path}{said}{_WORDS[meaning]}"
    return meaning, message, errcode


def _meaning(status: int, errcode: str) -> Meaning:
    if errcode == "M_UNRECOGNIZED" and status in (400, 404, 405):
        return Meaning.UNSUPPORTED
    if status == 404:
        return Meaning.NOT_FOUND if errcode else Meaning.UNSUPPORTED
    return Meaning.REDIRECT if 300 <= status < 400 else Meaning.STATUS


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
