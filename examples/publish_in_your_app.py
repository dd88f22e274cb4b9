"""Publish our keys and version beside your own paths, in a plain ASGI application.

Run it behind a reverse proxy that ends TLS for example.org:8448:

    .venv/bin/uvicorn --app-dir examples publish_in_your_app:app --port 8008

The signing key is made at the first start and kept in ./ranvier-data. The same
works in FastAPI and Starlette: ``FastAPI(lifespan=fed.lifespan)``, then
``app.mount("/", fed.asgi)`` after your own routes.
"""

import os
from typing import Any

from ranvier import Config, Federation
from ranvier.config import Listen

fed = Federation(
    config=Config(
        server_name=os.environ.get("SERVER_NAME", "example.org"),
        data=os.environ.get("DATA", "ranvier-data"),
        listen=Listen(tls=False),  # the proxy ends TLS, so no certificate is made here
    )
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """``GET /hello`` is ours; everything else is federation's to answer or to refuse."""
    if scope["type"] == "http" and scope["path"] == "/hello":
        body = f"hello from {fed.identity.server_name}\n".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        await fed.asgi(scope, receive, send)
