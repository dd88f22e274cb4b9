"""Transactions: envelopes of PDUs and EDUs from one server to another, and their answers.

``PUT /_matrix/federation/v1/send/{txnId}`` carries at most 50 PDUs and 100 EDUs
``[s2s:transactions]``. The reading is in two storeys (D16). The **envelope** is refused
as a whole if it is not JSON, too deep, too large, over the limits, or has two readings.
An **item** is kept as the bytes that were received, with a lenient value beside them:
rooms of versions 1 to 5 may hold floats and large integers, so how strict to be is for
the room version to say, and one bad item spoils only itself.

Writing splices: every item is canonical before it comes here, and is never parsed again.

The seed of 2014 had other spellings (``ts``, ``prev_ids``, a slash after the id, an
answer of ``null``). They are read with ``seed=True`` only, for origins that are listed (D2).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import (
    GREATEST_INTEGER,
    JsonObject,
    JsonValue,
    encode_canonical,
    parse_json_lenient,
)
from ranvier.protocol.text import shown

CLAUSE = "[s2s:transactions]"
ITEM_DIGEST_BYTES = 16
_SEED = "[2014:protocol-urls]"
_STRICTNESS = "[ranvier:transaction-strictness]"

SEND_PATH = "/_matrix/federation/v1/send/"
LONGEST_ID = 255
"""Bytes of a transaction id; the text names no bound, and deployed ids are short."""
_LONGEST_ERROR = 500  # characters of a peer's error text that are kept
_AROUND_ITEM = 2  # An item stands in the envelope and in a list.

# target = path [ "?" query ]; one segment after the path, in 2014 followed by "/"
_SEGMENT = re.compile(r"(?P<id>[^/?#]+)(?P<slash>/?)(?:\?.*)?", re.ASCII)
# pchar  = unreserved / pct-encoded / sub-delims / ":" / "@"                    [rfc3986 3.3]
_PCHARS = re.compile(r"(?:[0-9A-Za-z._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+", re.ASCII)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_slices = msgspec.json.Decoder(list[msgspec.Raw])
_texts = msgspec.json.Decoder(tuple[str, ...])
_text = msgspec.json.Decoder(str)
_integer = msgspec.json.Decoder(int)
_T = TypeVar("_T")
_NONE = msgspec.Raw(b"[]")
_EMPTY = msgspec.Raw(b'""')
_pairs = json.JSONDecoder(object_pairs_hook=list, parse_int=str, parse_float=str)


# --- Received ---


class RawItem(msgspec.Struct, frozen=True, kw_only=True):
    """One PDU or EDU as it was received: what is judged further, alone."""

    raw: bytes
    """The slice of the body, white space and all."""
    value: JsonObject | None
    """Read leniently (floats, the last of duplicate keys); ``None`` if it has no reading."""
    code: str = ""
    problem: str = ""
    """Why there is no value, as a clause."""


class ParsedTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope that can be worked on. ``origin`` is a claim: the request says who sent it."""

    origin: str
    origin_server_ts: Ms
    pdus: tuple[RawItem, ...]
    edus: tuple[RawItem, ...] = ()
    txn_id_in_body: str = ""
    """2014 only; the id in the path overrides it (D14-07)."""
    previous_ids: tuple[str, ...] = ()
    """2014 only: earlier transactions to the same destination (D14-05)."""


def parse_transaction(body: bytes, *, limits: Limits, seed: bool = False) -> ParsedTransaction:
    """Read the envelope and cut out its items. Raises Malformed, on the envelope only.

    ``transaction-not-json`` is ``M_NOT_JSON``, ``transaction-too-large`` a 413, and every
    other code ``M_BAD_JSON``. Members that are not known are ignored. ``[s2s:transactions]``
    """
    members = _envelope(body, limits)
    time_names = ("origin_server_ts", "ts") if seed else ("origin_server_ts",)
    depth = limits.json_depth - _AROUND_ITEM
    txn_id = members.get("transaction_id", _EMPTY) if seed else _EMPTY
    previous = members.get("previous_ids", members.get("prev_ids", _NONE)) if seed else _NONE
    return ParsedTransaction(
        origin=_decoded(_text, _member(members, "origin"), "origin", "text"),
        origin_server_ts=_instant(members, *time_names),
        pdus=_items(_member(members, "pdus"), "pdus", limits.transaction_pdus, depth),
        edus=_items(members.get("edus", _NONE), "edus", limits.transaction_edus, depth),
        txn_id_in_body=_decoded(_text, txn_id, "transaction_id", "text"),
        previous_ids=_decoded(_texts, previous, "previous_ids", "an array of texts"),
    )


