"""A process that works on an outbox until it is killed or the work is done.

``worker.py STORE NODE adds|drains [NUMBER]``. Every line it prints is a fact: ``added`` once an
item is acknowledged, ``sent`` as a transaction goes out, ``done`` once it is settled.
"""

from __future__ import annotations

import asyncio
import json
import sys

from ranvier.deeds import Delivered, ItemKind, OutItem, Sealed, SealRule
from ranvier.limits import Ms
from ranvier.net.clock import SystemClock
from ranvier.store.sqlite import SqliteStore

NAMES = [f"{each}.test" for each in range(8)]
RULE = SealRule(origin="us.test", edus=3)
LEASE_MS = 1_500


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def adds(store: SqliteStore, clock: SystemClock, start: int) -> None:
    for number in range(start, start + 100_000):
        item = OutItem(kind=ItemKind.EDU, body=b'{"n":%d}' % number)
        await store.outbox.add(NAMES, [item], now=clock.now())
        say("added", number)


async def drains(store: SqliteStore, clock: SystemClock, node: str, *, until_empty: bool) -> None:
    idle = 0
    while idle < 400:
        now = clock.now()
        batch = await store.outbox.take(node, now=now, until=Ms(now + LEASE_MS), most=3, rule=RULE)
        await asyncio.gather(*(lane(store, clock, each) for each in batch))
        if not batch:
            if until_empty and await store.outbox.next_due() is None:
                return
            idle += 1
            await clock.sleep(0.01)


async def lane(store: SqliteStore, clock: SystemClock, sealed: Sealed | None) -> None:
    while sealed is not None:
        numbers = ",".join(str(each["n"]) for each in json.loads(sealed.body)["edus"])
        say("sent", sealed.destination, sealed.txn_id, numbers)
        now = clock.now()
        after = await store.outbox.settle(
            sealed, Delivered(), now=now, until=Ms(now + LEASE_MS), rule=RULE
        )
        say("done", sealed.destination, sealed.txn_id, numbers)
        sealed = after


async def main(path: str, node: str, what: str, start: int = 0) -> None:
    clock = SystemClock()
    store = await SqliteStore.open(path, clock)
    work = [drains(store, clock, node, until_empty=what == "drains")]
    if what == "adds":
        work.append(adds(store, clock, start))
    await asyncio.gather(*work)
    await store.close()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:])))
