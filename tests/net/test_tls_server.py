"""A new certificate counts at once; a broken one changes nothing."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from ranvier.errors import BadConfiguration
from ranvier.faces.asgi import FederationApp
from ranvier.limits import Limits
from ranvier.net.listen import Listener
from ranvier.net.tls_server import LeafFile, ServerTls
from tests.rigs import certs
from tests.rigs.listening import Caller, ShiftedClock, get, identity

OLD, NEW = certs.issue(["us.test"], by=None), certs.issue(["us.test"], by=certs.authority())
V1 = get("/_matrix/key/v1")


def put(folder: Path, pair: certs.Identity) -> tuple[Path, Path]:
    """Write both files over what is there."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(pair.chain_pem)
    key.write_bytes(pair.key_pem)
    key.chmod(0o600)
    return certificate, key


def age(*paths: Path) -> None:
    """Make the files look as if written a while ago."""
    for path in paths:
        then = path.stat().st_mtime_ns - 60 * 10**9
        os.utime(path, ns=(then, then))


@pytest.mark.req("SEED-12", "REF14-03", "REF14-05")
async def test_a_renewal_counts_at_once_and_old_connections_keep_their_leaf(tmp_path: Path) -> None:
    clock = ShiftedClock()
    app = FederationApp(identity(clock))
    tls = ServerTls(*put(tmp_path, OLD), clock)
    listener = Listener(app, app, host="127.0.0.1", port=0, clock=clock, limits=Limits(), tls=tls)
    address = await listener.start()

    async def published(caller: Caller) -> bytes:
        text = (await caller.ask(V1)).json["tls_certificate"]
        assert "=" not in text
        return base64.b64decode(text + "==")

    async with await Caller.to(address, tls=True) as before:
        assert await published(before) == before.leaf == OLD.leaf
        put(tmp_path, NEW)
        async with await Caller.to(address, tls=True) as after:
            assert await published(after) == after.leaf == NEW.leaf
            assert await published(before) == OLD.leaf
    await listener.stop()


def test_files_that_did_not_change_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = put(tmp_path, OLD)
    age(*paths)
    tls = ServerTls(*paths, ShiftedClock())
    first = tls.current()
    monkeypatch.setattr("ranvier.net.tls_server.read_file", None)
    assert tls.current() == first


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        (OLD.chain_pem, NEW.key_pem, "mismatch"),
        (NEW.chain_pem[:200], NEW.key_pem, "half written"),
        (b"", NEW.key_pem, "empty"),
        (NEW.chain_pem, b"", "no key"),
        (None, NEW.key_pem, "gone"),
        (NEW.chain_pem, None, "key gone"),
        (b"\xff" * 100, NEW.key_pem, "no text"),
        (b"x" * 2_000_000, NEW.key_pem, "huge"),
    ],
)
def test_a_broken_pair_leaves_the_old_one_in_use_and_is_reported_once(
    tmp_path: Path,
    certificate: bytes | None,
    key: bytes | None,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    paths = put(tmp_path, OLD)
    tls = ServerTls(*paths, ShiftedClock())
    for path, content in zip(paths, (certificate, key), strict=True):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    for _ in range(3):
        assert tls.current()[1] == OLD.leaf
    assert tls.problem is not None
    assert caplog.text.count("the old certificate stays in use") == 1
    assert "BEGIN" not in caplog.text
    put(tmp_path, NEW)
    assert tls.current()[1] == NEW.leaf
    assert tls.problem is None


def test_a_second_change_within_one_tick_of_the_file_times_is_seen(tmp_path: Path) -> None:
    paths = put(tmp_path, OLD)
    tls = ServerTls(*paths, ShiftedClock())
    times = [path.stat() for path in paths]
    assert tls.current()[1] == OLD.leaf
    put(tmp_path, NEW)
    for path, found in zip(paths, times, strict=True):
        os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))
    assert tls.current()[1] == NEW.leaf


def test_without_a_usable_pair_there_is_no_start(tmp_path: Path) -> None:
    paths = put(tmp_path, OLD)
    paths[0].write_bytes(NEW.chain_pem)
    with pytest.raises(BadConfiguration) as caught:
        ServerTls(*paths, ShiftedClock())
    assert caught.value.code == "certificate-unusable"


def test_an_encrypted_key_is_refused_without_asking_for_a_password(tmp_path: Path) -> None:
    paths = put(tmp_path, OLD)
    secret = serialization.load_pem_private_key(OLD.key_pem, None)
    encrypted = secret.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"words"),
    )
    paths[1].write_bytes(encrypted)
    with pytest.raises(BadConfiguration, match="unencrypted key"):
        ServerTls(*paths, ShiftedClock())


def test_the_proxys_certificate_is_followed_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "proxy.crt"
    path.write_bytes(b"# a comment\n" + OLD.chain_pem + certs.authority().pem)
    leaf = LeafFile(path, ShiftedClock())
    assert leaf.current() == OLD.leaf
    path.write_bytes(b"half")
    assert leaf.current() == OLD.leaf
    assert "stays in use" in caplog.text
    path.write_bytes(NEW.chain_pem)
    assert leaf.current() == NEW.leaf
    age(path)
    assert leaf.current() == leaf.current() == NEW.leaf


def test_a_proxys_file_without_a_certificate_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "proxy.crt"
    path.write_bytes(OLD.key_pem)
    with pytest.raises(BadConfiguration) as caught:
        LeafFile(path, ShiftedClock())
    assert caught.value.code == "certificate-not-pem"
