"""Whether a run is the whole suite: some rules can only be judged then."""

from __future__ import annotations

from pathlib import Path

import pytest


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of xdist's workers."""
    return hasattr(config, "workerinput")


def whole_run(session: pytest.Session) -> bool:
    """Whether nothing was left out: no selection, no early stop."""
    config = session.config
    option = config.option
    narrowed = [
        option.keyword,
        option.markexpr,
        option.collectonly,
        option.maxfail,
        getattr(option, "lf", False),
        getattr(option, "deselect", None),
        getattr(option, "ignore", None),
        session.shouldstop,
    ]
    everything = {Path(config.rootpath, each) for each in (*config.getini("testpaths"), ".")}
    given = {Path(config.invocation_params.dir, arg) for arg in config.args}
    return not any(narrowed) and given <= everything


def went_well(session: pytest.Session) -> bool:
    """Whether every test of the run passed (or was skipped aloud)."""
    return int(session.exitstatus) == int(pytest.ExitCode.OK)


def fail_run(session: pytest.Session) -> None:
    """Make the run fail although every test passed."""
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