def _envelope(body: bytes, limits: Limits) -> dict[str, msgspec.Raw]:
    """The members by name, each as its slice of the body."""
    if len(body) > limits.transaction_bytes:
        raise Malformed(
            "transaction-too-large",
            f"a transaction of {len(body)} bytes; at most {limits.transaction_bytes}",
            clause="[app:size-limits]",
        )
    try:
        text = body.decode()
        members = _members.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError:
        raise Malformed(
            "transaction-not-object", "a transaction is a JSON object", clause=CLAUSE
        ) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Malformed("transaction-not-json", f"not JSON: {error}", clause=CLAUSE) from None
    if _spliced(members) != body:
        _insist_on_one_of_each(text)
    return members


def _spliced(members: Mapping[str, msgspec.Raw]) -> bytes:
    """The body as it was, if it has no white space between members and none of them twice."""
    inside = (msgspec.json.encode(key) + b":" + bytes(raw) for key, raw in members.items())
    return b"{" + b",".join(inside) + b"}"


def _insist_on_one_of_each(text: str) -> None:
    """Only the envelope's own members: inside of items, the room version rules (D16)."""
    try:
        keys = Counter(key for key, _ in _pairs.decode(text))
    except RecursionError:
        raise _too_deep() from None
    twice = next((key for key, times in keys.items() if times > 1), None)
    if twice is not None:
        raise Malformed(
            "transaction-duplicate-key",
            f"the transaction has {shown(twice)} twice",
            clause=_STRICTNESS,
        )


def _member(members: Mapping[str, msgspec.Raw], *names: str) -> msgspec.Raw:
    """The first of ``names`` that is there."""
    for name in names:
        if name in members:
            return members[name]
    raise Malformed(
        "transaction-member-missing", f"the transaction has no {names[0]}", clause=CLAUSE
    )


def _decoded(decoder: msgspec.json.Decoder[_T], raw: msgspec.Raw, name: str, kind: str) -> _T:
    try:
        return decoder.decode(raw)
    except msgspec.MsgspecError:
        raise Malformed(
            "transaction-member-type", f"the transaction's {name} is not {kind}", clause=CLAUSE
        ) from None


def _instant(members: Mapping[str, msgspec.Raw], *names: str) -> Ms:
    number = _decoded(_integer, _member(members, *names), names[0], "an integer")
    if abs(number) > GREATEST_INTEGER:
        raise Malformed(
            "transaction-time-range",
            f"the transaction's {names[0]} is outside -(2^53 - 1) to 2^53 - 1",
            clause=CLAUSE,
        )
    return Ms(number)


def _items(raw: msgspec.Raw, name: str, most: int, max_depth: int) -> tuple[RawItem, ...]:
    """Each item's slice with its value. Too many are refused as a whole (TXN-03)."""
    slices = _decoded(_slices, raw, name, "an array")
    if len(slices) > most:
        raise Malformed(
            "transaction-too-many",
            f"a transaction with {len(slices)} {name}; at most {most}",
            clause=CLAUSE,
        )
    if not slices:
        return ()
    try:
        values = parse_json_lenient(bytes(raw), max_bytes=len(raw), max_depth=max_depth + 1)
    except Malformed:  # One of them has no reading: each alone.
        return tuple(_read(bytes(each), max_depth) for each in slices)
    return tuple(_item(bytes(each), value) for each, value in zip(slices, values, strict=True))


def _read(raw: bytes, max_depth: int) -> RawItem:
    try:
        value = parse_json_lenient(raw, max_bytes=len(raw), max_depth=max_depth)
    except Malformed as error:
        if error.code == "json-too-deep":
            raise _too_deep() from None
        return RawItem(raw=raw, value=None, code=error.code, problem=error.message)
    return _item(raw, value)


def _item(raw: bytes, value: JsonValue) -> RawItem:
    if isinstance(value, dict):
        return RawItem(raw=raw, value=value)
    what = f"a JSON object was expected, not a {type(value).__name__}"
    return RawItem(raw=raw, value=None, code="transaction-item-not-object", problem=what)


def _too_deep() -> Malformed:
    return Malformed(
        "transaction-too-deep",
        "too many arrays or objects in each other in a transaction",
        clause=_STRICTNESS,
    )


def content_digest(content: bytes) -> bytes:
    """SHA-256 of a transaction's bytes: whether the same id came with the same content (D35)."""
    return sha256(content).digest()


def item_digest(raw: bytes) -> bytes:
    """What stands for an item: which ones of a re-used id were processed already."""
    return sha256(raw).digest()[:ITEM_DIGEST_BYTES]


# --- Sent ---


def build_transaction(
    origin: str, origin_server_ts: Ms, pdus: Sequence[bytes], edus: Sequence[bytes] = ()
) -> bytes:
    """The canonical bytes: what is sealed, signed as content and sent.

    Items are canonical JSON already. ``pdus`` is always there, ``edus`` only if there
    are any. How many may go together is the caller's rule. ``[s2s:transactions]``
    """
    return b"".join(
        (
            b'{"edus":[' + b",".join(edus) + b"]," if edus else b"{",
            b'"origin":' + encode_canonical(origin),
            b',"origin_server_ts":' + encode_canonical(origin_server_ts),
            b',"pdus":[' + b",".join(pdus) + b"]}",
        )
    )


