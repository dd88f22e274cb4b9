"""Our own side joined: identity from its files, the listener in front of it.

What it needs of the edges and faces it takes by name from :data:`ranvier.edges.EDGES`,
so that a program that only asks others loads none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ranvier.config import ClientCertificates, Config
from ranvier.edges import load_edge
from ranvier.limits import Limits
from ranvier.plugs import Clock
from ranvier.protocol.addresses import Address
from ranvier.protocol.names import parse_server_name
from ranvier.services.identity import Identity, no_leaf


class Serving(Protocol):
    """A listener, as its user sees it."""

    async def start(self) -> Address:
        """Bind and serve; the bound address. Raises: BadConfiguration."""

    async def stop(self) -> None:
        """Let answers under way finish, and close. Never raises."""


def open_identity(config: Config, clock: Clock) -> Identity:
    """Our identity from its files; what is not there is made and kept.

    Raises: BadConfiguration, Malformed.
    """
    name = parse_server_name(config.server_name)
    keys = load_edge("signing-keys")(config.path(config.signing.key_file), clock)
    outer_leaf: Callable[[], bytes | None] = no_leaf
    if config.listen.tls:
        load_edge("certificate")(*_tls_files(config), name, clock)
    elif config.listen.proxy_certificate:
        outer_leaf = load_edge("proxy-leaf")(
            config.path(config.listen.proxy_certificate), clock
        ).current
    return Identity(name, keys, clock=clock, old_keys=config.old_keys(), outer_leaf=outer_leaf)


def make_app(config: Config, identity: Identity, exchange: Callable[[], Any]) -> Any:
    """The ASGI application that publishes ``identity``; ``exchange`` answers signed requests."""
    delegated = config.publish.well_known
    return load_edge("app")(
        identity,
        well_known=parse_server_name(delegated) if delegated else None,
        exchange=exchange,
    )


def make_listener(config: Config, app: Any, clock: Clock, limits: Limits) -> Serving:
    """A listener for ``app`` where the configuration says. Raises: BadConfiguration."""
    listen, tls = config.listen, None
    if listen.tls:
        asking = listen.client_certificates is ClientCertificates.ASK
        edge = load_edge("asking-server-tls" if asking else "server-tls")
        tls = edge(*_tls_files(config), clock)
    listener: Serving = load_edge("listener")(
        app,
        app,
        host=listen.ip,
        port=listen.port,
        clock=clock,
        limits=limits,
        tls=tls,
        proxies=[
            load_edge("trusted-proxy")(
                networks=each.networks, certificate_header=each.client_certificate_header
            )
            for each in listen.proxies
        ],
    )
    return listener


def _tls_files(config: Config) -> tuple[Path, Path]:
    listen = config.listen
    return config.path(listen.certificate), config.path(listen.private_key)
