"""What is left to judge when the handshake is over."""

from __future__ import annotations

import pytest

from ranvier.errors import TlsFault
from ranvier.protocol.certificates import Certificates, fingerprint
from ranvier.protocol.trust import FirstContact, Pinned, Trust, WebPki, insist_leaf

SHOWN = Certificates((b"leaf", b"issuer"))
"""Nothing here reads them: equal bytes are all that counts."""


@pytest.mark.parametrize("trust", [WebPki(), Pinned(frozenset()), FirstContact()])
def test_no_certificate_at_all_is_refused(trust: Trust) -> None:
    with pytest.raises(TlsFault) as refused:
        insist_leaf(Certificates(), trust)
    assert refused.value.code == "tls-certificate-missing"


@pytest.mark.parametrize(
    "trust", [WebPki(), FirstContact(), Pinned(frozenset({fingerprint(b"leaf"), "00"}))]
)
def test_who_shows_a_leaf_that_is_pinned_or_judged_elsewhere_passes(trust: Trust) -> None:
    insist_leaf(SHOWN, trust)


@pytest.mark.parametrize(
    "leaves",
    [
        frozenset[str](),
        frozenset({fingerprint(b"other")}),
        frozenset({fingerprint(b"issuer")}),  # an authority is no pin
    ],
)
def test_another_leaf_than_the_pinned_ones_is_refused_with_its_chain(
    leaves: frozenset[str],
) -> None:
    with pytest.raises(TlsFault) as refused:
        insist_leaf(SHOWN, Pinned(leaves))
    assert refused.value.code == "tls-pin-mismatch"
    assert refused.value.certificates == SHOWN.chain
    assert fingerprint(b"leaf") in refused.value.message
