"""Redaction: what is left of an event when its content is taken away.

What survives is what rooms are decided by, and it is what servers sign and hash: a
redacted event keeps its id and its signatures. The table is a column of
:mod:`ranvier.protocol.room_versions`. ``unsigned`` is not on it, since nobody
signed it.
"""

from __future__ import annotations

from ranvier.errors import Malformed
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.room_versions import Redaction, RoomVersion


def redact(event: JsonObject, version: RoomVersion) -> JsonObject:
    """A new object of the members that ``version`` keeps; what it keeps is not copied.

    A type that is no string is one of those that keep no content. Raises Malformed
    (``event-content``) if the content is no object.
    """
    rules = version.redaction
    keep = rules.top_level
    kept = {key: value for key, value in event.items() if key in keep}
    content = event.get("content")
    if type(content) is not dict:
        raise Malformed("event-content", "the content is no object", clause="[s2s:pdus]")
    kept["content"] = _content(content, event.get("type"), rules)
    return kept


def _content(content: JsonObject, kind: object, rules: Redaction) -> JsonObject:
    if type(kind) is not str:
        return {}
    if kind in rules.whole:
        return content
    keep = rules.content.get(kind)
    if keep is None:
        return {}
    kept = {key: content[key] for key in keep if key in content}
    if rules.third_party_signed and kind == "m.room.member":
        invite = content.get("third_party_invite")
        if type(invite) is dict:  # Of an invite without `signed`, `{}` stays.
            kept["third_party_invite"] = {key: invite[key] for key in invite if key == "signed"}
    return kept
