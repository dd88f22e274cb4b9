"""Virtual time that advances by itself when everybody waits.

Nothing in the world ever waits for real. A sleeping task registers a deadline;
as soon as the event loop has nothing left to run, the clock jumps to the next
deadline and wakes whoever waits for it, one instant after the other. A test of
a 48-hour cache takes a millisecond, and two tasks that sleep 1 s and 2 s always
wake in that order.

The clock works on the plain asyncio loop, so it needs no special test runner.
What it cannot see is work done in a *thread* or by a *socket*: put such work
inside :meth:`VirtualClock.held`, which stops the jumping.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sized
from contextlib import asynccontextmanager, contextmanager

from ranvier.limits import Ms

NEW_YEAR_2026 = Ms(1_767_225_600_000)
"""When a world begins unless it is told otherwise: 2026-01-01T00:00:00Z."""

_QUIET_TURNS = 3
_QUIET_TURNS_UNSEEN = 25


class Timer:
    """A deadline in virtual seconds, and what to do then."""

    __slots__ = ("action", "at", "order")

    def __init__(self, at: float, order: int, action: Callable[[], None]) -> None:
        self.at = at
        self.order = order
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self.action = None

    def __lt__(self, other: Timer) -> bool:
        return (self.at, self.order) < (other.at, other.order)


class VirtualClock:
    """The Clock plug in memory: all time and chance of one world.

    ``start`` is the wall clock at the beginning; ``seed`` fixes all chance: the
    same seed gives the same bytes in the same order. With ``autojump`` off, time
    passes only by :meth:`advance`.
    """

    def __init__(self, *, start: Ms = NEW_YEAR_2026, seed: int = 0, autojump: bool = True) -> None:
        self._start = start
        self._elapsed = 0.0
        self._random = random.Random(seed)  # noqa: S311 - chance that can be repeated is the point
        self._timers: list[Timer] = []
        self._order = 0
        self._settlers: list[asyncio.Future[None]] = []
        self._holds = 0
        self._autojump = autojump
        self._watched: asyncio.AbstractEventLoop | None = None
        self._quiet = 0

    def now(self) -> Ms:
        """Wall clock of the world."""
        return Ms(self._start + round(self._elapsed * 1000))

    def tick(self) -> float:
        """Virtual seconds since the world began."""
        return self._elapsed

    def random_bytes(self, count: int) -> bytes:
        """The next bytes that the seed gives."""
        return self._random.randbytes(count)

    def chance(self) -> float:
        """The next number in [0, 1) that the seed gives: for loss and the like."""
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time; ``0`` or less only lets the others run."""
        if seconds <= 0:
            await asyncio.sleep(0)  # noqa: TID251 - a bare yield, no time
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(self._elapsed + seconds, lambda: _wake(woken))
        try:
            await woken
        finally:
            timer.cancel()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Cancel the block after ``seconds`` and raise :class:`TimeoutError`.

        It *is* ``asyncio.timeout``, fired by virtual time: nesting and outer
        cancellation behave as they do there.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as inner:  # noqa: TID251 - fired by our own timer below
            timer = self.call_at(self._elapsed + seconds, lambda: inner.reschedule(loop.time()))
            try:
                yield
            finally:
                timer.cancel()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once; whoever's deadline has come is woken in order.

        Nobody runs in between, as if the machine had been suspended. To let the
        others live through the time, use :meth:`sleep`.
        """
        if seconds < 0:
            raise ValueError("time does not run backwards")
        target = self._elapsed + seconds
        while self._timers and self._timers[0].at <= target:
            self._fire(heapq.heappop(self._timers))
        self._elapsed = target

    async def settle(self) -> None:
        """Return when every other task waits; no time passes."""
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settlers.append(settled)
        self._watch()
        await settled

    @contextmanager
    def held(self) -> Iterator[None]:
        """No jumps inside the block: for threads and sockets, which the clock cannot see."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._watch()

    def call_at(self, at: float, action: Callable[[], None]) -> Timer:
        """Run ``action`` when :meth:`tick` has reached ``at``; never, if that is infinite."""
        timer = Timer(at, self._order, action)
        self._order += 1
        if math.isfinite(at):
            heapq.heappush(self._timers, timer)
            self._watch()
        return timer

    def _fire(self, timer: Timer) -> None:
        self._elapsed = max(self._elapsed, timer.at)
        action, timer.action = timer.action, None
        if action is not None:
            action()

    @property
    def _may_jump(self) -> bool:
        return bool(self._timers) and self._autojump and not self._holds

    def _watch(self) -> None:
        """See to it that this loop's idleness is being watched, if anybody cares."""
        if not (self._may_jump or self._settlers):
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._watched is not loop:
            self._watched, self._quiet = loop, 0
            loop.call_soon(self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once in each turn of the loop: act when enough turns had nothing else to run."""
        if self._watched is not loop:
            return
        self._drop_cancelled()
        if not (self._may_jump or self._settlers):
            self._watched = None
            return
        self._quiet = self._quiet + 1 if _is_idle(loop) else 0
        if self._quiet >= _turns_needed(loop):
            self._quiet = 0
            self._act()
        loop.call_soon(self._look, loop)

    def _act(self) -> None:
        """All wait: tell those who wait for just that; else let time pass."""
        if self._settlers:
            settlers, self._settlers = self._settlers, []
            for settled in settlers:
                _wake(settled)
        else:
            self._jump()

    def _jump(self) -> None:
        instant = self._timers[0].at
        while self._timers and self._timers[0].at <= instant:
            self._fire(heapq.heappop(self._timers))

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0].action is None:
            heapq.heappop(self._timers)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _turns_needed(loop: asyncio.AbstractEventLoop) -> int:
    """How many quiet turns prove that all wait: each turn also polls the selector."""
    return _QUIET_TURNS if hasattr(loop, "_ready") else _QUIET_TURNS_UNSEEN


def _is_idle(loop: asyncio.AbstractEventLoop) -> bool:
    """Nothing but the caller is ready to run.

    CPython's loop shows its ready queue. Others (uvloop) do not: there every task
    must wait for a future that is not done, for many turns in a row.
    """
    ready: Sized | None = getattr(loop, "_ready", None)
    if ready is not None:
        return not ready
    this = asyncio.current_task(loop)
    waiters = (getattr(task, "_fut_waiter", None) for task in asyncio.all_tasks(loop) - {this})
    return all(waiter is not None and not waiter.done() for waiter in waiters)
