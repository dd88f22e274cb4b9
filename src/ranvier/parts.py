"""Everything that exists while a federation is open, made once and joined here.

::

    resolver -> connector -> keyring ----+-> gate -> receiver      what comes in
                         `-> pool -> client -+-> courier -> sender  what goes out
    store.outbox -> back-offs -------------'

Each part takes what it needs and nothing more; none knows the federation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from ranvier.config import Config
from ranvier.edges import Edges, load_edge
from ranvier.limits import Limits
from ranvier.services.backoff import BackOffs
from ranvier.services.bodies import BodyWork
from ranvier.services.client import Client, NoBackOffs
from ranvier.services.connector import Connector
from ranvier.services.delivery import Courier
from ranvier.services.gate import Gate
from ranvier.services.hooks import Hooks
from ranvier.services.identity import Identity
from ranvier.services.inspector import Inspector
from ranvier.services.keyring import Keyring
from ranvier.services.pool import Pool
from ranvier.services.receiver import Receiver
from ranvier.services.resolver import Resolver
from ranvier.services.sender import OnSent, Sender


class Parts:
    """The services of one open federation. Making them does no I/O; :meth:`start` does."""

    def __init__(
        self,
        edges: Edges,
        config: Config,
        hooks: Hooks,
        *,
        limits: Limits,
        identity: Callable[[], Identity],
        on_sent: OnSent,
    ) -> None:
        clock, dns, wire, store = edges.clock, edges.dns, edges.wire, edges.store
        book = config.book()
        self.clock, self.store, self.limits, self.book = clock, store, limits, book
        self._hooks = hooks
        self.resolver = Resolver(dns, wire, clock, limits)
        self.connector = Connector(self.resolver, wire, clock, limits)
        self.keyring = Keyring(self.connector, store, clock, limits, book)
        self.pool = Pool(self.connector, clock, limits)
        self.back_offs = BackOffs(store.outbox, clock, limits, self._nudge)
        self.client = Client(
            self.pool,
            self.keyring,
            identity,
            clock=clock,
            limits=limits,
            back_offs=self.back_offs,
        )
        body_work = BodyWork(clock, limits)
        self.gate = Gate(
            self.keyring,
            frozenset({config.server_name}),
            clock=clock,
            limits=limits,
            body_work=body_work,
            heard=self.back_offs.heard,
        )
        self.receiver = Receiver(
            store.inbox,
            Inspector(self.keyring, hooks, limits, clock),
            hooks,
            clock=clock,
            limits=limits,
            body_work=body_work,
        )
        # A lane has its own plan for the next try.
        for_lanes = Client(
            self.pool, self.keyring, identity, clock=clock, limits=limits, back_offs=NoBackOffs()
        )
        self.sender = Sender(
            store.outbox,
            Courier(for_lanes, book, clock, limits).deliver,
            node=clock.random_bytes(8).hex(),
            origin=config.server_name,
            clock=clock,
            limits=limits,
            back_offs=self.back_offs,
            on_sent=on_sent,
        )

    @cached_property
    def exchange(self) -> Any:
        """What answers signed requests to our own endpoints, loaded for the first one."""
        return load_edge("exchange")(self.gate, self.receiver, self._hooks, self.book, self.limits)

    def _nudge(self) -> None:
        self.sender.nudge()

    async def start(self, *, deliver: bool) -> None:
        """Read what was left, and begin to send it. Raises: StoreFault."""
        if not deliver:
            return
        try:
            await self.sender.start()
        except BaseException:
            await self.store.close()
            raise

    async def stop(self) -> None:
        """End everything; what is unsent stays in the store."""
        await self.sender.stop()
        await self.back_offs.close()
        await self.pool.close_all()
        await self.keyring.close()
        await self.store.close()
