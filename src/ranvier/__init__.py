"""Ranvier: the server-server half of the Matrix protocol. Every answer carries its trail.

::

    from ranvier import Federation, ServerName

    async with Federation() as fed:
        found = await fed.resolve("matrix.org")
        print(found.trail)
"""

__version__ = "0.1.0"

from ranvier.config import Config, load_config
from ranvier.errors import RanvierError
from ranvier.federation import Edges, Federation
from ranvier.protocol.names import ServerName
from ranvier.protocol.routes import Mode
from ranvier.trail import Trail

__all__ = [
    "Config",
    "Edges",
    "Federation",
    "Mode",
    "RanvierError",
    "ServerName",
    "Trail",
    "__version__",
    "load_config",
]
