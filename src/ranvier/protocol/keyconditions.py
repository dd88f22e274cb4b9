"""Is a key document good? Every condition by name, for fetching, renewing and reporting.

:data:`V1_RULES` and :data:`V2_RULES` are the whole of it: one row a condition, in
the order in which production stops at the first fatal one. The same rows judge
a document from its origin, from a store and (later) from a notary.

**What version 1 proves** (REF14-12): that it came over a connection whose end holds
the certificate's private key. Without an authority a man in the middle passes
with his own pair. So after first contact a document counts only if a key that
we know signed it (D1): ``key-signed-by-known``.

Beyond the reference server of 2014 we compare the name, refuse an empty map of
signatures, and want every listed key to have signed (REF14-10). A row that is
*not applicable* either was not asked for (no peer certificate, no known keys)
or stands behind one that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import msgspec

from ranvier.limits import Ms
from ranvier.protocol.certificates import fingerprint, same_certificate
from ranvier.protocol.conditions import Condition, condition, insist
from ranvier.protocol.keys import V1_CLAUSE, V2_CLAUSE, KeyDocument, KeyVersion
from ranvier.protocol.signing import (
    SignatureOutcome,
    SignatureVerdict,
    VerifyKey,
    examine_signatures,
)
from ranvier.protocol.text import shown

_CHECKING = "[app:checking-for-a-signature]"
_RENEWAL = "[ranvier:renewal]"
_MOST_SHOWN = 10


class _Case:
    """A document with what it is held against; signatures are checked once."""

    def __init__(
        self,
        document: KeyDocument,
        expected_name: str,
        now: Ms,
        known: Mapping[str, VerifyKey] | None,
        peer: bytes | None,
    ) -> None:
        self.document, self.name, self.now = document, expected_name, now
        self.known, self.peer = known, peer
        self.signatures = document.signatures_of(expected_name)

    @cached_property
    def outcomes(self) -> tuple[SignatureOutcome, ...]:
        """The signatures, held against the keys that the document itself lists."""
        return self._against({key.key_id: key for key in self.document.verify_keys})

    def good(self, keys: Mapping[str, VerifyKey] | None = None) -> frozenset[str]:
        """The ids of ``keys`` (default: the listed ones) whose signatures verify."""
        outcomes = self.outcomes if keys is None else self._against(keys)
        return frozenset(each.key_id for each in outcomes if each.verdict is SignatureVerdict.VALID)

    def _against(self, keys: Mapping[str, VerifyKey]) -> tuple[SignatureOutcome, ...]:
        if not self.signatures:
            return ()
        return examine_signatures(self.document.content, self.name, keys, most=len(self.signatures))


_Answer = tuple[bool | None, str]


class Rule(msgspec.Struct, frozen=True):
    """One row: the condition's id, the text it comes from, and the question."""

    id: str
    clause: str
    fatal: bool
    check: Callable[[_Case], _Answer]


def examine_key_document(
    document: KeyDocument,
    *,
    expected_name: str,
    now: Ms,
    known_keys: Mapping[str, VerifyKey] | None = None,
    peer_certificate: bytes | None = None,
    authenticated: bool = False,
) -> tuple[Condition, ...]:
    """Every condition of the document's version; nothing is raised.

    ``known_keys`` are those already accepted for the name, by key id; ``None``
    is first contact, while an empty mapping is signed by nobody. Give
    ``peer_certificate`` (the leaf's DER, ``b""`` if none was shown) whenever a
    version 1 document has just been fetched. ``authenticated``: an authority had
    vouched for the connection, so a known key need not vouch for the document (D6).
    """
    case = _Case(document, expected_name, now, known_keys, peer_certificate)
    rules = V1_RULES if document.version is KeyVersion.V1 else V2_RULES
    return tuple(_judged(rule, case, authenticated) for rule in rules)


def verified_key_document(
    document: KeyDocument,
    *,
    expected_name: str,
    now: Ms,
    known_keys: Mapping[str, VerifyKey] | None = None,
    peer_certificate: bytes | None = None,
) -> KeyDocument:
    """The same document, insisted upon. Raises NotValid with all conditions."""
    insist(
        examine_key_document(
            document,
            expected_name=expected_name,
            now=now,
            known_keys=known_keys,
            peer_certificate=peer_certificate,
        )
    )
    return document


