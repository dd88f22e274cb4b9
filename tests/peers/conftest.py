"""The session's mini-internet, and the time that its tests may take.

A peer that cannot run comes out as :class:`~tests.peers.installs.PeerMissing`;
the plugin ``tests.plugins.peers`` turns that into a skip that says why, or into
a failure where peers are required.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import naming
from tests.peers.availability import NAMESPACE, availability
from tests.peers.installs import PeerMissing
from tests.peers.internet import Internet
from tests.peers.member import Member
from tests.peers.synapse import Synapse

_HERE = Path(__file__).parent
_SECONDS = 900  # a first run installs the home servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give time for a first installation."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.fixture(scope="session")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    """One private internet for the session; every process in it ends with it."""
    namespace = availability()[NAMESPACE]
    if not namespace.ready:
        raise PeerMissing(str(namespace))
    made = Internet(tmp_path_factory.mktemp("internet"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def alpha(internet: Internet) -> Synapse:
    """A current Synapse, alpha.test, healthy."""
    return internet.synapse("alpha")


@pytest.fixture(scope="session")
def beta(internet: Internet) -> Synapse:
    """A current Synapse behind nginx, beta.test, healthy."""
    return internet.synapse("beta")


@pytest.fixture(scope="session")
def old(internet: Internet) -> Synapse:
    """Synapse 0.33.8, old.test, healthy."""
    return internet.synapse("old")


@pytest.fixture(scope="session")
def asker(internet: Internet) -> Iterator[Member]:
    """A member of our own making, found by SRV, that asks others."""
    name, ip, port = internet.name("asker"), internet.ip(), 8471
    found = naming.srv(f"_matrix-fed._tcp.{name}", f"at.{name}", port)
    internet.dns.add(naming.host(f"at.{name}", ip), found)
    member = Member(internet, name, ip=ip, port=port, pair=internet.certificate(name))
    yield member
    member.close()
