"""Ranvier: the server-server half of the Matrix protocol. Every answer carries its trail.

::

    from ranvier import Federation, ServerName

    async with Federation() as fed:
        found = await fed.resolve("matrix.org")
        print(found.trail)
"""

__version__ = "0.1.0"

from ranvier.config import Config, Peer, load_config
from ranvier.errors import (
    BadConfiguration,
    Malformed,
    NetworkFault,
    NotValid,
    PeerFault,
    RanvierError,
    StoreFault,
    Unreachable,
)
from ranvier.federation import Federation, Located
from ranvier.parts import Edges
from ranvier.protocol.addresses import Address
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.names import ServerName
from ranvier.protocol.routes import Discovery, Mode, Route
from ranvier.services.keyring import KeyFetch
from ranvier.services.resolver import Resolution
from ranvier.services.trust import TrustMode
from ranvier.services.version import ServerVersion
from ranvier.trail import Outcome, Step, Trail

__all__ = [
    "Address",
    "BadConfiguration",
    "Config",
    "Discovery",
    "Edges",
    "Federation",
    "KeyFetch",
    "KeyOutcome",
    "KeyVerdict",
    "Located",
    "Malformed",
    "Mode",
    "NetworkFault",
    "NotValid",
    "Outcome",
    "Peer",
    "PeerFault",
    "RanvierError",
    "Resolution",
    "Route",
    "ServerName",
    "ServerVersion",
    "Step",
    "StoreFault",
    "Trail",
    "TrustMode",
    "Unreachable",
    "__version__",
    "load_config",
]
