"""What users import: one object for all that one server does in the federation.

::

    async with Federation("example.org", store="ranvier.db") as fed:
        found = await fed.resolve("matrix.org")        # routes, and the trail that led there
        keys = await fed.fetch_keys("matrix.org")      # an outcome per key, with its reason
        answer = await fed.get("matrix.org", "/_matrix/federation/v1/version")
        await fed.send(["matrix.org"], edus=[Typing(...)])   # stored when it returns

What comes in goes to the handlers that are registered with :meth:`Federation.on_pdu`,
:meth:`Federation.on_edu` and :meth:`Federation.on_query`.

Making a :class:`Federation` does no I/O; entering it does. The edges are loaded
by name from :data:`ranvier.edges.EDGES` on entry, so that importing the library stays cheap
(dnspython alone costs 160 ms); another set of edges, such as the in-memory
``ranvier.world``, can be handed in whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ranvier.config import Config, check_config
from ranvier.edges import Edges, load_edge
from ranvier.errors import BadConfiguration, TimedOut
from ranvier.handlers import Handlers
from ranvier.limits import Limits
from ranvier.parts import Parts
from ranvier.plugs import Clock, Store
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.edus import Edu
from ranvier.protocol.names import ServerName, parse_server_name_2014
from ranvier.protocol.routes import Mode, Route
from ranvier.publishing import make_app, make_listener, open_identity
from ranvier.queue import Queue
from ranvier.services.client import Answer
from ranvier.services.gate import Gate
from ranvier.services.identity import Identity
from ranvier.services.keyring import KeyFetch
from ranvier.services.outgoing import Passing, Pdu, destinations_of, edu_item, pdu_item
from ranvier.services.resolver import Resolution
from ranvier.services.version import ServerVersion, fetch_version
from ranvier.trail import NO_TRAIL, Recorder, Step, Trail


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """Where a route leads, and how we know."""

    route: Route
    addresses: tuple[Address, ...]
    trail: Trail = NO_TRAIL


class Federation(Handlers):
    """Our side of federation: find others, fetch their keys, publish our own.

    ``config`` holds everything; the other arguments are short forms of its
    members. ``signing_key`` is the file of our keys, in Synapse's format; it is
    made at the first use if it is not there. ``store`` is a path for SQLite
    (``"ranvier.db"`` or ``"sqlite:ranvier.db"``), or ``None`` to keep nothing.
    ``serving`` says that we listen as configured: our own listener may then be
    asked although its address is private. ``delivering``: send what waits in the store while
    the federation is open. ``limits``: all budgets, in place of the defaults and of the
    configured time-out. ``sink`` is told of every step of every trail as it ends.

    Raises: BadConfiguration, Malformed, as soon as it is made.
    """

    def __init__(
        self,
        server_name: str | ServerName | None = None,
        *,
        config: Config | None = None,
        signing_key: str | Path | None = None,
        store: str | Path | None = None,
        dns: tuple[str, ...] = (),
        ca_file: str | Path | None = None,
        allow_private: bool = False,
        serving: bool = False,
        delivering: bool = True,
        limits: Limits | None = None,
        edges: Edges | None = None,
        sink: Callable[[Step], None] | None = None,
    ) -> None:
        config = config or Config()
        if server_name is not None:
            config = msgspec.structs.replace(config, server_name=str(server_name))
        if signing_key is not None:
            signing = msgspec.structs.replace(config.signing, key_file=str(signing_key))
            config = msgspec.structs.replace(config, signing=signing)
        outgoing = config.outgoing
        outgoing = msgspec.structs.replace(
            outgoing,
            dns=dns or outgoing.dns,
            ca_file=str(ca_file or outgoing.ca_file),
            allow_private=allow_private or outgoing.allow_private,
        )
        self.config = msgspec.structs.replace(config, outgoing=outgoing)
        check_config(self.config)
        self._limits = limits or outgoing.limits()
        super().__init__()
        self._store_path = None if store is None else Path(str(store).removeprefix("sqlite:"))
        self._serving = serving
        self._delivering = delivering
        self._given = edges
        self._sink = sink
        self._parts: Parts | None = None
        self._identity: Identity | None = None
        self._app: Any = None
        self.queue = Queue(self._open)

    async def __aenter__(self) -> Self:
        if self._parts is None:
            edges = self._given or await self._edges()
            parts = Parts(
                edges,
                self.config,
                self._hooks,
                limits=self._limits,
                identity=lambda: self.identity,
                on_sent=self._sent,
            )
            await parts.start(deliver=self._delivering)
            self._parts = parts
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.stop()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """For ``FastAPI(lifespan=fed.lifespan)`` and every Starlette application."""
        async with self:
            yield

    async def resolve(
        self, name: str | ServerName, *, mode: Mode | None = None, fresh: bool = False
    ) -> Resolution:
        """Where ``name`` is found: its routes in the text's order, and the trail.

        ``fresh`` passes the caches by. A name that offers no service, or whose DNS
        does not answer, is a resolution whose ``discovery.stopped`` says why.

        Raises: Malformed (the name), TimedOut.
        """
        parts, parsed = self._open(), self._parsed(name, mode)
        chosen = mode or parts.keyring.rule_for(parsed).mode
        return await parts.resolver.resolve(
            parsed, mode=chosen, fresh=fresh, recorder=self._recorder(parts)
        )

    async def locate(self, route: Route) -> Located:
        """The addresses that ``route`` leads to, both families, asked for only now.

        Those that came within the time-out. None is an answer too; its trail says why.
        """
        parts = self._open()
        recorder = self._recorder(parts)
        addresses = []
        with suppress(TimeoutError):
            async with (
                parts.clock.timeout(parts.limits.total_seconds),
                aclosing(parts.resolver.addresses(route, recorder=recorder)) as found,
            ):
                async for address in found:
                    addresses.append(address)
        return Located(route=route, addresses=tuple(addresses), trail=recorder.trail)

    async def fetch_keys(
        self, name: str | ServerName, *, key_ids: tuple[str, ...] = (), fresh: bool = False
    ) -> KeyFetch:
        """The signing keys of ``name``, examined, with an outcome per key.

        Raises: Malformed, Unreachable, PeerFault, ConnectionLost, TimedOut, StoreFault.
        """
        parts = self._open()
        return await parts.keyring.fetch(
            self._parsed(name), key_ids=key_ids, fresh=fresh, recorder=self._recorder(parts)
        )

    async def version(self, name: str | ServerName) -> ServerVersion:
        """What software ``name`` says it runs; nothing may depend on it (VER-03).

        Raises: Malformed, Unreachable, PeerFault, ConnectionLost, TimedOut, StoreFault.
        """
        parts, parsed = self._open(), self._parsed(name)
        recorder, seconds = self._recorder(parts), parts.limits.total_seconds
        try:
            async with parts.clock.timeout(seconds):
                return await fetch_version(
                    parsed,
                    connector=parts.connector,
                    keyring=parts.keyring,
                    limits=parts.limits,
                    recorder=recorder,
                )
        except TimeoutError:
            raise TimedOut(
                "version-timeout",
                f"{parsed} did not say its version within {seconds:g} s",
                clause="[ranvier:limits]",
                trail=recorder.trail,
            ) from None

    # --- Requests ---

    async def request(
        self,
        method: str,
        name: str | ServerName,
        target: str,
        *,
        content: JsonObject | None = None,
        signed: bool = True,
        answer_bytes: int | None = None,
        seconds: float | None = None,
        insist: bool = False,
    ) -> Answer:
        """Ask ``name`` for ``target`` (path and query, sent byte for byte), signed by our key.

        ``answer_bytes`` and ``seconds`` bound the answer; ``insist`` asks although we hold
        off from ``name``. The answer is a success, read whole; all else is raised.

        Raises: Malformed, BackingOff, Unreachable, PeerFault, ConnectionLost, TimedOut,
        Rejected, StoreFault, BadConfiguration; each with its trail.
        """
        parts = self._open()
        return await parts.client.request(
            self._parsed(name),
            method,
            target,
            content=content,
            signed=signed,
            answer_bytes=answer_bytes,
            seconds=seconds,
            insist=insist,
            recorder=self._recorder(parts),
        )

    async def get(self, name: str | ServerName, target: str, **options: Any) -> Answer:
        """:meth:`request` by GET."""
        return await self.request("GET", name, target, **options)

    async def put(
        self, name: str | ServerName, target: str, content: JsonObject | None = None, **options: Any
    ) -> Answer:
        """:meth:`request` by PUT; without content it carries ``{}``."""
        return await self.request("PUT", name, target, content=content, **options)

    async def post(
        self, name: str | ServerName, target: str, content: JsonObject | None = None, **options: Any
    ) -> Answer:
        """:meth:`request` by POST; without content it carries ``{}``."""
        return await self.request("POST", name, target, content=content, **options)

    # --- Transactions ---

    async def send(
        self,
        destinations: Iterable[str | ServerName],
        *,
        pdus: Iterable[Pdu | JsonObject] = (),
        edus: Iterable[Edu | Passing] = (),
    ) -> None:
        """Queue for every destination; on disk when it returns, sent until it is taken.

        Order holds per destination. A result per item comes to :meth:`on_sent`.

        Raises: Malformed, NotValid (an item; then nothing is queued), QueueFull, StoreFault.
        """
        parts = self._open()
        names = [self._parsed(each) for each in destinations]
        items = [await pdu_item(each, self._hooks.room_version, parts.limits) for each in pdus]
        now = parts.clock.now()
        items += [edu_item(each, now=now, limits=parts.limits) for each in edus]
        to = destinations_of(names, frozenset({self.config.server_name}))
        if to and items:
            await parts.sender.add(to, items)

    @property
    def gate(self) -> Gate:
        """Who authenticates inbound requests; what a middleware needs of us."""
        return self._open().gate

    # --- Ourselves ---

    @property
    def identity(self) -> Identity:
        """Who we are; keys and certificate are read, or made, at the first use.

        Raises: BadConfiguration.
        """
        if self._identity is None:
            clock = self._parts.clock if self._parts else load_edge("clock")()
            self._identity = open_identity(self.config, clock)
        return self._identity

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        """Our side as an ASGI application to mount: keys, version, well-known file, and while
        the federation is open transactions and queries."""
        await self._published()(scope, receive, send)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Address]:
        """Serve :meth:`asgi` where the configuration says, while the block runs.

        Gives the bound address. Raises: BadConfiguration (``listen-port-busy`` ...).
        """
        parts = self._open()
        listener = make_listener(self.config, self._published(), parts.clock, parts.limits)
        address = await listener.start()
        try:
            yield address
        finally:
            await listener.stop()

    def _published(self) -> Any:
        if self._app is None:
            self._app = make_app(self.config, self.identity, self._exchange)
        return self._app

    def _exchange(self) -> Any:
        """What answers signed requests, while we are open."""
        return None if self._parts is None else self._parts.exchange

    def _open(self) -> Parts:
        if self._parts is None:
            raise BadConfiguration(
                "federation-not-open", "the federation is not open: use `async with federation:`"
            )
        return self._parts

    def _parsed(self, name: str | ServerName, mode: Mode | None = None) -> ServerName:
        """Today's grammar, or 2014's for a name that is asked or listed as of 2014."""
        if isinstance(name, ServerName):
            return name
        if mode is Mode.SEED:
            return parse_server_name_2014(name)
        return self._open().book.parse_name(name)

    def _recorder(self, parts: Parts) -> Recorder:
        return Recorder(parts.clock.tick, self._sink)

    async def _edges(self) -> Edges:
        outgoing, limits = self.config.outgoing, self._limits
        clock: Clock = load_edge("clock")()
        policy = AddressPolicy(allow_private=outgoing.allow_private, allowed=self._own_addresses())
        return Edges(
            clock=clock,
            dns=load_edge("dns")(clock, limits, servers=outgoing.servers()),
            wire=load_edge("wire")(
                clock,
                limits,
                policy,
                ca_file=outgoing.ca_file or None,
                proxy=outgoing.through(),
                client_certificate=self.config.client_pair(),
            ),
            store=await self._opened_store(clock),
        )

    async def _opened_store(self, clock: Clock) -> Store:
        if self._store_path is None:
            memory: Store = load_edge("memory")(clock, self._limits)
            return memory
        try:
            self._store_path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadConfiguration(
                "data-folder",
                f"the folder {self._store_path.parent} cannot be made: {error.strerror or error}",
            ) from None
        sqlite: Store = await load_edge("store").open(self._store_path, clock, limits=self._limits)
        return sqlite

    def _own_addresses(self) -> frozenset[Address]:
        """Our own listener may always be asked, by its exact address and port (D28)."""
        listen = self.config.listen
        return frozenset({Address(listen.ip, listen.port)} if self._serving else ())
