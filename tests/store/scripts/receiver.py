"""A process that finishes numbered transactions with an effect each, until it is killed.

``receiver.py STORE NUMBER``. It prints a number once its transaction is finished.
"""

from __future__ import annotations

import asyncio
import sys

from ranvier.deeds import Done, SqlEffect
from ranvier.limits import Ms
from ranvier.net.clock import SystemClock
from ranvier.store.sqlite import SqliteStore


async def main(path: str, start: int) -> None:
    store = await SqliteStore.open(path, SystemClock())

    async def one(number: int) -> None:
        done = Done(
            origin="a.test", txn_id=str(number), digest=bytes(32), answer=b"{}", items=(),
            received=Ms(0), forget_at=Ms(1),
        )  # fmt: skip
        statement = "INSERT INTO got (number) VALUES (?)"
        await store.inbox.finish(done, [SqlEffect(statement=statement, row=(number,))])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()

    for first in range(start, start + 1_000_000, 5):
        await asyncio.gather(*(one(number) for number in range(first, first + 5)))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
