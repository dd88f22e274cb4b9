"""Requests to other servers: found, authenticated, signed, sent, answered.

The target is signed and sent byte for byte as it was given; the names in the
signature are those before delegation ``[s2s:request-authentication]``. Redirects
are answers like others (API-09): the signature covers the path, and who follows
goes where a stranger sends it.

A destination that could not be reached is left alone for a while
(:class:`BackOffs`). What counts as "not reached": no connection, no answer in time,
half an answer, 429 and 5xx. Every other answer, a refusal too, is a sign of life.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import msgspec

from ranvier.deeds import BackOff
from ranvier.errors import (
    BackingOff,
    ConnectionLost,
    Malformed,
    PeerFault,
    RanvierError,
    StoreFault,
    TimedOut,
    Unreachable,
)
from ranvier.limits import ExchangeLimits, Limits
from ranvier.plugs import Clock, HttpResponse
from ranvier.protocol.canonical import JsonObject, parse_json_object
from ranvier.protocol.names import ServerName
from ranvier.protocol.requests import sign_request
from ranvier.services.answers import insist_on_success
from ranvier.services.calls import (
    CLAUSE,
    Call,
    check_method,
    check_target,
    is_repeatable,
    written_content,
)
from ranvier.services.identity import Identity
from ranvier.services.keyring import Keyring
from ranvier.services.lender import Lender
from ranvier.services.pool import Borrowed, Pool
from ranvier.services.turns import Turns
from ranvier.trail import NO_TRAIL, Outcome, Recorder, Trail

_DEAD = frozenset({"no-answer", "connection-closed"})
"""How a connection ends that its peer had given up while it idled."""

_ALIVE = frozenset({"body-too-large"})
"""How an exchange fails although the destination answers well: it was more than we wanted."""


class BackOffs(Protocol):
    """Whom we hold off from, by server name. All raise StoreFault."""

    async def of(self, name: str) -> BackOff | None:
        """Until when, if we hold off from it now."""

    async def failed(self, name: str, because: str) -> None:
        """It could not be reached."""

    async def reached(self, name: str) -> None:
        """It answered."""


class NoBackOffs:
    """Never holds off: for whoever has a plan of his own for the next try."""

    async def of(self, name: str) -> BackOff | None:
        """Nobody is held off from."""
        return None

    async def failed(self, name: str, because: str) -> None:
        """Nothing follows."""

    async def reached(self, name: str) -> None:
        """Nothing follows."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A success (2xx), read whole. ``step`` is the discovery step of the route it came by."""

    server_name: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    step: str = ""
    trail: Trail = NO_TRAIL

    @cached_property
    def json(self) -> JsonObject:
        """The body as a JSON object, whatever its Content-Type says.

        Raises: PeerFault (``answer-not-json``).
        """
        try:
            return parse_json_object(self.body, max_bytes=len(self.body))
        except Malformed as error:
            message = f"{self.server_name} answered {self.status} with no JSON object: {error}"
            raise PeerFault(
                "answer-not-json", message, clause=error.clause, trail=self.trail
            ) from None


class _Stage:
    """How far a request has come, for the words of a time-out."""

    text = "it waited for its turn"
    began = False


