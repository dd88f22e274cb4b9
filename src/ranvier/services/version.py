"""What software a server says it runs ``[s2s:get_matrixfederationv1version]``.

Every member is optional and free text. It is for people: nothing may branch on
it (VER-03), and a server that sends something else is still a healthy server.
"""

from __future__ import annotations

import msgspec

from ranvier.errors import Malformed, PeerFault, RanvierError
from ranvier.limits import Limits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.canonical import parse_json_object
from ranvier.protocol.names import ServerName
from ranvier.services.answers import insist_on_200
from ranvier.services.connector import Connector
from ranvier.services.keyring import Keyring
from ranvier.trail import NO_TRAIL, Recorder, Trail

PATH = "/_matrix/federation/v1/version"
CLAUSE = "[s2s:get_matrixfederationv1version]"


class ServerVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Empty texts where the server said nothing, or nothing that is a text."""

    server_name: str
    name: str = ""
    version: str = ""
    trail: Trail = NO_TRAIL


async def fetch_version(
    name: ServerName,
    *,
    connector: Connector,
    keyring: Keyring,
    limits: Limits,
    recorder: Recorder,
) -> ServerVersion:
    """Ask ``name`` over an authenticated connection; nothing is signed.

    Raises: Unreachable, PeerFault, ConnectionLost, TimedOut, StoreFault; each with its trail.
    """
    try:
        connection = await connector.connect(
            name,
            trust=await keyring.trust_for(name, recorder),
            mode=keyring.rule_for(name).mode,
            recorder=recorder,
        )
        host = connection.route.host_header
        try:
            with recorder.asking("version", f"GET https://{host}{PATH}", clause=CLAUSE) as asked:
                response = await connection.link.exchange(
                    HttpRequest(method="GET", target=PATH, host=host),
                    limits.exchange(body_bytes=limits.key_document_bytes),
                )
                said = _read(response, host, limits)
                asked.answered(f"{said.get('name', '?')} {said.get('version', '?')}", **said)
        finally:
            await connection.link.close()
    except RanvierError as error:
        raise error.with_trail(recorder.trail) from None
    return ServerVersion(server_name=name.text, trail=recorder.trail, **said)


def _read(response: HttpResponse, host: str, limits: Limits) -> dict[str, str]:
    insist_on_200(response, host, PATH, limits)
    try:
        body = parse_json_object(
            response.body, max_bytes=limits.key_document_bytes, max_depth=limits.json_depth
        )
    except Malformed as error:
        raise PeerFault(error.code, error.message, clause=CLAUSE) from None
    server = body.get("server")
    members = server if isinstance(server, dict) else {}
    return {key: value for key in ("name", "version") if isinstance(value := members.get(key), str)}
