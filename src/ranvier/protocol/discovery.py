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
from ranvier.protocol.endings import Endings
from ranvier.protocol.names import ServerName
from ranvier.protocol.questions import (
    Expect,
    FetchWellKnown,
    LookupSrv,
    Machine,
    Question,
    ask,
    expect,
    replay_machine,
)
from ranvier.protocol.routes import Discovery, Mode
from ranvier.protocol.wellknown import WellKnownFound
from ranvier.trail import Trail

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
    found = Endings(name, Mode.CURRENT, limits)

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


def _delegated(found: Endings, name: ServerName) -> Machine:
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
    found: Endings, name: ServerName, step: str, deprecated_step: str
) -> Generator[Question[Any] | Expect, Any, Discovery | None]:
    """Both SRV steps of one hostname; ``None`` if there is no record at all."""
    deprecated = LookupSrv(deprecated_step, f"_matrix._tcp.{name.dns_name}")
    yield from expect(deprecated)
    answer = yield from ask(LookupSrv(step, f"_matrix-fed._tcp.{name.dns_name}"))
    ended = found.services(answer, step, name)
    if ended is not None:
        return ended
    answer = yield from ask(deprecated)
    ended = found.services(answer, deprecated_step, name)
    if ended is not None and ended.routes:
        return found.deprecated(ended, name)
    return ended


# --- November 2014 ---


def discover_2014(name: ServerName, limits: Limits = _DEFAULTS) -> Machine:
    """``[2014:resolving-server-names]``: A records only, one SRV name, no well-known."""
    found = Endings(name, Mode.SEED, limits)
    host_header = name.text.removesuffix(":")

    # The grammar of then takes hosts that lead nowhere (ERR14-03).
    if not name.resolvable:
        return found.unresolvable(name)
    # A port: look up an A record, connect to that TLS port.
    if name.port is not None:
        return found.direct("2014:port", name, host_header=host_header)
    # No port: SRV _matrix._tcp. (Of a name: an IP literal has none.)
    if not name.is_ip:
        answer = yield from ask(LookupSrv("2014:srv", f"_matrix._tcp.{name.dns_name}"))
        ended = found.services(answer, "2014:srv", name)
        if ended is not None:
            return ended
    # No record: the text is silent (D3, ERR14-02), the reference server took 8448.
    found.notes.append("port 8448: reference server, not the text")
    return found.direct("2014:8448", name, host_header=host_header)
