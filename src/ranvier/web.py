"""For web applications: protect endpoints by request signatures, and see who asks.

::

    from ranvier.web import Authenticated, RequireSignature, authenticated

    app = FastAPI(lifespan=fed.lifespan)
    app.add_middleware(RequireSignature, federation=fed, paths="/_matrix/policy/")

    @app.post("/_matrix/policy/v1/sign")
    async def sign(request: Annotated[Authenticated, Depends(authenticated)]) -> dict:
        return {"asked_by": request.origin.text}

Neither FastAPI nor Starlette is needed to import this; with them,
:func:`authenticated` is a dependency, or a plain call with the request at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranvier.errors import BadConfiguration
from ranvier.faces.middleware import AUTHENTICATED, RequireSignature
from ranvier.services.gate import Authenticated

if TYPE_CHECKING:
    from starlette.requests import Request
else:
    try:
        from starlette.requests import Request
    except ImportError:
        Request = Any

__all__ = ["Authenticated", "RequireSignature", "authenticated"]


def authenticated(request: Request) -> Authenticated:
    """Who sent this request, as :class:`RequireSignature` proved it.

    Raises: BadConfiguration, if nothing protects its path: then nobody knows who it is.
    """
    found: Authenticated | None = request.scope.get(AUTHENTICATED)
    if found is None:
        raise BadConfiguration(
            "web-not-protected",
            f"no RequireSignature protects {request.scope['path']!r}: add it to its `paths`",
        )
    return found
