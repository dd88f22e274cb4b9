"""Certificates: the same one?, for this name?, and now? Whatever bytes come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.limits import DAY_MS, Ms
from ranvier.protocol.canonical import decode_base64
from ranvier.protocol.certificates import (
    Certificates,
    examine_leaf,
    fingerprint,
    read_certificate,
    same_certificate,
)
from ranvier.protocol.conditions import first_fatal
from ranvier.protocol.names import TlsName
from tests.rigs import certs

VECTORS = json.loads(Path(__file__, "../../../vectors/key_documents.json").resolve().read_text())
VERSION_1 = decode_base64(VECTORS["leaf"])
GOOD = certs.good("hs.test", "192.0.2.7").leaf
READ = read_certificate(GOOD)
NOW = Ms(READ.not_before + DAY_MS)
HOST = TlsName("hs.test")


def reasons(der: bytes, name: TlsName = HOST, now: Ms = NOW) -> list[str]:
    return [each.id for each in examine_leaf(der, name, now) if each.failed]


# --- The same one? ---


@pytest.mark.req("SEED-12", "SEED-14", "REF14-08", "ERR14-06")
def test_a_version_1_certificate_compares_like_any_other() -> None:
    facts = read_certificate(VERSION_1)
    assert (facts.version, facts.common_name, facts.names) == (1, "hs1.test", ())
    assert same_certificate(VERSION_1, bytes(VERSION_1))
    assert not same_certificate(VERSION_1, GOOD)
    assert fingerprint(VERSION_1) == (
        "e223a362b4f90f666ec483327c594bb32a2a17acc0c3c898a923c98018a008ab"
    )


@pytest.mark.req("REF14-08")
def test_no_certificate_is_the_same_as_no_certificate() -> None:
    assert not same_certificate(b"", b"")
    assert not same_certificate(b"", GOOD)
    assert same_certificate(b"never parsed", b"never parsed")


def test_the_leaf_is_the_first_of_what_was_shown() -> None:
    assert Certificates((GOOD, VERSION_1)).leaf == GOOD
    assert Certificates().leaf == b""


# --- For this name? ---


def named(*sans: str | x509.GeneralName, common_name: str | None = None) -> bytes:
    return certs.issue(sans, by=None, common_name=common_name).leaf


DNS_CASES = [
    ("hs.test", "hs.test", True, "the same"),
    ("HS.Test", "hs.test", True, "DNS names have no case"),
    ("hs.test", "HS.TEST", True, "on either side"),
    ("*.hs.test", "a.hs.test", True, "a wildcard for the left-most label"),
    ("*.hs.test", "xn--bcher-kva.hs.test", True, "an A-label under a wildcard"),
    ("*.hs.test", "hs.test", False, "a wildcard is one label, not none"),
    ("*.hs.test", "a.b.hs.test", False, "a wildcard is one label, not two"),
    ("*.hs.test", ".hs.test", False, "a wildcard is not an empty label"),
    ("*.hs.test", "a_b.hs.test", False, "a wildcard does not stand for an underscore"),
    ("*.test", "hs.test", False, "a wildcard above everybody"),
    ("*", "test", False, "a wildcard alone"),
    ("h*.hs.test", "hx.hs.test", False, "a wildcard is a whole label"),
    ("a.*.test", "a.b.test", False, "a wildcard is the left-most label"),
    ("*.hs.test", "*.hs.test", True, "literally the same"),
    ("sub.hs.test", "hs.test", False, "a name below"),
    ("hs.test", "hs.test.evil.test", False, "a name that begins like it"),
    ("evilhs.test", "hs.test", False, "a name that ends like it"),
    ("hs.test.", "hs.test", False, "a final dot is not taken off"),
]


@pytest.mark.req("TLS-02")
@pytest.mark.parametrize(
    ("san", "name", "covered"), [pytest.param(s, n, c, id=why) for s, n, c, why in DNS_CASES]
)
def test_dns_names_in_the_san(san: str, name: str, covered: bool) -> None:
    failures = reasons(named(x509.DNSName(san)), TlsName(name))
    assert failures == ([] if covered else ["certificate-name"])


IP_CASES: list[tuple[str | x509.GeneralName, str, bool, str]] = [
    ("192.0.2.7", "192.0.2.7", True, "the same"),
    ("2001:db8::7", "2001:DB8:0::7", True, "the same address, written otherwise"),
    ("192.0.2.7", "192.0.2.8", False, "another address"),
    ("::ffff:192.0.2.7", "192.0.2.7", False, "a mapped address is another one"),
    (x509.DNSName("192.0.2.7"), "192.0.2.7", False, "IP text as a DNS name (TLS-10)"),
    (x509.DNSName("*.0.2.7"), "192.0.2.7", False, "a wildcard over IP text"),
    ("192.0.2.7", "no address", False, "text that is no address"),
]


@pytest.mark.req("TLS-10")
@pytest.mark.parametrize(
    ("san", "name", "covered"), [pytest.param(s, n, c, id=why) for s, n, c, why in IP_CASES]
)
def test_ip_addresses_in_the_san(san: str | x509.GeneralName, name: str, covered: bool) -> None:
    failures = reasons(named(san), TlsName(name, is_ip=True))
    assert failures == ([] if covered else ["certificate-name"])


@pytest.mark.req("TLS-10")
def test_an_ip_address_does_not_cover_the_same_text_as_a_dns_name() -> None:
    assert reasons(named("192.0.2.7"), TlsName("192.0.2.7")) == ["certificate-name"]


@pytest.mark.req("TLS-02", "TLS-10")
@pytest.mark.parametrize("name", [HOST, TlsName("192.0.2.7", is_ip=True)], ids=str)
def test_the_common_name_is_shown_but_does_not_count(name: TlsName) -> None:
    only = named(common_name=str(name))
    broken = first_fatal(examine_leaf(only, name, NOW))
    assert broken is not None
    assert broken.id == "certificate-name"
    assert "common name" in broken.sentence
    assert str(name) in broken.evidence["common_name"]
    assert read_certificate(only).common_name_only
    beside = named("other.test", common_name=str(name))
    assert reasons(beside, name) == ["certificate-name"]
    assert not read_certificate(beside).common_name_only


def test_the_names_it_has_are_told_dns_first_and_made_fit_to_print() -> None:
    assert read_certificate(GOOD).names == ("hs.test", "192.0.2.7")
    assert read_certificate(VERSION_1).names == ()
    condition = first_fatal(examine_leaf(GOOD, TlsName("\x1b[2J"), NOW))
    assert condition is not None
    assert "hs.test" in condition.sentence
    assert "\x1b" not in condition.sentence


# --- Now? ---


@pytest.mark.req("TLS-02")
def test_a_certificate_counts_between_its_dates_both_included() -> None:
    begins, ends = READ.not_before, READ.not_after
    assert reasons(GOOD, now=begins) == []
    assert reasons(GOOD, now=ends) == []
    assert reasons(GOOD, now=Ms(begins - 1)) == ["certificate-begun"]
    assert reasons(GOOD, now=Ms(ends + 1)) == ["certificate-not-expired"]


# --- Fit for it? ---


def made(
    *extensions: tuple[x509.ExtensionType, bool],
    key: Any = None,
    hashed: hashes.SHA256 | None = None,
) -> bytes:
    """A self-signed certificate for hs.test with these extensions."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hs.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(certs._now() - certs.DAY)
        .not_valid_after(certs._now() + 9 * certs.DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hs.test")]), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    signed = builder.sign(key, hashed)
    return signed.public_bytes(serialization.Encoding.DER)


def usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def purposes(*identifiers: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(identifiers)


SHA256 = hashes.SHA256()
FITNESS = [
    (made(hashed=SHA256), [], "no usages at all"),
    (made((usage(digital_signature=True), True), hashed=SHA256), [], "it may sign"),
    (made((usage(crl_sign=True), True), hashed=SHA256), ["certificate-purpose"], "lists only"),
    (
        made((purposes(ExtendedKeyUsageOID.SERVER_AUTH), False), hashed=SHA256),
        [],
        "for TLS servers",
    ),
    (
        made((purposes(ExtendedKeyUsageOID.CLIENT_AUTH), False), hashed=SHA256),
        ["certificate-purpose"],
        "for TLS clients only",
    ),
    (made(key=rsa.generate_private_key(65537, 2048), hashed=SHA256), [], "RSA 2048"),
    (
        made(key=rsa.generate_private_key(65537, 1024), hashed=SHA256),
        ["certificate-strength"],
        "RSA 1024",
    ),
    (made(key=ec.generate_private_key(ec.SECP384R1()), hashed=SHA256), [], "EC 384"),
    (
        made(key=ec.generate_private_key(ec.SECP192R1()), hashed=SHA256),
        ["certificate-strength"],
        "EC 192",
    ),
    (
        made(key=dsa.generate_private_key(1024), hashed=SHA256),
        ["certificate-strength"],
        "DSA 1024",
    ),
    (made(key=ed25519.Ed25519PrivateKey.generate()), [], "Ed25519, which hashes by itself"),
]


@pytest.mark.req("TLS-02")
@pytest.mark.parametrize(("der", "failures"), [pytest.param(d, f, id=why) for d, f, why in FITNESS])
def test_its_usages_and_its_key_must_be_fit_for_a_server(der: bytes, failures: list[str]) -> None:
    now = Ms(read_certificate(der).not_before + DAY_MS)
    assert reasons(der, now=now) == failures


# --- Whatever bytes come ---


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_a_serial_number_of_zero_is_no_reason_to_look_away() -> None:
    der = made(hashed=SHA256).replace(bytes.fromhex("020107"), bytes.fromhex("020100"), 1)
    assert read_certificate(der).names == ("hs.test",)


def test_reading_prints_no_warning() -> None:
    der = made(hashed=SHA256).replace(bytes.fromhex("020107"), bytes.fromhex("020100"), 1)
    code = (
        "import sys; from ranvier.protocol.certificates import read_certificate;"
        "print(read_certificate(bytes.fromhex(sys.argv[1])).names)"
    )
    ran = subprocess.run([sys.executable, "-c", code, der.hex()], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("('hs.test',)\n", "")


ODD = [
    (b"", "nothing"),
    (b"\x30", "half a header"),
    (b"-----BEGIN CERTIFICATE-----", "PEM"),
    (GOOD[:-1], "cut short"),
    (GOOD + b"\0", "with a byte more"),
    (GOOD.replace(b"hs.test", b"hs.t\xffst"), "a DNS name that is not ASCII"),
    (GOOD.replace(bytes.fromhex("8704c0000207"), bytes.fromhex("8104c0000207")), "odd e-mail"),
    (b"\x30\x84\xff\xff\xff\xff" + b"\x30" * 100, "a length of 4 GiB"),
    (b"\x30\x80" * 10_000, "10,000 levels deep"),
]


@pytest.mark.parametrize("der", [pytest.param(d, id=why) for d, why in ODD])
def test_odd_bytes_are_malformed_and_a_failed_condition(der: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        read_certificate(der)
    assert refused.value.code == "certificate-unreadable"
    assert refused.value.message.isascii()
    assert reasons(der) == ["certificate-readable"]


@settings(max_examples=400, deadline=None)
@given(place=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_gives_facts_or_malformed(place: int, byte: int) -> None:
    changed = bytearray(GOOD)
    changed[place] = byte
    try:
        facts = read_certificate(bytes(changed))
    except Malformed:
        return
    assert facts.valid_at(NOW) in (True, False)
    assert facts.covers(HOST) in (True, False)
