"""``ranvier queue``: what waits to be sent and why, tried again or dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ranvier.config import Config, load_config
from ranvier.deeds import LaneState, ParkedItem
from ranvier.edges import load_edge
from ranvier.errors import BadConfiguration
from ranvier.faces.outcome import GOOD, NO, print_json
from ranvier.faces.text import printable, utc, wrapped
from ranvier.federation import Federation
from ranvier.limits import Ms

_UNDER = " " * 4
Switch = Parameter(negative="")


async def queue(
    name: str | None = None,
    /,
    *,
    retry: Annotated[bool, Switch] = False,
    drop: Annotated[bool, Switch] = False,
    parked: Annotated[bool, Switch] = False,
    config: Path | None = None,
    data: Path = Path("ranvier-data"),
    json: Annotated[bool, Switch] = False,
) -> int:
    """Print the lanes, or deal with one. The command's help stands in ``faces.cli``.

    Parameters
    ----------
    name:
        Only this destination.
    retry:
        Try it at once, and put back what is parked.
    drop:
        Forget what waits for it.
    parked:
        With --drop: only what is parked.
    config:
        The ranvier.toml of the server whose queue it is.
    data:
        The folder of the server's database. With --config the file names it.
    json:
        Print the same facts as JSON.
    """
    if (retry and drop) or ((retry or drop) and name is None):
        raise BadConfiguration(
            "queue-options", "--retry or --drop, one of them, goes with a destination"
        )
    async with _opened(config, data) as federation:
        if name is not None and retry:
            return await _retry(federation, name)
        if name is not None and drop:
            gone = await federation.queue.drop(name, parked_only=parked)
            print(f"dropped for {printable(name)}: {gone}")
            return GOOD if gone else NO
        lanes = await federation.queue.lanes(name)
        aside = await federation.queue.parked(name)
    if json:
        print_json({"lanes": msgspec.to_builtins(lanes), "parked": [_data(each) for each in aside]})
    else:
        print("\n".join(_lines(lanes, aside, load_edge("clock")().now())) or "nothing waits")
    return GOOD


async def _retry(federation: Federation, name: str) -> int:
    found = await federation.queue.lanes(name)
    back = await federation.queue.retry(name)
    if not found:
        print(f"nothing waits for {printable(name)}")
        return NO
    print(f"{printable(name)} is due now; parked items put back: {back}")
    print("  The running server tries it within half a minute.")
    return GOOD


@asynccontextmanager
async def _opened(path: Path | None, data: Path) -> AsyncIterator[Federation]:
    """The server's federation, sending nothing. Raises: BadConfiguration, StoreFault."""
    config = load_config(path) if path else Config(data=str(data))
    store = config.path(config.store.path)
    if not load_edge("is-there")(store):
        raise BadConfiguration(
            "queue-no-store",
            f"there is no database {str(store)!r}: has a server run there? Or name its"
            " ranvier.toml with --config, or its folder with --data",
        )
    async with Federation(config=config, store=store, delivering=False) as federation:
        yield federation


def _lines(lanes: tuple[LaneState, ...], parked: tuple[ParkedItem, ...], now: Ms) -> list[str]:
    lines: list[str] = []
    for lane in lanes:
        lines.append(f"{printable(lane.destination)}  {_state(lane, now)}")
        if lane.because:
            lines += wrapped(printable(lane.because), first=_UNDER, later=_UNDER)
        for item in parked:
            if item.destination == lane.destination:
                said = f"parked {item.kind} {item.event_id or item.id}: {item.because}"
                lines += wrapped(printable(said), first=_UNDER, later=_UNDER + "  ")
    return lines


def _state(lane: LaneState, now: Ms) -> str:
    parts = [f"{lane.waiting} waiting ({lane.waiting_bytes} bytes)"]
    if lane.parked:
        parts.append(f"{lane.parked} parked")
    if lane.leased_by:
        parts.append("being sent")
    elif lane.failures:
        parts.append(f"{lane.failures} failures since {utc(lane.since)}")
    if lane.waiting and not lane.leased_by:
        parts.append("due now" if lane.due <= now else f"next try {utc(lane.due)}")
    return ", ".join(parts)


def _data(item: ParkedItem) -> dict[str, object]:
    return {
        "id": item.id,
        "destination": item.destination,
        "kind": item.kind,
        "event_id": item.event_id,
        "body": item.body.decode("utf-8", "replace"),
        "because": item.because,
        "parked_at_ms": item.parked_at,
    }
