"""What we publish over HTTP: the paths, the errors, and under whom it runs."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from typing import Any

import pytest

from ranvier import __version__
from ranvier.faces.asgi import FederationApp
from ranvier.protocol.names import ServerName
from ranvier.services.identity import Identity
from tests.rigs import certs
from tests.rigs.listening import NAME, Reply, ShiftedClock, get, identity, listening

LEAF = certs.good("us.test").leaf
V1, V2 = "/_matrix/key/v1", "/_matrix/key/v2/server"
VERSION, WELL_KNOWN = "/_matrix/federation/v1/version", "/.well-known/matrix/server"


async def ask(app: FederationApp, path: str, method: str = "GET", **scope: Any) -> Reply:
    """Ask as a foreign ASGI server would."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app({"type": "http", "method": method, "path": path} | scope, receive, send)
    start, body = sent
    headers = [(name.decode(), value.decode()) for name, value in start["headers"]]
    assert ("content-type", "application/json") in headers
    return Reply(start["status"], headers, body["body"])


def app(**options: Any) -> FederationApp:
    return FederationApp(identity(ShiftedClock()), **options)


def leaf(der: bytes | None) -> dict[str, Any]:
    return {"extensions": {"ranvier": {"local_leaf": der}}}


@pytest.mark.req("VER-01", "VER-02")
async def test_the_version_is_told_to_everybody() -> None:
    reply = await ask(app(), VERSION)
    assert (reply.status, reply.json) == (
        200, {"server": {"name": "Ranvier", "version": __version__}},
    )  # fmt: skip


@pytest.mark.req("KEY2-01", "KEY2-13", "KEY2-14")
async def test_version_2_answers_all_its_paths_with_all_keys() -> None:
    ours = app()
    expected = ours.identity.document_v2()
    for path in (V2, f"{V2}/", f"{V2}/ed25519:a_1", f"{V2}/anything at all"):
        reply = await ask(ours, path)
        assert (reply.status, reply.body) == (200, expected)
    assert (await ask(ours, f"{V2}/a/b")).status == 404


@pytest.mark.req("SEED-08", "REF14-01", "REF14-02", "REF14-03")
async def test_version_1_answers_http_1_0_without_host_with_and_without_slash() -> None:
    async with listening(tls=True) as house:
        bodies = set()
        for path in (V1, f"{V1}/"):
            async with await house.call() as caller:
                await caller.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                reply = await caller.reply()
                assert reply.status == 200
                assert reply.header("content-type") == "application/json"
                assert reply.header("transfer-encoding") is None
                assert await caller.end() == b""
                bodies.add(reply.body)
                der = base64.b64decode(reply.json["tls_certificate"] + "==")
                assert der == caller.leaf
        assert len(bodies) == 1


