"""The plugins that judge a whole run are themselves judged, in runs of their own."""

from __future__ import annotations

import json

import pytest

from tests.house.tree import ROOT

ROWS = """
[[row]]
id = "A-01"
clause = "[app:x]"
level = "MUST"
sentence = "Do it."
status = "yes"
"""

INI = """
[pytest]
testpaths = tests
markers =
    req(*ids): rows
    peer(name): peers
"""


class Run:
    """A project of one test file, run with one of our plugins."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.monkeypatch = monkeypatch
        pytester.makeini(INI)
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")
        monkeypatch.delenv("RANVIER_REQUIRE_PEERS", raising=False)
        monkeypatch.delenv("RANVIER_SPARE_PEERS", raising=False)

    def __call__(self, plugin: str, source: str, *words: str) -> pytest.RunResult:
        place = self.pytester.path / "tests"
        place.mkdir(exist_ok=True)
        (place / "test_it.py").write_text("import pytest\n" + source)
        options = ["-p", f"tests.plugins.{plugin}", *words]
        return self.pytester.runpytest_subprocess(*options)


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    rows = pytester.path / "docs" / "spec" / "requirements.toml"
    rows.parent.mkdir(parents=True)
    rows.write_text(ROWS)
    return Run(pytester, monkeypatch)


SHOWS = '@pytest.mark.req("A-01")\ndef test_a() -> None: pass\n'
SKIPS = '@pytest.mark.req("A-01")\ndef test_a() -> None: pytest.skip("no")\n'


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_row_that_says_yes_needs_a_test_that_passes(run: Run, workers: str) -> None:
    good = run("requirements", SHOWS, workers)
    assert good.ret == 0
    kept = json.loads((run.pytester.path / ".cache" / "requirements.json").read_text())
    assert kept == {"A-01": {"tests/test_it.py::test_a": "passed"}}
    bad = run("requirements", "def test_a() -> None: pass\n", workers)
    assert bad.ret == 1
    bad.stdout.fnmatch_lines(["*claimed but not shown*", "A-01 says yes*"])


def test_a_skip_is_enough_unless_peers_are_required(run: Run) -> None:
    assert run("requirements", SKIPS).ret == 0
    run.monkeypatch.setenv("RANVIER_REQUIRE_PEERS", "1")
    assert run("requirements", SKIPS).ret == 1


def test_a_part_of_the_suite_is_not_judged(run: Run) -> None:
    run.monkeypatch.setenv("RANVIER_REQUIRE_PEERS", "1")
    assert run("requirements", SKIPS, "-k", "test_a").ret == 0
    assert run("requirements", SKIPS, "tests/test_it.py").ret == 0
    assert not (run.pytester.path / ".cache").exists()


RAISES = """
from ranvier.errors import Malformed
def test_a() -> None:
    with pytest.raises(Malformed):
        raise Malformed("name-dns", "x")
"""


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_code_that_no_test_produces_fails_the_run(run: Run, workers: str) -> None:
    result = run("error_codes", RAISES, workers)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*error codes that no test produces*"])
    assert "Malformed name-port-range (src/ranvier/protocol/names.py)" in result.stdout.str()
    assert "Malformed name-dns " not in result.stdout.str()


HAS = '@pytest.mark.peer("here")\ndef test_a() -> None: pass\n'
LACKS = '@pytest.mark.peer("gone")\ndef test_b() -> None: pass\n'
BREAKS = """
from tests.peers.installs import PeerMissing
@pytest.fixture
def started(): raise PeerMissing("here: could not be installed: no wheel")
@pytest.mark.peer("here")
def test_c(started) -> None: pass
"""


@pytest.fixture
def machine(run: Run) -> Run:
    """A machine on which one peer can run and another cannot."""
    (run.pytester.path / "conftest.py").write_text(
        "from tests.plugins import peers\n"
        "from tests.peers.availability import Peer\n"
        "peers.availability = lambda: {\n"
        "    'here': Peer(name='here', ready=True),\n"
        "    'gone': Peer(name='gone', ready=False, reason='not installed', cure='apt-get gone'),\n"
        "}\n"
    )
    return run


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_the_last_line_says_which_peers_ran(machine: Run, workers: str) -> None:
    result = machine("peers", HAS + LACKS, workers)
    assert result.ret == 0
    result.assert_outcomes(passed=1, skipped=1)
    assert result.outlines[-1] == "peers: gone no (apt-get gone), here yes"


def test_a_required_peer_that_is_missing_fails(machine: Run) -> None:
    machine.monkeypatch.setenv("RANVIER_REQUIRE_PEERS", "1")
    result = machine("peers", HAS + LACKS)
    assert result.ret == 1
    assert "gone: not installed (apt-get gone)" in result.stdout.str()


def test_a_peer_that_is_spared_by_name_is_only_named(machine: Run) -> None:
    machine.monkeypatch.setenv("RANVIER_REQUIRE_PEERS", "1")
    machine.monkeypatch.setenv("RANVIER_SPARE_PEERS", "other,gone")
    result = machine("peers", HAS + LACKS)
    assert result.ret == 0
    assert result.outlines[-1] == "peers: gone no (apt-get gone), here yes"


def test_a_peer_that_cannot_be_installed_is_missing_too(machine: Run) -> None:
    result = machine("peers", BREAKS)
    result.assert_outcomes(skipped=1)
    assert result.outlines[-1] == "peers: here no (could not be installed: no wheel)"
    machine.monkeypatch.setenv("RANVIER_REQUIRE_PEERS", "1")
    assert machine("peers", BREAKS).ret == 1
