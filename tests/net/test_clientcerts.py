"""Whatever certificate a client shows, or none, the handshake goes on and we know it."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ranvier.errors import BadConfiguration
from ranvier.net import clientcerts
from ranvier.net.clientcerts import AskingServerTls
from ranvier.net.clock import SystemClock
from tests.rigs import certs
from tests.rigs.certs import Kind
from tests.rigs.listening import get, listening

VERSION = get("/_matrix/federation/v1/version")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


async def told(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body; answers with the certificate, and with as many bytes as it is asked for."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    leaf = scope["extensions"]["ranvier"]["peer_leaf"]
    padding = "x" * int(scope["query_string"] or b"0")
    body = json.dumps({"leaf": leaf and leaf.hex(), "size": size, "padding": padding}).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def client(
    shown: certs.Identity | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    made = ssl._create_unverified_context()
    made.minimum_version = made.maximum_version = version
    if shown is not None:
        made.set_ciphers("DEFAULT:@SECLEVEL=0")  # the weak key
        made.load_cert_chain(*shown.files)
    return made


def openssl(tmp_path: Path, name: str, *options: str) -> certs.Identity:
    """A certificate signed by itself, of a kind that cryptography's builder does not make."""
    made = tmp_path / name
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-days",
            "30",
            *options,
            "-keyout",
            f"{made}.key",
            "-out",
            f"{made}.crt",
        ],
        check=True,
        capture_output=True,
    )
    der = ssl.PEM_cert_to_DER_cert(Path(f"{made}.crt").read_text())
    return certs.Identity((der,), Path(f"{made}.key").read_bytes())


@pytest.mark.req("SEED-20", "D24")
@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("kind", list(Kind))
async def test_a_certificate_of_any_kind_is_taken_and_told(
    kind: Kind, version: ssl.TLSVersion
) -> None:
    shown = certs.certificate(kind, "client.test")
    async with listening(told, asking=True) as house:
        assert (await house.once(get("/x"), client(shown, version))).json[
            "leaf"
        ] == shown.leaf.hex()
        assert house.refused == {}


ODD = {
    "ed25519": ["-newkey", "ed25519"],
    "rsa": ["-newkey", "rsa:3072"],
    "pss": ["-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"],
    "p521": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-sha512"],
    "sha1": ["-newkey", "rsa:2048", "-sha1"],
    "critical": ["-newkey", "rsa:2048", "-addext", "1.2.3.4=critical,ASN1:UTF8String:unknown"],
    "ca": ["-newkey", "rsa:2048", "-addext", "keyUsage=critical,keyCertSign"],
    "large": ["-newkey", "rsa:2048", "-addext", "nsComment=" + "x" * 30_000],
}


@pytest.mark.req("D24")
@pytest.mark.parametrize("name", ODD)
async def test_odd_certificates_are_taken_too(name: str, tmp_path: Path) -> None:
    shown = openssl(tmp_path, name, *ODD[name])
    async with listening(told, asking=True) as house:
        for version in VERSIONS:
            reply = await house.once(get("/x"), client(shown, version))
            assert reply.json["leaf"] == shown.leaf.hex()


@pytest.mark.req("SEED-19")
@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_a_client_without_a_certificate_is_served(version: ssl.TLSVersion) -> None:
    async with listening(told, asking=True) as house:
        assert (await house.once(get("/x"), client(None, version))).json["leaf"] is None


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_resumed_session_brings_its_certificate(version: ssl.TLSVersion) -> None:
    """In memory, as nothing else lets us hand over a session."""
    asking = _asking(certs.good("us.test"))
    for shown in (certs.certificate(Kind.SELF_SIGNED, "client.test"), None):
        context = client(shown, version)
        first, ours, session = _shake(asking, context, None)
        assert not first.session_reused
        second, ours, _ = _shake(asking, context, session)
        assert second.session_reused
        assert ours.getpeercert(True) == (shown and shown.leaf)
        renewed, _, _ = _shake(_asking(certs.good("us.test")), context, session)
        assert not renewed.session_reused  # another context: begun anew, not broken


