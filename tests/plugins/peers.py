"""Real peers: ``@pytest.mark.peer("synapse")`` runs where the peer can, and says so aloud.

The last line of a run names every peer that a test asked for::

    peers: synapse yes, nginx no (apt-get install --no-install-recommends nginx-light)

With ``RANVIER_REQUIRE_PEERS=1`` a missing peer is a failure, not a skip, but for
those in ``RANVIER_SPARE_PEERS`` (names, parted by commas).
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from tests.peers.availability import availability
from tests.peers.installs import PeerMissing
from tests.plugins.whole import is_worker

REQUIRE = "RANVIER_REQUIRE_PEERS"
SPARE = "RANVIER_SPARE_PEERS"


def spared(name: str) -> bool:
    """Whether this machine may do without a peer."""
    return os.environ.get(REQUIRE) != "1" or name in os.environ.get(SPARE, "").split(",")


def _asked(item: pytest.Item) -> list[str]:
    return sorted({name for mark in item.iter_markers("peer") for name in mark.args})


def _missing(item: pytest.Item, name: str, reason: str, cure: str) -> None:
    """Skip, or fail where peers are required. Always raises."""
    item.user_properties.append(("peer-missing", [name, cure or reason]))
    text = f"{name}: {reason}" + (f" ({cure})" if cure else "")
    if not spared(name):
        pytest.fail(f"{REQUIRE}=1, but {text}", pytrace=False)
    pytest.skip(text)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A module's peer tests go to one worker, so that its peers start once."""
    for item in items:
        names = _asked(item)
        if names:
            item.user_properties.append(("peer", names))
            if config.pluginmanager.hasplugin("xdist"):
                group = f"peers-{item.path.stem}"
                item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Stop here if a peer cannot run on this machine, or its fixture finds so."""
    for name in _asked(item):
        peer = availability()[name]
        if not peer.ready:
            _missing(item, name, peer.reason, peer.cure)
    yield from _or_missing(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A peer may turn out to be missing inside a test too."""
    yield from _or_missing(item)


def _or_missing(item: pytest.Item) -> Generator[None, None, None]:
    try:
        yield
    except PeerMissing as error:
        named, _, reason = str(error).partition(": ")
        if named not in _asked(item):
            named, reason = ", ".join(_asked(item)), str(error)
        _missing(item, named, reason, "")


class LastLine:
    """Collects which peers ran, in the process that gets the reports."""

    def __init__(self) -> None:
        self.ran: set[str] = set()
        self.asked: set[str] = set()
        self.cures: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Read what the items carry."""
        for name, value in report.user_properties:
            if name == "peer" and isinstance(value, list):
                self.asked.update(value)
                if report.when == "call" and report.outcome != "skipped":
                    self.ran.update(value)
            elif name == "peer-missing" and isinstance(value, list):
                self.cures[value[0]] = value[1]

    @property
    def line(self) -> str:
        """The last line, or nothing if no test asked for a peer."""
        parts = []
        for name in sorted(self.asked):
            why = self.cures.get(name, "see the skips above")
            parts.append(f"{name} yes" if name in self.ran else f"{name} no ({why})")
        return f"peers: {', '.join(parts)}" if parts else ""

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """After pytest's own closing line."""
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if self.line and reporter is not None:
            reporter.write_line(self.line)


def pytest_configure(config: pytest.Config) -> None:
    """One collector, where the reports arrive."""
    if not is_worker(config):
        config.pluginmanager.register(LastLine())
