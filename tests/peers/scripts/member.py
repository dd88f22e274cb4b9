"""A whole member of the federation of our own making, told what to do over a socket.

``python member.py CONFIG CONTROL``: serves as the configuration says, and takes one
order a line (JSON) on the Unix socket CONTROL, each answered by a line:

``{"do": "ask", "name", "method", "target", "content", "forged"}``
    a request through the federation; ``content`` is an object, or its canonical text;
    ``forged``: signed by another key under our key's id
``{"do": "send", "to", "pdus", "edus"}``
    queue; EDUs are objects with ``edu_type`` and ``content``
``{"do": "lanes"}``, ``{"do": "told"}``, ``{"do": "asked"}``
    what waits; how each delivery ended; which signed requests came to our own endpoints
``{"do": "fail", "how": ["again", "cut", "kill"]}``
    what to do to the next transactions: refuse with 500, take it but cut the connection
    before the answer, take it but die as by ``kill -9`` before the answer

What transactions bring is written by handlers, through their effects, to the table
``came`` of the member's own database; messages to devices also to ``mail``, once by origin
and ``message_id``, whatever transaction brings them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from ranvier import Federation, ServerName
from ranvier.config import Config, load_config
from ranvier.errors import RanvierError
from ranvier.faces.middleware import AUTHENTICATED, RequireSignature
from ranvier.parts import Parts
from ranvier.protocol.edus import Edu, ToDevice, UnknownEdu
from ranvier.protocol.events import ParsedPdu
from ranvier.protocol.names import parse_server_name
from ranvier.protocol.signing import generate_signing_key
from ranvier.publishing import make_listener
from ranvier.services.backoff import BackOffs
from ranvier.services.client import Client
from ranvier.services.delivery import Delivery
from ranvier.services.hooks import Effects, Query, TryAgain
from ranvier.services.identity import Identity

SEND = "/_matrix/federation/v1/send/"
OWN = ("/_matrix/federation/v1/make_join/", "/_matrix/federation/v1/echo/")
"""Endpoints of an application of the member's own, protected by the middleware."""
CAME = "CREATE TABLE IF NOT EXISTS came (n INTEGER PRIMARY KEY, key, origin, type, content)"
MAIL = "CREATE TABLE IF NOT EXISTS mail (origin, message_id, content, UNIQUE (origin, message_id))"
ROW = "INSERT INTO came (key, origin, type, content) VALUES (?, ?, ?, ?)"
LETTER = "INSERT OR IGNORE INTO mail VALUES (?, ?, ?)"


