"""Chains: our explanation and OpenSSL's verdict, on the same certificates.

Every case is judged twice: by :func:`explain_chain`, and in a real handshake
over two memory BIOs. Both must say yes or both no, and for the same reason.
"""

from __future__ import annotations

import datetime
import functools
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ranvier.limits import Ms
from ranvier.protocol.certificates import issued_by, read_certificate
from ranvier.protocol.chains import explain_chain
from ranvier.protocol.conditions import Condition, Verdict, first_fatal
from ranvier.protocol.names import TlsName
from tests.rigs import certs

NOW = Ms(int(time.time() * 1000))
HOST = TlsName("hs.test")
DAY = datetime.timedelta(days=1)

# --- OpenSSL's verdict ---


def trusting(roots: tuple[bytes, ...]) -> ssl.SSLContext:
    """As for federation: no CN, not the strict mode of Python 3.13."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_ciphers("DEFAULT:@SECLEVEL=2")
    for root in roots:
        context.load_verify_locations(cadata=root)
    return context


def showing(identity: certs.Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(*identity.files)
    return context


def handshake(identity: certs.Identity, roots: tuple[bytes, ...], name: TlsName) -> int:
    """OpenSSL's verify code; 0 if the handshake was completed."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(roots).wrap_bio(down, up, server_hostname=name.text)
    server = showing(identity).wrap_bio(up, down, server_side=True)
    for _ in range(10):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            return error.verify_code
        else:
            return 0
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
    raise AssertionError("the handshake did not end")


# --- Authorities of every kind ---


@dataclass(frozen=True, eq=False)
class Ca:
    """An authority that can be made wrong in one way."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def authority(self) -> certs.Authority:
        return certs.Authority(self.certificate, self.key)


def usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign,
        **dict.fromkeys(
            [
                *("content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "crl_sign", "encipher_only", "decipher_only"),
            ],
            False,
        ),
    )


def ca(
    name: str,
    *extensions: x509.ExtensionType,
    by: Ca | None = None,
    days: tuple[int, int] = (-9, 90),
    key: Any = None,
) -> Ca:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
    )
    for each in extensions:
        builder = builder.add_extension(each, critical=isinstance(each, x509.BasicConstraints))
    signed = builder.sign(by.key if by else key, hashes.SHA256())
    return Ca(signed, key)


YES = x509.BasicConstraints(ca=True, path_length=None)
ROOT = ca("Root", YES)
MIDDLE = ca("Middle", YES, by=ROOT)
LOWER = ca("Lower", YES, by=MIDDLE)


def leaf(by: Ca, *above: Ca, names: tuple[Any, ...] = ("hs.test",), **more: Any) -> certs.Identity:
    return certs.issue(names, by=by.authority, shown=tuple(each.der for each in above), **more)


def under(*extensions: x509.ExtensionType, **more: Any) -> certs.Identity:
    """A leaf below an intermediate of ROOT that has these extensions."""
    middle = ca("Odd middle", *extensions, by=ROOT, **more)
    return leaf(middle, middle)


def rekeyed() -> tuple[certs.Identity, tuple[bytes, ...]]:
    """Its issuer has the known root's name, and says itself that it is another key."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return leaf(ca("Root", YES)), (ca("Root", YES, own, key=key).der,)


