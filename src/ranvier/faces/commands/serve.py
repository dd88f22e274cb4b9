"""``ranvier serve``: publish our keys and version; nothing to configure for a first look."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from ranvier.config import Config, Listen, load_config
from ranvier.edges import load_edge
from ranvier.errors import BadConfiguration
from ranvier.faces.outcome import GOOD
from ranvier.federation import Federation
from ranvier.protocol.addresses import Address

DEFAULT_PORT = 8448
PORTS_TRIED = 100


def serve(
    *,
    config: Path | None = None,
    data: Path = Path("ranvier-data"),
    port: int | None = None,
) -> int:
    """Run a home server's federation identity: its keys, its version.

    Without --config it is localhost:8448 on the loopback address. A signing key
    and a certificate are made at the first start and kept; if the port is busy,
    the next free one is taken.

    Parameters
    ----------
    config:
        The ranvier.toml to serve by.
    data:
        Where keys, certificate and database are kept (without --config).
    port:
        The port to listen on.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config, data, port))


async def _serve(path: Path | None, data: Path, port: int | None) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    first = Config(data=str(data)) if path is None else load_config(path)
    if port is not None:
        first = _at_port(first, port)
    candidates = [first] if path or port is not None else _default_candidates(first)
    for config in candidates:
        federation = Federation(config=config, store=config.path(config.store.path), serving=True)
        try:
            async with federation, federation.listening() as address:
                _say(federation, address)
                await stopped.wait()
                return GOOD
        except BadConfiguration as error:
            if error.code != "listen-port-busy" or config is candidates[-1]:
                raise
            print(f"Port {config.listen.port} is busy; taking the next, and the name follows it.")
    raise AssertionError("unreachable: the last candidate returns or raises")


def _default_candidates(first: Config) -> list[Config]:
    """Without a configuration the name follows the port, so that what we say stays true."""
    return [
        msgspec.structs.replace(_at_port(first, port), server_name=f"localhost:{port}")
        for port in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED)
    ]


def _at_port(config: Config, port: int) -> Config:
    listen: Listen = msgspec.structs.replace(config.listen, port=port)
    return msgspec.structs.replace(config, listen=listen)


def _say(federation: Federation, address: Address) -> None:
    """Three lines: who and where, what to look at, what to try next."""
    config, identity = federation.config, federation.identity
    scheme = "https" if config.listen.tls else "http"
    url = f"{scheme}://{address}"
    print(f"{identity.server_name} serves on {url} with key {identity.request_key.key_id}")
    print(f"  keys  {url}/_matrix/key/v2/server   (2014: {url}/_matrix/key/v1)")
    command = os.environ.get("RANVIER_COMMAND", "ranvier")
    certificate = _short(config.path(config.listen.certificate))
    name = identity.server_name
    print(
        f"  try   {command} keys fetch {name} --ca {certificate} --allow-private",
        flush=True,
    )


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it installs (1.2-1.7 times the throughput), else asyncio's own."""
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = load_edge("loop")
    except ImportError:
        return None
    return factory
