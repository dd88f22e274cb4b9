"""A process that kills itself at a chosen moment, and stores that are wrong on purpose.

A :class:`TrappedStore` is the real store with a trap before and after the deeds that
matter, so that a process can die exactly between two of them. The faults show that the
harness sees what it is there to see: each breaks one rule that keeps items whole.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ranvier.deeds import (
    Delivered,
    Done,
    Effect,
    Fresh,
    OutItem,
    Sealed,
    SealRule,
    Seen,
    Settlement,
)
from ranvier.limits import Ms

Passing = Callable[[str], None]


class Trap:
    """Kills its own process when a moment is passed for the so-manieth time."""

    def __init__(self) -> None:
        self._moment = ""
        self._left = 0

    def set(self, moment: str, passing: int) -> None:
        """Wait for this moment; an empty one never comes."""
        self._moment, self._left = moment, passing

    def passing(self, moment: str) -> None:
        """It may be now."""
        if moment == self._moment:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


class Around:
    """Something that is in all but a few respects what it is around."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TrappedOutbox(Around):
    """Dies around adding, after sealing, and around settling."""

    def __init__(self, inner: Any, passing: Passing) -> None:
        super().__init__(inner)
        self._passing = passing

    async def add(self, to: Sequence[str], items: Sequence[OutItem], *, now: Ms) -> None:
        self._passing("add-before")
        await self._inner.add(to, items, now=now)
        self._passing("add-after")

    async def take(self, node: str, **more: Any) -> tuple[Sealed, ...]:
        taken: tuple[Sealed, ...] = await self._inner.take(node, **more)
        for _ in taken:
            self._passing("sealed")
        return taken

    async def settle(self, sealed: Sealed, settlement: Settlement, **more: Any) -> Sealed | None:
        if isinstance(settlement, Delivered):
            self._passing("answered")
        following: Sealed | None = await self._inner.settle(sealed, settlement, **more)
        if isinstance(settlement, Delivered):
            self._passing("settled")
        return following


class TrappedInbox(Around):
    """Dies around the commit that everything hangs on."""

    def __init__(self, inner: Any, passing: Passing) -> None:
        super().__init__(inner)
        self._passing = passing

    async def finish(self, done: Done, effects: Sequence[Effect]) -> bytes:
        self._passing("finish-before")
        answer: bytes = await self._inner.finish(done, effects)
        self._passing("finish-after")
        return answer


class TrappedStore(Around):
    """The real store, with traps, and with a fault if one is asked for."""

    def __init__(self, inner: Any, passing: Passing, fault: str) -> None:
        super().__init__(inner)
        broken = FAULTS.get(fault, Around)
        outbox = broken(inner.outbox) if issubclass(broken, OutboxFault) else inner.outbox
        inbox = broken(inner.inbox) if issubclass(broken, InboxFault) else inner.inbox
        self.outbox = TrappedOutbox(outbox, passing)
        self.inbox = TrappedInbox(inbox, passing)


# --- Deliberate faults ---


class OutboxFault(Around):
    """Something is wrong with the sender's side."""


class InboxFault(Around):
    """Something is wrong with the receivers' side."""


class EarlyReturn(OutboxFault):
    """``send`` returns before its items are stored: some are lost, some overtake others."""

    async def add(self, to: Sequence[str], items: Sequence[OutItem], *, now: Ms) -> None:
        async def later() -> None:
            await asyncio.sleep(random.uniform(0, 0.3))
            await self._inner.add(to, items, now=now)

        _running.append(asyncio.ensure_future(later()))


_running: list[asyncio.Task[None]] = []


class EarlySettle(OutboxFault):
    """Items are crossed out when they are taken, not when they have arrived: some are lost."""

    async def take(self, node: str, *, now: Ms, rule: SealRule, **more: Any) -> tuple[Sealed, ...]:
        taken: tuple[Sealed, ...] = await self._inner.take(node, now=now, rule=rule, **more)
        for each in taken:
            await self._inner.settle(each, Delivered(), now=now, until=now, rule=rule)
        return taken


class NewId(OutboxFault):
    """Every attempt has an id of its own: what has arrived already arrives again."""

    async def take(self, node: str, **more: Any) -> tuple[Sealed, ...]:
        taken: tuple[Sealed, ...] = await self._inner.take(node, **more)
        return tuple(self._renamed(each) for each in taken)

    async def settle(self, sealed: Sealed, settlement: Settlement, **more: Any) -> Sealed | None:
        stored = msgspec.structs.replace(sealed, txn_id=sealed.txn_id.partition("~")[0])
        following: Sealed | None = await self._inner.settle(stored, settlement, **more)
        return None if following is None else self._renamed(following)

    def _renamed(self, sealed: Sealed) -> Sealed:
        again = f"{sealed.txn_id}~{random.getrandbits(32)}"
        return msgspec.structs.replace(sealed, txn_id=again)


class Forgetful(InboxFault):
    """Ids are forgotten at once: what comes again is done again."""

    async def seen(self, origin: str, txn_id: str, digest: bytes) -> Seen:
        return Fresh()

    async def finish(self, done: Done, effects: Sequence[Effect]) -> bytes:
        answer: bytes = await self._inner.finish(_under_another_id(done), effects)
        return answer


class AnswerFirst(InboxFault):
    """The id is remembered in one commit and the effects are written in the next."""

    async def finish(self, done: Done, effects: Sequence[Effect]) -> bytes:
        answer: bytes = await self._inner.finish(done, ())
        await asyncio.sleep(0.05)
        await self._inner.finish(_under_another_id(done), effects)
        return answer


def _under_another_id(done: Done) -> Done:
    return msgspec.structs.replace(done, txn_id=f"{done.txn_id}~{random.getrandbits(32)}")


FAULTS: Mapping[str, type[Around]] = {
    "early-return": EarlyReturn,
    "early-settle": EarlySettle,
    "new-id": NewId,
    "forgetful": Forgetful,
    "answer-first": AnswerFirst,
}
