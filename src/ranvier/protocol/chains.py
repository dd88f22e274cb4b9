"""Explain a certificate chain: from the leaf to an authority that we know, or where it ends.

OpenSSL judges in the handshake and gives one number; :func:`explain_chain` says
in conditions what it saw, for the report, the trail and the tests. It climbs
as OpenSSL does by default: known authorities first, then what the peer showed
in whatever order, up to a self-signed certificate, which must be a known one.
A test holds real handshakes and this room to one verdict. Not judged here,
only named: name constraints, revocation, policies.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits, Ms
from ranvier.protocol.certificates import (
    CLAUSE,
    CertificateFacts,
    issued_by,
    judge_certificate,
    leaf_conditions,
    read_certificate,
)
from ranvier.protocol.conditions import Condition, condition
from ranvier.protocol.names import TlsName
from ranvier.protocol.text import shown

_MOST = Limits().certificates_per_chain


class _End(StrEnum):
    """Where the climb ended."""

    KNOWN = "known"
    SELF_SIGNED_LEAF = "self-signed-leaf"
    UNKNOWN_ROOT = "unknown-root"
    MISSING = "missing"
    NOT_SIGNED = "not-signed"


class _Path(msgspec.Struct, frozen=True):
    """The certificates from the leaf upwards, as far as the climb came."""

    steps: tuple[CertificateFacts, ...]
    end: _End

    @property
    def top(self) -> CertificateFacts:
        return self.steps[-1]

    @property
    def authorities(self) -> tuple[CertificateFacts, ...]:
        return self.steps[1:]


def explain_chain(
    chain: tuple[bytes, ...],
    name: TlsName,
    now: Ms,
    roots: tuple[bytes, ...],
    *,
    most: int = _MOST,
) -> tuple[Condition, ...]:
    """Every condition between a peer's chain (leaf first) and trust in it.

    ``roots`` are the known authorities as DER; ones that cannot be read are
    passed over. Of the chain, the first ``most`` certificates are looked at.
    """
    any_shown = judge_certificate("chain-shown", bool(chain), "a certificate was shown")
    if not chain:
        return (any_shown,)
    try:
        read = tuple(read_certificate(each) for each in chain[:most])
    except Malformed as error:
        return (any_shown, condition("chain-readable", False, error.message, clause=CLAUSE))
    path = _climb(read, _readable(roots), now)
    return (
        any_shown,
        judge_certificate("chain-readable", True, f"{len(read)} certificates were read"),
        _order(read),
        *_ending(path),
        *_authority_conditions(path),
        *leaf_conditions(read[0], name, now),
        _dates(path, now),
        _constraints(path),
    )


def _readable(roots: tuple[bytes, ...]) -> tuple[CertificateFacts, ...]:
    facts = []
    for each in roots:
        try:
            facts.append(read_certificate(each))
        except Malformed:
            continue
    return tuple(facts)


def _climb(
    sent: tuple[CertificateFacts, ...], roots: tuple[CertificateFacts, ...], now: Ms
) -> _Path:
    """Each round puts one certificate more on the path, so the chain bounds it."""
    known = frozenset(each.der for each in roots)
    steps = [sent[0]]
    while not _self_signed(steps[-1]):
        used = {each.der for each in steps}
        named = [
            each
            for each in (*roots, *sent)
            if each.subject == steps[-1].issuer and each.der not in used
        ]
        named.sort(key=lambda each: not each.valid_at(now))
        issuer = next((each for each in named if issued_by(steps[-1], each)), None)
        if issuer is None:
            return _Path(tuple(steps), _End.NOT_SIGNED if named else _End.MISSING)
        steps.append(issuer)
    if steps[-1].der in known:
        return _Path(tuple(steps), _End.KNOWN)
    return _Path(tuple(steps), _End.UNKNOWN_ROOT if steps[1:] else _End.SELF_SIGNED_LEAF)


def _self_signed(facts: CertificateFacts) -> bool:
    return facts.self_issued and issued_by(facts, facts)


def _order(sent: tuple[CertificateFacts, ...]) -> Condition:
    """Each certificate follows the one that it signed; OpenSSL forgives, others do not."""
    held = all(lower.issuer == upper.subject for lower, upper in pairwise(sent))
    return judge_certificate(
        "chain-order", held, "each certificate follows the one it signed", fatal=False
    )


def _ending(path: _Path) -> tuple[Condition, ...]:
    """Three ways not to arrive, each with its own reason; at most one fails."""
    subject, issuer = shown(path.top.subject), shown(path.top.issuer)
    own = path.end is _End.SELF_SIGNED_LEAF
    broken = path.end is _End.NOT_SIGNED
    absent = path.end is _End.MISSING
    complete = f"the issuer of {subject}, {issuer}, is at hand"
    if absent and not path.authorities:
        complete += "; only the leaf leads there: was an intermediate left out?"
    return (
        judge_certificate(
            "chain-not-self-signed", not own, "somebody else vouches for the leaf, or it is known"
        ),
        judge_certificate(
            "chain-signatures", not broken, f"the key of {issuer} signed what names it issuer"
        ),
        judge_certificate("chain-complete", None if own or broken else not absent, complete),
        judge_certificate(
            "chain-authority-known",
            None if own or broken or absent else path.end is _End.KNOWN,
            f"{subject} is a known authority",
        ),
    )


def _authority_conditions(path: _Path) -> tuple[Condition, ...]:
    """May those above the leaf sign others, for TLS, this deep, and with keys that count?"""
    authorities = path.authorities
    some = bool(authorities) or None
    below = path.steps[:-1] if path.end in (_End.KNOWN, _End.UNKNOWN_ROOT) else path.steps
    strong = all(each.key_strong for each in authorities) and all(
        each.signature_strong for each in below
    )
    return (
        judge_certificate(
            "chain-may-sign",
            some and _all_may_sign(path) and _depths_allowed(authorities),
            "every certificate above the leaf may sign others, as deep as this",
        ),
        judge_certificate(
            "chain-purpose",
            some and all(each.serves_tls for each in authorities),
            "no authority is limited to other uses than TLS servers",
        ),
        judge_certificate(
            "chain-strength", strong, "no MD5, no SHA-1 and no small key signs in this chain"
        ),
    )


def _all_may_sign(path: _Path) -> bool:
    """basicConstraints says so; a root may also be of version 1, or say so by its usage alone."""
    for each in path.authorities:
        if each.usages is not None and "key_cert_sign" not in each.usages:
            return False
        old_root = each is path.top and each.self_issued and each.authority is None
        if not each.authority and not (old_root and (each.version == 1 or each.usages)):
            return False
    return True


def _depths_allowed(authorities: tuple[CertificateFacts, ...]) -> bool:
    """pathLenConstraint counts the authorities below that are not self-issued."""
    below = 0
    for each in authorities:
        if each.path_length is not None and below > each.path_length:
            return False
        below += not each.self_issued
    return True


def _dates(path: _Path, now: Ms) -> Condition:
    late = next((each for each in path.authorities if not each.valid_at(now)), None)
    sentence = "the dates of every authority include now"
    if late is not None:
        sentence += f", but those of {shown(late.subject)} do not"
    return judge_certificate("chain-dates", late is None if path.authorities else None, sentence)


def _constraints(path: _Path) -> Condition:
    limited = any(each.name_constraints for each in path.authorities)
    sentence = "no authority is limited to certain names (if one is, OpenSSL alone judges)"
    return judge_certificate(
        "chain-name-constraints", False if limited else None, sentence, fatal=False
    )
