"""What happens in one round, drawn from the seed and the round's number alone.

Who sends what, to whom, how large, and who is struck when. The machine's own pace is
not part of it: the same plan is the same blows at the same places, not the same
microseconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import StrEnum

import msgspec

DESTINATIONS = 20
WORKERS = tuple(f"worker-{n}" for n in range(2))
RECEIVERS = tuple(f"receiver-{n}" for n in range(2))
CALLS = 14
"""Of ``send``, by each worker, in one round."""

ACTIVE_SECONDS = 0.9
"""How long a round's sending takes if nothing goes wrong."""

LEASE_SECONDS = 0.8

WORKER_MOMENTS = ("add-before", "add-after", "sealed", "answered", "settled")
RECEIVER_MOMENTS = ("handling", "finish-before", "finish-after")


class How(StrEnum):
    """What is done to a process."""

    AT_A_TIME = "kill -9 at a time"
    AT_A_MOMENT = "kill -9 at a moment"
    """Of its own work: exactly before a commit, say, or right after it."""
    PAUSE = "stopped for longer than its lease"


class Blow(msgspec.Struct, frozen=True, kw_only=True):
    """One process is struck."""

    victim: str
    how: How
    after: float = 0.0
    """AT_A_TIME and PAUSE: seconds into the round."""
    moment: str = ""
    passing: int = 0
    """AT_A_MOMENT: the first time, the second time ..."""
    back: float = 0.0
    """Seconds until it is there again."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One payload: ``number`` grows within its series (one worker's PDUs, or EDUs)."""

    kind: str
    series: str
    number: int
    size: int


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of ``send``, ``pause`` seconds after the one before."""

    number: int
    to: tuple[int, ...]
    items: tuple[Item, ...]
    pause: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One round."""

    number: int
    calls: dict[str, tuple[Call, ...]]
    blows: tuple[Blow, ...]


def make_plan(seed: int, number: int) -> Plan:
    """The plan of round ``number``."""
    draw = random.Random(f"{seed}/{number}")
    calls = {each: tuple(_calls(draw, each, number)) for each in WORKERS}
    return Plan(number=number, calls=calls, blows=tuple(_blows(draw)))


def _calls(draw: random.Random, worker: str, number: int) -> Iterator[Call]:
    counts = {"pdu": number * 1000, "edu": number * 1000}
    for call in range(CALLS):
        items = []
        for kind in draw.choices(("pdu", "edu"), weights=(1, 3), k=draw.choice((1, 1, 2, 3))):
            counts[kind] += 1
            items.append(
                Item(
                    kind=kind,
                    series=f"{worker}/{kind}",
                    number=counts[kind],
                    size=draw.choice((0, 30, 300, 3000, 30_000)),
                )
            )
        many = draw.choice((1, 2, 4, 8, DESTINATIONS))
        yield Call(
            number=call,
            to=tuple(sorted(draw.sample(range(DESTINATIONS), many))),
            items=tuple(items),
            pause=draw.uniform(0, 2 * ACTIVE_SECONDS / CALLS),
        )


def _blows(draw: random.Random) -> Iterator[Blow]:
    """One process of each side at least; now and then all."""
    for side, moments in ((WORKERS, WORKER_MOMENTS), (RECEIVERS, RECEIVER_MOMENTS)):
        for victim in draw.sample(side, draw.choice((1, 1, 2))):
            yield _blow(draw, victim, moments)


def _blow(draw: random.Random, victim: str, moments: tuple[str, ...]) -> Blow:
    ways = [How.AT_A_TIME] * 5 + [How.AT_A_MOMENT] * 5 + [How.PAUSE] * (victim in WORKERS)
    how = draw.choice(ways)
    back = draw.uniform(0, 0.3)
    if how is How.AT_A_MOMENT:
        moment = draw.choice(moments)
        most = CALLS if moment.startswith("add") else 40
        return Blow(victim=victim, how=how, moment=moment, passing=draw.randint(1, most), back=back)
    if how is How.PAUSE:
        back = LEASE_SECONDS * 1.5
    return Blow(victim=victim, how=how, after=draw.uniform(0, ACTIVE_SECONDS), back=back)
