"""What came of a scenario, as the runner writes it and the test reads it (JSON)."""

from __future__ import annotations

from typing import Any

import msgspec


class Heard(msgspec.Struct, kw_only=True):
    """What one listener saw. Application bytes come as latin-1 text."""

    accepted: int
    handshakes: list[str] = []
    sni: list[str | None] = []
    application: str = ""
    requests: list[str] = []
    """``Host target`` of each."""


class Deed(msgspec.Struct, kw_only=True):
    """One step of the trail."""

    what: str
    number: str
    outcome: str
    code: str
    answer: str
    evidence: dict[str, Any]
    started: float
    took: float


class Seen(msgspec.Struct, kw_only=True):
    """One play of one scenario. ``crash`` is our own bug: a traceback."""

    code: str = ""
    """The error's code; empty if the version was fetched."""
    crash: str = ""
    seconds: float = 0.0
    steps: list[Deed] = []
    asked: list[str] = []
    questions: int = 0
    """How many queries that were, the repeated ones included."""
    heard: dict[str, Heard] = {}

    def of(self, what: str) -> list[Deed]:
        """The steps of one kind."""
        return [step for step in self.steps if step.what == what]


class Spread(msgspec.Struct, kw_only=True):
    """How first picks and connections fell, by address."""

    picks: dict[str, int] = {}
    connects: dict[str, int] = {}
    crash: str = ""


class Report(msgspec.Struct, kw_only=True):
    """A whole run. ``control`` holds the plays with every address open."""

    plays: dict[str, Seen] = {}
    control: dict[str, Seen] = {}
    spreads: dict[str, Spread] = {}
    seconds: float = 0.0
