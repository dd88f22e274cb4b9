"""Inside the namespace: a federation with handlers, served: ``CONFIG LOOP READ``.

``LOOP`` is uvloop or asyncio. It answers profiles from SQLite, as a home server does:
``READ`` is ``thread`` (the store's own reader, as Synapse's threads read) or ``here``
(a connection of the handler's own, in the event loop). Every EDU is written down in
the commit that remembers its transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import uvloop

from ranvier.config import load_config
from ranvier.edges import Edges, load_edge
from ranvier.errors import RanvierError
from ranvier.faces.collector import calm_collector
from ranvier.federation import Federation
from ranvier.protocol.addresses import AddressPolicy
from ranvier.protocol.canonical import JsonObject, encode_canonical, parse_json_object
from ranvier.protocol.edus import Typing
from ranvier.protocol.names import ServerName
from ranvier.services.hooks import Effects, Query, Reply

USERS = 32
_NOTE = "SELECT value FROM note WHERE kind = ? AND name = ?"


async def serve(path: Path, read: str) -> None:
    config = load_config(path)
    clock, limits = load_edge("clock")(), config.outgoing.limits()
    store = await load_edge("store").open(config.path(config.store.path), clock, limits=limits)
    edges = Edges(
        clock=clock,
        dns=load_edge("dns")(clock, limits, servers=config.outgoing.servers()),
        wire=load_edge("wire")(
            clock, limits, AddressPolicy(allow_private=True), ca_file=config.outgoing.ca_file
        ),
        store=store,
    )
    for number in range(USERS):
        user = f"@u{number}:{config.server_name}"
        profile = encode_canonical({"displayname": f"u{number}"})
        await store.notes.write("profile", user, profile)
    federation = Federation(config=config, edges=edges)
    database = sqlite3.connect(config.path(config.store.path), isolation_level=None)

    def read_here(kind: str, name: str) -> bytes | None:
        row = database.execute(_NOTE, (kind, name)).fetchone()
        return None if row is None else bytes(row[0])

    @federation.on_query("profile")
    async def profile_of(query: Query) -> JsonObject:
        name = ("profile", query.arguments.get("user_id", ""))
        found = read_here(*name) if read == "here" else await store.notes.read(*name)
        if found is None:
            raise Reply(404, "M_NOT_FOUND")
        return parse_json_object(found, max_bytes=len(found))

    @federation.on_edu("m.typing")
    async def typing(edu: Typing, origin: ServerName, effects: Effects) -> None:
        effects.write("typing", f"{edu.room_id} {edu.user_id}", b"1" if edu.typing else None)

    async with federation, federation.listening():
        calm_collector()  # as ``ranvier serve`` does
        await asyncio.Event().wait()


def main() -> None:
    path, loop, read = sys.argv[1:]
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(Path(path), read))
    except (KeyboardInterrupt, RanvierError) as end:
        sys.exit(str(end))


if __name__ == "__main__":
    main()
