"""An answer that is not 200: what it means, told apart once for all callers.

"There is no such endpoint" and "there is no such thing" are different answers:
only the first may lead a caller to another endpoint ``[s2s:unsupported-endpoints]``.
Servers from before that rule say 400, or 404 without an ``errcode``.
"""

from __future__ import annotations

from ranvier.errors import Malformed, PeerFault
from ranvier.limits import Limits
from ranvier.plugs import HttpResponse
from ranvier.protocol.canonical import parse_json_object
from ranvier.protocol.text import shown

CLAUSE = "[s2s:unsupported-endpoints]"


def insist_on_200(response: HttpResponse, host: str, path: str, limits: Limits) -> None:
    """Raises: PeerFault, ``answer-unsupported``, ``answer-not-found`` or ``answer-status``."""
    if response.status == 200:
        return
    errcode = _errcode(response, limits)
    said = f"{host} answered {response.status} for {path}"
    if errcode:
        said += f" with {shown(errcode)}"
    unrecognized = response.status in (400, 404, 405) and errcode == "M_UNRECOGNIZED"
    if unrecognized or (response.status == 404 and not errcode):
        raise PeerFault("answer-unsupported", f"{said}: it has no such endpoint", clause=CLAUSE)
    if response.status == 404:
        raise PeerFault("answer-not-found", f"{said}: it has no such thing", clause=CLAUSE)
    raise PeerFault("answer-status", f"{said}, not 200", clause=CLAUSE)


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
