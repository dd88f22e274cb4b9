"""The judgement that OpenSSL makes in life, made by the pure rules in the world."""

from __future__ import annotations

import hashlib

from ranvier.errors import TlsFault
from ranvier.limits import Ms
from ranvier.protocol.certificates import Certificates
from ranvier.protocol.chains import explain_chain
from ranvier.protocol.conditions import first_fatal
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import Pinned, Trust, WebPki


def judge(
    certificates: Certificates, name: TlsName, trust: Trust, *, now: Ms, roots: tuple[bytes, ...]
) -> None:
    """Return if ``trust`` accepts the chain for ``name``.

    Raises: TlsFault with the chain, its code saying why.
    """
    if isinstance(trust, WebPki):
        broken = first_fatal(explain_chain(certificates.chain, name, now, roots))
        if broken is not None:
            raise TlsFault(
                broken.id, broken.sentence, clause="[s2s:tls]", certificates=certificates.chain
            )
    elif isinstance(trust, Pinned):
        found = hashlib.sha256(certificates.leaf).hexdigest()
        if found not in trust.leaves:
            raise TlsFault(
                "tls-not-pinned",
                f"the leaf {found} is none of the accepted ones",
                clause="[2014:retrieving-server-keys]",
                certificates=certificates.chain,
            )
