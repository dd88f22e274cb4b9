"""Every error code is produced by some test.

While the tests run, this records each (exception, code) that is made and each
condition id that failed, also in xdist's workers. After a run of the whole
suite they are held against all codes in the source (:mod:`tests.house.codes`);
a code that no test produced fails the run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ranvier import errors
from ranvier.protocol import conditions
from tests.house.codes import CONDITION, find_codes
from tests.plugins.whole import fail_run, is_worker, went_well, whole_run

_SEEN: set[tuple[str, str]] = set()
_OUTPUT = "ranvier_codes"
_make_error = errors.RanvierError.__init__
_judge = conditions.condition
PRODUCED = Path(".cache/error_codes.json")


def _recording_error(self: errors.RanvierError, code: str, *args: Any, **named: Any) -> None:
    _SEEN.add((type(self).__name__, code))
    _make_error(self, code, *args, **named)


def _recording_condition(
    id: str, held: bool | None, *args: Any, **named: Any
) -> conditions.Condition:
    made = _judge(id, held, *args, **named)
    if made.failed:
        _SEEN.add((CONDITION, id))
    return made


def _patch() -> None:
    """Put the recorders in, also where ``condition`` was imported by name already."""
    setattr(errors.RanvierError, "__init__", _recording_error)  # noqa: B010 - mypy forbids assigning it
    for name, module in list(sys.modules.items()):
        if name.startswith("ranvier") and getattr(module, "condition", None) is _judge:
            setattr(module, "condition", _recording_condition)  # noqa: B010 - mypy forbids assigning it


class Codes:
    """Gathers what every process saw and judges it at the end."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def pytest_collection_finish(self) -> None:
        """By now the tests have imported the package."""
        _patch()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker ended: take over what it saw."""
        output = getattr(node, "workeroutput", {})
        _SEEN.update((owner, code) for owner, code in output.get(_OUTPUT, ()))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand over (worker) or judge (the run's own process)."""
        if is_worker(session.config):
            session.config.workeroutput[_OUTPUT] = sorted(_SEEN)  # type: ignore[attr-defined] # xdist's
        elif whole_run(session):
            place = Path(session.config.rootpath) / PRODUCED
            place.parent.mkdir(exist_ok=True)
            place.write_text(json.dumps(sorted(_SEEN), indent=1))
            if went_well(session):
                self.missing = _unproduced()
            if self.missing:
                fail_run(session)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the codes."""
        if self.missing:
            terminalreporter.section("error codes that no test produces", red=True)
            for each in self.missing:
                terminalreporter.line(each)


def _unproduced() -> list[str]:
    codes, _ = find_codes()
    failed = {code for owner, code in _SEEN if owner == CONDITION}
    missing = []
    for each in codes:
        produced = each.code in failed if each.owner == CONDITION else False
        if not produced and (each.owner, each.code) not in _SEEN:
            missing.append(f"{each.owner} {each.code} ({each.where})")
    return sorted(set(missing))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one way to renew the snapshot of texts."""
    parser.addoption(
        "--update-error-texts",
        action="store_true",
        help="write tests/house/error_texts.txt anew from the source",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Record from now on."""
    _patch()
    config.pluginmanager.register(Codes())
