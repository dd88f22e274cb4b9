"""What discovery finds: routes, or the reason why there are none."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ranvier.protocol.names import TlsName
from ranvier.protocol.records import RecordKind

BOTH_FAMILIES = (RecordKind.AAAA, RecordKind.A)
A_ONLY = (RecordKind.A,)
"""The 2014 text knows no other ``[2014:resolving-server-names]`` (ERR14-02)."""

_SRV_STEPS = frozenset({"3.3", "3.4", "4", "5", "2014:srv"})


class Mode(StrEnum):
    """Which text discovery follows."""

    CURRENT = "current"
    SEED = "2014"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect, and what to be there.

    ``connect`` is a host to look up, or an IP address without brackets if
    ``is_ip``. ``host_header`` is sent byte for byte. ``tls_name`` is what the
    certificate must be for and what SNI says; never an SRV target, because DNS
    is not trusted (DISC-11, SEC-11).
    """

    step: str
    """The specification's step (``3.3``), or ``2014:port``, ``2014:srv``, ``2014:8448``."""
    connect: str
    port: int
    host_header: str
    tls_name: TlsName
    priority: int = 0
    weight: int = 0
    families: tuple[RecordKind, ...] = BOTH_FAMILIES
    clause: str
    is_ip: bool = False

    @property
    def is_srv(self) -> bool:
        """Whether an SRV record led here."""
        return self.step in _SRV_STEPS


class Stopped(msgspec.Struct, frozen=True):
    """Why discovery ended without a route."""

    code: str
    reason: str
    clause: str


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a machine: routes in no order yet, or ``stopped``, never both.

    Routes of one SRV answer carry priority and weight; the order is drawn at
    each use. ``lifetime_seconds`` is the shortest life of the answers that led
    here.
    """

    server_name: str
    mode: Mode = Mode.CURRENT
    routes: tuple[Route, ...] = ()
    delegated: str | None = None
    stopped: Stopped | None = None
    notes: tuple[str, ...] = ()
    lifetime_seconds: int = 0


def clause_of(step: str) -> str:
    """The clause that a step stands in. Port 8448 without SRV is not in the 2014 text (D3)."""
    if step == "2014:8448":
        return "[2014:reference-server]"
    if step.startswith("2014:"):
        return "[2014:resolving-server-names]"
    return f"[s2s:resolving-server-names {step}]"
