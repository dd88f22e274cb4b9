"""How a discovery machine ends: routes, or the reason why there are none.

The machines in :mod:`ranvier.protocol.discovery` say *when*; here stands *what*
a step's route looks like: where to connect, what ``Host`` says, and whose
certificate is expected. That is always the name that was looked for, or the one
that it delegates to, and never what DNS answered (DISC-11, SEC-11).
"""

from __future__ import annotations

from ranvier.limits import Limits
from ranvier.protocol.names import ServerName
from ranvier.protocol.records import DnsAnswer, Failed, RecordKind, SrvRecord
from ranvier.protocol.routes import (
    A_ONLY,
    BOTH_FAMILIES,
    Discovery,
    Mode,
    Route,
    Stopped,
    clause_of,
)
from ranvier.protocol.srv import NoService, NotOffered, SrvUnknown, judge_srv
from ranvier.protocol.text import shown

DEFAULT_PORT = 8448


class Endings:
    """What one run of a machine has learnt so far, and how it ends."""

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

    def services(self, answer: DnsAnswer | Failed, step: str, name: ServerName) -> Discovery | None:
        """The end that an SRV answer brings; ``None`` if there is no record."""
        verdict = judge_srv(answer, most=self.limits.srv_targets)
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
            f"{shown(name.text)} is never looked up: {name.unresolvable}",
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
