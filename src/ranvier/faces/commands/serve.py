"""``ranvier serve``: publish our keys and version; nothing to configure for a first look."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators

from ranvier.config import Config, Listen, load_config
from ranvier.edges import load_edge
from ranvier.errors import BadConfiguration
from ranvier.faces.collector import calm_collector
from ranvier.faces.outcome import GOOD, our_command
from ranvier.federation import Federation
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import read_certificate

DEFAULT_PORT = 8448
PORTS_TRIED = 100
A_PORT = Parameter(validator=validators.Number(gte=1, lte=65535))


def serve(
    *,
    config: Path | None = None,
    data: Path = Path("ranvier-data"),
    port: Annotated[int | None, A_PORT] = None,
    verbose: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Serve until told to stop. The command's help stands in ``faces.cli``.

    Parameters
    ----------
    config:
        The ranvier.toml to serve by.
    data:
        The folder for keys, certificate and database. With --config the file names it.
    port:
        The port to listen on. Without --config the server name follows it.
    verbose:
        Say which requests and items are refused, and why.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ranvier").setLevel(logging.INFO if verbose else logging.WARNING)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config, data, port))


async def _serve(path: Path | None, data: Path, port: int | None) -> int:
    candidates = _candidates(path, data, port)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    for config in candidates:
        federation = Federation(config=config, store=config.path(config.store.path), serving=True)
        try:
            async with federation, federation.listening() as address:
                calm_collector()
                _say(federation, address)
                await stopped.wait()
                return GOOD
        except BadConfiguration as error:
            if error.code != "listen-port-busy" or config is candidates[-1]:
                raise
            print(f"Port {config.listen.port} is busy; taking the next, and the name follows it.")
    raise AssertionError("unreachable: the last candidate returns or raises")


def _candidates(path: Path | None, data: Path, port: int | None) -> list[Config]:
    """What to try to serve, in turn.

    Without a configuration the name follows the port, so that what we say stays true.
    """
    if path is not None:
        config = load_config(path)
        return [config if port is None else _at_port(config, port)]
    ports = range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED) if port is None else [port]
    plain = Config(data=str(data))
    return [
        msgspec.structs.replace(_at_port(plain, each), server_name=f"localhost:{each}")
        for each in ports
    ]


def _at_port(config: Config, port: int) -> Config:
    listen: Listen = msgspec.structs.replace(config.listen, port=port)
    return msgspec.structs.replace(config, listen=listen)


def _say(federation: Federation, address: Address) -> None:
    """Three lines: who and where, what to look at, what to try next."""
    config, identity = federation.config, federation.identity
    url = f"{'https' if config.listen.tls else 'http'}://{address}"
    first = "2014: /_matrix/key/v1"
    if not config.listen.tls and not config.listen.proxy_certificate:
        first = "version 1 is off"
    print(f"{identity.server_name} serves on {url} with key {identity.request_key.key_id}")
    print(f"  keys  {url}/_matrix/key/v2/server  ({first})")
    print(f"  try   {our_command()} {' '.join(_ask_ourselves(config))}", flush=True)


def _ask_ourselves(config: Config) -> list[str]:
    """The command that fetches our own keys, with the options that it takes from here."""
    words = ["keys", "fetch", config.server_name]
    certificate = config.path(config.listen.certificate)
    if config.listen.tls and _vouches_for_itself(certificate):
        words += ["--ca", _short(certificate)]
    if ipaddress.ip_address(config.listen.ip).is_loopback:
        words.append("--allow-private")
    return words


def _vouches_for_itself(certificate: Path) -> bool:
    leaf = load_edge("proxy-leaf")(certificate, load_edge("clock")()).current()
    return read_certificate(leaf).self_issued


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
