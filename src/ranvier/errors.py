"""Every exception, in one tree. Anything else that comes out is our bug.

::

    RanvierError                  code (stable slug), clause, trail
    |-- BadConfiguration          ours: the file or the call
    |-- Malformed (ValueError)    core: breaks a grammar
    |-- NotValid                  core: well-formed, but a rule fails; carries the conditions
    |-- NetworkFault              edges:
    |   |-- DnsFault                nobody answered the question
    |   |-- ConnectFault            no TCP connection (refused, no route, reset)
    |   |-- TlsFault                the handshake or the certificate; carries the chain seen
    |   |-- TimedOut                a limit in seconds passed
    |   |-- AddressRefused          our own policy: no connection was made
    |   `-- ConnectionLost          it broke, or spoke no HTTP, or too much of it
    |-- StoreFault                edges: our disk or database
    |   `-- EffectFault             a rule of its table refuses what a handler wanted written
    |-- QueueFull                 edges: the outbox's bound; nothing was queued
    |-- Unreachable               services: no authenticated connection, every attempt in the trail
    |-- PeerFault                 services: it answered, but malformed or not valid
    |-- Rejected                  services: it answered correctly "no" (status, errcode)
    |-- Unauthenticated           services: an inbound request is refused (status, errcode)
    `-- BackingOff                services: we hold off from it (until, because)

The core says *what* is wrong, the services *with whom*, and later the doctor
*what to do about it*. ``code`` is a stable slug that programs may compare;
texts may change: each is a clause that can stand behind a colon, in lower case and
without a final dot. ``clause`` cites the text the rule comes from, for example
``[s2s:resolving-server-names 3.3]`` or ``[2014:retrieving-server-keys]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranvier.trail import NO_TRAIL, Trail

if TYPE_CHECKING:
    from typing import Self


class RanvierError(Exception):
    """The root: a stable ``code``, a text for people, the clause, and the trail so far."""

    def __init__(
        self, code: str, message: str, *, clause: str = "", trail: Trail = NO_TRAIL
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.clause = clause
        self.trail = trail

    def with_trail(self, trail: Trail) -> Self:
        """The same error, carrying ``trail``; services call this as they raise."""
        self.trail = trail
        return self


class BadConfiguration(RanvierError):
    """Our side: the configuration file or the call is wrong."""


class Malformed(RanvierError, ValueError):
    """Breaks a grammar."""


class NotValid(RanvierError):
    """Well-formed, but a rule fails.

    ``conditions`` are all the conditions that were examined
    (:class:`ranvier.protocol.conditions.Condition`), not only the first that failed.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        clause: str = "",
        trail: Trail = NO_TRAIL,
        conditions: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(code, message, clause=clause, trail=trail)
        self.conditions = conditions


class NetworkFault(RanvierError):
    """An edge could not do what it was asked."""


class DnsFault(NetworkFault):
    """Nobody answered. (NXDOMAIN and SERVFAIL are answers, not faults.)"""


class ConnectFault(NetworkFault):
    """No TCP connection."""


class TlsFault(NetworkFault):
    """The handshake failed, or the certificate was judged and refused.

    ``certificates`` is the chain that the peer showed, leaf first, as DER;
    empty if it showed none. Not one byte of a request was sent.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        clause: str = "",
        trail: Trail = NO_TRAIL,
        certificates: tuple[bytes, ...] = (),
    ) -> None:
        super().__init__(code, message, clause=clause, trail=trail)
        self.certificates = certificates


class TimedOut(NetworkFault):
    """A limit in seconds passed."""


class AddressRefused(NetworkFault):
    """Our own address policy: no connection was made."""


class ConnectionLost(NetworkFault):
    """The connection broke, or what came over it was not HTTP, or was too much."""


class StoreFault(RanvierError):
    """Our own disk or database."""


class Unreachable(RanvierError):
    """No authenticated connection; the trail holds every attempt."""


class PeerFault(RanvierError):
    """It answered, but what it said is malformed or not valid."""


class EffectFault(StoreFault):
    """A rule of its table (uniqueness and the like) refuses what a handler wanted written.

    Nothing was written. ``place`` says which of the effects it was.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        clause: str = "",
        trail: Trail = NO_TRAIL,
        place: int = 0,
    ) -> None:
        super().__init__(code, message, clause=clause, trail=trail)
        self.place = place


class QueueFull(RanvierError):
    """The outbox takes no more, of this destination or in all; nothing was queued."""


class Rejected(RanvierError):
    """It answered, correctly, "no".

    ``status`` is HTTP's, ``errcode`` Matrix's (empty if there was none), ``body``
    what came with it. A caller may branch on ``code``: ``answer-unsupported`` (it has
    no such endpoint), ``answer-not-found`` (no such thing), ``answer-redirect``,
    ``answer-status``. ``headers`` may say when to come again.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        clause: str = "",
        trail: Trail = NO_TRAIL,
        status: int = 0,
        errcode: str = "",
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(code, message, clause=clause, trail=trail)
        self.status = status
        self.errcode = errcode
        self.body = body
        self.headers = headers


class Unauthenticated(RanvierError):
    """An inbound request is refused before anybody handles it.

    ``status`` and ``errcode`` go on the wire with :attr:`public`, a text that says
    less than ``message``, which is for our own log (SEC-18).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        clause: str = "",
        trail: Trail = NO_TRAIL,
        status: int = 401,
        errcode: str = "M_UNAUTHORIZED",
        public: str = "the request is not authenticated",
    ) -> None:
        super().__init__(code, message, clause=clause, trail=trail)
        self.status = status
        self.errcode = errcode
        self.public = public


class BackingOff(RanvierError):
    """We hold off from a destination until ``until`` (ms), ``because`` of what happened."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        clause: str = "",
        trail: Trail = NO_TRAIL,
        until: int = 0,
        because: str = "",
    ) -> None:
        super().__init__(code, message, clause=clause, trail=trail)
        self.until = until
        self.because = because