class Member:
    """One federation, its listener, and what it was told to do wrong."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.fed = Federation(config=config, store=config.path(config.store.path), serving=True)
        self.told: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.failing: list[str] = []
        self._now = ""
        self._handlers()

    async def run(self, control: str) -> None:
        async with self.fed:
            parts = self.fed._open()
            with sqlite3.connect(self.config.path(self.config.store.path)) as database:
                database.execute(CAME)
                database.execute(MAIL)
            front = Front(self)
            self.listener: Any = make_listener(self.config, front, parts.clock, parts.limits)
            await self.listener.start()
            server = await asyncio.start_unix_server(self._obey, control, limit=1 << 26)
            print("controlled", flush=True)
            await server.serve_forever()

    def _handlers(self) -> None:
        fed = self.fed

        @fed.on_edu()
        async def edu(item: Edu, origin: ServerName, effects: Effects) -> None:
            if self._now == "again":
                raise TryAgain
            row = (effects.key, origin.text, item.edu_type, json.dumps(item.content))
            effects.execute(ROW, *row)
            if isinstance(item, ToDevice):
                text = json.dumps(item.content["messages"])
                effects.execute(LETTER, origin.text, item.message_id, text)

        @fed.on_pdu
        async def pdu(item: ParsedPdu, origin: ServerName, effects: Effects) -> None:
            row = (effects.key, origin.text, item.type, json.dumps(item.value))
            effects.execute(ROW, *row)

        @fed.room_version
        async def version(room_id: str) -> str:
            return "11"

        @fed.on_sent
        async def sent(delivery: Delivery) -> None:
            results = {key: str(each.verdict) for key, each in delivery.results.items()}
            outcome, because = str(delivery.outcome), delivery.because
            self.told.append({"outcome": outcome, "because": because, "results": results})

        for each in ("profile", "directory", "a/b"):
            fed.on_query(each)(self._query)

    async def _query(self, query: Query) -> dict[str, Any]:
        if query.query_type == "directory":
            return {"room_id": f"!r:{self.config.server_name}", "servers": []}
        arguments = dict(query.arguments)
        said = {"displayname": f"{query.origin} asks", "avatar_url": "mxc://a/b"}
        return {**said, "arguments": arguments}

    # --- Failing ---

    def before(self, target: str) -> str:
        """What goes wrong with this request."""
        self._now = self.failing.pop(0) if target.startswith(SEND) and self.failing else ""
        return self._now

    def after(self, how: str) -> None:
        """The request was taken and is not answered yet."""
        if how == "kill":
            os._exit(9)
        if how == "cut":
            for guest in tuple(self.listener.hall.guests):
                guest.transport.abort()

    # --- Orders ---

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order = json.loads(await reader.readline())
        do = getattr(self, "do_" + order.pop("do"))
        writer.write(json.dumps(await do(**order)).encode() + b"\n")
        await writer.drain()
        writer.close()

    async def do_ask(
        self, name: str, method: str, target: str, content: Any = None, forged: bool = False
    ) -> dict[str, Any]:
        client = self._forger() if forged else self.fed._open().client
        content = content.encode() if isinstance(content, str) else content
        try:
            answer = await client.request(
                parse_server_name(name), method, target, content=content, insist=True
            )
        except RanvierError as error:
            status, errcode = getattr(error, "status", 0), getattr(error, "errcode", "")
            said = {"status": status, "errcode": errcode, "code": error.code}
            return {**said, "text": error.message}
        return {"status": answer.status, "step": answer.step, "body": json.loads(answer.body)}

    def _forger(self) -> Client:
        """Ourselves, but for the key."""
        parts: Parts = self.fed._open()
        own = self.fed.identity
        seed = hashlib.sha256(b"somebody else").digest()
        key = generate_signing_key(seed, own.request_key.key_id.partition(":")[2])
        liar = Identity(own.server_name, [key], clock=parts.clock)
        nobody = BackOffs(parts.store.outbox, parts.clock, parts.limits, lambda: None)
        return Client(
            parts.pool,
            parts.keyring,
            lambda: liar,
            clock=parts.clock,
            limits=parts.limits,
            back_offs=nobody,
        )

    async def do_send(self, to: list[str], pdus: list[Any], edus: list[Any]) -> None:
        passing = [UnknownEdu(edu_type=e["edu_type"], content=e["content"]) for e in edus]
        await self.fed.send(to, pdus=pdus, edus=passing)

    async def do_lanes(self) -> list[Any]:
        lanes = await self.fed.queue.lanes()
        return [{"to": e.destination, "waiting": e.waiting, "because": e.because} for e in lanes]

    async def do_told(self) -> list[Any]:
        return self.told

    async def do_asked(self) -> list[Any]:
        return self.asked

    async def do_fail(self, how: list[str]) -> None:
        self.failing[:] = [each for each in how if each]


class Front:
    """The member's ASGI application: ours, and one of its own behind the middleware."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._ours = member.fed._published()
        self._guarded = RequireSignature(self._own, member.fed, paths=OWN)
        self.ready, self.refusal = self._ours.ready, self._ours.refusal

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._ours(scope, receive, send)
            return
        target = scope["extensions"]["ranvier"]["raw_target"].decode()
        how = self._member.before(target)
        self._member.asked.append({"method": scope["method"], "target": target})
        held: list[Any] = []

        async def hold(message: Any) -> None:
            held.append(message)

        await self._guarded(scope, receive, hold)
        self._member.asked[-1]["status"] = held[0]["status"]
        self._member.after(how)
        for message in held:
            await send(message)

    async def _own(self, scope: Any, receive: Any, send: Any) -> None:
        if AUTHENTICATED not in scope:
            await self._ours(scope, receive, send)
            return
        who = scope[AUTHENTICATED]
        said = {"origin": who.origin.text, "target": who.target, "content": who.content}
        head = (b"content-type", b"application/json")
        await send({"type": "http.response.start", "status": 200, "headers": [head]})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})


def main() -> None:
    config, control = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ranvier").setLevel(logging.INFO)
    asyncio.run(Member(load_config(Path(config))).run(control))


if __name__ == "__main__":
    main()
