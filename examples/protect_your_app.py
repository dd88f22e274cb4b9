"""Let only other home servers in, and know which one it is: one line of middleware.

Needs FastAPI, and a `ranvier.toml` that says who you are. Behind a reverse proxy that
ends TLS (docs/howto/protect-endpoints.md):

    .venv/bin/uvicorn --app-dir examples protect_your_app:app --port 8008
"""

import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI

from ranvier import Federation, load_config
from ranvier.web import Authenticated, RequireSignature, authenticated

config = load_config(Path(os.environ.get("CONFIG", "ranvier.toml")))
fed = Federation(config=config, store=config.path(config.store.path))

app = FastAPI(lifespan=fed.lifespan)
app.add_middleware(RequireSignature, federation=fed, paths="/_matrix/policy/")


@app.post("/_matrix/policy/v1/sign")
async def sign(request: Annotated[Authenticated, Depends(authenticated)]) -> dict[str, Any]:
    """The request is signed by ``origin``, content and all, or it does not get here."""
    return {"asked_by": request.origin.text, "members": sorted(request.content or {})}


app.mount("/", fed.asgi)  # our keys, version and well-known file: open to everybody
