"""OpenSSL's refusals in our words: every code, also those that no rig can provoke."""

from __future__ import annotations

import ssl

import pytest

from ranvier.net.judge import certificate_fault, handshake_fault
from ranvier.protocol.names import TlsName
from tests.rigs import certs
from tests.rigs.certs import Kind

NAME = TlsName("a.test")


def refusal(verify_code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("refused")
    error.verify_code, error.verify_message = verify_code, f"code {verify_code}"
    return error


def failure(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("verify_code", "code"),
    [
        (7, "tls-unknown-authority"),
        (9, "tls-not-yet-valid"),
        (10, "tls-expired"),
        (18, "tls-self-signed"),
        (19, "tls-unknown-authority"),
        (20, "tls-unknown-authority"),
        (21, "tls-unknown-authority"),
        (24, "tls-certificate-purpose"),
        (26, "tls-certificate-purpose"),
        (62, "tls-name-mismatch"),
        (64, "tls-name-mismatch"),
        (66, "tls-weak"),
        (67, "tls-weak"),
        (68, "tls-weak"),
        (79, "tls-certificate-purpose"),
        (34, "tls-certificate"),
        (0, "tls-certificate"),
    ],
)
def test_every_verdict_has_a_code_and_keeps_openssls_words(verify_code: int, code: str) -> None:
    fault = certificate_fault(refusal(verify_code), NAME, (b"der",))
    assert (fault.code, fault.certificates) == (code, (b"der",))
    assert f"code {verify_code}" in fault.message
    assert "a.test" in fault.message


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        (certs.certificate(Kind.COMMON_NAME_ONLY, "a.test").chain, "tls-common-name-only"),
        (certs.certificate(Kind.WRONG_NAME, "a.test").chain, "tls-name-mismatch"),
        ((b"no certificate",), "tls-name-mismatch"),
        ((), "tls-name-mismatch"),
        (certs.issue([], by=certs.authority()).chain, "tls-name-mismatch"),
    ],
)
def test_a_common_name_alone_is_told_from_other_names(chain: tuple[bytes, ...], code: str) -> None:
    assert certificate_fault(refusal(62), NAME, chain).code == code


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("WRONG_VERSION_NUMBER", "tls-not-tls"),
        ("UNSUPPORTED_PROTOCOL", "tls-version"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "tls-version"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "tls-alert"),
        ("TLSV1_UNRECOGNIZED_NAME", "tls-alert"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "tls-alert"),
        ("DH_KEY_TOO_SMALL", "tls-handshake"),
        ("", "tls-handshake"),
    ],
)
def test_every_failed_handshake_has_a_code(reason: str, code: str) -> None:
    fault = handshake_fault(failure(reason))
    assert (fault.code, fault.certificates) == (code, ())