def _judged(rule: Rule, case: _Case, authenticated: bool) -> Condition:
    held, sentence = rule.check(case)
    fatal = rule.fatal and not (authenticated and rule.clause == _RENEWAL)
    return condition(rule.id, held, sentence, clause=rule.clause, fatal=fatal)


def _list(ids: Iterable[str]) -> str:
    """Key ids for a sentence: a stranger chose them, so few and quoted."""
    ordered = sorted(ids)
    more = ", ..." if len(ordered) > _MOST_SHOWN else ""
    return ", ".join(shown(each) for each in ordered[:_MOST_SHOWN]) + more


def _name_present(case: _Case) -> _Answer:
    if case.document.server_name is None:
        return False, "server_name is missing or is not text"
    return True, f"server_name is {shown(case.document.server_name)}"


def _name_matches(case: _Case) -> _Answer:
    name = case.document.server_name
    if name is None:
        return None, "there is no name to compare"
    if name != case.name:
        return False, f"the document is for {shown(name)}; {shown(case.name)} was asked"
    return True, "the document is for the name that was asked"


def _verify_keys_present(case: _Case) -> _Answer:
    if not case.document.listed:
        return False, "verify_keys is missing, empty or not an object"
    return True, f"it lists {len(case.document.listed)} keys: {_list(case.document.listed)}"


def _certificate_present(case: _Case) -> _Answer:
    held = isinstance(case.document.content.get("tls_certificate"), str)
    return held, f"tls_certificate is {'there' if held else 'missing or is not text'}"


def _certificate_decodes(case: _Case) -> _Answer:
    if not _certificate_present(case)[0]:
        return None, "there is no certificate to decode"
    held = bool(case.document.tls_certificate)
    return held, f"tls_certificate {'is' if held else 'is not'} base64 of something"


def _certificate_matches(case: _Case) -> _Answer:
    own = case.document.tls_certificate
    if case.peer is None or not own:
        return None, "there are no two certificates to compare"
    if not case.peer:
        return False, "the connection showed no certificate"
    if not same_certificate(own, case.peer):
        return False, (
            f"the document holds certificate {fingerprint(own)}, "
            f"the connection showed {fingerprint(case.peer)}"
        )
    return True, f"the connection showed the document's certificate, {fingerprint(own)}"


def _signatures_present(case: _Case) -> _Answer:
    held = isinstance(case.document.content.get("signatures"), dict)
    return held, f"signatures is {'there' if held else 'missing or is not an object'}"


def _signatures_entry(case: _Case) -> _Answer:
    if not _signatures_present(case)[0]:
        return None, "there are no signatures"
    held = case.signatures is not None
    return held, f"signatures has {'an' if held else 'no'} entry for {shown(case.name)}"


def _signatures_not_empty(case: _Case) -> _Answer:
    if case.signatures is None:
        return None, "there is no entry to look into"
    return bool(case.signatures), f"the entry has {len(case.signatures)} signatures"


def _signers_listed(case: _Case) -> _Answer:
    if not case.signatures:
        return None, "nobody signed"
    strangers = frozenset(case.signatures) - frozenset(case.document.listed)
    if strangers:
        return False, f"signed by keys that verify_keys does not list: {_list(strangers)}"
    return True, "every key that signed is listed"


def _signatures_verify(case: _Case) -> _Answer:
    wrong = (SignatureVerdict.INVALID, SignatureVerdict.MALFORMED)
    usable = {key.key_id for key in case.document.verify_keys}
    bad = [each for each in case.outcomes if each.verdict in wrong and each.key_id in usable]
    if bad:
        return False, f"signatures by {_list(each.key_id for each in bad)}: {bad[0].reason}"
    if not case.good():
        return None, "there is no signature that we could check"
    return True, "every signature by a listed key that we can check verifies"


def _self_signed(case: _Case) -> _Answer:
    if not case.signatures:
        return None, "nobody signed"
    good = case.good()
    if not good:
        return False, "no signature verifies with a key that the document itself lists"
    return True, f"signed by its own {_list(good)}"


def _each_signed(case: _Case) -> _Answer:
    if not case.signatures or not case.document.verify_keys:
        return None, "there are no keys or no signatures to compare"
    silent = {key.key_id for key in case.document.verify_keys} - case.signatures.keys()
    if silent:
        return False, f"listed keys that did not sign: {_list(silent)}"
    return True, "every listed key signed"