def without_identifier(by: Ca) -> certs.Identity:
    """As :func:`rekeyed`, without the extension that would tell the keys apart."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(9)
        .not_valid_before(datetime.datetime.now(datetime.UTC) - DAY)
        .not_valid_after(datetime.datetime.now(datetime.UTC) + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hs.test")]), critical=True)
    )
    signed = builder.sign(by.key, hashes.SHA256())
    return certs.Identity(
        (signed.public_bytes(serialization.Encoding.DER),),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def by_sha1(child: Ca, issuer: Ca) -> Ca:
    """``child``, signed with SHA-1, which no library of ours does any more: so by hand."""
    old, new = bytes.fromhex("300a06082a8648ce3d040302"), bytes.fromhex("300906072a8648ce3d0401")
    tbs = child.certificate.tbs_certificate_bytes
    content = tbs[2 + (tbs[1] & 0x7F if tbs[1] > 0x7F else 0) :]
    tbs = certs._tlv(0x30, content.replace(old, new, 1))
    signature = issuer.key.sign(tbs, ec.ECDSA(hashes.SHA1()))
    whole = certs._tlv(0x30, tbs + new + certs._tlv(3, b"\0" + signature))
    return Ca(x509.load_der_x509_certificate(whole), child.key)


def narrow_leaf(make: Callable[[], Any]) -> certs.Identity:
    """A leaf of ROOT with another kind of key."""
    key = make()
    signed = ca("narrow", x509.SubjectAlternativeName([x509.DNSName("hs.test")]), by=ROOT, key=key)
    return certs.Identity(
        (signed.der,),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def cross_signed() -> tuple[certs.Identity, tuple[bytes, ...]]:
    """The peer shows an expired way to an old root; the known root has the same name and key."""
    new = ca("New root", YES)
    old = ca("Old root", YES)
    crossed = ca("New root", YES, by=old, key=new.key, days=(-9, -1))
    return leaf(new, crossed, old), (new.der,)


def v1_root() -> tuple[certs.Identity, tuple[bytes, ...]]:
    """The root has no extensions at all, as roots of version 1 have none."""
    root = certs.issue_v1("Old style")
    key = serialization.load_pem_private_key(root.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    authority = certs.Authority(x509.load_der_x509_certificate(root.leaf), key)
    return certs.issue(["hs.test"], by=authority), (root.leaf,)


def two_of_a_name() -> tuple[certs.Identity, tuple[bytes, ...]]:
    """Two known roots of one name and key, the first of them expired."""
    gone = ca("Twin", YES, days=(-9, -1))
    fresh = ca("Twin", YES, key=gone.key)
    return leaf(gone), (gone.der, fresh.der)


def trustme_leaf(*names: str) -> tuple[certs.Identity, tuple[bytes, ...]]:
    root = trustme.CA()
    middle = root.create_child_ca()
    issued = middle.issue_cert(*names)
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    ders = tuple(
        each.public_bytes(serialization.Encoding.DER)
        for each in x509.load_pem_x509_certificates(chain)
    )
    known = x509.load_pem_x509_certificate(root.cert_pem.bytes())
    return (
        certs.Identity(ders, issued.private_key_pem.bytes()),
        (known.public_bytes(serialization.Encoding.DER),),
    )


IP = TlsName("192.0.2.7", is_ip=True)
CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
Made = certs.Identity | tuple[certs.Identity, tuple[bytes, ...]]


def small_rsa() -> Any:
    return rsa.generate_private_key(65537, 1024)


def good(make: Callable[[], Made], why: str, name: TlsName = HOST) -> Any:
    return pytest.param(make, name, "", 0, id=why)


def bad(make: Callable[[], Made], reason: str, code: int, why: str, name: TlsName = HOST) -> Any:
    """``code`` is OpenSSL's; ``reason`` the condition that fails first."""
    return pytest.param(make, name, reason, code, id=why)