def send_path(txn_id: str, *, seed: bool = False) -> str:
    """The target of ``PUT``; whatever could be read otherwise is percent-encoded.

    ``seed``: with the final slash of 2014 (D14-07). Raises Malformed.
    """
    _insist_on_length(txn_id)
    try:
        segment = quote(txn_id, safe="")
    except UnicodeEncodeError:
        raise _bad_id() from None
    return f"{SEND_PATH}{segment}{'/' if seed else ''}"


def parse_send_path(target: str, *, seed: bool = False) -> str:
    """The transaction id in a raw request target, percent-decoded once. Raises Malformed.

    A query is ignored. An id may hold anything once it is decoded, a slash too.
    """
    rest = target.removeprefix(SEND_PATH)
    found = _SEGMENT.fullmatch(rest)
    if rest == target or found is None or (found["slash"] and not seed):
        raise Malformed(
            "transaction-path",
            f"{shown(target)} is not {SEND_PATH} and one transaction id",
            clause=_SEED if seed else CLAUSE,
        )
    if not _PCHARS.fullmatch(found["id"]):
        raise _bad_id()
    try:
        txn_id = unquote_to_bytes(found["id"]).decode()
    except UnicodeDecodeError:
        raise _bad_id() from None
    _insist_on_length(txn_id)
    return txn_id


def _bad_id() -> Malformed:
    return Malformed(
        "transaction-id-encoding",
        "the transaction id is not UTF-8, percent-encoded where a path needs it",
        clause=CLAUSE,
    )


def _insist_on_length(txn_id: str) -> None:
    size = len(txn_id.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= LONGEST_ID:
        raise Malformed(
            "transaction-id-length",
            f"a transaction id of {size} bytes; it has 1 to {LONGEST_ID}",
            clause="[ranvier:transaction-id]",
        )


# --- Answers ---


class ItemVerdict(StrEnum):
    """What a destination said of a PDU."""

    ACCEPTED = "accepted"
    """Stored for processing there; whether it became part of the room is not said."""
    ERROR = "error"
    NOT_MENTIONED = "not mentioned"
    """Deployed servers leave out the PDUs of rooms that they do not know (D37)."""


class ItemResult(msgspec.Struct, frozen=True):
    """One PDU's result. ``error`` is a stranger's text: not for a terminal as it is."""

    verdict: ItemVerdict
    error: str = ""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says of what was sent. ``foreign``: how many other ids it mentions."""

    items: Mapping[str, ItemResult]
    """By event id, one for each that was sent."""
    foreign: int = 0


def build_answer(results: Mapping[str, str | None]) -> bytes:
    """The body of a 200: by event id ``None``, or the error's text (TXN-05).

    Raises Malformed for text that is no Unicode.
    """
    return encode_canonical(
        {
            "pdus": {
                event_id: {} if error is None else {"error": error}
                for event_id, error in results.items()
            }
        }
    )


def parse_answer(
    body: bytes, sent_event_ids: Iterable[str], *, limits: Limits, seed: bool = False
) -> Results:
    """The results of the PDUs that were sent; ids of other events are only counted.

    ``seed``: ``null`` is an answer too, and mentions nothing (REF14-17). Raises Malformed:
    whoever said 200 with this is perhaps no home server. ``[s2s:transactions]``
    """
    try:
        value = parse_json_lenient(body, max_bytes=limits.answer_bytes, max_depth=limits.json_depth)
    except Malformed as error:
        raise Malformed("transaction-answer-not-json", error.message, clause=error.clause) from None
    if value is None and seed:
        value = {"pdus": {}}
    said = value.get("pdus") if isinstance(value, dict) else None
    if not isinstance(said, dict):
        raise Malformed(
            "transaction-answer-pdus", "the answer has no object of results, pdus", clause=CLAUSE
        )
    items = {event_id: _result(said.get(event_id)) for event_id in sent_event_ids if event_id}
    return Results(items=items, foreign=len(said.keys() - items.keys()))


def _result(entry: JsonValue) -> ItemResult:
    """No ``error`` is handled (TXN-06). An entry of no known form says nothing."""
    if not isinstance(entry, dict):
        return ItemResult(ItemVerdict.NOT_MENTIONED)
    error = entry.get("error")
    if error is None:
        return ItemResult(ItemVerdict.ACCEPTED)
    text = error if isinstance(error, str) else shown(error)
    return ItemResult(ItemVerdict.ERROR, text[:_LONGEST_ERROR])
