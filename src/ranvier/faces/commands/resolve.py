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
from ranvier.federation import Federation
from ranvier.protocol.addresses import Address
from ranvier.protocol.routes import Route
from ranvier.services.resolver import Resolution

Found = tuple[tuple[Route, tuple[Address, ...]], ...]


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
            found = await _addresses(federation, resolution)
    except RanvierError as error:
        if not going.json:
            raise
        print_json({"server_name": name, **error_as_data(error)})
        return exit_code_of(error)
    if going.json:
        print_json(resolution_as_data(resolution, found))
    else:
        print(render_resolution(resolution, found))
    if any(addresses for _, addresses in found):
        return GOOD
    return COULD_NOT_ASK if never_asked(resolution.trail) else NO


async def _addresses(federation: Federation, resolution: Resolution) -> Found:
    routes = sorted(resolution.discovery.routes, key=lambda route: (route.priority, -route.weight))
    return tuple([(route, await federation.addresses(route)) for route in routes])


def resolution_as_data(resolution: Resolution, found: Found) -> dict[str, Any]:
    """The same facts as :func:`render_resolution`."""
    discovery = resolution.discovery
    return {
        "server_name": discovery.server_name,
        "mode": discovery.mode,
        "delegated": discovery.delegated,
        "routes": [
            {**msgspec.to_builtins(route), "addresses": [str(each) for each in addresses]}
            for route, addresses in found
        ],
        "stopped": msgspec.to_builtins(discovery.stopped),
        "notes": list(discovery.notes),
        "lifetime_seconds": discovery.lifetime_seconds,
        "trail": msgspec.to_builtins(resolution.trail.steps),
    }


def render_resolution(resolution: Resolution, found: Found) -> str:
    """The trail, then each route with what must be true there."""
    discovery = resolution.discovery
    lines = [render_trail(resolution.trail), ""]
    if discovery.stopped is not None:
        lines.append(f"{printable(discovery.server_name)}: {printable(discovery.stopped.reason)}")
        lines.append(f"  by {discovery.stopped.clause}")
    for route, addresses in found:
        lines += _route_lines(route, addresses)
    lines += [f"note: {printable(note)}" for note in discovery.notes]
    return "\n".join(lines)


def _route_lines(route: Route, addresses: tuple[Address, ...]) -> list[str]:
    kind = "address" if route.tls_name.is_ip else "name"
    where = ", ".join(str(each) for each in addresses) or "no address found"
    share = f", priority {route.priority} weight {route.weight}" if route.priority else ""
    return [
        f"connect to   {where}  (step {route.step}{share})",
        f"  Host       {printable(route.host_header)}",
        f"  certificate for the {kind} {printable(str(route.tls_name))}",
    ]
