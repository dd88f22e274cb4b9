"""Real X.509 certificates, made in memory, in every right and wrong way.

An :class:`Authority` is a root with one intermediate. It issues
:class:`Credential` values: a chain as it goes over the wire (leaf,
intermediate; never the root) and the leaf's private key. A :class:`Flaw` names
what is wrong with one. The bytes are real, so the same credentials serve the
world, a TLS server on loopback and the tests of the pure rules.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import TypeAlias

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ranvier.limits import Ms
from ranvier.protocol.certificates import Certificates

_Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_LIFE = timedelta(days=90)
_AUTHORITY_LIFE = timedelta(days=3650)


class Flaw(StrEnum):
    """What is wrong with a certificate."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    SELF_SIGNED = "self-signed"
    """Signed by its own key: what a home server makes for itself."""
    UNKNOWN_AUTHORITY = "unknown-authority"
    """A whole chain, to a root that nobody knows."""
    MISSING_INTERMEDIATE = "missing-intermediate"
    """The leaf alone, though its issuer is not a root."""
    DISORDERED = "disordered"
    """A stranger's root stands before the intermediate. OpenSSL finds its way; not all do."""
    BAD_SIGNATURE = "bad-signature"
    """The right issuer's name, but not its signature."""
    CN_ONLY = "cn-only"
    """The name stands in the subject alone, which nobody reads any more."""
    IP_AS_DNS = "ip-as-dns"
    """An IP address written as a DNS name in the SAN."""
    CLIENT_ONLY = "client-only"
    """Extended key usage clientAuth without serverAuth."""
    EXPIRED_INTERMEDIATE = "expired-intermediate"
    WEAK_KEY = "weak-key"
    """RSA with 1024 bits. Its key is new in each process, whatever the seed."""


class Credential(msgspec.Struct, frozen=True):
    """What a server holds: the chain it shows, as DER, and the leaf's key, as PKCS#8 PEM."""

    chain: tuple[bytes, ...]
    key: bytes

    @property
    def leaf(self) -> bytes:
        """The leaf as DER."""
        return self.chain[0]

    @property
    def certificates(self) -> Certificates:
        """The chain as a peer sees it."""
        return Certificates(self.chain)

    @property
    def pem(self) -> bytes:
        """The chain as PEM: with :attr:`key`, what ``SSLContext.load_cert_chain`` reads."""
        return b"".join(to_pem(der) for der in self.chain)


def to_pem(der: bytes) -> bytes:
    """One certificate as PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


class _Signer(msgspec.Struct, frozen=True):
    name: x509.Name
    key: _Key
    der: bytes


class Authority:
    """A certificate authority of one world: ``root`` is what a client must know.

    ``seed`` fixes all keys and serial numbers; ``now`` lies within the life of
    all that is not flawed.
    """

    def __init__(self, *, now: Ms, seed: int = 0, name: str = "World") -> None:
        self._random = random.Random(f"{name}/{seed}")  # noqa: S311 - test keys, to be repeated
        self._seed = seed
        self._now = datetime.fromtimestamp(now / 1000, UTC)
        self._name = name
        self._root = self._authority(f"{name} Root", None)
        self._intermediate = self._authority(f"{name} Intermediate", self._root)
        self._stranger: Authority | None = None

    @property
    def root(self) -> bytes:
        """The root as DER."""
        return self._root.der

    @property
    def root_pem(self) -> bytes:
        """The root as PEM: a CA file."""
        return to_pem(self._root.der)

    def issue(self, *names: str, flaw: Flaw | None = None, now: Ms | None = None) -> Credential:
        """A certificate for DNS names (wildcards too) and IP addresses, valid from ``now`` on.

        It lives 90 days. ``now`` is the authority's own beginning if not given.
        """
        moment = self._now if now is None else datetime.fromtimestamp(now / 1000, UTC)
        if flaw is Flaw.UNKNOWN_AUTHORITY:
            return self._unknown().issue(*names, now=now)
        key = _weak_key() if flaw is Flaw.WEAK_KEY else self._new_key()
        signer = self._signer(flaw, names, key)
        builder = _builder(_subject(names[0]), signer.name, key, self._serial())
        builder = _valid(builder, *_leaf_life(moment, flaw))
        if flaw is not Flaw.CN_ONLY:
            builder = builder.add_extension(_alternatives(names, flaw), critical=False)
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        if flaw is Flaw.CLIENT_ONLY:
            usage = ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        signing_key = self._new_key() if flaw is Flaw.BAD_SIGNATURE else signer.key
        leaf = _der(_identified(builder, key, signer.key).sign(signing_key, hashes.SHA256()))
        return Credential(self._chain(leaf, signer, flaw), _key_pem(key))

    def _signer(self, flaw: Flaw | None, names: Sequence[str], key: _Key) -> _Signer:
        if flaw is Flaw.SELF_SIGNED:
            return _Signer(_subject(names[0]), key, b"")
        if flaw is Flaw.EXPIRED_INTERMEDIATE:
            return self._authority(f"{self._name} Old Intermediate", self._root, expired=True)
        return self._intermediate

    def _chain(self, leaf: bytes, signer: _Signer, flaw: Flaw | None) -> tuple[bytes, ...]:
        if flaw in (Flaw.SELF_SIGNED, Flaw.MISSING_INTERMEDIATE):
            return (leaf,)
        if flaw is Flaw.DISORDERED:
            return (leaf, self._unknown().root, signer.der)
        return (leaf, signer.der)

    def _unknown(self) -> Authority:
        if self._stranger is None:
            moment = Ms(round(self._now.timestamp() * 1000))
            self._stranger = Authority(now=moment, seed=self._seed, name="Stranger")
        return self._stranger

    def _authority(self, name: str, parent: _Signer | None, *, expired: bool = False) -> _Signer:
        key = self._new_key()
        subject = _subject(name)
        signer = parent or _Signer(subject, key, b"")
        ends = self._now + (-timedelta(days=1) if expired else _AUTHORITY_LIFE)
        builder = _builder(subject, signer.name, key, self._serial())
        builder = _valid(builder, self._now - _AUTHORITY_LIFE, ends)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(_authority_usage(), critical=True)
        builder = _identified(builder, key, signer.key)
        return _Signer(subject, key, _der(builder.sign(signer.key, hashes.SHA256())))

    def _new_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(self._random.getrandbits(255) | 1, ec.SECP256R1())

    def _serial(self) -> int:
        return self._random.getrandbits(120) | 1


@cache
def _weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused


def _subject(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _Key, serial: int
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer, subject_name=subject, public_key=key.public_key(), serial_number=serial
    )


def _valid(
    builder: x509.CertificateBuilder, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return builder.not_valid_before(begins).not_valid_after(ends)


def _identified(
    builder: x509.CertificateBuilder,
    key: _Key,
    issuer: _Key,
) -> x509.CertificateBuilder:
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    other = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return builder.add_extension(own, critical=False).add_extension(other, critical=False)


def _leaf_life(moment: datetime, flaw: Flaw | None) -> tuple[datetime, datetime]:
    if flaw is Flaw.EXPIRED:
        return moment - _LIFE, moment - timedelta(days=1)
    if flaw is Flaw.NOT_YET_VALID:
        return moment + timedelta(days=1), moment + _LIFE
    return moment - timedelta(days=1), moment + _LIFE


def _alternatives(names: Sequence[str], flaw: Flaw | None) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_alternative(name, flaw) for name in names])


def _alternative(name: str, flaw: Flaw | None) -> x509.GeneralName:
    if flaw is Flaw.IP_AS_DNS:
        return x509.DNSName(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