def _signed_by_known(case: _Case) -> _Answer:
    if case.known is None:
        return None, "first contact: no key was known before"
    good = case.good(case.known)
    if not good:
        return False, f"none of the keys known for {shown(case.name)} signed this document"
    return True, f"signed by {_list(good)}, known before"


def _bytes_changed(case: _Case) -> _Answer:
    if case.known is None:
        return None, "first contact: no key was known before"
    listed = [*case.document.verify_keys, *(old.key for old in case.document.old_verify_keys)]
    changed = {
        key.key_id
        for key in listed
        if key.key_id in case.known and case.known[key.key_id].key != key.key
    }
    if changed:
        return False, f"known key ids came back with other bytes: {_list(changed)}"
    return True, "no known key id came back with other bytes"


def _valid_until_present(case: _Case) -> _Answer:
    held = case.document.valid_until is not None
    return held, f"valid_until_ts is {'there' if held else 'missing or is not an integer'}"


def _not_expired(case: _Case) -> _Answer:
    until = case.document.valid_until
    if until is None:
        return None, "there is no expiry to compare"
    return case.now <= until, f"valid_until_ts is {until}, now is {case.now}"


def _usable(case: _Case) -> _Answer:
    problems = case.document.problems
    if problems:
        first = f"{shown(problems[0].key_id)}: {problems[0].reason}"
        return False, f"not used of what it holds, {len(problems)} in all: {first}"
    return True, "everything it lists can be used"


V1_RULES = (
    Rule("key-name-present", V1_CLAUSE, True, _name_present),
    Rule("key-name-matches", V1_CLAUSE, True, _name_matches),
    Rule("key-verify-keys-present", V1_CLAUSE, True, _verify_keys_present),
    Rule("key-certificate-present", V1_CLAUSE, True, _certificate_present),
    Rule("key-certificate-decodes", V1_CLAUSE, True, _certificate_decodes),
    Rule("key-certificate-matches", V1_CLAUSE, True, _certificate_matches),
    Rule("key-signatures-present", V1_CLAUSE, True, _signatures_present),
    Rule("key-signatures-entry", _CHECKING, True, _signatures_entry),
    Rule("key-signatures-not-empty", _CHECKING, True, _signatures_not_empty),
    Rule("key-signers-listed", V1_CLAUSE, True, _signers_listed),
    Rule("key-signatures-verify", _CHECKING, True, _signatures_verify),
    Rule("key-self-signed", V1_CLAUSE, True, _self_signed),
    Rule("key-each-listed-signed", V1_CLAUSE, True, _each_signed),
    Rule("key-signed-by-known", _RENEWAL, True, _signed_by_known),
    Rule("key-bytes-changed", _RENEWAL, False, _bytes_changed),
    Rule("key-all-usable", V1_CLAUSE, False, _usable),
)
V2_RULES = (
    Rule("key-name-present", V2_CLAUSE, True, _name_present),
    Rule("key-name-matches", V2_CLAUSE, True, _name_matches),
    Rule("key-verify-keys-present", V2_CLAUSE, True, _verify_keys_present),
    Rule("key-valid-until-present", V2_CLAUSE, True, _valid_until_present),
    Rule("key-signatures-present", V2_CLAUSE, True, _signatures_present),
    Rule("key-signatures-entry", _CHECKING, True, _signatures_entry),
    Rule("key-signatures-not-empty", _CHECKING, True, _signatures_not_empty),
    Rule("key-signatures-verify", _CHECKING, True, _signatures_verify),
    Rule("key-self-signed", V2_CLAUSE, True, _self_signed),
    Rule("key-signers-listed", V2_CLAUSE, False, _signers_listed),
    Rule("key-each-listed-signed", V2_CLAUSE, False, _each_signed),
    Rule("key-not-expired", V2_CLAUSE, False, _not_expired),
    Rule("key-signed-by-known", _RENEWAL, False, _signed_by_known),
    Rule("key-bytes-changed", _RENEWAL, False, _bytes_changed),
    Rule("key-all-usable", V2_CLAUSE, False, _usable),
)

V1_CONDITIONS = tuple(rule.id for rule in V1_RULES)
V2_CONDITIONS = tuple(rule.id for rule in V2_RULES)
