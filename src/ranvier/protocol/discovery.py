"""From a server name to routes: the specification's steps, as two machines.

:func:`discover_current` is ``[s2s:resolving-server-names]``, step by step;
:func:`discover_2014` is what stood there in November 2014
``[2014:resolving-server-names]``. Both ask :mod:`ranvier.protocol.questions`
and end in a :class:`~ranvier.protocol.routes.Discovery`.

What is asked *ahead* is only what no later word can forbid. The well-known
answer decides whether SRV is asked at all (steps 3.1 and 3.2), so nothing is
asked while it is awaited; once a step has asked for ``_matrix-fed``, the
deprecated ``_matrix`` is expected to follow.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ranvier.limits import Limits
from ranvier.protocol.names import HostKind, ServerName
from ranvier.protocol.questions import (
    Expect,
    FetchWellKnown,
    LookupSrv,
    Machine,
    Question,
    ask,
    drive,
    expect,
    replay_machine,
)
from ranvier.protocol.records import RecordKind, SrvRecord
from ranvier.protocol.routes import (
    A_ONLY,
    BOTH_FAMILIES,
    Discovery,
    Mode,
    Route,
    Stopped,
    clause_of,
)
from ranvier.protocol.srv import NoService, NotOffered, SrvUnknown, SrvVerdict, judge_srv
from ranvier.protocol.text import shown
from ranvier.protocol.wellknown import WellKnownFound
from ranvier.trail import Trail

__all__ = [
    "DEFAULT_PORT",
    "Discovery",
    "Mode",
    "Route",
    "Stopped",
    "discover",
    "discover_2014",
    "discover_current",
    "drive",
    "replay",
]

DEFAULT_PORT = 8448
_DEFAULTS = Limits()


def discover(name: ServerName, mode: Mode, limits: Limits = _DEFAULTS) -> Machine:
    """The machine of ``mode``."""
    if mode is Mode.SEED:
        return discover_2014(name, limits)
    return discover_current(name, limits)


def replay(
    trail: Trail, name: ServerName, mode: Mode = Mode.CURRENT, limits: Limits = _DEFAULTS
) -> Discovery:
    """What a saved trail's answers lead to, offline.

    Raises: Malformed, if the trail cannot be read or lacks an answer.
    """
    return replay_machine(discover(name, mode, limits), trail)


# --- Today ---


def discover_current(name: ServerName, limits: Limits = _DEFAULTS) -> Machine:
    """``[s2s:resolving-server-names]``."""
    found = _Findings(name, Mode.CURRENT, limits)

    # 1. The hostname is an IP literal: that address, the given port or 8448.
    if name.is_ip:
        return found.direct("1", name, host_header=name.text)
    # Ours (D27): a name that resolvers would read as a number is never looked up.
    if not name.resolvable:
        return found.unresolvable(name)
    # 2. It has a port: look the hostname up, that port.
    if name.port is not None:
        return found.direct("2", name, host_header=name.text)
    # 3. Otherwise fetch the well-known file. Whatever is wrong with it leads to 4.
    file = yield from ask(FetchWellKnown("3", name.dns_name))
    if isinstance(file, WellKnownFound):
        return (yield from _delegated(found, ServerName(file.delegated)))
    # 4. SRV _matrix-fed._tcp, and 5. the deprecated _matrix._tcp, of the hostname.
    ended = yield from _by_srv(found, name, "4", "5")
    if ended is not None:
        return ended
    # 6. Look the hostname up, port 8448.
    return found.direct("6", name, host_header=name.hostname)


def _delegated(found: _Findings, name: ServerName) -> Machine:
    """Steps 3.1 to 3.5. The delegated name's own well-known is not asked (DISC-14)."""
    found.delegated_to(name)

    # 3.1. The delegated hostname is an IP literal.
    if name.is_ip:
        return found.direct("3.1", name, host_header=name.text)
    # Ours (D27, D29): it is the answer, and it leads nowhere. No fallback.
    if not name.resolvable:
        return found.unresolvable(name)
    # 3.2. It has a port: no SRV.
    if name.port is not None:
        return found.direct("3.2", name, host_header=name.text)
    # 3.3. SRV _matrix-fed._tcp, and 3.4. the deprecated _matrix._tcp, of the delegated name.
    ended = yield from _by_srv(found, name, "3.3", "3.4")
    if ended is not None:
        return ended
    # 3.5. Look the delegated hostname up, port 8448.
    return found.direct("3.5", name, host_header=name.hostname)


def _by_srv(
    found: _Findings, name: ServerName, step: str, deprecated_step: str
) -> Generator[Question[Any] | Expect, Any, Discovery | None]:
    """Both SRV steps of one hostname; ``None`` if there is no record at all."""
    deprecated = LookupSrv(deprecated_step, f"_matrix._tcp.{name.dns_name}")
    yield from expect(deprecated)
    answer = yield from ask(LookupSrv(step, f"_matrix-fed._tcp.{name.dns_name}"))
    ended = found.services(judge_srv(answer, most=found.limits.srv_targets), step, name)
    if ended is not None:
        return ended
    answer = yield from ask(deprecated)
    ended = found.services(judge_srv(answer, most=found.limits.srv_targets), deprecated_step, name)
    if ended is not None and ended.routes:
        return found.deprecated(ended, name)
    return ended


