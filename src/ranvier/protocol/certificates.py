"""X.509: whose certificate is it, for how long, and is it the document's?

Three users, three questions. The 2014 rule asks whether two certificates are
the same one: that is equality of DER and nothing else, so a version 1
certificate with a common name only, expired or not, compares as well as any
(:func:`same_certificate`). Today's rule asks whether a certificate is for a TLS
name now (:func:`examine_leaf`); :mod:`ranvier.protocol.chains` goes on to the
authorities. Both only *explain*: in a handshake OpenSSL is the judge.

This room alone reads X.509, once, into plain facts. Whatever odd bytes a
stranger shows, :func:`read_certificate` gives facts or raises ``Malformed``.
Nothing here checks an Ed25519 signature of Matrix: that is ``signing``'s, by
another library.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.utils import CryptographyDeprecationWarning

from ranvier.errors import Malformed
from ranvier.limits import Ms
from ranvier.protocol.conditions import Condition, condition
from ranvier.protocol.names import TlsName
from ranvier.protocol.text import shown

CLAUSE = "[s2s:tls]"
SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
"""The extended key usage of a TLS server."""

_TLS_USAGES = frozenset({"digital_signature", "key_encipherment", "key_agreement"})
_USAGES = (*sorted(_TLS_USAGES), "key_cert_sign")
_WEAK_HASHES = frozenset({"md5", "sha1"})
# What a whole-label wildcard may stand for: one label.
_LABEL = re.compile(r"[a-z0-9-]+", re.ASCII)
_MOST_SHOWN = 20

# A stranger's certificate (and a system's root) may have a serial number below one; the
# parser takes it and grumbles on standard error, which is not a stranger's to write on.
warnings.filterwarnings("ignore", category=CryptographyDeprecationWarning, module=__name__)

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class Certificates(msgspec.Struct, frozen=True):
    """The chain that a peer showed, leaf first, as DER. Empty if it showed none."""

    chain: tuple[bytes, ...] = ()

    @property
    def leaf(self) -> bytes:
        """The peer's own certificate; empty bytes if it showed none."""
        return self.chain[0] if self.chain else b""


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate, read. ``None`` in a set or flag means: the extension is absent."""

    der: bytes
    version: int
    """1 or 3, as people say it. Version 1 has no extensions, so no SAN."""
    subject: str
    issuer: str
    self_issued: bool
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    not_before: Ms
    not_after: Ms
    usages: frozenset[str] | None
    purposes: frozenset[str] | None
    """Extended key usages, as dotted object identifiers."""
    authority: bool | None
    """basicConstraints' ``cA``."""
    path_length: int | None
    name_constraints: bool
    key: str
    """The kind and size of the public key, ``RSA 2048``."""
    key_strong: bool
    signature_hash: str

    @property
    def names(self) -> tuple[str, ...]:
        """What it is for: the SAN's DNS names, then its IP addresses."""
        return self.dns_names + self.ip_addresses

    @property
    def common_name_only(self) -> bool:
        """Whether it names its server in the old way alone, which is no name today."""
        return bool(self.common_name) and not self.names

    @property
    def signature_strong(self) -> bool:
        """Whether the hash under its signature still counts (not MD5, not SHA-1)."""
        return self.signature_hash not in _WEAK_HASHES

    @property
    def serves_tls(self) -> bool:
        """Whether its usages let it, or the leaves under it, be a TLS server's."""
        return self.purposes is None or SERVER_AUTH in self.purposes

    def valid_at(self, now: Ms) -> bool:
        """Whether ``now`` lies between its dates."""
        return self.not_before <= now <= self.not_after

    def covers(self, name: TlsName) -> bool:
        """Whether the SAN holds this name; the common name is never consulted (TLS-10)."""
        if name.is_ip:
            return _ip(name.text) in {_ip(each) for each in self.ip_addresses}
        return any(_dns_name_matches(each, name.text) for each in self.dns_names)


def fingerprint(der: bytes) -> str:
    """SHA-256 of the DER, lower-case hex: how pins are written."""
    return sha256(der).hexdigest()


def same_certificate(one: bytes, other: bytes) -> bool:
    """Whether both are one certificate: equal DER. Nothing equals no certificate at all.

    REF14-08, ERR14-06: the text says "matches", the reference server compared
    the leaf's exact bytes. Neither needs to be readable.
    """
    return bool(one) and one == other


def read_certificate(der: bytes) -> CertificateFacts:
    """Read everything we ever ask about. Raises Malformed.

    The parser reads lazily and fails in many ways; an extension that cannot be
    read spoils the certificate, because what it would have forbidden is unknown.
    """
    try:
        return _facts(x509.load_der_x509_certificate(der), der)
    except Exception as error:  # the parser's errors have no common root
        message = f"not a readable X.509 certificate: {shown(str(error))}"
        raise Malformed("certificate-unreadable", message, clause=CLAUSE) from error


