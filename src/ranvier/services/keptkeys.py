"""What the store keeps of a server's key documents, as its two views.

The *request view* is the newest direct document alone (D6). The *event view* is
every document ever accepted: an old event was signed by an old key.

Nothing from the store is believed unread: a document is parsed and examined
again, as it was when it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from ranvier.errors import Malformed, NotValid
from ranvier.limits import Limits, Ms
from ranvier.plugs import StoredDocument
from ranvier.protocol.conditions import insist
from ranvier.protocol.keyconditions import examine_key_document
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict, key_for_event
from ranvier.protocol.keys import KeyDocument, KeyVersion, parse_key_document
from ranvier.protocol.signing import VerifyKey
from ranvier.services.keyfetch import Held
from ranvier.services.trust import TrustMode, TrustRule


def request_view(kept: tuple[StoredDocument, ...], rule: TrustRule, limits: Limits) -> Held:
    """The newest direct fetch holds, even if it says less than an older one (D6).

    Raises: Malformed, NotValid (what we kept is damaged, or the limits are other ones now).
    """
    newest = max(reversed(kept), key=lambda each: each.fetched_at)
    older = tuple(each for each in kept if each is not newest)
    return _read_again(newest, rule, limits, known_keys(older) or None)


def _read_again(
    stored: StoredDocument,
    rule: TrustRule,
    limits: Limits,
    known: Mapping[str, VerifyKey] | None = None,
) -> Held:
    document = parse_key_document(stored.body, KeyVersion(stored.version), limits)
    conditions = examine_key_document(
        document,
        expected_name=stored.server_name,
        now=stored.fetched_at,
        known_keys=known,
        authenticated=rule.trust is TrustMode.WEB_PKI,
    )
    insist(conditions)
    return Held(document=document, conditions=conditions, fetched_at=stored.fetched_at)


def known_keys(kept: tuple[StoredDocument, ...]) -> Mapping[str, VerifyKey]:
    """Every key of the kept documents. A known id never takes other bytes (D8).

    So the alarm does not fall silent because the other bytes were seen a second time.
    """
    known: dict[str, bytes] = {}
    for stored in sorted(kept, key=lambda each: each.first_seen):
        for key_id, key in stored.keys:
            known.setdefault(key_id, key)
    return _Known(known)


class _Known(Mapping[str, VerifyKey]):
    """Keys by id, each examined when it is asked for: there may be many that never are."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = keys

    def __getitem__(self, key_id: str) -> VerifyKey:
        try:
            return VerifyKey(key_id, self._keys[key_id])
        except (Malformed, NotValid):  # it was good enough once
            raise KeyError(key_id) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class SeenDocument(msgspec.Struct, frozen=True):
    """One document of the event view, without its bytes."""

    document: KeyDocument
    first_seen: Ms
    fetched_at: Ms

    @classmethod
    def of(cls, held: Held, first_seen: Ms) -> SeenDocument:
        """``held`` as it is needed for events."""
        slim = msgspec.structs.replace(held.document, body=b"", content={})
        return cls(slim, first_seen, held.fetched_at)


def event_view(
    kept: tuple[StoredDocument, ...], rule: TrustRule, limits: Limits
) -> tuple[SeenDocument, ...]:
    """Every kept document that still reads well, in the order in which they were first seen."""
    view = []
    for stored in sorted(kept, key=lambda each: (each.first_seen, each.fetched_at)):
        try:
            view.append(SeenDocument.of(_read_again(stored, rule, limits), stored.first_seen))
        except (Malformed, NotValid):
            continue
    return tuple(view)


def event_outcome(
    view: tuple[SeenDocument, ...], key_id: str, *, at: Ms, enforce_validity: bool
) -> KeyOutcome | None:
    """What all documents together say of a key for an event of the instant ``at``.

    * The newest document that lists the id as retired is believed: what came after
      ``expired_ts`` does not count, whatever an older document said (KEYF-12).
    * If the same id had other bytes at some time, the old ones count for what was
      before the change, and the new ones from then on (D8).
    """
    listed = [
        (each, key_for_event(each.document, key_id, at=at, fetched_at=each.fetched_at,
                             enforce_validity=enforce_validity))
        for each in view
        if _lists(each.document, key_id)
    ]  # fmt: skip
    if not listed:
        return None
    newest, last_word = listed[-1]
    good = [(each, outcome) for each, outcome in listed if outcome.good]
    if not good or (_retired(newest.document, key_id) and not last_word.good):
        return last_word
    seen_by_then = [outcome for each, outcome in good if each.first_seen <= at]
    return seen_by_then[-1] if seen_by_then else good[0][1]


def unlisted(key_id: str, code: str, reason: str) -> KeyOutcome:
    """The outcome for a key id of which no document is in hand."""
    return KeyOutcome(key_id=key_id, verdict=KeyVerdict.UNKNOWN, code=code, reason=reason)


def _retired(document: KeyDocument, key_id: str) -> bool:
    return any(each.key.key_id == key_id for each in document.old_verify_keys)


def _lists(document: KeyDocument, key_id: str) -> bool:
    current = any(each.key_id == key_id for each in document.verify_keys)
    return current or _retired(document, key_id)
