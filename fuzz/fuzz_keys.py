"""Any bytes as a key document of either version."""

from __future__ import annotations

from ranvier.errors import Malformed
from ranvier.limits import DAY_MS, WEEK_MS, Limits, Ms
from ranvier.protocol.conditions import Verdict, first_fatal
from ranvier.protocol.keyconditions import (
    V1_CONDITIONS,
    V2_CONDITIONS,
    examine_key_document,
)
from ranvier.protocol.keylife import key_for_event, key_for_request, life_ends
from ranvier.protocol.keys import KeyDocument, KeyVersion, build_v2_document, parse_key_document
from ranvier.protocol.signing import SigningKey

INVARIANT = (
    "A key document is refused whole as Malformed, or every condition is judged; a good one"
    " is for the asked name, signed by a key it lists, and gives no key for longer than a week."
)

NOW = Ms(1_800_000_000_000)
NAME = "hs.test"
LIMITS = Limits(key_document_bytes=65_536)
KEY = SigningKey("ed25519:a", bytes(range(32)))
GOOD = build_v2_document(NAME, [KEY], valid_until=Ms(NOW + DAY_MS))


def check(data: bytes) -> None:
    for version in KeyVersion:
        for body in (data, _mixed(data)):
            try:
                document = parse_key_document(body, version, LIMITS)
            except Malformed:
                continue
            _check_document(document)


def _mixed(data: bytes) -> bytes:
    """A good document with the bytes written over some place of it."""
    if len(data) < 2:
        return GOOD
    place = int.from_bytes(data[:2]) % len(GOOD)
    return GOOD[:place] + data[2:] + GOOD[place + len(data) - 2 :]


def _check_document(document: KeyDocument) -> None:
    conditions = examine_key_document(
        document, expected_name=NAME, now=NOW, known_keys={}, peer_certificate=b"x"
    )
    ids = V1_CONDITIONS if document.version is KeyVersion.V1 else V2_CONDITIONS
    assert tuple(each.id for each in conditions) == ids
    assert all(each.sentence.isascii() for each in conditions)
    verdicts = {each.id: each.verdict for each in conditions}
    if first_fatal(conditions) is None:
        assert document.server_name == NAME
        assert verdicts["key-self-signed"] is Verdict.HELD
        assert verdicts["key-signatures-verify"] is Verdict.HELD
        assert document.version is KeyVersion.V2  # No known key signed, so v1 never is.
    assert life_ends(document, NOW) <= NOW + WEEK_MS
    for key_id in (*document.listed, "ed25519:other"):
        request = key_for_request(document, key_id, now=NOW, fetched_at=NOW)
        event = key_for_event(document, key_id, at=NOW, fetched_at=NOW, enforce_validity=True)
        for outcome in (request, event):
            assert outcome.good == (outcome.key is not None) == (not outcome.code)
            assert outcome.reason.isascii()
        assert not request.good or event.good
