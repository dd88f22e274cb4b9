"""Send one EDU to many destinations, all new, over a wire in memory; what it costs as JSON.

Ours is everything but the wire and DNS: the store is SQLite on disk, each destination
is discovered, connected to, signed for, and settled when its answer has come. The
stand-ins answer at once and keep nothing, so that our own cost is what is seen. The
bytes are those that stay in memory per destination once all is delivered, beyond the
connections that idle (whose number is bounded).
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import uvloop

from ranvier.config import Config
from ranvier.edges import Edges, load_edge
from ranvier.faces.collector import calm_collector
from ranvier.federation import Federation
from ranvier.limits import ExchangeLimits, Limits
from ranvier.plugs import HttpRequest, HttpResponse, LinkFacts
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import Certificates
from ranvier.protocol.edus import Typing
from ranvier.protocol.names import TlsName
from ranvier.protocol.records import DnsAnswer, RecordKind
from ranvier.protocol.trust import Trust
from ranvier.services.delivery import Delivery, DeliveryOutcome

_ANSWER = HttpResponse(status=200, body=b'{"pdus":{}}')
_EDU = Typing(room_id="!room:bench.example", user_id="@u:bench.example", typing=True)


class AtOnce:
    """DNS, wire and connection: everybody is there and takes everything."""

    reusable = True
    facts = LinkFacts(address=Address("192.0.2.1", 8448), certificates=Certificates((b"leaf",)))

    async def ask(self, name: str, kind: RecordKind) -> DnsAnswer:
        found = ("192.0.2.1",) if kind is RecordKind.A else ()
        return DnsAnswer(name=name, kind=kind, addresses=found, ttl=3600, server="bench")

    async def look(self, to: Address, name: TlsName) -> Certificates:
        return self.facts.certificates

    async def dial(
        self, to: Address, name: TlsName, trust: Trust, *, present: bool = False
    ) -> AtOnce:
        return self

    async def exchange(self, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
        await asyncio.sleep(0)
        return _ANSWER

    async def close(self) -> None:
        """Nothing is open."""


class Sending:
    """A federation that sends to nobody real."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._left = 0
        self._all = asyncio.Event()
        federation.on_sent(self._sent)

    async def to(self, first: int, count: int) -> None:
        """Send one EDU to so many, and return when all have it."""
        self._left = count
        self._all.clear()
        names = [f"d{number}.example:8448" for number in range(first, first + count)]
        await self._federation.send(names, edus=[_EDU])
        await self._all.wait()

    async def _sent(self, delivery: Delivery) -> None:
        assert delivery.outcome is DeliveryOutcome.DELIVERED, delivery
        self._left -= 1
        if not self._left:
            self._all.set()


async def measure(order: dict[str, int]) -> dict[str, float]:
    warm, count, times = order["warm"], order["count"], order["times"]
    clock, limits = load_edge("clock")(), Limits()
    with tempfile.TemporaryDirectory() as folder:
        store = await load_edge("store").open(Path(folder) / "ranvier.db", clock, limits=limits)
        edges = Edges(clock=clock, dns=AtOnce(), wire=AtOnce(), store=store)
        config = Config(server_name="bench.example", data=folder)
        federation = Federation(config=config, edges=edges)
        assert federation.identity.signing_keys  # made now, not while we measure
        async with federation:
            calm_collector()  # as ``ranvier serve`` does
            sending = Sending(federation)
            await sending.to(0, warm)
            if order["memory"]:
                gc.collect()
                tracemalloc.start()
            before = time.process_time()
            for turn in range(times):
                await sending.to(warm + turn * count, count)
            spent = time.process_time() - before
            gc.collect()
            kept = tracemalloc.get_traced_memory()[0]
    return {"cpu": spent / (count * times), "bytes": kept / (count * times)}


def main() -> None:
    json.dump(uvloop.run(measure(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