CASES = [
    good(lambda: leaf(ROOT), "from a known root"),
    good(lambda: leaf(MIDDLE, MIDDLE), "through an intermediate"),
    good(lambda: leaf(LOWER, LOWER, MIDDLE), "through two intermediates"),
    good(lambda: leaf(LOWER, MIDDLE, LOWER), "two intermediates in the wrong order"),
    good(lambda: leaf(MIDDLE, MIDDLE, ROOT), "the root is shown along"),
    good(lambda: leaf(ROOT, LOWER), "a certificate that has nothing to do with it"),
    good(lambda: trustme_leaf("hs.test"), "trustme's chain"),
    good(lambda: trustme_leaf("192.0.2.7"), "trustme's chain for an IP address", IP),
    good(cross_signed, "a known root beside an expired cross-signed one"),
    good(two_of_a_name, "two known roots of one name, one of them expired"),
    good(lambda: under(YES, usage(sign=True)), "an intermediate with usages"),
    good(
        lambda: (leaf(r := ca("R", usage(sign=True))), (r.der,)),
        "a root that says by its usage alone that it signs",
    ),
    good(lambda: under(YES, SERVERS), "an intermediate for servers"),
    good(lambda: under(x509.BasicConstraints(ca=True, path_length=0)), "depth 0, one leaf"),
    good(lambda: leaf(ROOT, names=("*.hs.test",)), "a wildcard", TlsName("a.hs.test")),
    good(lambda: leaf(ROOT, names=("192.0.2.7",)), "an IP address", IP),
    good(
        lambda: leaf(ROOT, names=("2001:db8::7",)),
        "an IPv6 address",
        TlsName("2001:db8::7", is_ip=True),
    ),
    good(lambda: (s := certs.issue(["hs.test"], by=None), s.chain), "self-signed, but known"),
    good(v1_root, "a version 1 root"),
    good(
        lambda: (leaf(ROOT), (by_sha1(ROOT, ROOT).der,)),
        "a known root that signed itself with SHA-1, as many did",
    ),
    bad(
        lambda: certs.issue(["hs.test"], by=None, common_name="hs.test"),
        *("chain-not-self-signed", 18, "self-signed"),
    ),
    bad(lambda: certs.issue_v1("hs.test"), "chain-not-self-signed", 18, "a version 1 leaf"),
    bad(lambda: leaf(MIDDLE), "chain-complete", 20, "the intermediate was not sent"),
    bad(lambda: leaf(LOWER, LOWER), "chain-complete", 20, "one of two intermediates was not sent"),
    bad(lambda: leaf(ca("Other", YES)), "chain-complete", 20, "an unknown authority, not sent"),
    bad(
        lambda: leaf(o := ca("Other", YES), o),
        *("chain-authority-known", 19, "an unknown authority, sent along"),
    ),
    bad(lambda: without_identifier(ca("Root", YES)), "chain-signatures", 7, "a forged signature"),
    bad(rekeyed, "chain-signatures", 20, "another key of the same name"),
    bad(lambda: leaf(ROOT, days=(-9, -1)), "certificate-not-expired", 10, "expired"),
    bad(lambda: leaf(ROOT, days=(1, 9)), "certificate-begun", 9, "not yet valid"),
    bad(lambda: under(YES, days=(-9, -1)), "chain-dates", 10, "an expired intermediate"),
    bad(lambda: leaf(ROOT, names=("a.test",)), "certificate-name", 62, "a wrong name"),
    bad(lambda: leaf(ROOT, names=()), "certificate-name", 62, "no name at all"),
    bad(
        lambda: leaf(ROOT, names=(), common_name="hs.test"),
        *("certificate-name", 62, "a common name only"),
    ),
    bad(
        lambda: leaf(ROOT, names=(), common_name="192.0.2.7"),
        *("certificate-name", 64, "an IP address as common name"),
        name=IP,
    ),
    bad(
        lambda: leaf(ROOT, names=(x509.DNSName("192.0.2.7"),)),
        *("certificate-name", 64, "an IP address as DNS name"),
        name=IP,
    ),
    bad(
        lambda: leaf(ROOT, names=("192.0.2.8",)),
        *("certificate-name", 64, "another IP address"),
        name=IP,
    ),
    bad(
        lambda: leaf(ROOT, names=("*.hs.test",)),
        *("certificate-name", 62, "a wildcard for two labels"),
        name=TlsName("a.b.hs.test"),
    ),
    bad(lambda: leaf(ROOT, names=("*.test",)), "certificate-name", 62, "a wildcard above all"),
    bad(
        lambda: leaf(ROOT, names=("h*.test",)),
        *("certificate-name", 62, "a wildcard within a label"),
    ),
    bad(
        lambda: leaf(ROOT, usage=ExtendedKeyUsageOID.CLIENT_AUTH),
        *("certificate-purpose", 26, "for clients only"),
    ),
    bad(lambda: under(YES, CLIENTS), "chain-purpose", 26, "an intermediate for clients only"),
    bad(
        lambda: under(x509.BasicConstraints(ca=False, path_length=None)),
        *("chain-may-sign", 79, "a leaf as intermediate"),
    ),
    bad(
        lambda: under(usage(sign=True)),
        *("chain-may-sign", 79, "an intermediate that says so by its usage alone"),
    ),
    bad(lambda: under(), "chain-may-sign", 79, "an intermediate that says nothing"),
    bad(
        lambda: under(YES, usage(sign=False)),
        *("chain-may-sign", 79, "an intermediate whose usage is not signing"),
    ),
    bad(
        lambda: leaf(
            b := ca("B", YES, by=(a := ca("A", x509.BasicConstraints(True, 0), by=ROOT))),
            *(b, a),
        ),
        *("chain-may-sign", 25, "deeper than the authority allows"),
    ),
    bad(lambda: under(YES, key=small_rsa()), "chain-strength", 67, "an intermediate of RSA 1024"),
    bad(lambda: leaf(MIDDLE, by_sha1(MIDDLE, ROOT)), "chain-strength", 68, "SHA-1 on the way"),
    bad(lambda: narrow_leaf(small_rsa), "certificate-strength", 66, "a leaf of RSA 1024"),
]


@functools.cache
def prepared(make: Callable[[], Made]) -> tuple[certs.Identity, tuple[bytes, ...]]:
    made = make()
    return made if isinstance(made, tuple) else (made, (ROOT.der,))


@pytest.mark.req("TLS-02", "TLS-10")
@pytest.mark.parametrize(("make", "name", "reason", "code"), CASES)
def test_openssl_and_we_agree_on_the_verdict_and_its_reason(
    make: Callable[[], Made], name: TlsName, reason: str, code: int
) -> None:
    identity, roots = prepared(make)
    conditions = explain_chain(identity.chain, name, NOW, roots)
    broken = first_fatal(conditions)
    assert handshake(identity, roots, name) == code
    assert (broken.id if broken else "") == reason
    assert all(each.sentence.isascii() and each.clause for each in conditions)


