"""What the plugs are filled with: a set of edges, and by name where each is found.

Those for life are loaded only when they are needed, for importing the library must stay
cheap: dnspython alone costs 160 ms, uvicorn more.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import msgspec

from ranvier.plugs import Clock, Dns, Store, Wire


class Edges(msgspec.Struct, frozen=True, kw_only=True):
    """One set of edges. ``store`` is closed by the federation that was handed it."""

    clock: Clock
    dns: Dns
    wire: Wire
    store: Store


EDGES: Mapping[str, str] = {
    "clock": "ranvier.net.clock:SystemClock",
    "dns": "ranvier.net.dns:DnsResolver",
    "wire": "ranvier.net.dial:NetWire",
    "store": "ranvier.store.sqlite:SqliteStore",
    "world-dns": "ranvier.world.dns:WorldDns",
    "memory": "ranvier.world.store:MemoryStore",
    "signing-keys": "ranvier.net.firststart:load_or_create_signing_keys",
    "new-signing-key": "ranvier.net.firststart:fresh_signing_key",
    "certificate": "ranvier.net.firststart:ensure_certificate",
    "create-file": "ranvier.net.files:create_once",
    "is-there": "ranvier.net.files:is_there",
    "read-secret": "ranvier.net.files:read_secret",
    "proxy-leaf": "ranvier.net.tls_server:LeafFile",
    "server-tls": "ranvier.net.tls_server:ServerTls",
    "asking-server-tls": "ranvier.net.clientcerts:AskingServerTls",
    "trusted-proxy": "ranvier.net.proxies:TrustedProxy",
    "listener": "ranvier.net.listen:Listener",
    "loop": "uvloop:new_event_loop",
    "app": "ranvier.faces.asgi:FederationApp",
    "exchange": "ranvier.faces.exchange:Exchange",
}


def load_edge(plug: str) -> Any:
    """What fills a plug in life."""
    module, _, name = EDGES[plug].partition(":")
    return getattr(importlib.import_module(module), name)