def issued_by(child: CertificateFacts, issuer: CertificateFacts) -> bool:
    """Whether ``issuer``'s name and key are the ones that signed ``child``.

    For signatures over MD5 or SHA-1 the name decides: libraries check them no more,
    and nobody's trust rests on them but a known root's own.
    """
    if not child.signature_strong:
        return child.issuer == issuer.subject
    signed = x509.load_der_x509_certificate(child.der)
    try:
        signed.verify_directly_issued_by(x509.load_der_x509_certificate(issuer.der))
    except Exception:  # wrong name, wrong key, a kind of key we cannot check: not issued
        return False
    return True


def examine_leaf(der: bytes, name: TlsName, now: Ms) -> tuple[Condition, ...]:
    """Every condition on a server's own certificate, without asking who signed it."""
    try:
        facts = read_certificate(der)
    except Malformed as error:
        return (condition("certificate-readable", False, error.message, clause=CLAUSE),)
    readable = condition(
        "certificate-readable",
        True,
        f"X.509 version {facts.version} for {shown(facts.subject)}",
        clause=CLAUSE,
        sha256=fingerprint(der),
    )
    return (readable, *leaf_conditions(facts, name, now))


def leaf_conditions(facts: CertificateFacts, name: TlsName, now: Ms) -> tuple[Condition, ...]:
    """The leaf's conditions, in the order in which OpenSSL checks them."""
    purpose = facts.serves_tls and (facts.usages is None or bool(facts.usages & _TLS_USAGES))
    begins, ends = _date(facts.not_before), _date(facts.not_after)
    return (
        judge_certificate("certificate-purpose", purpose, "its usages allow a TLS server"),
        judge_certificate(
            "certificate-strength", facts.key_strong, f"its key is strong enough: {facts.key}"
        ),
        _name_condition(facts, name),
        judge_certificate(
            "certificate-begun", facts.not_before <= now, f"its time has begun: {begins}"
        ),
        judge_certificate(
            "certificate-not-expired", now <= facts.not_after, f"its time has not run out: {ends}"
        ),
    )


def judge_certificate(
    id: str, held: bool | None, sentence: str, *, fatal: bool = True
) -> Condition:
    """A condition whose sentence is said of the good case, and denied in the bad one."""
    text = f"not so: {sentence}" if held is False else sentence
    return condition(id, held, text, clause=CLAUSE, fatal=fatal)


def _name_condition(facts: CertificateFacts, name: TlsName) -> Condition:
    listed = ", ".join(shown(each) for each in facts.names[:_MOST_SHOWN]) or "no name"
    held = facts.covers(name)
    sentence = f"its SAN covers {shown(name.text)}"
    if not held:
        sentence = f"it is for {listed}, not for {shown(name.text)}"
        if facts.common_name_only:
            sentence += f"; its common name {shown(facts.common_name)} does not count"
    return condition(
        "certificate-name",
        held,
        sentence,
        clause=CLAUSE,
        names=listed,
        common_name=shown(facts.common_name),
    )


def _date(instant: Ms) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).isoformat(" ", "seconds")


def _dns_name_matches(pattern: str, name: str) -> bool:
    """Whether a dNSName covers a name: equal, or ``*`` for exactly the left-most label.

    As in OpenSSL the wildcard is the whole label, and at least two labels follow it.
    """
    pattern, name = pattern.lower(), name.lower()
    if pattern == name:
        return True
    if not pattern.startswith("*.") or pattern.count(".") < 2:
        return False
    label, _, rest = name.partition(".")
    return rest == pattern[2:] and _LABEL.fullmatch(label) is not None


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _facts(certificate: x509.Certificate, der: bytes) -> CertificateFacts:
    names = _extension(certificate, x509.SubjectAlternativeName)
    usage = _extension(certificate, x509.KeyUsage)
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    basic = _extension(certificate, x509.BasicConstraints)
    key, strong = _key(certificate)
    hash_used = certificate.signature_hash_algorithm
    return CertificateFacts(
        der=der,
        version=certificate.version.value + 1,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        self_issued=certificate.subject == certificate.issuer,
        common_name=_common_name(certificate.subject),
        dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
        ip_addresses=tuple(map(str, names.get_values_for_type(x509.IPAddress))) if names else (),
        not_before=Ms(int(certificate.not_valid_before_utc.timestamp()) * 1000),
        not_after=Ms(int(certificate.not_valid_after_utc.timestamp()) * 1000),
        usages=frozenset(each for each in _USAGES if getattr(usage, each)) if usage else None,
        purposes=frozenset(each.dotted_string for each in purposes) if purposes else None,
        authority=basic.ca if basic else None,
        path_length=basic.path_length if basic else None,
        name_constraints=_extension(certificate, x509.NameConstraints) is not None,
        key=key,
        key_strong=strong,
        signature_hash=hash_used.name if hash_used else "",
    )


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _common_name(subject: x509.Name) -> str:
    values = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(values[0].value) if values else ""


def _key(certificate: x509.Certificate) -> tuple[str, bool]:
    """The key's kind, and whether it reaches 112 bits of strength (OpenSSL's level 2)."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}", key.key_size >= 2048
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}", key.key_size >= 2048
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}", key.key_size >= 224
    return type(key).__name__.removesuffix("PublicKey"), True
