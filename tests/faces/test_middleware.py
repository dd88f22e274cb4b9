"""Endpoints of real Starlette and FastAPI applications behind signatures, under real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from ranvier.errors import BadConfiguration
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import fingerprint
from ranvier.services.bodies import BodyWork
from ranvier.services.gate import Gate
from ranvier.services.trust import ClientCertificate, TrustRule
from ranvier.web import Authenticated, RequireSignature, authenticated
from ranvier.world.world import World
from tests.rigs.listening import Caller, Reply, limits, listening
from tests.services.gaterig import US, signed
from tests.services.keyrig import NAME, Peer, keyring

SIGN = "/_matrix/policy/v1/sign"
BODY = b'{"event":{"type":"m.room.message"}}'


class Fed:
    """As much of a federation as the middleware wants."""

    def __init__(self, budget: Limits | None = None, *rules: TrustRule) -> None:
        world = World()
        self.peer = Peer(world)
        clock, limits = SystemClock(), budget or world.limits
        self.gate = Gate(
            keyring(world, *rules),
            (US,),
            clock=clock,
            limits=limits,
            body_work=BodyWork(clock, limits),
        )


def fastapi(fed: Fed) -> Any:
    app = FastAPI()
    app.add_middleware(RequireSignature, federation=fed, paths="/_matrix/policy/")

    @app.post(SIGN)
    async def sign(request: Annotated[Authenticated, Depends(authenticated)]) -> dict[str, Any]:
        return said(request)

    @app.get("/_matrix/policy/{rest:path}")
    async def look(request: Annotated[Authenticated, Depends(authenticated)]) -> dict[str, Any]:
        return said(request)

    @app.get("/open")
    async def open_to_all() -> dict[str, Any]:
        return {"open": True}

    @app.get("/forgotten")
    async def forgotten(request: Annotated[Authenticated, Depends(authenticated)]) -> None:
        pass

    return app


def starlette(fed: Fed) -> Any:
    async def sign(request: Request) -> JSONResponse:
        return JSONResponse(
            said(authenticated(request)) | {"read": (await request.body()).decode()}
        )

    async def look(request: Request) -> JSONResponse:
        return JSONResponse(said(authenticated(request)))

    async def open_to_all(request: Request) -> JSONResponse:
        return JSONResponse({"open": True})

    app = Starlette(
        routes=[
            Route("/open", open_to_all),
            Route(SIGN, sign, methods=["POST"]),
            Route("/_matrix/policy/{rest:path}", look),
        ]
    )
    app.add_middleware(RequireSignature, federation=fed, paths=["/_matrix/policy/"])
    return app


def said(request: Authenticated) -> dict[str, Any]:
    return {
        "origin": request.origin.text,
        "key_id": request.key_id,
        "target": request.target,
        "content": request.content,
    }


FRAMEWORKS = pytest.mark.parametrize("made", [fastapi, starlette])


def raw(
    at: str, *lines: str, by: str = "GET", body: bytes = b"", sign: bool = True, **odd: Any
) -> bytes:
    """A request, signed as it is unless something is odd."""
    if sign:
        odd = {"method": by, "target": at, "content": body or None} | odd
        lines = (f"Authorization: {signed(**odd)}", *lines)
    if body:
        lines = (*lines, f"Content-Length: {len(body)}")
    head = [f"{by} {at} HTTP/1.1", "Host: us.example", *lines, "", ""]
    return "\r\n".join(head).encode() + body


@pytest.mark.req("AUTH-01", "API-04")
@FRAMEWORKS
async def test_a_signed_request_reaches_the_endpoint_with_who_sent_it(made: Any) -> None:
    async with listening(made(Fed())) as house:
        reply = await house.once(raw(SIGN, by="POST", body=BODY))
    assert reply.status == 200
    assert (reply.json["origin"], reply.json["target"]) == (NAME, SIGN)
    assert reply.json["content"] == json.loads(BODY)


async def test_the_application_reads_the_body_as_it_was_sent() -> None:
    body = b'{ "b":1, "a":2 }'
    request = raw(SIGN, by="POST", body=body, content=b'{"a":2,"b":1}')
    async with listening(starlette(Fed())) as house:
        reply = await house.once(request)
    assert reply.json["read"] == body.decode()


@pytest.mark.req("API-05", "API-06", "API-08", "SEC-18")
@FRAMEWORKS
async def test_an_unsigned_request_never_reaches_the_endpoint(made: Any) -> None:
    fed = Fed()
    async with listening(made(fed)) as house:
        reply = await house.once(raw(SIGN, by="POST", body=BODY, sign=False))
    assert reply.status == 401
    assert reply.json == {"errcode": "M_UNAUTHORIZED", "error": "the request is not signed"}
    assert reply.header("content-type") == "application/json"
    assert fed.peer.asked == []


@FRAMEWORKS
async def test_what_is_not_listed_is_open(made: Any) -> None:
    async with listening(made(Fed())) as house:
        reply = await house.once(raw("/open", sign=False))
    assert reply.json == {"open": True}


@pytest.mark.req("AUTH-03", "D18")
@pytest.mark.parametrize(
    "target",
    [
        "/_matrix/policy/a%2Fb",
        "/_matrix/policy/%21x%3Aus.example",
        "/_matrix/policy/!x:us.example",
        "/_matrix/policy/x?",
        "/_matrix/policy/x?a=%20&b=+",
        "/_matrix/policy//x",
        "/_matrix/policy/%C3%A9",
    ],
)
@FRAMEWORKS
async def test_the_target_is_signed_byte_for_byte(made: Any, target: str) -> None:
    async with listening(made(Fed())) as house:
        reply = await house.once(raw(target))
        other = await house.once(changed(target))
    assert (reply.status, reply.json["target"]) == (200, target)
    assert other.status == 401


def changed(target: str) -> bytes:
    """The same place, spelled in another way than it was signed."""
    return raw(target + "?" if "?" not in target else target[:-1] + "x", target=target)


TABLE = [
    # target, method, odd; status, errcode
    (SIGN, "POST", {"destination": "them.example"}, 401, "M_UNAUTHORIZED"),
    (SIGN, "POST", {"origin": "nowhere.example"}, 401, "M_UNAUTHORIZED"),
    (SIGN, "POST", {"origin": "http://x"}, 400, "M_UNAUTHORIZED"),
    (SIGN, "POST", {"content": b"{}"}, 401, "M_UNAUTHORIZED"),
    (SIGN, "POST", {"method": "PUT"}, 401, "M_UNAUTHORIZED"),
    (SIGN, "POST", {"target": SIGN + "/"}, 401, "M_UNAUTHORIZED"),
    (SIGN, "POST", {"body": b"nothing"}, 400, "M_NOT_JSON"),
    (SIGN, "POST", {"body": b"[1]"}, 400, "M_BAD_JSON"),
    (SIGN, "POST", {"body": b'{"a":1,"a":1}'}, 400, "M_BAD_JSON"),
    (SIGN, "POST", {"body": b'{"a":"' + b"x" * 5000 + b'"}'}, 413, "M_TOO_LARGE"),
    (SIGN, "DELETE", {}, 405, None),  # known to the application alone
    ("/_matrix/policy", "POST", {"sign": False}, 401, "M_UNAUTHORIZED"),  # the folder itself
    ("/_matrix/policy/%2e%2e/open", "GET", {"sign": False}, 401, "M_UNAUTHORIZED"),
    ("/_matrix/polic%79/v1/sign", "POST", {"sign": False}, 401, "M_UNAUTHORIZED"),
]


@pytest.mark.req("AUTH-18", "AUTH-23", "AUTH-32", "SEC-18", "API-08")
@pytest.mark.parametrize(("target", "method", "odd", "status", "errcode"), TABLE)
async def test_what_is_wrong_has_its_status(
    target: str, method: str, odd: dict[str, Any], status: int, errcode: str | None
) -> None:
    body = BODY if method == "POST" else b""
    asked = raw(target, **{"by": method, "body": body} | odd)
    async with listening(fastapi(Fed(limits(listen_body_bytes=4000)))) as house:
        reply = await house.once(asked)
    assert reply.status == status, reply.body
    assert errcode is None or reply.json["errcode"] == errcode


async def test_a_refused_head_does_not_wait_for_its_body() -> None:
    head = raw(SIGN, "Content-Length: 1000000", by="POST", sign=False)
    async with listening(fastapi(Fed())) as house, await house.call() as caller:
        await caller.send(head)
        assert (await caller.reply()).status == 401


async def test_a_client_that_leaves_in_its_body_reaches_nobody() -> None:
    fed = Fed()
    head = raw(SIGN, "Content-Length: 100", by="POST", content=BODY)
    async with listening(fastapi(fed)) as house:
        async with await house.call() as caller:
            await caller.send(head + b"{")
        await asyncio.sleep(0.1)
    assert fed.peer.asked == []


async def test_an_endpoint_that_nothing_protects_fails_rather_than_guess() -> None:
    async with listening(fastapi(Fed())) as house:
        reply = await house.once(raw("/forgotten"))
    assert reply.status == 500
    with pytest.raises(BadConfiguration) as caught:
        authenticated(Request({"type": "http", "path": "/x", "headers": []}))
    assert caught.value.code == "web-not-protected"


async def test_a_mounted_application_protects_its_own_paths() -> None:
    async def look(request: Request) -> JSONResponse:
        return JSONResponse(said(authenticated(request)))

    inner = RequireSignature(Starlette(routes=[Route("/in/x", look)]), Fed(), paths="/in/")
    async with listening(Starlette(routes=[Mount("/mnt", inner)])) as house:
        assert (await house.once(raw("/mnt/in/x"))).json["target"] == "/mnt/in/x"
        assert (await house.once(raw("/mnt/in/x", sign=False))).status == 401


async def test_web_sockets_and_lifespan() -> None:
    """No signature can be on a web socket; the lifespan is the application's own."""
    seen: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def send(message: Any) -> None:
        sent.append(message)

    guarded = RequireSignature(app, Fed())
    await guarded({"type": "lifespan"}, None, send)
    await guarded({"type": "websocket", "path": "/x"}, None, send)
    assert seen == ["lifespan"]
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("paths", ["", "_matrix/", [], ["/a/", "b/"]])
def test_paths_that_would_protect_nothing_are_refused(paths: Any) -> None:
    with pytest.raises(BadConfiguration) as caught:
        RequireSignature(Starlette(), Fed(), paths=paths)
    assert caught.value.code == "web-paths"


