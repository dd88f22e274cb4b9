"""Rows of the protocol alone: whole envelopes beside ``signedjson``, PDUs beside bare Ed25519.

Nothing here touches a socket or a disk. CPU time of small portions that take turns.
``signedjson``'s side reads the header as simply as can be and parses the body with
``json``, which takes the last of two equal keys; ours refuses them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import signedjson.key
import signedjson.sign
from benchmarks.table import Row, Side
from nacl.bindings import crypto_sign_open

from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import encode_canonical
from ranvier.protocol.events import event_signed_bytes, parse_pdu, sign_event, verified_pdu
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.requests import (
    canonical_content,
    request_bytes,
    sign_request,
    verified_request,
)
from ranvier.protocol.room_versions import room_version
from ranvier.protocol.signing import SigningKey, parse_signature
from ranvier.protocol.xmatrix import parse_authorization, parse_authorizations

_ORIGIN, _US = "matrix.example", "dest.example"
_KEY = SigningKey("ed25519:a_1", bytes(range(32)))
_PUBLIC = _KEY.verify_key.key
_THEIR_KEY = signedjson.key.decode_verify_key_bytes(_KEY.key_id, _PUBLIC)
_KEYS = {
    _KEY.key_id: KeyOutcome(
        key_id=_KEY.key_id, verdict=KeyVerdict.GOOD, key=_KEY.verify_key, until=Ms(2**50)
    )
}
_LIMITS = Limits()
_VERSION = room_version("11")
_TS = 1_700_000_000_000
_EDU = {
    "edu_type": "m.typing",
    "content": {"room_id": f"!a:{_ORIGIN}", "user_id": f"@u:{_ORIGIN}", "typing": True},
}
_CHECKS, _PORTION = 200, 10

Check = Callable[[Any], object]


def envelopes(*, rounds: int) -> list[Row]:
    """One row for each size of request, and one for the PDUs of a full transaction."""
    pdus = [_pdu(number) for number in range(50)]
    bodies: dict[str, Callable[[int], bytes | None]] = {
        "no body": lambda number: None,
        "1 EDU": lambda number: _transaction(number, [], [_EDU]),
        "100 EDUs": lambda number: _transaction(number, [], [_EDU] * 100),
        "50 PDUs": lambda number: _transaction(number, pdus, []),
    }
    rows = []
    for what, body in bodies.items():
        signed = [_request(number, body(number)) for number in range(_CHECKS)]
        ours, theirs, bare = _turns(
            rounds, signed, _ours, _signedjson, lambda each: crypto_sign_open(each[3], _PUBLIC)
        )
        rows += [
            _row(f"envelope check, {what}", ours, theirs, "signedjson"),
            _row("  the same", ours, bare, "Ed25519 alone"),
        ]
    raw = [(encode_canonical(each), _message(each)) for each in pdus] * (_CHECKS // 50)
    ours, bare = _turns(rounds, raw, _checked_pdu, lambda each: crypto_sign_open(each[1], _PUBLIC))
    return [*rows, _row("a PDU read, hashed, verified", ours, bare, "Ed25519 alone")]


def _row(what: str, ours: Side, other: Side, beside: str) -> Row:
    return Row(what, "CPU us", ours, other, larger_is_better=False, beside=beside)


def _turns(rounds: int, items: Sequence[Any], *checks: Check) -> list[Side]:
    """A round gives each check every item, in small portions, and so one figure."""
    sides = [Side([]) for _ in checks]
    for _ in range(rounds):
        spent = [0.0] * len(checks)
        for start in range(0, len(items), _PORTION):
            for place, check in enumerate(checks):
                began = time.process_time()
                for item in items[start : start + _PORTION]:
                    check(item)
                spent[place] += time.process_time() - began
        for side, seconds in zip(sides, spent, strict=True):
            side.add(seconds / len(items) * 1e6)
    return sides


# --- Requests ---


def _ours(request: tuple[str, str, bytes | None, bytes]) -> None:
    target, header, body, _ = request
    content = None if body is None else canonical_content(body, limits=_LIMITS, lenient=True)[1]
    verified_request(
        parse_authorizations((header,), _LIMITS),
        method="GET" if body is None else "PUT",
        targets=(target,),
        destination=_US,
        content=content,
        keys=_KEYS,
    )


def _signedjson(request: tuple[str, str, bytes | None, bytes]) -> None:
    target, header, body, _ = request
    pairs = (each.split("=", 1) for each in header.split(" ", 1)[1].split(","))
    said = {name: value.strip('"') for name, value in pairs}
    signed: dict[str, Any] = {
        "method": "GET" if body is None else "PUT",
        "uri": target,
        "origin": said["origin"],
        "destination": said["destination"],
        "signatures": {said["origin"]: {said["key"]: said["sig"]}},
    }
    if body is not None:
        signed["content"] = json.loads(body)
    signedjson.sign.verify_signed_json(signed, said["origin"], _THEIR_KEY)


def _request(number: int, body: bytes | None) -> tuple[str, str, bytes | None, bytes]:
    """Target, header, body, and what libsodium is to check of it."""
    method = "GET" if body is None else "PUT"
    target = f"/_matrix/federation/v1/query/profile?user_id=%40u{number}%3A{_US}"
    if body is not None:
        target = f"/_matrix/federation/v1/send/{_TS + number}"
    names = {"origin": _ORIGIN, "destination": _US}
    header = sign_request(method=method, target=target, content=body, key=_KEY, **names)
    message = request_bytes(method=method, target=target, content=body, **names)
    said = parse_authorization(header)
    assert said is not None
    return target, header, body, parse_signature(said.sig) + message


def _transaction(number: int, pdus: list[Any], edus: list[Any]) -> bytes:
    content = {"origin": _ORIGIN, "origin_server_ts": _TS + number, "pdus": pdus, "edus": edus}
    return encode_canonical(content)


# --- PDUs ---


def _pdu(number: int) -> Any:
    event = {
        "type": "m.room.message",
        "room_id": f"!abcdefghijklmnopqr:{_ORIGIN}",
        "sender": f"@user:{_ORIGIN}",
        "content": {"msgtype": "m.text", "body": f"Message {number}, of ordinary length."},
        "depth": 1234,
        "origin_server_ts": _TS + number,
        "auth_events": ["$" + each * 43 for each in "abc"],
        "prev_events": ["$" + "d" * 43],
    }
    return sign_event(event, _VERSION, _ORIGIN, _KEY)


def _message(event: Any) -> bytes:
    signature: str = event["signatures"][_ORIGIN][_KEY.key_id]
    return parse_signature(signature) + event_signed_bytes(event, _VERSION)


def _checked_pdu(pdu: tuple[bytes, bytes]) -> None:
    verified_pdu(parse_pdu(pdu[0], _VERSION, _LIMITS), _ORIGIN, _KEYS)
