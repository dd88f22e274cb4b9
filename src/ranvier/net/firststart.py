"""What is made at the first start and kept: a signing key and a self-signed certificate.

Nothing here ever overwrites a file. The certificate is for the host of the server
name (a DNS name or an IP address), EC P-256, valid for ten years from a day ago:
the 2014 rule and pinning compare certificates and care for no authority, and
nobody reminds the owner of a self-signed one. For today's federation put a
certificate of a known authority in its place; it is picked up while running.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ranvier.errors import BadConfiguration, Malformed
from ranvier.limits import DAY_MS, Ms
from ranvier.net.files import create_once, is_there, read_secret
from ranvier.plugs import Clock
from ranvier.protocol.names import ServerName, TlsName
from ranvier.protocol.signing import (
    SigningKey,
    format_signing_keys,
    generate_signing_key,
    new_key_version,
    parse_signing_keys,
)

VALID_DAYS = 3653
_MOST_COMMON_NAME = 64
_BEGINS = b"-----BEGIN CERTIFICATE-----"


def fresh_signing_key(clock: Clock) -> SigningKey:
    """A new key ``ed25519:a_XXXX`` (D10)."""
    return generate_signing_key(clock.random_bytes(32), new_key_version(clock.random_bytes(4)))


def load_or_create_signing_keys(path: Path, clock: Clock) -> tuple[SigningKey, ...]:
    """The keys in the file, first the one that signs requests; made if there is no file.

    Raises: BadConfiguration (never showing what is in the file).
    """
    if not is_there(path):
        content = format_signing_keys((fresh_signing_key(clock),)).encode("ascii")
        create_once(path, content, clock.random_bytes(8))
    try:
        return parse_signing_keys(read_secret(path).decode("ascii"))
    except UnicodeDecodeError:
        reason = "it is not a text of ASCII letters"
    except Malformed as error:
        reason = error.message
    raise BadConfiguration("signing-key-file", f"{path} is not a signing key file: {reason}")


def ensure_certificate(certificate: Path, key: Path, name: ServerName, clock: Clock) -> bool:
    """Make both files, self-signed, if neither is there; whether one was made.

    The key's file holds the certificate too and is made first and at once. Whoever
    starts beside us, or after a crash in between, takes the certificate from there.

    Raises: BadConfiguration.
    """
    there = is_there(certificate), is_there(key)
    if all(there):
        return False
    if not any(there):
        pair = self_signed(name.tls_name, clock.now(), clock.random_bytes(19))
        create_once(key, pair[1] + pair[0], clock.random_bytes(8))
    kept = b"" if there[0] else read_secret(key, group_may_read=True)
    _, begins, rest = kept.partition(_BEGINS)
    if not begins:
        missing, other = (key, certificate) if there[0] else (certificate, key)
        raise BadConfiguration(
            "certificate-half",
            f"{other} is there but {missing} is not; put both there, or remove both"
            " to have a self-signed pair made",
        )
    return create_once(certificate, begins + rest, clock.random_bytes(8), mode=0o644)


def self_signed(name: TlsName, now: Ms, serial: bytes) -> tuple[bytes, bytes]:
    """A certificate for ``name`` and its private key, as PEM. ``serial``: up to 19 random bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    common = [x509.NameAttribute(NameOID.COMMON_NAME, name.text[:_MOST_COMMON_NAME])]
    subject = x509.Name(common)
    begins = datetime.datetime.fromtimestamp((now - DAY_MS) // 1000, datetime.UTC)
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(serial, "big") | 1)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made.public_bytes(serialization.Encoding.PEM), secret


def _alternative(name: TlsName) -> x509.GeneralName:
    if name.is_ip:
        return x509.IPAddress(ipaddress.ip_address(name.text))
    return x509.DNSName(name.text)
