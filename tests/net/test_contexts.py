"""The contexts: one per trust, ours read when needed, and anew when it has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from ranvier.errors import BadConfiguration
from ranvier.net.contexts import Contexts
from ranvier.protocol.trust import FirstContact, Pinned, WebPki
from tests.rigs import certs
from tests.rigs.certs import Kind


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Our certificate and its key, in files that a test may change."""
    made = certs.certificate(Kind.CLIENT_ONLY, "us.test")
    paths = tmp_path / "us.crt", tmp_path / "us.key"
    for path, data in zip(paths, (made.chain_pem, made.key_pem), strict=True):
        path.write_bytes(data)
    return str(paths[0]), str(paths[1])


def test_a_context_per_trust_with_and_without_ours(pair: tuple[str, str]) -> None:
    contexts = Contexts(certs.authority().file, pair)
    trusts = [WebPki(), Pinned(frozenset()), FirstContact(), None]
    plain = [contexts.of(trust) for trust in trusts]
    ours = [contexts.of(trust, present=True) for trust in trusts]
    assert len({*plain, *ours}) == 4
    assert [contexts.of(trust) for trust in trusts] == plain
    assert [contexts.of(trust, present=True) for trust in trusts] == ours


def test_without_a_certificate_of_ours_there_is_nothing_to_offer() -> None:
    contexts = Contexts(certs.authority().file, None)
    assert not contexts.offers(present=True)
    assert contexts.of(WebPki(), present=True) is contexts.of(WebPki())
    contexts.prepare()


def test_a_renewed_certificate_is_offered_from_then_on(pair: tuple[str, str]) -> None:
    contexts = Contexts(certs.authority().file, pair)
    before, plain = contexts.of(WebPki(), present=True), contexts.of(WebPki())
    os.utime(pair[0], ns=(1, 1))
    after = contexts.of(WebPki(), present=True)
    assert after is not before
    assert contexts.of(WebPki(), present=True) is after
    assert contexts.of(WebPki()) is plain


def test_while_the_files_are_being_replaced_the_old_ones_serve(pair: tuple[str, str]) -> None:
    contexts = Contexts(certs.authority().file, pair)
    before = contexts.of(WebPki(), present=True)
    Path(pair[1]).unlink()
    assert contexts.of(WebPki(), present=True) is before


@pytest.mark.parametrize("spoilt", [0, 1])
@pytest.mark.parametrize("data", [None, b"", b"no PEM", "other"])
def test_a_certificate_that_cannot_be_used_is_told_at_once(
    pair: tuple[str, str], spoilt: int, data: bytes | str | None
) -> None:
    other = certs.certificate(Kind.GOOD, "b.test")
    path = Path(pair[spoilt])
    path.unlink()
    if data == "other":
        path.write_bytes((other.chain_pem, other.key_pem)[spoilt])
    elif isinstance(data, bytes):
        path.write_bytes(data)
    with pytest.raises(BadConfiguration) as caught:
        Contexts(certs.authority().file, pair).prepare()
    assert caught.value.code == "client-certificate-unusable"
    assert pair[0] in caught.value.message


def test_nobody_is_asked_for_the_password_of_a_key(pair: tuple[str, str]) -> None:
    key = serialization.load_pem_private_key(Path(pair[1]).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    Path(pair[1]).write_bytes(locked)
    with pytest.raises(BadConfiguration) as caught:
        Contexts(certs.authority().file, pair).prepare()
    assert caught.value.code == "client-certificate-unusable"
