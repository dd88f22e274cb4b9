"""Hostile peers on real sockets: each harms only itself.

The hostile side is a process of its own, from another address than the honest peer,
which meanwhile goes on asking over kept and over new connections: none of its
requests is lost, and none takes long. How long is printed (``pytest -s``).
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ranvier.limits import Limits
from tests.rigs.listening import Caller
from tests.rigs.status import Stage, stage, transaction

ROOT = Path(__file__).parent.parent
PATIENCE = 8.0
"""Seconds that no honest request may take, whatever goes on: far under the deadlines of those who
attack, and over the 2 to 3 s for which one body made for it can hold the interpreter."""


@asynccontextmanager
async def attack(how: str, on: Stage, most: int) -> AsyncIterator[list[int]]:
    """While the block runs; then the list holds connections at once, made, and answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.rigs.hostile", how,
        str(on.address.port), str(most), on.us, on.peer,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    said: list[int] = []
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield said
        process.stdin.close()
        said += map(int, (await process.stdout.readline()).split())
    finally:
        process.kill()
        await process.wait()


class Honest:
    """A peer of ours that asks, sends, and takes the time."""

    def __init__(self, on: Stage) -> None:
        self.on = on
        self.sent = 0

    async def times(self, rounds: int = 10) -> list[float]:
        """A query and a transaction over a kept connection, and a query over a new one."""
        found = []
        async with await Caller.to(self.on.address, True) as kept:
            for _ in range(rounds):
                self.sent += 1
                body = transaction(self.on.peer, edus=[{"edu_type": "x", "content": {}}])
                put = self.on.put(body, f"/_matrix/federation/v1/send/h{self.sent}")
                for work in (kept.ask(self.on.get()), kept.ask(put), self.on.ask(self.on.get())):
                    began = time.perf_counter()
                    assert (await work).status == 200
                    found.append(time.perf_counter() - began)
                await asyncio.sleep(0.02)
        return found


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path, limits=Limits(), store=tmp_path / "ranvier.db") as made:
        yield made


ATTACKS = {
    "idle": 10_000,
    "half-head": 300,
    "half-body": 300,
    "large-body": 60,
    "dear-body": 8,
    "unsigned": 4,
    "forged": 4,
    "unknown": 16,
}


@pytest.mark.req("SEC-05", "SEC-06", "D19")
@pytest.mark.parametrize("how", ATTACKS)
async def test_a_hostile_peer_slows_no_honest_one(how: str, on: Stage) -> None:
    honest = Honest(on)
    alone = await honest.times()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with attack(how, on, ATTACKS[how]) as said:
        meanwhile = await honest.times()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ratio = statistics.median(meanwhile) / statistics.median(alone)
    print(
        f"{how}: {said[0]} connections at once ({said[1]} made), {said[2]} answers;"
        f" an honest request {ratio:.1f} times as long"
        f" (longest {max(meanwhile) * 1000:.0f} ms), {grown // 1024} MiB more"
    )
    assert len(on.handled) == 2 * 30
    assert max(meanwhile) < PATIENCE
    assert grown < 512 * 1024
