"""The README's lines: a FastAPI application of ours, asked by another server of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from ranvier import Config, Federation, Rejected
from ranvier.faces.asgi import FederationApp
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.listen import Listener
from ranvier.net.tls_server import ServerTls
from ranvier.web import Authenticated, RequireSignature, authenticated
from tests.test_exchange import two_configs

SIGN = "/_matrix/policy/v1/sign"


def application(fed: Federation) -> FastAPI:
    app = FastAPI(lifespan=fed.lifespan)
    app.add_middleware(RequireSignature, federation=fed, paths="/_matrix/policy/")

    @app.post(SIGN)
    async def sign(request: Annotated[Authenticated, Depends(authenticated)]) -> dict[str, Any]:
        return {"asked_by": request.origin.text, "content": request.content}

    app.mount("/", fed.asgi)
    return app


@asynccontextmanager
async def served(fed: Federation, config: Config, app: Any) -> AsyncIterator[None]:
    clock = SystemClock()
    listener = Listener(
        app,
        FederationApp(fed.identity),
        host=config.listen.ip,
        port=config.listen.port,
        clock=clock,
        limits=Limits(),
        tls=ServerTls(config.path("tls.crt"), config.path("tls.key"), clock),
        grace_seconds=0.5,
    )
    await listener.start()
    try:
        yield
    finally:
        await listener.stop()


@pytest.mark.req("AUTH-01", "AUTH-06", "API-05", "AUTH-27")
async def test_an_endpoint_of_fastapi_sees_who_asks_and_nobody_else_gets_in(tmp_path: Path) -> None:
    first, second = two_configs(tmp_path)
    asker, asked = Federation(config=first), Federation(config=second)
    async with (
        asker,
        served(asker, first, asker.asgi),
        served(asked, second, application(asked)),
    ):
        name = second.server_name
        answer = await asker.post(name, SIGN, {"event": {"a": 1}})
        assert answer.json == {"asked_by": first.server_name, "content": {"event": {"a": 1}}}
        with pytest.raises(Rejected) as unsigned:
            await asker.post(name, SIGN, {}, signed=False)
        assert (unsigned.value.status, unsigned.value.errcode) == (401, "M_UNAUTHORIZED")
        assert (await asker.version(name)).name == "Ranvier", "what is mounted beside is open"
