"""HAProxy and nginx in front of our listener: the target arrives as it was signed, the
client's certificate as it was shown, and nobody passes off a certificate as shown."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from ranvier.net.proxies import TrustedProxy
from ranvier.protocol.addresses import Address
from tests.peers import front
from tests.rigs import certs
from tests.rigs.certs import Kind
from tests.rigs.listening import Caller, Reply, get, limits, listening

Front = Callable[[Path, Address], AbstractContextManager[Address]]
HAPROXY = pytest.param(front.haproxy, marks=pytest.mark.peer("haproxy"), id="haproxy")
NGINX = pytest.param(front.nginx, marks=pytest.mark.peer("nginx"), id="nginx")
BOTH = pytest.mark.parametrize("proxy", [HAPROXY, NGINX])
OURS = TrustedProxy(networks=("127.0.0.1",), certificate_header=front.CERTIFICATE_HEADER)

TARGETS = [
    "/_matrix/federation/v1/x",
    "/x?",
    "/x%2Fy%3Az/%21room:us.test",
    "/x?a=%2F&b=c+d%20e&&=",
    "//x/../y/./z",
    "/%c3%a4?%C3%A4",
    "/x;a=b,c'(d)*!$",
]


async def told(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the raw target, the certificate and the size of the body."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    ours = scope["extensions"]["ranvier"]
    leaf = ours["peer_leaf"]
    names = [name.decode() for name, _ in scope["headers"]]
    body = json.dumps(
        {
            "raw": ours["raw_target"].decode(),
            "leaf": leaf and leaf.hex(),
            "size": size,
            "names": names,
        }
    ).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def ask(at: Address, data: bytes, shown: certs.Identity | None = None) -> Reply:
    context = ssl._create_unverified_context()
    if shown is not None:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # the weak key
        context.load_cert_chain(*shown.files)
    async with await Caller.to(at, True, context) as caller:
        return await caller.ask(data)


@BOTH
@pytest.mark.req("D18")
async def test_the_target_arrives_byte_for_byte(proxy: Front, tmp_path: Path) -> None:
    async with listening(told, proxies=(OURS,)) as house:
        with proxy(tmp_path, house.address) as at:
            for target in TARGETS:
                assert (await ask(at, get(target))).json["raw"] == target


@pytest.mark.peer("haproxy")
@pytest.mark.parametrize("form", ["base64", "rfc9440"])
@pytest.mark.req("SEED-20", "D24")
async def test_haproxy_tells_of_a_certificate_of_any_kind(form: str, tmp_path: Path) -> None:
    async with listening(told, proxies=(OURS,)) as house:
        with front.haproxy(tmp_path, house.address, form) as at:
            for kind in Kind:
                shown = certs.certificate(kind, "client.test")
                assert (await ask(at, get("/x"), shown)).json["leaf"] == shown.leaf.hex(), kind


@pytest.mark.peer("nginx")
@pytest.mark.req("SEED-20", "D24")
async def test_nginx_tells_of_a_certificate_that_it_takes(tmp_path: Path) -> None:
    """It refuses others by itself: behind it, not every home server can show its own."""
    shown = certs.issue(["client.test"], by=None, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    expired = certs.certificate(Kind.EXPIRED, "client.test")
    async with listening(told, proxies=(OURS,)) as house:
        with front.nginx(tmp_path, house.address) as at:
            assert (await ask(at, get("/x"), shown)).json["leaf"] == shown.leaf.hex()
            assert (await ask(at, get("/x"), expired)).status == 400


@BOTH
@pytest.mark.req("D20", "SEED-19")
async def test_a_certificate_that_was_not_shown_is_not_believed(
    proxy: Front, tmp_path: Path
) -> None:
    stolen = base64.b64encode(certs.good("victim.test").leaf).decode()
    forged = get("/x", f"{front.CERTIFICATE_HEADER}: {stolen}")
    shown = certs.issue(["client.test"], by=None, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    async with listening(told, proxies=(OURS,)) as house:
        with proxy(tmp_path, house.address) as at:
            assert (await ask(at, get("/x"))).json["leaf"] is None
            reply = await ask(at, forged)
            assert reply.json["leaf"] is None
            assert front.CERTIFICATE_HEADER.lower() not in reply.json["names"]
            assert (await ask(at, forged, shown)).json["leaf"] == shown.leaf.hex()


@BOTH
async def test_large_bodies_pass_and_too_large_ones_are_refused(
    proxy: Front, tmp_path: Path
) -> None:
    def put(size: int) -> bytes:
        head = f"PUT /x HTTP/1.1\r\nHost: us.test\r\nContent-Length: {size}\r\n\r\n"
        return head.encode() + b"a" * size

    async with listening(told, proxies=(OURS,), budget=limits(listen_body_bytes=500_000)) as house:
        with proxy(tmp_path, house.address) as at:
            assert (await ask(at, put(500_000))).json["size"] == 500_000
            assert (await ask(at, put(500_001))).status == 413