class Client:
    """Sends requests to server names. One per process; safe to call from many tasks."""

    def __init__(
        self,
        pool: Pool,
        keyring: Keyring,
        identity: Callable[[], Identity],
        *,
        clock: Clock,
        limits: Limits,
        back_offs: BackOffs,
    ) -> None:
        self._lender = Lender(pool, keyring)
        self._identity = identity
        self._clock = clock
        self._limits = limits
        self._back_offs = back_offs
        self._turns = Turns(limits.requests_per_destination)

    async def request(
        self,
        name: ServerName,
        method: str,
        target: str,
        *,
        content: JsonObject | bytes | None = None,
        signed: bool = True,
        answer_bytes: int | None = None,
        seconds: float | None = None,
        insist: bool = False,
        repeatable: bool | None = None,
        fresh: bool = False,
        recorder: Recorder | None = None,
    ) -> Answer:
        """Send one request and return its answer, if that is a success.

        ``content`` is an object, or the canonical JSON of one; a method that takes a
        body gets ``{}`` if there is none (API-02). ``answer_bytes`` is the most that the
        body of the answer may have, ``seconds`` the most that all of it may take, the
        wait for one of ``requests_per_destination`` places included. ``insist`` passes
        the back-off by. ``repeatable`` says that the request may go out a second time if
        a connection that was open already turns out to be dead; by default, if the
        method is idempotent. ``fresh`` finds the server anew, passing the caches by.

        Raises: Malformed (the call), BackingOff, Unreachable, PeerFault (its keys, if it
        is to be judged by them), ConnectionLost, TimedOut, Rejected, StoreFault,
        BadConfiguration (our own keys); each with its trail.
        """
        recorder = recorder or Recorder(self._clock.tick)
        try:
            check_method(method)
            check_target(target)
            call = Call(
                name=name,
                method=method,
                target=target,
                content=written_content(method, content, self._limits),
                limits=self._exchange(answer_bytes, seconds),
                repeatable=is_repeatable(method) if repeatable is None else repeatable,
                fresh=fresh,
                recorder=recorder,
            )
            if not insist:
                await self._insist_not_held_off(name)
            return await self._counted(self._signed(call) if signed else call)
        except RanvierError as error:
            raise error.with_trail(recorder.trail) from None

    def _exchange(self, answer_bytes: int | None, seconds: float | None) -> ExchangeLimits:
        limits = self._limits
        wanted = limits.answer_bytes if answer_bytes is None else answer_bytes
        return limits.exchange(
            body_bytes=min(wanted, limits.answer_bytes_max),
            seconds=limits.total_seconds if seconds is None else seconds,
        )

    async def _insist_not_held_off(self, name: ServerName) -> None:
        held = await self._back_offs.of(name.text)
        if held is not None:
            raise BackingOff(
                "backing-off",
                f"{name} is left alone until {held.until} ms: {held.because}",
                clause="[ranvier:back-off]",
                until=held.until,
                because=held.because,
            )

    def _signed(self, call: Call) -> Call:
        """Raises: BadConfiguration, Malformed."""
        identity = self._identity()
        header = sign_request(
            method=call.method,
            target=call.target,
            origin=identity.server_name.text,
            destination=call.name.text,
            content=call.content,
            key=identity.request_key,
        )
        return msgspec.structs.replace(call, authorization=header)

    async def _counted(self, call: Call) -> Answer:
        """Send it, and tell the back-offs what it says about the destination."""
        name, stage = call.name.text, _Stage()
        try:
            response, borrowed = await self._in_time(call, stage)
        except (Unreachable, ConnectionLost, TimedOut) as error:
            if stage.began and error.code not in _ALIVE:
                await self._not_reached(call, error.message)
            raise
        if response.status == 429 or response.status >= 500:
            await self._not_reached(call, f"it answered {response.status}")
        else:
            await self._back_offs.reached(name)
        route = borrowed.route
        insist_on_success(response, route.host_header, call.target, self._limits)
        return Answer(
            server_name=name,
            status=response.status,
            headers=response.headers,
            body=response.body,
            step=route.step,
            trail=call.recorder.trail,
        )

    async def _not_reached(self, call: Call, because: str) -> None:
        """What went wrong with the request matters more than that our store cannot note it."""
        try:
            await self._back_offs.failed(call.name.text, because)
        except StoreFault as fault:
            question = f"hold off from {call.name}"
            call.recorder.note("back-off", question, fault.message, outcome=Outcome.FAILED)

    async def _in_time(self, call: Call, stage: _Stage) -> tuple[HttpResponse, Borrowed]:
        seconds = call.limits.seconds
        try:
            async with self._clock.timeout(seconds), self._turns.taken(call.name.text):
                stage.began, stage.text = True, "there was no connection"
                return await self._sent(call, stage)
        except TimeoutError:
            message = f"no whole answer from {call.name} within {seconds:g} s: {stage.text}"
            raise TimedOut("request-timeout", message, clause="[ranvier:limits]") from None

    async def _sent(self, call: Call, stage: _Stage) -> tuple[HttpResponse, Borrowed]:
        """Over an open connection if there is one; if that is dead, once more over a new one."""
        again = True
        while True:
            borrowed = await self._lender.lend(
                call.name, call.recorder, again=again, fresh=call.fresh
            )
            stage.text = "it was sent, and what became of it is unknown"
            try:
                return await self._exchanged(call, borrowed), borrowed
            except ConnectionLost as error:
                if not (borrowed.reused and call.repeatable and error.code in _DEAD):
                    raise
            finally:
                await self._lender.take_back(borrowed)
            again, stage.text = False, "there was no second connection"

    async def _exchanged(self, call: Call, borrowed: Borrowed) -> HttpResponse:
        host = borrowed.route.host_header
        question = f"{call.method} https://{host}{call.target}"
        with call.recorder.asking("request", question, clause=CLAUSE) as asked:
            response = await borrowed.link.exchange(call.written(host), call.limits)
            size = len(response.body)
            asked.answered(f"{response.status}, {size} bytes", status=response.status, bytes=size)
        return response