# --- November 2014 ---


def discover_2014(name: ServerName, limits: Limits = _DEFAULTS) -> Machine:
    """``[2014:resolving-server-names]``: A records only, one SRV name, no well-known."""
    found = _Findings(name, Mode.SEED, limits)
    host_header = name.text.removesuffix(":")

    # The grammar of then takes hosts that lead nowhere (ERR14-03).
    undefined_ip = name.kind is HostKind.OTHER and name.hostname.startswith("[")
    if undefined_ip or not name.resolvable:
        return found.unresolvable(name)
    # A port: look up an A record, connect to that TLS port.
    if name.port is not None:
        return found.direct("2014:port", name, host_header=host_header)
    # No port: SRV _matrix._tcp. (Of a name: an IP literal has none.)
    if not name.is_ip:
        answer = yield from ask(LookupSrv("2014:srv", f"_matrix._tcp.{name.dns_name}"))
        verdict = judge_srv(answer, most=limits.srv_targets)
        ended = found.services(verdict, "2014:srv", name)
        if ended is not None:
            return ended
    # No record: the text is silent (D3, ERR14-02), the reference server took 8448.
    found.notes.append("port 8448: reference server, not the text")
    return found.direct("2014:8448", name, host_header=host_header)


# --- What both end in ---


class _Findings:
    """What a machine has learnt so far, and how it ends."""

    def __init__(self, name: ServerName, mode: Mode, limits: Limits) -> None:
        self.name = name
        self.mode = mode
        self.limits = limits
        self.families = BOTH_FAMILIES if mode is Mode.CURRENT else A_ONLY
        self.delegated: str | None = None
        self.notes: list[str] = list(name.notes)

    def delegated_to(self, name: ServerName) -> None:
        """A valid well-known file routes to ``name`` from here on."""
        self.delegated = name.text
        self.notes += [f"m.server: {note}" for note in name.notes]
        if name.host != self.name.host:
            self.notes.append(
                f"while the well-known file is valid, SRV records of {shown(self.name.host)}"
                " and its port 8448 are not used (WK-13)"
            )

    def direct(self, step: str, name: ServerName, *, host_header: str) -> Discovery:
        """One route, to the host itself."""
        return self._ended(
            Route(
                step=step,
                connect=name.tls_name.text if name.is_ip else name.dns_name,
                port=DEFAULT_PORT if name.port is None else name.port,
                host_header=host_header,
                tls_name=name.tls_name,
                families=self._families_of(name),
                clause=clause_of(step),
                is_ip=name.is_ip,
            )
        )

    def services(
        self,
        verdict: SrvVerdict,
        step: str,
        name: ServerName,
    ) -> Discovery | None:
        """The end that an SRV answer brings; ``None`` if there is no record."""
        match verdict:
            case NoService():
                return None
            case NotOffered(code, reason):
                return self.stopped(code, reason, "[rfc2782]")
            case SrvUnknown(reason):
                # SRV-05, AMB-19: not knowing is not "no record", and never leads to 8448.
                return self.stopped("srv-unknown", reason, clause_of(step))
            case _:
                self.notes += [f"SRV: {note}" for note in verdict.notes]
                return self._ended(*(self._service(each, step, name) for each in verdict.records))

    def _service(self, record: SrvRecord, step: str, name: ServerName) -> Route:
        """To the target and port of the record (SRV-06), to be ``name`` (DISC-11)."""
        return Route(
            step=step,
            connect=record.target,
            port=record.port,
            host_header=name.text.removesuffix(":") if self.mode is Mode.SEED else name.hostname,
            tls_name=name.tls_name,
            priority=record.priority,
            weight=record.weight,
            families=self.families,
            clause=clause_of(step),
        )

    def deprecated(self, ended: Discovery, name: ServerName) -> Discovery:
        """The same end, with a note that its SRV name is deprecated."""
        self.notes.append(
            f"found by the deprecated _matrix._tcp; publish _matrix-fed._tcp.{name.dns_name} too"
        )
        return self._ended(*ended.routes)

    def unresolvable(self, name: ServerName) -> Discovery:
        """``name`` can never lead to an address."""
        return self.stopped(
            "name-not-resolvable",
            f"{shown(name.text)} is never looked up: "
            + (name.unresolvable or "it is an IP literal of a form that nobody has defined"),
            "[ranvier:numeric-names]",
        )

    def stopped(self, code: str, reason: str, clause: str) -> Discovery:
        """No route."""
        return self._ended(stopped=Stopped(code, reason, clause))

    def _families_of(self, name: ServerName) -> tuple[RecordKind, ...]:
        return () if name.is_ip else self.families

    def _ended(self, *routes: Route, stopped: Stopped | None = None) -> Discovery:
        return Discovery(
            server_name=self.name.text,
            mode=self.mode,
            routes=routes,
            delegated=self.delegated,
            stopped=stopped,
            notes=tuple(self.notes),
            lifetime_seconds=self.limits.wellknown_max_seconds,
        )
