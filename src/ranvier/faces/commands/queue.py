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
from ranvier.errors import BadConfiguration, RanvierError
from ranvier.faces.outcome import GOOD, NO, error_as_data, exit_code_of, print_json
from ranvier.faces.text import printable, utc, wrapped
from ranvier.federation import Federation
from ranvier.limits import Ms
from ranvier.protocol.names import parse_server_name_2014

_UNDER = " " * 4
Switch = Parameter(negative="", show_default=False)


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
    try:
        _check(name, retry=retry, drop=drop, parked=parked)
        async with _opened(config, data) as federation:
            if name is not None and retry:
                return await _retry(federation, name, as_json=json)
            if name is not None and drop:
                return await _drop(federation, name, parked_only=parked, as_json=json)
            return await _show(federation, name, as_json=json)
    except RanvierError as error:
        if not json:
            raise
        print_json(error_as_data(error))
        return exit_code_of(error)


def _check(name: str | None, *, retry: bool, drop: bool, parked: bool) -> None:
    """Raises: BadConfiguration, Malformed."""
    if (retry and drop) or (parked and not drop) or ((retry or drop) and name is None):
        raise BadConfiguration(
            "queue-options",
            "give a destination with --retry or with --drop, not both; --parked goes with --drop",
        )
    if name is not None:
        parse_server_name_2014(name)  # a slip of the pen is no empty queue


async def _show(federation: Federation, name: str | None, *, as_json: bool) -> int:
    lanes = await federation.queue.lanes(name)
    aside = await federation.queue.parked(name)
    if as_json:
        print_json({"lanes": msgspec.to_builtins(lanes), "parked": [_data(each) for each in aside]})
        return GOOD
    nothing = "nothing waits" if name is None else f"nothing waits for {printable(name)}"
    print("\n".join(_lines(lanes, aside, load_edge("clock")().now())) or nothing)
    return GOOD


async def _retry(federation: Federation, name: str, *, as_json: bool) -> int:
    found = await federation.queue.lanes(name)
    back = await federation.queue.retry(name)
    if as_json:
        print_json({"destination": name, "found": bool(found), "put_back": back})
    elif not found:
        print(f"nothing waits for {printable(name)}")
    else:
        print(f"{printable(name)} is due now; parked items put back: {back}")
        print("  A running server tries it within half a minute.")
    return GOOD if found else NO


async def _drop(federation: Federation, name: str, *, parked_only: bool, as_json: bool) -> int:
    gone = await federation.queue.drop(name, parked_only=parked_only)
    if as_json:
        print_json({"destination": name, "dropped": gone})
    else:
        print(f"dropped for {printable(name)}: {gone}")
    return GOOD if gone else NO


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
    aside: dict[str, list[ParkedItem]] = {}
    for item in parked:
        aside.setdefault(item.destination, []).append(item)
    for lane in lanes:
        lines.append(f"{printable(lane.destination)}  {_state(lane, now)}")
        lines += wrapped(_reason(lane), first=_UNDER, later=_UNDER + "  ")
        for item in aside.get(lane.destination, ()):
            said = f"parked {item.kind} {item.event_id or item.id}: {item.because}"
            lines += wrapped(printable(said), first=_UNDER, later=_UNDER + "  ")
    return lines


def _state(lane: LaneState, now: Ms) -> str:
    parts = [f"{lane.waiting} waiting ({lane.waiting_bytes} bytes)"]
    if lane.parked:
        parts.append(f"{lane.parked} parked")
    if lane.leased_by:
        parts.append("being sent")
    elif lane.waiting or lane.failures:
        parts.append("due now" if lane.due <= now else f"next try {utc(lane.due)}")
    return ", ".join(parts)


def _reason(lane: LaneState) -> str:
    because = printable(lane.because)
    if not lane.failures:
        return because
    times = "failure" if lane.failures == 1 else "failures"
    return f"{lane.failures} {times} since {utc(lane.since)}: {because}"


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
