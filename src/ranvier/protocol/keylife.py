"""How long a key may be used, as two questions: for a request now, for an event then.

A document is good for the lesser of what it says and seven days from when it
was **fetched** (KEYF-06, D7, AMB-20), so that whoever stole a domain or a key
cannot fix its own expiry (SEC-08). Version 1 says nothing of expiry: there the
seven days are our own limit (REF14-11).

Old verify keys answer only for events, up to their ``expired_ts``. An id that is
listed as current and as old counts as old.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ranvier.limits import WEEK_MS, Ms
from ranvier.protocol.keys import KeyDocument, OldVerifyKey
from ranvier.protocol.signing import VerifyKey
from ranvier.protocol.text import shown

_NEVER = Ms(0)


class KeyVerdict(StrEnum):
    """What a document says to the use of one key."""

    GOOD = "good"
    EXPIRED = "expired"
    OLD_KEY = "old-key"
    UNKNOWN = "unknown"
    UNUSABLE = "unusable"
    """It is listed, but this key is not one that we use; the reason says why."""


class KeyOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one key id. ``key`` is there only if the verdict is GOOD."""

    key_id: str
    verdict: KeyVerdict
    key: VerifyKey | None = None
    until: Ms = _NEVER
    """The last instant for which the key is good; 0 if there is none."""
    reason: str = ""
    code: str = ""
    """Empty if good."""

    @property
    def good(self) -> bool:
        """Whether the key may be used."""
        return self.verdict is KeyVerdict.GOOD


def life_ends(document: KeyDocument, fetched_at: Ms) -> Ms:
    """The last instant of the document's current keys."""
    week = Ms(fetched_at + WEEK_MS)
    return week if document.valid_until is None else min(document.valid_until, week)


def key_for_request(document: KeyDocument, key_id: str, *, now: Ms, fetched_at: Ms) -> KeyOutcome:
    """May this key sign a request that is received ``now``?"""
    old = _old(document, key_id)
    if old is not None:
        return KeyOutcome(
            key_id=key_id,
            verdict=KeyVerdict.OLD_KEY,
            until=old.expired_ts,
            reason=f"{shown(key_id)} is an old key: it counts for events, never for requests",
            code="key-old",
        )
    key = _current(document, key_id)
    if key is None:
        return _absent(document, key_id)
    return _within(key, life_ends(document, fetched_at), now, "fetch the document again")


def key_for_event(
    document: KeyDocument, key_id: str, *, at: Ms, fetched_at: Ms, enforce_validity: bool
) -> KeyOutcome:
    """May this key have signed an event whose ``origin_server_ts`` is ``at``?

    ``enforce_validity`` is the room version's word on current keys (from
    version 5 on); old keys end at their ``expired_ts`` in every version.
    """
    old = _old(document, key_id)
    if old is not None:
        return _within(old.key, old.expired_ts, at, "it is an old key")
    key = _current(document, key_id)
    if key is None:
        return _absent(document, key_id)
    until = life_ends(document, fetched_at)
    if not enforce_validity:
        return KeyOutcome(key_id=key_id, verdict=KeyVerdict.GOOD, key=key, until=until)
    return _within(key, until, at, "a newer document may cover it")


def _old(document: KeyDocument, key_id: str) -> OldVerifyKey | None:
    return next((each for each in document.old_verify_keys if each.key.key_id == key_id), None)


def _current(document: KeyDocument, key_id: str) -> VerifyKey | None:
    return next((each for each in document.verify_keys if each.key_id == key_id), None)


def _absent(document: KeyDocument, key_id: str) -> KeyOutcome:
    problem = next((each for each in document.problems if each.key_id == key_id), None)
    if problem is not None:
        return KeyOutcome(
            key_id=key_id,
            verdict=KeyVerdict.UNUSABLE,
            reason=problem.reason,
            code=problem.code,
        )
    return KeyOutcome(
        key_id=key_id,
        verdict=KeyVerdict.UNKNOWN,
        reason=f"the document does not list {shown(key_id)}",
        code="key-unknown",
    )


def _within(key: VerifyKey, until: Ms, at: Ms, cure: str) -> KeyOutcome:
    if at <= until:
        return KeyOutcome(key_id=key.key_id, verdict=KeyVerdict.GOOD, key=key, until=until)
    return KeyOutcome(
        key_id=key.key_id,
        verdict=KeyVerdict.EXPIRED,
        until=until,
        reason=f"{shown(key.key_id)} was good until {until}, not at {at}; {cure}",
        code="key-expired",
    )
