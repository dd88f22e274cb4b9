"""Certificates for tests: one authority that is known, and every kind that must be refused.

Everything is made once per process and kept (a key costs milliseconds, but there
are many tests). ``certificate(Kind.EXPIRED, "a.test")`` gives an :class:`Identity`
whose :meth:`Identity.context` a listener uses; ``authority().file`` is the CA file
that the client is given.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import hashlib
import ipaddress
import shutil
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = datetime.timedelta(days=1)


class Kind(StrEnum):
    """What is the matter with a certificate for a name (``GOOD``: nothing)."""

    GOOD = "good"
    WITH_INTERMEDIATE = "with-intermediate"
    MISSING_INTERMEDIATE = "missing-intermediate"
    WRONG_NAME = "wrong-name"
    UNKNOWN_AUTHORITY = "unknown-authority"
    SELF_SIGNED = "self-signed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    COMMON_NAME_ONLY = "common-name-only"
    V1_SELF_SIGNED = "v1-self-signed"
    """X.509 version 1, common name only: what servers of 2014 showed."""
    IP_TEXT_AS_DNS = "ip-text-as-dns"
    """A DNS-type SAN that holds an IP address in text (TLS-10)."""
    CLIENT_ONLY = "client-only"
    """Extended key usage says client authentication only."""
    WEAK_KEY = "weak-key"
    """RSA with 1024 bits."""


BAD_FOR_WEB_PKI = tuple(k for k in Kind if k not in (Kind.GOOD, Kind.WITH_INTERMEDIATE))


@functools.cache
def scratch() -> Path:
    """A directory that goes away with the process."""
    made = Path(tempfile.mkdtemp(prefix="ranvier-certs-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@dataclass(frozen=True, eq=False)
class Identity:
    """A certificate chain (DER, leaf first) with its key (PEM)."""

    chain: tuple[bytes, ...]
    key_pem: bytes

    @property
    def leaf(self) -> bytes:
        return self.chain[0]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.leaf).hexdigest()

    @property
    def chain_pem(self) -> bytes:
        return "".join(ssl.DER_cert_to_PEM_cert(each) for each in self.chain).encode()

    @functools.cached_property
    def files(self) -> tuple[str, str]:
        """Paths of the chain and of the key."""
        stem = scratch() / self.fingerprint[:24]
        chain, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
        chain.write_bytes(self.chain_pem)
        key.write_bytes(self.key_pem)
        return str(chain), str(key)

    def context(self) -> ssl.SSLContext:
        """A new server-side context that shows this chain."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.set_ciphers("DEFAULT:@SECLEVEL=0")  # the weak key
        made.load_cert_chain(*self.files)
        return made


@dataclass(frozen=True, eq=False)
class Authority:
    """A certificate authority, perhaps an intermediate one."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(DER)

    @functools.cached_property
    def file(self) -> str:
        """Path of a PEM file with this authority alone."""
        path = scratch() / f"ca-{self.certificate.serial_number:x}.pem"
        path.write_bytes(self.pem)
        return str(path)


def _authority_of(ca: trustme.CA) -> Authority:
    key = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(x509.load_pem_x509_certificate(ca.cert_pem.bytes()), key)


@functools.cache
def _root() -> trustme.CA:
    return trustme.CA(organization_name="Known authority")


@functools.cache
def authority() -> Authority:
    """The one that clients in tests know."""
    return _authority_of(_root())


@functools.cache
def intermediate() -> Authority:
    """Signed by :func:`authority`; clients do not know it by itself."""
    return _authority_of(_root().create_child_ca())


@functools.cache
def unknown_authority() -> Authority:
    """One that nobody knows."""
    return _authority_of(trustme.CA(organization_name="Unknown authority"))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def san_of(name: str) -> x509.GeneralName:
    """An iPAddress for an IP address in text, else a dNSName."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def issue(
    sans: Sequence[str | x509.GeneralName],
    *,
    by: Authority | None,
    common_name: str | None = None,
    days: tuple[float, float] = (-10, 90),
    shown: tuple[bytes, ...] = (),
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    key: PrivateKey | None = None,
) -> Identity:
    """A leaf for ``sans`` signed ``by`` an authority (``None``: by itself).

    ``days`` are the first and last day of validity counted from now; ``shown`` are the
    certificates that the listener shows after the leaf.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Leaf")]
        + ([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() + days[0] * DAY)
        .not_valid_after(_now() + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    names = [san_of(each) if isinstance(each, str) else each for each in sans]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if by is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    made = builder.sign(by.key if by else key, hashes.SHA256())
    return Identity((made.public_bytes(DER), *shown), _key_pem(key))


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def issue_v1(common_name: str, *, days: tuple[float, float] = (-10, 3650)) -> Identity:
    """X.509 version 1, no extensions, signed by itself: cut from a version 3 one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    third = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() + days[0] * DAY)
        .not_valid_after(_now() + days[1] * DAY)
        .sign(key, hashes.SHA256())
    )
    version = bytes.fromhex("a003020102")
    whole = third.tbs_certificate_bytes
    start = whole.index(version)
    assert start <= 4
    tbs = _tlv(0x30, whole[start + len(version) :])
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    signature = _tlv(0x03, b"\0" + key.sign(tbs, ec.ECDSA(hashes.SHA256())))
    return Identity((_tlv(0x30, tbs + algorithm + signature),), _key_pem(key))


@functools.cache
def good(*names: str) -> Identity:
    """Right in every way, for these names (IP addresses become iPAddress SANs)."""
    return issue(names, by=authority())


@functools.cache
def certificate(kind: Kind, name: str) -> Identity:
    """The certificate of ``kind`` that a listener for ``name`` shows."""
    return _MAKERS[kind](name)


_MAKERS = {
    Kind.GOOD: lambda name: issue([name], by=authority()),
    Kind.WITH_INTERMEDIATE: lambda name: issue(
        [name], by=intermediate(), shown=(intermediate().der,)
    ),
    Kind.MISSING_INTERMEDIATE: lambda name: issue([name], by=intermediate()),
    Kind.WRONG_NAME: lambda name: issue(["somebody-else.test"], by=authority()),
    Kind.UNKNOWN_AUTHORITY: lambda name: issue(
        [name], by=unknown_authority(), shown=(unknown_authority().der,)
    ),
    Kind.SELF_SIGNED: lambda name: issue([name], by=None, common_name=name),
    Kind.EXPIRED: lambda name: issue([name], by=authority(), days=(-90, -1)),
    Kind.NOT_YET_VALID: lambda name: issue([name], by=authority(), days=(5, 90)),
    Kind.COMMON_NAME_ONLY: lambda name: issue([], by=authority(), common_name=name),
    Kind.V1_SELF_SIGNED: lambda name: issue_v1(name),
    Kind.IP_TEXT_AS_DNS: lambda name: issue([x509.DNSName(name)], by=authority()),
    Kind.CLIENT_ONLY: lambda name: issue(
        [name], by=authority(), usage=ExtendedKeyUsageOID.CLIENT_AUTH
    ),
    Kind.WEAK_KEY: lambda name: issue(
        [name], by=authority(), key=rsa.generate_private_key(65537, 1024)
    ),
}
