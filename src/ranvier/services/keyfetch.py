"""One key document over one connection: asked, read, examined, and all of it in the trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import msgspec

from ranvier.errors import Malformed, NotValid, PeerFault
from ranvier.limits import Limits, Ms
from ranvier.plugs import HttpRequest
from ranvier.protocol.conditions import Condition, insist
from ranvier.protocol.keyconditions import examine_key_document
from ranvier.protocol.keys import KeyDocument, KeyVersion, parse_key_document
from ranvier.protocol.signing import VerifyKey
from ranvier.services.answers import insist_on_200
from ranvier.services.connector import Connection
from ranvier.trail import Recorder

PATHS = {KeyVersion.V1: "/_matrix/key/v1", KeyVersion.V2: "/_matrix/key/v2/server"}
"""Without a trailing slash: the text of 2014 and, since v1.6, of today (KEY2-13)."""

ALARMS = frozenset({"key-bytes-changed"})
"""Conditions that do not stop a fetch but that somebody must look at (D8)."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A document in hand, as it was examined when it came."""

    document: KeyDocument
    conditions: tuple[Condition, ...]
    fetched_at: Ms
    entered: str = ""

    @classmethod
    def examined(
        cls,
        document: KeyDocument,
        *,
        expected_name: str,
        now: Ms,
        known_keys: Mapping[str, VerifyKey],
        peer_certificate: bytes,
        recorder: Recorder,
        entered: str = "",
        authenticated: bool = False,
    ) -> Self:
        """Examine, record every condition, then insist.

        Raises: PeerFault with the first fatal condition's id as its code.
        """
        clause = document.version.clause
        with recorder.asking(
            "key-document", f"is this the key document of {expected_name}?", clause=clause
        ) as asked:
            conditions = examine_key_document(
                document,
                expected_name=expected_name,
                now=now,
                known_keys=known_keys or None,
                peer_certificate=peer_certificate,
                authenticated=authenticated,
            )
            asked.answered(_summary(conditions), conditions=msgspec.to_builtins(conditions))
            try:
                insist(conditions)
            except NotValid as error:
                raise PeerFault(error.code, error.message, clause=error.clause) from None
        return cls(document=document, conditions=conditions, fetched_at=now, entered=entered)


def _summary(conditions: tuple[Condition, ...]) -> str:
    failed = sum(each.failed for each in conditions)
    return f"yes, but not all is well ({failed})" if failed else "every condition held"


async def ask_for_document(
    connection: Connection, version: KeyVersion, limits: Limits, recorder: Recorder
) -> KeyDocument:
    """GET the document and read it; nothing is judged here.

    Raises: PeerFault (``answer-...``, or why it is no JSON object), ConnectionLost, TimedOut.
    """
    path, host = PATHS[version], connection.route.host_header
    with recorder.asking("key-fetch", f"GET https://{host}{path}", clause=version.clause) as asked:
        response = await connection.link.exchange(
            HttpRequest(method="GET", target=path, host=host),
            limits.exchange(body_bytes=limits.key_document_bytes),
        )
        insist_on_200(response, host, path, limits)
        try:
            document = parse_key_document(response.body, version, limits)
        except Malformed as error:
            raise PeerFault(error.code, error.message, clause=error.clause) from None
        asked.answered(f"200, {len(response.body)} bytes", status=200, bytes=len(response.body))
    return document
