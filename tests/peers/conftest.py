"""The session's mini-internet, and the time that its tests may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from tests.peers.availability import NAMESPACE, availability
from tests.peers.installs import PeerMissing
from tests.peers.internet import Internet
from tests.peers.synapse import Synapse

_HERE = Path(__file__).parent
_SECONDS = 900  # a first run installs the home servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give time for a first installation, and keep one internet with one worker."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(_SECONDS))
            if item.config.pluginmanager.hasplugin("xdist"):
                item.add_marker(pytest.mark.xdist_group("peers"))


@pytest.fixture(scope="session")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    """One private internet for the session; every process in it ends with it."""
    namespace = availability()[NAMESPACE]
    if not namespace.ready:
        missing(str(namespace))
    try:
        made = Internet(tmp_path_factory.mktemp("internet"))
    except PeerMissing as why:
        missing(str(why))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def alpha(internet: Internet) -> Synapse:
    """A current Synapse, alpha.test, healthy."""
    return healthy(internet, "alpha")


@pytest.fixture(scope="session")
def beta(internet: Internet) -> Synapse:
    """A current Synapse behind nginx, beta.test, healthy."""
    return healthy(internet, "beta")


@pytest.fixture(scope="session")
def old(internet: Internet) -> Synapse:
    """Synapse 0.33.8, old.test, healthy."""
    return healthy(internet, "old")


def healthy(internet: Internet, name: str) -> Synapse:
    """A home server of the internet, or a skip that says why there is none."""
    try:
        return internet.synapse(name)
    except PeerMissing as why:
        missing(str(why))


def missing(why: str) -> NoReturn:
    """Skip aloud; with ``RANVIER_REQUIRE_PEERS`` set, fail."""
    if os.environ.get("RANVIER_REQUIRE_PEERS"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
