"""``ranvier resolve NAME``: where a server is found, and how we know."""

from __future__ import annotations

from typing import Any

import msgspec

from ranvier.errors import RanvierError
from ranvier.faces.going import Going
from ranvier.faces.outcome import (
    COULD_NOT_ASK,
    GOOD,
    NO,
    error_as_data,
    exit_code_of,
    never_asked,
    print_json,
)
from ranvier.faces.text import printable, render_trail
from ranvier.federation import Federation, Located
from ranvier.services.resolver import Resolution
from ranvier.trail import Trail

Found = tuple[Located, ...]


async def resolve(name: str, /, *, going: Going | None = None) -> int:
    """Find the server NAME: which step of the specification leads where.

    Exit code 0 if there is an address to connect to, 1 if not, 3 if nobody
    could be asked. Nothing but the well-known file is fetched.

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
        print_json({"server_name": name, **error_as_data(error)})
        return exit_code_of(error)
    if going.json:
        print_json(resolution_as_data(resolution, found))
    else:
        print(render_resolution(resolution, found))
    if any(each.addresses for each in found):
        return GOOD
    return COULD_NOT_ASK if never_asked(_whole_trail(resolution, found)) else NO


async def _located(federation: Federation, resolution: Resolution) -> Found:
    routes = sorted(resolution.discovery.routes, key=lambda route: (route.priority, -route.weight))
    return tuple([await federation.locate(route) for route in routes])


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
        lines.append(f"{printable(discovery.server_name)}: {printable(discovery.stopped.reason)}")
        lines.append(f"  by {discovery.stopped.clause}")
    for each in found:
        lines += _route_lines(each)
    lines += [f"note: {printable(note)}" for note in discovery.notes]
    return "\n".join(lines)


def _route_lines(located: Located) -> list[str]:
    route, addresses = located.route, located.addresses
    kind = "address" if route.tls_name.is_ip else "name"
    where = ", ".join(str(each) for each in addresses) or "no address found"
    share = f", priority {route.priority} weight {route.weight}" if route.priority else ""
    return [
        f"connect to   {where}  (step {route.step}{share})",
        f"  Host       {printable(route.host_header)}",
        f"  certificate for the {kind} {printable(str(route.tls_name))}",
    ]
