"""One thread with one connection: deeds go in, and come back when they are on disk.

SQLite blocks, so it lives in threads: one writes, one reads (in WAL mode a reader
never waits for the writer). Deeds that arrive within ``window`` seconds of the
first share one transaction, since a commit costs more than the deeds in it. If one
of them fails, the transaction is rolled back and each is done again alone, so that
nobody pays for another's fault. A deed is therefore a function of the connection
that may be called twice, and it never commits itself.

Results go back to their event loop together too: waking a loop is a system call,
and it would cost more than most deeds.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ranvier.errors import RanvierError, StoreFault
from ranvier.store.faults import fault

T = TypeVar("T")
Deed = Callable[[sqlite3.Connection], Any]
Waiting = tuple[Deed, "asyncio.Future[Any]"]
Told = tuple["asyncio.Future[Any]", Any, Exception | None]
"""Who waits, for what result, or which error instead."""

_MOST = 1000
"""Deeds in one transaction."""


class StoreThread:
    """Does deeds in order. :meth:`start` first; after :meth:`stop` all deeds are refused."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        path: Path,
        *,
        begin: str,
        window: float = 0.0,
    ) -> None:
        self._connect = connect
        self._path = path
        self._begin = begin
        self._window = window
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._started: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._live, name="ranvier-store", daemon=True)

    async def start(self) -> None:
        """Open the connection. Raises: StoreFault."""
        self._thread.start()
        await asyncio.wrap_future(self._started)

    async def do(self, deed: Callable[[sqlite3.Connection], T]) -> T:
        """Do it, and return once it is committed. Raises: StoreFault."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._stopping.is_set():
                raise StoreFault("store-closed", f"the store {str(self._path)!r} is closed")
            self._queue.put((deed, future))
        return await future

    async def stop(self) -> None:
        """Finish what was asked and close the connection; never raises."""
        with self._lock:
            first = not self._stopping.is_set()
            self._stopping.set()
            if first:
                self._queue.put(None)
        if self._thread.ident is not None:
            await asyncio.shield(asyncio.wrap_future(self._ended))

    def _live(self) -> None:
        try:
            db = self._connect()
        except Exception as error:
            self._started.set_exception(_as_fault(error, self._path))
            self._ended.set_result(None)
            return
        self._started.set_result(None)
        while group := self._next():
            self._together(db, group)
        with suppress(sqlite3.Error):
            db.close()
        self._ended.set_result(None)

    def _next(self) -> list[Waiting]:
        """The next deeds that share a transaction; none when the thread ends."""
        first = self._queue.get()
        if first is None:
            return []
        if self._window:
            self._stopping.wait(self._window)
        group = [first]
        with suppress(queue.Empty):
            while len(group) < _MOST:
                more = self._queue.get_nowait()
                if more is None:  # the end: after this group
                    self._queue.put(None)
                    break
                group.append(more)
        return group

    def _together(self, db: sqlite3.Connection, group: list[Waiting]) -> None:
        live = [each for each in group if not each[1].cancelled()]
        try:
            db.execute(self._begin)
        except sqlite3.Error as error:
            _tell([(future, None, fault(error, self._path)) for _, future in live])
            return
        try:
            results = [deed(db) for deed, _ in live]
            db.execute("COMMIT")
        except Exception as error:
            _roll_back(db)
            if len(live) == 1:
                _tell([(live[0][1], None, _as_fault(error, self._path))])
            else:
                _tell([self._alone(db, deed, future) for deed, future in live])
            return
        _tell([(each[1], result, None) for each, result in zip(live, results, strict=True)])

    def _alone(self, db: sqlite3.Connection, deed: Deed, future: asyncio.Future[Any]) -> Told:
        try:
            db.execute(self._begin)
            result = deed(db)
            db.execute("COMMIT")
        except Exception as error:
            _roll_back(db)
            return future, None, _as_fault(error, self._path)
        return future, result, None


def _tell(told: list[Told]) -> None:
    """Wake each loop once; one that is closed has nobody left who waits."""
    for loop in {future.get_loop() for future, *_ in told}:
        mine = [each for each in told if each[0].get_loop() is loop]
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_hand_over, mine)


def _hand_over(told: list[Told]) -> None:
    for future, result, error in told:
        if future.done():  # who asked was cancelled meanwhile
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _roll_back(db: sqlite3.Connection) -> None:
    """Leave the transaction, which SQLite may have left by itself."""
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")


def _as_fault(error: Exception, path: Path) -> Exception:
    """SQLite's errors as StoreFault; ours and bugs as they are."""
    if isinstance(error, sqlite3.Error) and not isinstance(error, RanvierError):
        return fault(error, path)
    return error
