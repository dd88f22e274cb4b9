"""``ranvier resolve NAME``: where a server is found, and how we know."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ranvier.errors import RanvierError
from ranvier.faces.going import Going
from ranvier.faces.outcome import (
    COULD_NOT_ASK,
    GOOD,
    NO,
    never_asked,
    print_failure,
    print_json,
    say_own_doing,
)
from ranvier.faces.text import printable, render_trail, wrapped
from ranvier.federation import Federation, Located
from ranvier.services.resolver import Resolution
from ranvier.trail import Trail

Found = tuple[Located, ...]


async def resolve(name: str, /, *, going: Going | None = None) -> int:
    """Ask, print, and give the exit code. The command's help stands in ``faces.cli``.

    Parameters
    ----------
    name:
        A server name: matrix.org, example.org:8448, [::1]:8448.
    """
    going = going or Going()
    try:
        async with going.federation(name) as federation:
            resolution = await federation.resolve(name, mode=going.chosen_mode(), fresh=True)
            found = await _located(federation, resolution)
    except RanvierError as error:
        if not going.json:
            raise
        return print_failure(name, error)
    if going.json:
        print_json(resolution_as_data(resolution, found))
    else:
        print(render_resolution(resolution, found))
        say_own_doing(_whole_trail(resolution, found))
    if any(each.addresses for each in found):
        return GOOD
    return COULD_NOT_ASK if never_asked(_whole_trail(resolution, found)) else NO


async def _located(federation: Federation, resolution: Resolution) -> Found:
    routes = sorted(resolution.discovery.routes, key=lambda route: (route.priority, -route.weight))
    return tuple(await asyncio.gather(*(federation.locate(route) for route in routes)))


def _whole_trail(resolution: Resolution, found: Found) -> Trail:
    trail = resolution.trail
    for each in found:
        trail += each.trail
    return trail


def resolution_as_data(resolution: Resolution, found: Found) -> dict[str, Any]:
    """The same facts as :func:`render_resolution`."""
    discovery = resolution.discovery
    return {
        "server_name": discovery.server_name,
        "mode": discovery.mode,
        "delegated": discovery.delegated,
        "routes": [
            {
                **msgspec.to_builtins(each.route),
                "addresses": [str(address) for address in each.addresses],
            }
            for each in found
        ],
        "stopped": msgspec.to_builtins(discovery.stopped),
        "notes": list(discovery.notes),
        "lifetime_seconds": discovery.lifetime_seconds,
        "trail": msgspec.to_builtins(_whole_trail(resolution, found).steps),
    }


def render_resolution(resolution: Resolution, found: Found) -> str:
    """The trail, then each route with what must be true there."""
    discovery = resolution.discovery
    lines = [render_trail(_whole_trail(resolution, found)), ""]
    if discovery.stopped is not None:
        name, stopped = printable(discovery.server_name), discovery.stopped
        lines += wrapped(f"no way to {name}: {printable(stopped.reason)} {stopped.clause}")
    for each in found:
        lines += _route_lines(each)
    reason = "" if discovery.stopped is None else discovery.stopped.reason
    for note in discovery.notes:
        if note.rpartition(": ")[2] not in reason:
            lines += wrapped(f"note: {printable(note)}")
    return "\n".join(lines)


def _route_lines(located: Located) -> list[str]:
    """Where to connect, and the three things that must be right there."""
    route, addresses = located.route, located.addresses
    where = printable(route.connect)
    share = f" (priority {route.priority}, weight {route.weight})" if route.is_srv else ""
    kind = "address" if route.tls_name.is_ip else "name"
    shown = [str(each) for each in addresses] or [f"none found for {where}"]
    return [
        f"step {route.step}: connect to {where} port {route.port}{share}",
        *(f"  address      {each}" for each in shown),
        f"  Host         {printable(route.host_header)}",
        f"  certificate  for the {kind} {printable(str(route.tls_name))}",
    ]
