"""How long a connection may stay in each phase, and how it ends.

All times are ticks of the Clock plug, given by the caller. A refusal ends in
``ENDING`` with the answer written: what still arrives is dropped for
``LINGER_SECONDS``, or the reset that an early close provokes would overtake the
answer. A peer that does not read what it asked for is cut off.
"""

from __future__ import annotations

import asyncio
import math
from enum import Enum

from ranvier.limits import Limits

LINGER_SECONDS = 1.0


class Phase(Enum):
    """Where a connection is; its deadline belongs to the phase."""

    FIRST = "waiting for the first byte"
    HEAD = "inside a head"
    BODY = "inside a body"
    BUSY = "the application works"
    IDLE = "kept alive"
    ENDING = "answered for the last time"


RESTING = (Phase.FIRST, Phase.HEAD, Phase.IDLE)
"""Phases in which nobody is owed anything: these give way when seats are short."""

DAWDLING = (Phase.BODY, Phase.ENDING)
"""Phases in which only the peer holds things up: these give way when nobody rests."""


class Stay:
    """The phase of one connection, since when, and until when."""

    __slots__ = ("_limits", "_transport", "deadline", "phase", "since", "stalled")

    def __init__(self, limits: Limits, transport: asyncio.Transport, now: float) -> None:
        self._limits = limits
        self._transport = transport
        self.stalled = math.inf
        self.wait(Phase.FIRST, now)

    def wait(self, phase: Phase, since: float) -> None:
        """Be in ``phase`` since that tick."""
        self.phase, self.since = phase, since
        if phase is Phase.IDLE:
            self.deadline = since + self._limits.listen_idle_seconds
        elif phase is Phase.BODY:
            self.deadline = since + self._limits.listen_body_seconds
        elif phase is Phase.BUSY:
            self.deadline = math.inf
        else:
            self.deadline = since + self._limits.listen_head_seconds

    def over(self, now: float) -> bool:
        """Whether a deadline has passed."""
        return self.deadline <= now or self.stalled <= now

    def stall(self, now: float) -> None:
        """The peer does not read."""
        self.stalled = now + self._limits.listen_body_seconds

    def say_last(self, answer: bytes, now: float) -> None:
        """Write the last answer, then linger; if we are closing already, only linger."""
        if not self._transport.is_closing():
            self._transport.write(answer)
            if self._transport.can_write_eof():
                self._transport.write_eof()
        self.phase, self.deadline = Phase.ENDING, now + LINGER_SECONDS

    def leave(self, now: float) -> None:
        """Close after what is written has gone out; if that was tried or stalls, at once."""
        if self.stalled <= now or (self._transport.is_closing() and self.over(now)):
            self._transport.abort()
        self._transport.close()
        self.phase, self.deadline = Phase.ENDING, now + self._limits.listen_body_seconds
