"""The stage of ``ranvier demo 2014``: real servers, sockets and TLS on loopback; DNS in memory.

Nothing leaves this machine and nothing of it is changed: names end in ``.demo`` and
are known to the stage's own DNS alone, ports are whatever is free, and keys and
certificates are made for the play and thrown away after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from ranvier.config import ClientCertificates, Config, Listen, Outgoing, Peer
from ranvier.edges import Edges, load_edge
from ranvier.federation import Federation
from ranvier.limits import Limits
from ranvier.plugs import Clock
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.routes import Mode
from ranvier.publishing import open_identity
from ranvier.services.identity import Identity
from ranvier.services.trust import ClientCertificate, TrustMode

AMBER, BIRCH = "amber.demo", "birch.demo"
WEIGHTS = {"one": 3, "two": 1}
LOOPBACK = "127.0.0.1"


class Mallory:
    """A man in the middle: says to be birch, with a certificate and keys of his own.

    ``heard`` is every request that reached him.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.heard: list[str] = []

    def ready(self, target: bytes, leaf: bytes | None) -> bytes | None:
        """His key document, made to fit the connection that it goes over."""
        self.heard.append(f"GET {target.decode('ascii')}")
        return self._identity.document_v1(leaf)

    def refusal(self, status: int, reason: str) -> bytes:
        """Nothing of interest."""
        return b"{}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Whatever else he is sent."""
        self.heard.append(f"{scope['method']} {scope['path']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class Stage:
    """What stands on it. Enter with :func:`set_up`."""

    def __init__(self, folder: Path, exits: AsyncExitStack) -> None:
        self._folder = folder
        self._exits = exits
        self._endpoints: dict[str, AsyncExitStack] = {}
        self.clock: Clock = load_edge("clock")()
        # Nothing is remembered: an act may change what the next one asks for.
        self.dns: Any = load_edge("world-dns")(self.clock, Limits(), ttl=0, negative_ttl=0)
        self.amber: Federation
        self.birch: Federation
        self.addresses: dict[str, Address] = {}

    async def raise_curtain(self) -> None:
        """Start the two servers; birch at two endpoints, told apart by their weights."""
        self.amber = await self._server(AMBER, Peer(names=(BIRCH,), present_certificate=True))
        required = Peer(names=(AMBER,), client_certificate=ClientCertificate.REQUIRE)
        self.birch = await self._server(BIRCH, required)
        for name in WEIGHTS:
            await self._open_endpoint(name)
        self._publish(BIRCH, {name: self.addresses[name] for name in WEIGHTS})
        home = await self._exits.enter_async_context(self.amber.listening())
        self._publish(AMBER, {"home": home})

    async def close_endpoint(self, name: str) -> None:
        """Nothing listens there any more; DNS still names it."""
        await self._endpoints.pop(name).aclose()

    async def let_mallory_in(self) -> Mallory:
        """From now on birch's DNS records lead to him."""
        config = Config(server_name=BIRCH, data=str(self._folder / "mallory"))
        mallory = Mallory(open_identity(config, self.clock))
        files = (config.path(config.listen.certificate), config.path(config.listen.private_key))
        listener = load_edge("listener")(
            mallory,
            mallory,
            host=LOOPBACK,
            port=0,
            clock=self.clock,
            limits=Limits(),
            tls=load_edge("server-tls")(*files, self.clock),
        )
        address = await listener.start()
        self._exits.push_async_callback(listener.stop)
        self._publish(BIRCH, {"one": address})
        return mallory

    async def _open_endpoint(self, name: str) -> None:
        stack = AsyncExitStack()
        self.addresses[name] = await stack.enter_async_context(self.birch.listening())
        self._endpoints[name] = stack
        self._exits.push_async_callback(stack.aclose)

    def _publish(self, server: str, endpoints: dict[str, Address]) -> None:
        """SRV and A records, as a server of 2014 has them."""
        records = [
            (10, WEIGHTS.get(name, 1), address.port, f"{name}.{server}")
            for name, address in endpoints.items()
        ]
        self.dns.set(f"_matrix._tcp.{server}", *records)
        for name in endpoints:
            self.dns.set(f"{name}.{server}", LOOPBACK)

    async def _server(self, name: str, other: Peer) -> Federation:
        """A server that knows the other one to be of 2014."""
        config = Config(
            server_name=name,
            data=str(self._folder / name),
            listen=Listen(port=0, client_certificates=ClientCertificates.ASK),
            outgoing=Outgoing(
                allow_private=True, client_certificate="tls.crt", client_key="tls.key"
            ),
            peers=(
                msgspec.structs.replace(
                    other, trust=TrustMode.PUBLISHED_CERTIFICATE, mode=Mode.SEED
                ),
            ),
        )
        (self._folder / name).mkdir()
        open_identity(config, self.clock)
        edges = Edges(
            clock=self.clock,
            dns=self.dns,
            wire=load_edge("wire")(
                self.clock,
                Limits(),
                AddressPolicy(allow_private=True),
                client_certificate=config.client_pair(),
            ),
            store=load_edge("memory")(self.clock),
        )
        return await self._exits.enter_async_context(Federation(config=config, edges=edges))


@asynccontextmanager
async def set_up(folder: Path) -> AsyncIterator[Stage]:
    """A stage with everything running, taken down at the end. ``folder`` is empty."""
    async with AsyncExitStack() as exits:
        stage = Stage(folder, exits)
        await stage.raise_curtain()
        yield stage
