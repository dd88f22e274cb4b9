"""Hostile destinations on real sockets: each holds up its own lane, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ranvier import Config, Federation
from ranvier.config import Outgoing
from ranvier.errors import RanvierError
from ranvier.protocol.edus import UnknownEdu
from ranvier.protocol.transactions import ItemVerdict
from ranvier.services.delivery import Delivery, DeliveryOutcome
from tests.rigs import certs
from tests.services.keyrig import KEY
from tests.services.receiverrig import Rig

US = "us.example"
PATIENCE = 8.0
CHUNK = b"x" * 65_536
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = dict(each.split(b": ", 1) for each in head.lower().split(b"\r\n")[1:-2])
    return await reader.readexactly(int(lines.get(b"content-length", b"0")))


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def says(data: bytes) -> Answer:
    """The same to every request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(data)
            await writer.drain()

    return answer


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


def endless(head: bytes, piece: bytes, most: int, pause: float = 0.0) -> Answer:
    """A head, and then ``piece`` after ``piece``."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        for _ in range(most):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


GIGABYTE = 2**30
HOSTILE: dict[str, Answer] = {
    "never answers": silent,
    "answers 1 GB": endless(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIGABYTE, CHUNK, GIGABYTE // len(CHUNK)
    ),
    "answers without end": endless(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + CHUNK + b"\r\n",
        GIGABYTE // len(CHUNK),
    ),
    "a head without end": endless(b"HTTP/1.1 200 OK\r\n", b"X: " + CHUNK, GIGABYTE // len(CHUNK)),
    "byte by byte": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"{", 999, 0.2),
    "half a head": endless(b"HTTP/1.1 200 OK\r\nConte", b"", 10**6, 0.2),
    "half a body": endless(ok(b'{"pdus":{}}')[:-3], b"", 10**6, 0.2),
    "hangs up": hangs_up,
    "no HTTP": says(b"\x16\x03\x01" * 100),
    "no JSON": says(ok(b"<html>welcome</html>")),
    "two answers": says(ok(b'{"pdus":{}}') + ok(b'{"pdus":{"$x":{}}}')),
    "another transaction's result": says(ok(b'{"pdus":{"$other":{},"$more":{"error":"no"}}}')),
    "refuses all": says(b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n{}"),
    "sends us away": says(
        b"HTTP/1.1 307 Go\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ),
    "wait for ever": says(
        b"HTTP/1.1 429 No\r\nRetry-After: 999999999999\r\nContent-Length: 2\r\n\r\n{}"
    ),
}  # fmt: skip


class Town:
    """Destinations by what they do; ``came`` is what the honest ones got, with when."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self.came: dict[str, list[tuple[int, float]]] = {}
        self.serving: set[asyncio.Task[None]] = set()

    async def move_in(self, answer: Answer, tls: bool = True) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.serving.add(task)
            try:
                with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                    await answer(reader, writer)
            finally:
                writer.transport.abort()

        context = certs.good("127.0.0.1").context() if tls else None
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        self._stack.callback(server.close)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def honest(self) -> str:
        got: list[tuple[int, float]] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                body = json.loads(await read_request(reader))
                now = time.perf_counter()
                got.extend((each["content"]["n"], now) for each in body["edus"])
                writer.write(ok(b'{"pdus":{}}'))

        name = await self.move_in(answer)
        self.came[name] = got
        return name


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with contextlib.AsyncExitStack() as stack:
        made = Town(stack)
        yield made
    for each in made.serving:
        each.cancel()
    await asyncio.gather(*made.serving, return_exceptions=True)
    await asyncio.sleep(0.05)


@pytest.fixture
async def federation(tmp_path: Path) -> AsyncIterator[Federation]:
    outgoing = Outgoing(ca_file=certs.authority().file, allow_private=True)
    config = Config(server_name=US, data=str(tmp_path), outgoing=outgoing)
    async with Federation(config=config, store=tmp_path / "ranvier.db") as made:
        yield made


async def delays(federation: Federation, town: Town, others: list[str], count: int) -> list[float]:
    """Send numbers to all; how long each took to the honest ones, in order and complete."""
    before = len(next(iter(town.came.values())))
    sent: list[float] = []
    for n in range(before, before + count):
        sent.append(time.perf_counter())
        edu = UnknownEdu(edu_type="x", content={"n": n})
        await federation.send([*others, *town.came], edus=[edu])
        await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        while any(len(got) < before + count for got in town.came.values()):
            await asyncio.sleep(0.01)
    found = []
    for got in town.came.values():
        assert [n for n, _ in got] == list(range(before + count))
        found += [at - sent[n - before] for n, at in got[before:]]
    return found


@pytest.mark.req("TXN-08", "D36", "SEC-05")
async def test_hostile_destinations_hold_up_their_own_lanes_alone(
    federation: Federation, town: Town
) -> None:
    for _ in range(5):
        await town.honest()
    hostile = {what: await town.move_in(answer) for what, answer in HOSTILE.items()}
    hostile["never shakes hands"] = await town.move_in(silent, tls=False)
    hostile["nobody there"] = "127.0.0.1:1"
    await delays(federation, town, [], 5)
    alone = await delays(federation, town, [], 30)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    meanwhile = await delays(federation, town, list(hostile.values()), 60)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) // 1024
    lanes = {each.destination: each for each in await federation.queue.lanes()}
    ratio = statistics.median(meanwhile) / statistics.median(alone)
    print(
        f"{len(hostile)} hostile destinations: an honest one is served {ratio:.1f} times as"
        f" late (longest {max(meanwhile) * 1000:.0f} ms), {grown} MiB more"
    )
    for what, name in hostile.items():
        lane = lanes.get(name)
        print(f"  {what}: {f'{lane.waiting} wait; {lane.because}' if lane else 'all taken'}")
    assert max(meanwhile) < PATIENCE
    assert grown < 100
    assert not lanes.keys() & town.came.keys()
    done = {what for what, name in hostile.items() if name not in lanes}
    assert done <= {"another transaction's result", "two answers"}
    assert "another transaction's result" in done


@pytest.mark.req("TXN-06", "D37")
async def test_the_result_of_another_transaction_says_nothing_of_ours(
    federation: Federation, town: Town
) -> None:
    name = await town.move_in(HOSTILE["another transaction's result"])
    told: list[Delivery] = []

    @federation.on_sent
    async def sent(delivery: Delivery) -> None:
        told.append(delivery)

    @federation.room_version
    async def version(room_id: str) -> str | None:
        return "11"

    await federation.send([name], pdus=[Rig().event(key=KEY)])
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0.01)
    [delivery] = told
    assert delivery.outcome is DeliveryOutcome.DELIVERED
    assert [each.verdict for each in delivery.results.values()] == [ItemVerdict.NOT_MENTIONED]


@pytest.mark.parametrize("what", [each for each in HOSTILE if "result" not in each])
async def test_a_request_to_a_hostile_peer_ends_in_time_with_an_error_of_ours(
    federation: Federation, town: Town, what: str
) -> None:
    name = await town.move_in(HOSTILE[what])
    began = time.perf_counter()
    with contextlib.suppress(RanvierError):
        assert (await federation.get(name, "/x", seconds=1.0)).body
    assert time.perf_counter() - began < PATIENCE