@pytest.mark.req("SEED-21", "AUTH-30")
@pytest.mark.parametrize(
    ("leaf", "found"), [(b"own", "matched"), (b"another", "other"), (None, "none")]
)
async def test_the_certificate_that_the_listener_saw_is_held_against_the_origins(
    leaf: bytes | None, found: str
) -> None:
    seen: list[Authenticated] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(authenticated(Request(scope)))

    async def receive() -> Any:
        return {"type": "http.request"}

    rule = TrustRule(
        names=(NAME,),
        leaves=frozenset({fingerprint(b"own")}),
        client_certificate=ClientCertificate.RECORD,
    )
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"authorization", signed(target="/x").encode())],
        "extensions": {"ranvier": {"raw_target": b"/x", "peer_leaf": leaf}},
    }
    await RequireSignature(app, Fed(None, rule))(scope, receive, None)
    assert [each.client_certificate for each in seen] == [found]


# --- Under a foreign server, here uvicorn as it is ---


@dataclass
class Foreign:
    """A server that knows nothing of us."""

    address: Address

    async def once(self, data: bytes) -> Reply:
        async with await Caller.to(self.address) as caller:
            await caller.send(data)
            return await caller.reply()


@contextlib.asynccontextmanager
async def foreign(app: Any) -> AsyncIterator[Foreign]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield Foreign(Address(*listening.getsockname()[:2]))
    finally:
        server.should_exit = True
        await serving


@pytest.mark.req("D18")
@pytest.mark.parametrize(
    "target",
    ["/_matrix/policy/a%2Fb", "/_matrix/policy/x", "/_matrix/policy/x?", "/_matrix/policy/x?a=%20"],
)
async def test_under_a_foreign_server_the_signature_says_how_the_target_was_spelled(
    target: str,
) -> None:
    async with foreign(fastapi(Fed())) as server:
        assert (await server.once(raw(target))).json["target"] == target
        assert (await server.once(raw(target, target="/_matrix/policy/other"))).status == 401


async def test_under_a_foreign_server_a_body_has_its_time() -> None:
    fed = Fed(limits(listen_body_seconds=0.05))
    head = raw(SIGN, "Content-Length: 100", by="POST", content=BODY)
    async with foreign(fastapi(fed)) as server:
        reply = await server.once(head + b"{")
    assert (reply.status, reply.json["errcode"]) == (408, "M_UNKNOWN")
