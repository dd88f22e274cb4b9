"""One sender and its destinations: names, certificates, stores, and short patience.

All of them live on loopback, with TLS. The ports lie below those that the system
gives to outgoing connections, so that nobody takes one while its owner is dead.
"""

from __future__ import annotations

import itertools
import random
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from ranvier import Config
from ranvier.config import Listen, Outgoing
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.publishing import open_identity
from ranvier.store.sqlite import SqliteStore
from tests.crash.plan import DESTINATIONS, LEASE_SECONDS, RECEIVERS

LIMITS = Limits(
    lease_seconds=LEASE_SECONDS,
    back_off_min_seconds=0.1,
    back_off_max_seconds=0.4,
    back_off_unwelcome_seconds=0.2,
    refusal_retry_seconds=0.2,
    key_retry_min_seconds=1,
    transaction_seconds=5.0,
    transaction_pdus=4,
    transaction_edus=8,
)
"""A second here is half a minute in life, and a transaction is a tenth as long."""


_TABLE = "CREATE TABLE arrived (place INTEGER PRIMARY KEY, series TEXT, number INTEGER)"


class Town(msgspec.Struct, frozen=True, kw_only=True):
    """Where everybody lives. ``folder`` has all files."""

    folder: str
    sender: Config
    destinations: tuple[Config, ...]

    @property
    def outbox(self) -> Path:
        """The store that both workers share."""
        return self.sender.path("ranvier.db")

    def share_of(self, receiver: str) -> tuple[Config, ...]:
        """The destinations that live in this process."""
        return self.destinations[RECEIVERS.index(receiver) :: len(RECEIVERS)]

    def journal(self, worker: str) -> Path:
        """Where a worker writes what it began to send, and what ``send`` returned for."""
        return Path(self.folder) / f"{worker}.journal"

    def log(self, process: str) -> Path:
        """What a process says."""
        return Path(self.folder) / f"{process}.log"


def stored_in(destination: Config) -> Path:
    """The store of a destination, in which the transactional handler writes too."""
    return destination.path("ranvier.db")


def external_of(destination: Config) -> Path:
    """The file that the external handler appends to."""
    return destination.path("external.txt")


def make_town(folder: Path) -> Town:
    """Make keys and certificates; everybody believes both certificates."""
    ports = _free_ports(DESTINATIONS + 1)
    configs = [_resident(folder, "sender", "localhost", ports[0])]
    for place, port in enumerate(ports[1:]):
        configs.append(_resident(folder, f"destination-{place}", "127.0.0.1", port))
    believed = folder / "all.pem"
    hosts = ("localhost", "127.0.0.1")
    believed.write_text("".join((folder / f"{each}.crt").read_text() for each in hosts))
    outgoing = Outgoing(ca_file=str(believed), allow_private=True)
    sender, *others = (msgspec.structs.replace(each, outgoing=outgoing) for each in configs)
    return Town(folder=str(folder), sender=sender, destinations=tuple(others))


async def make_stores(town: Town) -> None:
    """An empty store for each destination, with the table of the transactional handler."""
    first, *others = map(stored_in, town.destinations)
    await (await SqliteStore.open(first, SystemClock())).close()
    with closing(sqlite3.connect(first)) as db:
        db.execute(_TABLE)
    for each in others:
        shutil.copy(first, each)
    for destination in town.destinations:
        external_of(destination).touch()


def _resident(folder: Path, name: str, host: str, port: int) -> Config:
    """A certificate is shared by all of one host: it says nothing of the port."""
    (folder / name).mkdir()
    config = Config(
        server_name=f"{host}:{port}",
        data=str(folder / name),
        listen=Listen(
            port=port,
            certificate=str(folder / f"{host}.crt"),
            private_key=str(folder / f"{host}.key"),
        ),
    )
    open_identity(config, SystemClock())
    return config


def _free_ports(count: int) -> list[int]:
    ports = random.sample(range(15_000, 32_000), 12_000)
    return list(itertools.islice(filter(_is_free, ports), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
