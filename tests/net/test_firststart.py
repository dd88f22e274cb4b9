"""The first start makes a key and a certificate; every later one keeps them."""

from __future__ import annotations

import re
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ranvier.errors import BadConfiguration
from ranvier.limits import Ms
from ranvier.net.firststart import ensure_certificate, load_or_create_signing_keys, self_signed
from ranvier.net.tls_server import ServerTls
from ranvier.protocol.certificates import examine_leaf, fingerprint
from ranvier.protocol.names import ServerName
from tests.rigs.listening import ShiftedClock

CLOCK = ShiftedClock()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_random_key_and_later_ones_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "signing.key"
    (key,) = load_or_create_signing_keys(path, CLOCK)
    assert re.fullmatch(r"ed25519:a_[A-Za-z]{4}", key.key_id)
    assert mode(path) == 0o600
    (again,) = load_or_create_signing_keys(path, CLOCK)
    assert (again.key_id, again.seed) == (key.key_id, key.seed)
    (other,) = load_or_create_signing_keys(tmp_path / "other.key", CLOCK)
    assert other.seed != key.seed


@pytest.mark.req("SEC-17")
@pytest.mark.parametrize("content", [b"", b"ed25519 a_1 c2VjcmV0", b"\xffsecret", b"secret\n"])
def test_a_file_that_is_no_key_file_is_an_error_that_shows_nothing_of_it(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadConfiguration) as caught:
        load_or_create_signing_keys(path, CLOCK)
    assert caught.value.code == "signing-key-file"
    assert "secret" not in str(caught.value).replace(str(tmp_path), "")
    assert "c2Vj" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "name", ["localhost:8448", "example.org", "127.0.0.1:8448", "[::1]:8448", "x" * 100 + ".org"]
)
def test_the_certificate_is_for_the_host_of_the_server_name(tmp_path: Path, name: str) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    server = ServerName(name)
    assert ensure_certificate(certificate, key, server, CLOCK)
    assert (mode(certificate), mode(key)) == (0o644, 0o600)
    leaf = ServerTls(certificate, key, CLOCK).current()[1]
    assert not [each.id for each in examine_leaf(leaf, server.tls_name, CLOCK.now()) if each.failed]
    assert not ensure_certificate(certificate, key, server, CLOCK)
    kept = ServerTls(certificate, key, CLOCK).current()[1]
    assert fingerprint(kept) == fingerprint(leaf)


def test_the_certificate_serves_a_client_that_takes_it_as_its_authority(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    ensure_certificate(certificate, key, ServerName("localhost:8448"), CLOCK)
    client = ssl.create_default_context(cafile=str(certificate))
    server = ServerTls(certificate, key, CLOCK).current()[0]
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(back, there, server_hostname="localhost")
    called = server.wrap_bio(there, back, server_side=True)
    for end in (caller, called, caller):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert caller.version() == "TLSv1.3"


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key"])
def test_half_a_pair_is_an_error_and_stays_as_it_is(tmp_path: Path, missing: str) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    made = self_signed(ServerName("a.test").tls_name, CLOCK.now(), b"1" * 19)
    for path, content in zip((certificate, key), made, strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
    (tmp_path / missing).unlink()
    with pytest.raises(BadConfiguration, match=missing) as caught:
        ensure_certificate(certificate, key, ServerName("a.test"), CLOCK)
    assert caught.value.code == "certificate-half"
    assert not (tmp_path / missing).exists()


def test_a_crash_between_the_two_files_is_mended_by_the_next_start(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    ensure_certificate(certificate, key, ServerName("a.test"), CLOCK)
    made = certificate.read_bytes()
    certificate.unlink()
    assert ensure_certificate(certificate, key, ServerName("a.test"), CLOCK)
    assert certificate.read_bytes() == made
    assert b"PRIVATE" not in made


def test_many_that_start_at_once_end_up_with_one_pair(tmp_path: Path) -> None:
    paths = tmp_path / "tls.crt", tmp_path / "tls.key"

    def start(_: int) -> bytes:
        ensure_certificate(*paths, ServerName("a.test"), CLOCK)
        return ServerTls(*paths, CLOCK).current()[1]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1


def test_two_certificates_have_two_serial_numbers() -> None:
    tls = ServerName("a.test").tls_name
    now = Ms(1_800_000_000_000)
    assert self_signed(tls, now, b"1" * 19)[0] != self_signed(tls, now, b"2" * 19)[0]
