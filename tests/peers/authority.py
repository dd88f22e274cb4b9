"""The test authority that every current Synapse here trusts, and self-signed pairs."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import msgspec
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The leaf as it goes over the wire."""
        leaf = x509.load_pem_x509_certificates(self.cert.read_bytes())[0]
        return leaf.public_bytes(serialization.Encoding.DER)


class Authority:
    """One certificate authority; ``pem`` is the file that peers trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._authority = trustme.CA()
        self._count = 0
        self.pem = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.pem))

    def certificate(self, *names: str) -> Pair:
        """A leaf for DNS names and IP addresses, with its chain."""
        issued = self._authority.issue_cert(*names, common_name=names[0])
        pair = self._pair(names[0])
        pair.key.touch(0o600)
        issued.private_key_pem.write_to_path(str(pair.key))
        for number, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(str(pair.cert), append=number > 0)
        return pair

    def self_signed(self, name: str) -> Pair:
        """A certificate by nobody: subject ``name``, no alternative names, ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650))
            .sign(key, hashes.SHA256())
        )
        pair = self._pair(name)
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.touch(0o600)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _pair(self, name: str) -> Pair:
        self._count += 1
        stem = f"{self._count:03}-{re.sub(r'[^a-z0-9.]', '_', name)}"
        return Pair(self._directory / f"{stem}.crt", self._directory / f"{stem}.key")