def _asking(pair: certs.Identity) -> ssl.SSLContext:
    chain, key = (Path(each) for each in pair.files)
    key.chmod(0o600)
    return AskingServerTls(chain, key, SystemClock()).current()[0]


def _shake(
    asking: ssl.SSLContext, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLObject, ssl.SSLObject, ssl.SSLSession | None]:
    """A handshake and one exchange: the client's end, ours, and the session to resume."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = context.wrap_bio(back, there, session=session)
    ours = asking.wrap_bio(there, back, server_side=True)
    done = {theirs: False, ours: False}
    while not all(done.values()):
        for end in done:
            try:
                end.do_handshake()
                done[end] = True
            except ssl.SSLWantReadError:
                pass
    theirs.write(b"hello")
    into = bytearray(5)
    ours.read(5, into)
    assert into == b"hello"
    ours.write(b"hello yourself")
    assert theirs.read(100) == b"hello yourself"
    return theirs, ours, theirs.session


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
async def test_large_bodies_pass_both_ways(version: ssl.TLSVersion) -> None:
    body = b"a" * 3_000_000
    put = f"PUT /x?5000000 HTTP/1.1\r\nHost: us.test\r\nContent-Length: {len(body)}\r\n\r\n"
    async with (
        listening(told, asking=True) as house,
        await house.call(client(None, version)) as caller,
    ):
        for _ in range(3):
            reply = await caller.ask(put.encode() + body)
            assert reply.json["size"] == len(body)
            assert len(reply.json["padding"]) == 5_000_000


async def test_it_speaks_http_1_1_to_clients_that_offer_more() -> None:
    for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)):
        context = client()
        if offered:
            context.set_alpn_protocols(offered)
        async with listening(asking=True) as house, await house.call(context) as caller:
            spoken = caller.writer.get_extra_info("ssl_object").selected_alpn_protocol()
            assert spoken == chosen
            assert (await caller.ask(VERSION)).status == 200


async def test_old_versions_of_tls_are_refused_as_without_asking() -> None:
    context = ssl._create_unverified_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(asking=True) as house:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await house.call(context)
        await house.later(0)
        assert house.refused == {"no-handshake": 1}


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff", b"\0" * 50_000])
async def test_garbage_ends_the_connection_and_nothing_else(
    noise: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(asking=True) as house:
        reader, writer = await asyncio.open_connection(house.address.ip, house.address.port)
        writer.write(noise)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert (await house.once(VERSION)).status == 200
    assert caplog.text == ""


async def test_a_broken_record_ends_the_connection_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(asking=True) as house:
        async with await house.call() as caller:
            assert (await caller.ask(VERSION)).status == 200
            under = caller.writer.get_extra_info("socket")
            os.write(under.fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
            assert await caller.end() == b""
        assert (await house.once(VERSION)).status == 200
    assert caplog.text == ""


async def test_a_long_chain_is_taken_and_not_followed() -> None:
    chain = (certs.unknown_authority().der,) * 30
    leaf = certs.issue(["client.test"], by=certs.unknown_authority(), shown=chain)
    async with listening(told, asking=True) as house:
        assert (await house.once(get("/x"), client(leaf))).json["leaf"] == leaf.leaf.hex()


def test_without_pyopenssl_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clientcerts, "SSL", None)
    with pytest.raises(BadConfiguration, match="client-certs") as caught:
        _asking(certs.good("us.test"))
    assert caught.value.code == "client-certs-extra"


def test_the_module_can_be_read_without_pyopenssl() -> None:
    code = "import sys; sys.modules['OpenSSL'] = None; import ranvier.net.clientcerts as c; c.SSL"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_broken_pair_is_said_as_without_asking() -> None:
    pair, other = certs.good("us.test"), certs.good("other.test")
    Path(other.files[1]).chmod(0o600)
    with pytest.raises(BadConfiguration) as caught:
        AskingServerTls(Path(pair.files[0]), Path(other.files[1]), SystemClock())
    assert caught.value.code == "certificate-unusable"
