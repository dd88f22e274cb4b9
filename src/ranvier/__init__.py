"""Ranvier: the server-server half of the Matrix protocol. Every answer carries its trail.

::

    from ranvier import Federation, ServerName

    async with Federation() as fed:
        found = await fed.resolve("matrix.org")
        print(found.trail)
"""

__version__ = "0.1.0"

from ranvier.config import Config, Peer, load_config
from ranvier.deeds import LaneState, ParkedItem
from ranvier.edges import Edges
from ranvier.errors import (
    BackingOff,
    BadConfiguration,
    ConnectionLost,
    Malformed,
    NetworkFault,
    NotValid,
    PeerFault,
    QueueFull,
    RanvierError,
    Rejected,
    StoreFault,
    TimedOut,
    Unauthenticated,
    Unreachable,
)
from ranvier.federation import Federation, Located
from ranvier.limits import Limits
from ranvier.protocol.addresses import Address
from ranvier.protocol.edus import (
    DeviceListUpdate,
    Edu,
    Presence,
    PresenceUpdate,
    Receipt,
    Receipts,
    SigningKeyUpdate,
    ToDevice,
    Typing,
    UnknownEdu,
)
from ranvier.protocol.events import ParsedPdu, sign_event
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.protocol.names import ServerName
from ranvier.protocol.room_versions import RoomVersion, room_version
from ranvier.protocol.routes import Discovery, Mode, Route
from ranvier.protocol.transactions import ItemResult, ItemVerdict
from ranvier.services.client import Answer
from ranvier.services.delivery import Delivery, DeliveryOutcome
from ranvier.services.gate import Authenticated, InboundRequest
from ranvier.services.hooks import Effects, Query, Reply, TryAgain
from ranvier.services.keyring import KeyFetch
from ranvier.services.outgoing import Passing, Pdu
from ranvier.services.resolver import Resolution
from ranvier.services.trust import ClientCertificate, TrustMode
from ranvier.services.version import ServerVersion
from ranvier.trail import Outcome, Step, Trail

__all__ = [
    "Address",
    "Answer",
    "Authenticated",
    "BackingOff",
    "BadConfiguration",
    "ClientCertificate",
    "Config",
    "ConnectionLost",
    "Delivery",
    "DeliveryOutcome",
    "DeviceListUpdate",
    "Discovery",
    "Edges",
    "Edu",
    "Effects",
    "Federation",
    "InboundRequest",
    "ItemResult",
    "ItemVerdict",
    "KeyFetch",
    "KeyOutcome",
    "KeyVerdict",
    "LaneState",
    "Limits",
    "Located",
    "Malformed",
    "Mode",
    "NetworkFault",
    "NotValid",
    "Outcome",
    "ParkedItem",
    "ParsedPdu",
    "Passing",
    "Pdu",
    "Peer",
    "PeerFault",
    "Presence",
    "PresenceUpdate",
    "Query",
    "QueueFull",
    "RanvierError",
    "Receipt",
    "Receipts",
    "Rejected",
    "Reply",
    "Resolution",
    "RoomVersion",
    "Route",
    "ServerName",
    "ServerVersion",
    "SigningKeyUpdate",
    "Step",
    "StoreFault",
    "TimedOut",
    "ToDevice",
    "Trail",
    "TrustMode",
    "TryAgain",
    "Typing",
    "Unauthenticated",
    "UnknownEdu",
    "Unreachable",
    "__version__",
    "load_config",
    "room_version",
    "sign_event",
]
