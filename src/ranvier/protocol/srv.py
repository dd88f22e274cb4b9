"""SRV records: what an answer means, and in which order targets are tried.

An answer is judged into one of four things, and the difference matters: *there
is no such service* lets discovery go on, *the service is not offered here* ends
it, and *we could not find out* must never be taken for "no record" (SRV-05).

The order inside one priority is drawn anew **at each use**, never stored: a
cached order would send everybody who shares the cache to the same target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.names import parse_server_name_2014
from ranvier.protocol.records import DnsAnswer, Failed, SrvRecord
from ranvier.protocol.text import shown

CLAUSE = "[rfc2782]"

_MOST = Limits().srv_targets
_SMALLEST_SHARE = 1
_WEIGHT_UNIT = 100
"""One unit of weight against the share of a record of weight 0."""


class SrvTargets(msgspec.Struct, frozen=True):
    """Records that can be tried, by ascending priority; ``notes`` say what is odd."""

    records: tuple[SrvRecord, ...]
    notes: tuple[str, ...] = ()


class NoService(msgspec.Struct, frozen=True):
    """There is no record: ``nxdomain`` or ``empty``. Discovery goes on."""

    why: str


class NotOffered(msgspec.Struct, frozen=True):
    """Records that say there is nothing here to connect to. Discovery ends."""

    code: str
    reason: str


class SrvUnknown(msgspec.Struct, frozen=True):
    """Nobody could say whether there are records. Discovery ends."""

    reason: str


SrvVerdict: TypeAlias = SrvTargets | NoService | NotOffered | SrvUnknown


def judge_srv(answer: DnsAnswer | Failed, *, most: int = _MOST) -> SrvVerdict:
    """What the answer to an SRV question means; at most ``most`` targets are kept.

    The first ones by priority stay. Never raises.
    """
    if isinstance(answer, Failed):
        return SrvUnknown(f"nobody answered ({answer.reason})")
    if not answer.answered:
        return SrvUnknown(f"the name server answered {answer.rcode}")
    if not answer.services:
        return NoService("nxdomain" if answer.rcode == "NXDOMAIN" else "empty")
    if all(record.target == "." for record in answer.services):
        return NotOffered(
            "srv-not-offered", "the only target is '.': the service is not offered here"
        )
    return _usable(answer.services, most)


def _usable(records: tuple[SrvRecord, ...], most: int) -> SrvTargets | NotOffered:
    kept: list[SrvRecord] = []
    notes: list[str] = []
    for record in sorted(records, key=lambda each: each.priority):
        problem = _problem(record)
        if problem:
            notes.append(problem)
        elif len(kept) == most:
            notes.append(f"more than {most} targets: the others are ignored")
            break
        else:
            kept.append(record)
    if not kept:
        return NotOffered("srv-not-usable", "; ".join(notes[:3]))
    return SrvTargets(tuple(kept), tuple(notes[:most]))


def _problem(record: SrvRecord) -> str:
    if record.target == ".":
        return "a target '.' beside other targets is ignored"
    if not 1 <= record.port <= 65535:
        return f"target {shown(record.target)} has the port {record.port}, which nobody can use"
    problem = _host_problem(record.target)
    return f"target {shown(record.target)} cannot be looked up: {problem}" if problem else ""


def _host_problem(target: str) -> str:
    """Why a target is not a host name; host names in DNS may hold underscores."""
    try:
        name = parse_server_name_2014(target)
    except Malformed as error:
        return error.message
    if name.is_ip or name.text != name.host:
        return "it is not a host name"
    return name.unresolvable


def weighted_order(ranks: list[tuple[int, int]], draw: Callable[[int], int]) -> tuple[int, ...]:
    """In which order to try targets: their places in ``ranks``, which are (priority, weight).

    Ascending priority, drawn by weight within one; ``draw(n)`` gives a uniform
    number in ``[0, n)``. Shares are proportional to the weights (D32: the method
    of ``[rfc2782]``, read literally, gives two records of weight 1 the shares 2/3
    and 1/3); weight 0 keeps a small chance.
    """
    order: list[int] = []
    for priority in sorted({priority for priority, _ in ranks}):
        rest = [place for place, rank in enumerate(ranks) if rank[0] == priority]
        while rest:
            shares = [max(_SMALLEST_SHARE, ranks[place][1] * _WEIGHT_UNIT) for place in rest]
            order.append(rest.pop(_pick(shares, draw(sum(shares)))))
    return tuple(order)


def _pick(shares: list[int], drawn: int) -> int:
    place = 0
    while drawn >= shares[place]:
        drawn -= shares[place]
        place += 1
    return place