@pytest.mark.req("REF14-02", "REF14-13")
async def test_a_client_of_2014_gives_no_name_and_is_asked_for_no_certificate() -> None:
    """It names no server by SNI, and has its own server certificate at hand."""
    told: list[Any] = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            told.append(scope["extensions"]["ranvier"])
        await app()(scope, receive, send)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    chain, key = certs.good("old.test").files
    context.load_cert_chain(certs.scratch() / chain, certs.scratch() / key)
    async with listening(noting, tls=True) as house:
        reader, writer = await asyncio.open_connection(
            house.address.ip, house.address.port, ssl=context, server_hostname=""
        )
        writer.write(f"GET {V1}? HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
        shown = writer.get_extra_info("ssl_object")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert shown.server_hostname is None
    assert told == [
        {
            "raw_target": f"{V1}?".encode(),
            "peer_leaf": None,
            "local_leaf": shown.getpeercert(True),
            "client": "127.0.0.1",
        }
    ]


async def test_ready_answers_and_the_application_give_the_same_bytes() -> None:
    async with listening(tls=True) as house, await house.call() as caller:
        for path in (V1, f"{V1}/", V2, f"{V2}/", VERSION):
            ready = await caller.ask(get(path))
            plain = await caller.ask(get(f"{path}?"))  # another raw target, the same path
            assert ready.body == plain.body
            assert sorted(ready.headers) == sorted(plain.headers)


@pytest.mark.req("D4")
async def test_version_1_without_a_known_certificate_is_off_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening() as house:
        for target in (V1, f"{V1}/", V1):
            reply = await house.once(get(target))
            assert (reply.status, reply.json["errcode"]) == (404, "M_UNRECOGNIZED")
    assert caplog.text.count("proxy_certificate") == 1


@pytest.mark.req("D4")
async def test_version_1_behind_a_proxy_is_for_the_proxys_certificate() -> None:
    ours = FederationApp(
        Identity(
            NAME, identity(ShiftedClock()).signing_keys, clock=ShiftedClock(),
            outer_leaf=lambda: LEAF,
        )
    )  # fmt: skip
    for scope in ({}, leaf(None), {"extensions": None}):
        told = (await ask(ours, V1, **scope)).json["tls_certificate"]
        assert base64.b64decode(told + "==") == LEAF


async def test_a_foreign_server_may_tell_the_certificate_by_the_tls_extension() -> None:
    pem = ssl.DER_cert_to_PEM_cert(LEAF)
    reply = await ask(app(), V1, extensions={"tls": {"server_cert": pem}})
    assert base64.b64decode(reply.json["tls_certificate"] + "==") == LEAF
    assert (await ask(app(), V1, extensions={"tls": {"server_cert": None}})).status == 404


@pytest.mark.req("WK-04")
async def test_the_well_known_file_is_there_if_configured() -> None:
    reply = await ask(app(well_known=ServerName("matrix.us.test:443")), WELL_KNOWN)
    assert (reply.status, reply.json) == (200, {"m.server": "matrix.us.test:443"})
    assert (await ask(app(), WELL_KNOWN)).status == 404


@pytest.mark.req("UNS-01", "UNS-03", "UNS-05", "API-05", "API-06", "API-08")
@pytest.mark.parametrize(
    "path",
    [
        "/", "", "/_matrix", "/_matrix/unknown", "/_matrix/federation/v1/nope",
        "/_matrix/federation/v9/version", "/_matrix/key/v2/nope", "/_matrix/key/v1//",
        f"{VERSION}/", "/favicon.ico", "/_matrix/key/v2/server\n", "/\u2603", "*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "HEAD", "PROPFIND"])
async def test_an_unknown_path_is_404_unrecognized_whatever_the_method(
    path: str, method: str
) -> None:
    reply = await ask(app(), path, method)
    assert reply.status == 404
    if method != "HEAD":
        assert reply.json["errcode"] == "M_UNRECOGNIZED"
        assert isinstance(reply.json["error"], str)


@pytest.mark.req("UNS-02", "UNS-05")
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [V1, V2, f"{V2}/ed25519:a_1", VERSION])
async def test_a_known_path_with_another_method_is_405_unrecognized(path: str, method: str) -> None:
    reply = await ask(app(), path, method, **leaf(LEAF))
    assert (reply.status, reply.json["errcode"]) == (405, "M_UNRECOGNIZED")
    assert reply.header("allow") == "GET, HEAD"


@pytest.mark.parametrize("path", [V2, VERSION, "/nope"])
async def test_head_is_get_without_the_body(path: str) -> None:
    full, bare = await ask(app(), path), await ask(app(), path, "HEAD")
    assert (bare.status, bare.headers, bare.body) == (full.status, full.headers, b"")
    async with listening() as house, await house.call() as caller:
        await caller.send(get(path).replace(b"GET", b"HEAD"))
        assert (await caller.reply(head_only=True)).status == full.status
        assert (await caller.ask(get(VERSION))).status == 200  # no body was left between


async def test_it_can_be_mounted_under_a_path() -> None:
    reply = await ask(app(), f"/deep{VERSION}", root_path="/deep")
    assert reply.status == 200


async def test_it_takes_part_in_the_lifespan_and_refuses_web_sockets() -> None:
    sent = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app()({"type": "lifespan"}, receive, send)
    await app()({"type": "websocket"}, receive, send)
    await app()({"type": "something new"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


async def test_a_refusal_is_an_error_object() -> None:
    assert json.loads(app().refusal(413, "too large"))["errcode"] == "M_TOO_LARGE"
    assert json.loads(app().refusal(400, "bad"))["errcode"] == "M_UNKNOWN"


async def test_the_caller_of_a_raw_connection_sees_content_length_always() -> None:
    async with listening() as house, await house.call() as caller:
        for target in (V2, "/nope", f"{V2}/x"):
            reply = await caller.ask(get(target))
            assert reply.header("content-length") == str(len(reply.body))
            assert reply.header("transfer-encoding") is None