def explained(
    chain: tuple[bytes, ...], roots: tuple[bytes, ...] = (ROOT.der,)
) -> dict[str, Condition]:
    return {each.id: each for each in explain_chain(chain, HOST, NOW, roots)}


def test_nothing_shown_is_the_only_condition_then() -> None:
    assert [(each.id, each.failed) for each in explained(()).values()] == [("chain-shown", True)]


@pytest.mark.parametrize("place", [0, 1])
def test_one_unreadable_certificate_makes_the_chain_unreadable(place: int) -> None:
    chain = list(leaf(MIDDLE, MIDDLE).chain)
    chain[place] = b"odd"
    broken = first_fatal(explain_chain(tuple(chain), HOST, NOW, (ROOT.der,)))
    assert broken is not None
    assert broken.id == "chain-readable"


def test_a_root_that_cannot_be_read_is_passed_over() -> None:
    conditions = explain_chain(leaf(ROOT).chain, HOST, NOW, (b"odd", ROOT.der))
    assert first_fatal(conditions) is None


def test_a_wrong_order_is_a_remark() -> None:
    found = explained(leaf(LOWER, MIDDLE, LOWER).chain)["chain-order"]
    assert (found.failed, found.fatal) == (True, False)
    assert not explained(leaf(LOWER, LOWER, MIDDLE).chain)["chain-order"].failed


@pytest.mark.req("TLS-02")
def test_a_leaf_alone_brings_the_thought_of_a_missing_intermediate() -> None:
    assert "intermediate left out" in explained(leaf(MIDDLE).chain)["chain-complete"].sentence
    two = explained(leaf(LOWER, LOWER).chain)["chain-complete"]
    assert two.failed
    assert "CN=Middle" in two.sentence
    assert "left out" not in two.sentence


def test_name_constraints_are_named_and_left_to_openssl() -> None:
    only = x509.NameConstraints([x509.DNSName("elsewhere.test")], None)
    identity = under(YES, only)
    found = explained(identity.chain)["chain-name-constraints"]
    assert (found.failed, found.fatal) == (True, False)
    assert handshake(identity, (ROOT.der,), HOST) == 47
    unlimited = explained(leaf(ROOT).chain)["chain-name-constraints"]
    assert unlimited.verdict is Verdict.NOT_APPLICABLE


def test_the_authority_whose_time_is_over_is_named() -> None:
    assert "CN=Odd middle" in explained(under(YES, days=(-9, -1)).chain)["chain-dates"].sentence
    alone = explained(certs.issue_v1("hs.test").chain)
    assert alone["chain-dates"].verdict is Verdict.NOT_APPLICABLE


def test_two_authorities_that_signed_each_other_end_the_climb() -> None:
    first, second = ca("First", YES), ca("Second", YES)
    one = ca("First", YES, by=second, key=first.key)
    two = ca("Second", YES, by=first, key=second.key)
    broken = first_fatal(explain_chain(leaf(first, one, two).chain, HOST, NOW, (ROOT.der,)))
    assert broken is not None
    assert broken.id == "chain-complete"


def test_only_the_first_certificates_of_a_long_chain_are_looked_at() -> None:
    chain = (leaf(LOWER).leaf, *[LOWER.der] * 30, MIDDLE.der)
    assert first_fatal(explain_chain(chain, HOST, NOW, (ROOT.der,))) is not None
    assert first_fatal(explain_chain(chain, HOST, NOW, (ROOT.der,), most=32)) is None


def test_issued_by_wants_the_name_and_the_key() -> None:
    root, middle, lower = (read_certificate(each.der) for each in (ROOT, MIDDLE, LOWER))
    assert issued_by(middle, root)
    assert issued_by(root, root)
    assert not issued_by(lower, root)
    assert not issued_by(middle, read_certificate(ca("Root", YES).der))


CHAIN = leaf(MIDDLE, MIDDLE).chain


@settings(max_examples=300, deadline=None)
@given(which=st.integers(0, 1), place=st.integers(0), byte=st.integers(0, 255))
def test_a_changed_byte_never_makes_a_good_chain(which: int, place: int, byte: int) -> None:
    changed = bytearray(CHAIN[which])
    place %= len(changed)
    same = changed[place] == byte
    changed[place] = byte
    chain = tuple(bytes(changed) if which == n else each for n, each in enumerate(CHAIN))
    good = first_fatal(explain_chain(chain, HOST, NOW, (ROOT.der,))) is None
    assert good == same
