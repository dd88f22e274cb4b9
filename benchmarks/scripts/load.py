"""Inside the namespace: ask one server as fast as it answers, from many origins at once.

One connection for each origin, one request under way on each, as federation traffic
has it. What the server spends meanwhile is read from the kernel; what we spend does
not count. The order comes as JSON, and so goes what was found.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import uvloop
from benchmarks.meters import spending

from ranvier.protocol.canonical import encode_canonical
from ranvier.protocol.requests import sign_request
from ranvier.protocol.signing import SigningKey

_PROFILE = "/_matrix/federation/v1/query/profile?user_id=%40u{}%3A{}"


class Origin:
    """One server that asks: its key, and the requests that it makes."""

    def __init__(self, order: dict[str, Any], number: int) -> None:
        self._name = order["origins"][number]
        self._to = order["destination"]
        seed = bytes.fromhex(order["seed" if order["what"] != "forged" else "other_seed"])
        self._key = SigningKey(order["key_id"], seed)

    def profiles(self, users: int) -> Iterator[bytes]:
        """A request for each user's profile, signed once, over and over."""
        targets = [_PROFILE.format(number, self._to) for number in range(users)]
        return itertools.cycle([self._signed("GET", each) for each in targets])

    def transactions(self) -> Iterator[bytes]:
        """New transactions of one EDU each, signed as they go out."""
        for number in itertools.count():
            now = int(time.time() * 1000)
            typing = {
                "room_id": f"!room:{self._to}",
                "user_id": f"@u{number % 100}:{self._name}",
                "typing": True,
            }
            content = {
                "origin": self._name,
                "origin_server_ts": now,
                "pdus": [],
                "edus": [{"edu_type": "m.typing", "content": typing}],
            }
            target = f"/_matrix/federation/v1/send/{time.time_ns()}"
            yield self._signed("PUT", target, encode_canonical(content))

    def _signed(self, method: str, target: str, content: bytes | None = None) -> bytes:
        header = sign_request(
            method=method,
            target=target,
            origin=self._name,
            destination=self._to,
            content=content,
            key=self._key,
        )
        body = content or b""
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {self._to}\r\nAuthorization: {header}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("ascii") + body


class Asking(asyncio.Protocol):
    """One connection: the next request goes out when the last is answered whole."""

    def __init__(self, requests: Iterator[bytes], status: bytes, until: float) -> None:
        self.done = 0
        self.ended = asyncio.get_running_loop().create_future()
        self._requests, self._until = requests, until
        self._first = b"HTTP/1.1 " + status + b" "
        self._come = b""
        self._over = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._come += data
        head, found, body = self._come.partition(b"\r\n\r\n")
        if not found or not _whole(head, body):
            return
        if not head.startswith(self._first):
            self.ended.set_exception(SystemExit(f"it answered {self._come[:1000]!r}"))
            self._transport.abort()
            return
        self._come = b""
        self.done += 1
        if time.monotonic() < self._until:
            self._transport.write(next(self._requests))
        else:
            self._over = True
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done() and not self._over:
            self.ended.set_exception(SystemExit(f"it hung up: {error}"))
        elif not self.ended.done():
            self.ended.set_result(self.done)


def _whole(head: bytes, body: bytes) -> bool:
    length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n")  # chunked


async def load(order: dict[str, Any]) -> dict[str, float]:
    origins = [Origin(order, number) for number in range(len(order["origins"]))]
    sending = order["what"] == "send"
    requests = [
        each.transactions() if sending else each.profiles(order["users"]) for each in origins
    ]
    status = b"401" if order["what"] == "forged" else b"200"
    loop = asyncio.get_running_loop()
    with spending(order["pid"]) as spent:
        began = time.monotonic()
        until = began + order["seconds"]
        asking = []
        for each in requests:
            _, one = await loop.create_connection(
                lambda each=each: Asking(each, status, until),  # type: ignore[misc] # bound now
                order["ip"],
                order["port"],
            )
            asking.append(one)
        done = sum(await asyncio.gather(*(each.ended for each in asking)))
        took = time.monotonic() - began
    return {"requests": done, "cpu": spent.seconds, "seconds": took}


def main() -> None:
    json.dump(uvloop.run(load(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
