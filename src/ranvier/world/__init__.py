"""The edges in memory: a virtual clock, real certificates, and faults by name.

:class:`~ranvier.world.world.World` joins them; its parts can be used alone. All
of them pass the same contract tests as the edges for life.
"""

from ranvier.world.certs import Authority, Credential, Flaw
from ranvier.world.clock import VirtualClock
from ranvier.world.dns import WorldDns
from ranvier.world.documents import DocumentFlaw
from ranvier.world.faults import DnsSays, Fault
from ranvier.world.host import Handler, Host
from ranvier.world.server import MatrixServer, json_response
from ranvier.world.store import MemoryStore
from ranvier.world.wire import Attempt, Received, WorldWire
from ranvier.world.world import World

__all__ = [
    "Attempt",
    "Authority",
    "Credential",
    "DnsSays",
    "DocumentFlaw",
    "Fault",
    "Flaw",
    "Handler",
    "Host",
    "MatrixServer",
    "MemoryStore",
    "Received",
    "VirtualClock",
    "World",
    "WorldDns",
    "WorldWire",
    "json_response",
]
