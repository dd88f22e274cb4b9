"""The judgement that OpenSSL makes in life, made by the pure rules in the world.

The same condition gets the same code as in :mod:`ranvier.net`; the contract
tests hold the two together.
"""

from __future__ import annotations

from ranvier.errors import TlsFault
from ranvier.limits import Ms
from ranvier.protocol.certificates import CLAUSE, Certificates, read_certificate
from ranvier.protocol.chains import explain_chain
from ranvier.protocol.conditions import Condition, first_fatal
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import Trust, WebPki, insist_leaf

_CODES = {
    "chain-not-self-signed": "tls-self-signed",
    "chain-signatures": "tls-unknown-authority",
    "chain-complete": "tls-unknown-authority",
    "chain-authority-known": "tls-unknown-authority",
    "chain-may-sign": "tls-certificate-purpose",
    "chain-purpose": "tls-certificate-purpose",
    "chain-strength": "tls-weak",
    "chain-dates": "tls-expired",
    "certificate-purpose": "tls-certificate-purpose",
    "certificate-strength": "tls-weak",
    "certificate-name": "tls-name-mismatch",
    "certificate-begun": "tls-not-yet-valid",
    "certificate-not-expired": "tls-expired",
}
"""The failed condition, and what the wire calls it."""


def judge(
    certificates: Certificates, name: TlsName, trust: Trust, *, now: Ms, roots: tuple[bytes, ...]
) -> None:
    """Return if ``trust`` accepts the chain for ``name``.

    Raises: TlsFault with the chain, its code saying why.
    """
    insist_leaf(certificates, trust)
    if isinstance(trust, WebPki):
        broken = first_fatal(explain_chain(certificates.chain, name, now, roots))
        if broken is not None:
            code, chain = _code(broken, certificates), certificates.chain
            raise TlsFault(code, broken.sentence, clause=CLAUSE, certificates=chain)


def _code(broken: Condition, certificates: Certificates) -> str:
    code = _CODES.get(broken.id, "tls-certificate")
    if code == "tls-name-mismatch" and read_certificate(certificates.leaf).common_name_only:
        return "tls-common-name-only"
    return code
