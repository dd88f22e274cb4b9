"""Which requirement rows a run showed: ``@pytest.mark.req("DISC-04")``.

A run of the whole suite leaves ``.cache/requirements.json``: for each row, each
test that names it and how it ended. ``./dev spec`` makes the table from it, and
the run itself fails if a row that says *yes* has no passing test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tools import spec

from tests.plugins.peers import REQUIRE, SPARE
from tests.plugins.whole import fail_run, is_worker, went_well, whole_run

_WORST_LAST = ("skipped", "passed", "failed")


class Shown:
    """Collects row -> test -> outcome in the process that gets the reports."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, str]] = {}
        self.complaints: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of a test's phases; set-up and tear-down count only if not passed."""
        if report.when != "call" and report.outcome == "passed":
            return
        test = report.nodeid.split("@")[0].split("[")[0]
        for name, value in report.user_properties:
            for row in value if name == "req" and isinstance(value, list) else ():
                tests = self.rows.setdefault(row, {})
                before = tests.get(test, "skipped")
                tests[test] = max(before, report.outcome, key=_WORST_LAST.index)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """After the whole suite: write the file and judge the rows that say yes."""
        if not whole_run(session):
            return
        root = Path(session.config.rootpath)
        place = root / spec.OUTCOMES
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(self.rows, indent=1, sort_keys=True))
        if went_well(session):
            spared = os.environ.get(REQUIRE) != "1" or bool(os.environ.get(SPARE))
            self.complaints = spec.unshown(spec.load_rows(root), self.rows, skips_count=spared)
        if self.complaints:
            fail_run(session)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the rows that are claimed but not shown."""
        if self.complaints:
            terminalreporter.section("requirements claimed but not shown", red=True)
            for complaint in self.complaints:
                terminalreporter.line(complaint)


def pytest_configure(config: pytest.Config) -> None:
    """One collector, where the reports arrive."""
    if not is_worker(config):
        config.pluginmanager.register(Shown())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the rows on each item, where reports carry them from any worker."""
    for item in items:
        rows = sorted({row for mark in item.iter_markers("req") for row in mark.args})
        if rows:
            item.user_properties.append(("req", rows))
