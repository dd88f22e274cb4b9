"""The two TLS contexts, and OpenSSL's refusals in our words.

OpenSSL is the judge of :class:`~ranvier.protocol.trust.WebPki`; this room sets the
rules of that judgement and gives each refusal a stable code:

==========================  =====================================================
``tls-name-mismatch``       the certificate is for other names
``tls-common-name-only``    it names no host as an alternative name, only in its CN
``tls-expired``             its time, or that of one above it, has run out
``tls-not-yet-valid``       its time has not begun
``tls-self-signed``         it vouches for itself
``tls-unknown-authority``   no authority that we know signed it, or a link is missing
``tls-certificate-purpose`` it, or one above it, is not made for this use
``tls-weak``                a key or a signature is too weak
``tls-certificate``         anything else that OpenSSL does not like about the chain
``tls-not-tls``             the peer speaks something else
``tls-version``             no common version of TLS
``tls-alert``               the peer ended the handshake with an alert
``tls-handshake``           anything else
==========================  =====================================================

A context costs about 50 ms (reading the authorities), so there is one per trust.
"""

from __future__ import annotations

import ssl

from ranvier.errors import BadConfiguration, Malformed, TlsFault
from ranvier.protocol.certificates import CLAUSE, read_certificate
from ranvier.protocol.names import TlsName
from ranvier.protocol.text import shown

# OpenSSL's X509_V_ERR_... numbers, which do not change.
_CODES: dict[int, tuple[str, str]] = {
    7: ("tls-unknown-authority", "a signature in its certificate's chain is false"),
    9: ("tls-not-yet-valid", "the time of its certificate has not begun"),
    10: ("tls-expired", "the time of its certificate has run out"),
    18: ("tls-self-signed", "its certificate is self-signed"),
    19: ("tls-unknown-authority", "its chain ends at an authority that we do not know"),
    20: ("tls-unknown-authority", "no authority that we know signed its certificate"),
    21: ("tls-unknown-authority", "no authority that we know signed its certificate"),
    24: ("tls-certificate-purpose", "one that signed its certificate is no authority"),
    26: ("tls-certificate-purpose", "its certificate is not made for servers"),
    62: ("tls-name-mismatch", "its certificate is for other names"),
    64: ("tls-name-mismatch", "its certificate is for other addresses"),
    66: ("tls-weak", "the key of its certificate is too weak"),
    67: ("tls-weak", "the key of one that signed its certificate is too weak"),
    68: ("tls-weak", "a signature in its certificate's chain is too weak"),
    79: ("tls-certificate-purpose", "one that signed its certificate is no authority"),
}
_NO_VERSION = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "VERSION_TOO_LOW",
        "NO_PROTOCOLS_AVAILABLE",
    }
)
_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE",
     "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE", "BAD_RECORD_TYPE"}
)  # fmt: skip

_ALERTS = ("TLSV1_", "TLSV13_ALERT_", "SSLV3_ALERT_")


def verifying_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Certificate and name are judged; the system's authorities, or those of ``ca_file`` alone.

    A CN is never a name ``[s2s:tls]`` ``[rfc6125]``. ``VERIFY_X509_STRICT``, which Python
    3.13 sets, is off: federation holds many certificates that it would refuse.

    Raises: BadConfiguration (the file cannot be read or holds no certificate).
    """
    context = _context()
    context.hostname_checks_common_name = False
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except OSError as error:  # ssl.SSLError is one
        pem = "it is no PEM file of certificates"
        reason = pem if isinstance(error, ssl.SSLError) else error.strerror
        message = f"the CA file {ca_file!r} cannot be used: {reason}"
        raise BadConfiguration("ca-file-unusable", message) from error
    return context


def looking_context() -> ssl.SSLContext:
    """Nothing is judged in the handshake; whoever uses it judges the leaf, or sends nothing.

    Servers of 2014 may still show 1024-bit keys, so the strength is one step lower.
    """
    context = _context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # Some builds of Python set it; an answer that was cut short would then look whole.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


def certificate_fault(
    error: ssl.SSLCertVerificationError, name: TlsName, chain: tuple[bytes, ...]
) -> TlsFault:
    """The refusal of a certificate; ``chain`` is the evidence, empty if there is none."""
    default = ("tls-certificate", "its certificate is not good")
    code, sentence = _CODES.get(error.verify_code, default)
    if code == "tls-name-mismatch" and _common_name_only(chain):
        code, sentence = "tls-common-name-only", "its certificate names no host but in its CN"
    message = f"{sentence}: not good for {shown(name.text, 300)} ({error.verify_message})"
    return TlsFault(code, message, clause=CLAUSE, certificates=chain)


def _common_name_only(chain: tuple[bytes, ...]) -> bool:
    try:
        facts = read_certificate(chain[0]) if chain else None
    except Malformed:
        return False
    return facts is not None and facts.common_name_only


def handshake_fault(error: ssl.SSLError) -> TlsFault:
    """A handshake that failed for another reason than the certificate."""
    reason = error.reason or ""
    if reason in _NO_VERSION:
        return TlsFault("tls-version", f"no common version of TLS ({reason})", clause=CLAUSE)
    if reason in _NOT_TLS:
        return TlsFault("tls-not-tls", f"what answers does not speak TLS ({reason})", clause=CLAUSE)
    if reason.startswith(_ALERTS):
        return TlsFault("tls-alert", f"it ended the handshake: {reason}", clause=CLAUSE)
    return TlsFault("tls-handshake", f"the handshake failed: {reason or error}", clause=CLAUSE)
