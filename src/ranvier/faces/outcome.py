"""Exit codes, and errors as lines for people or as data."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from ranvier.errors import (
    AddressRefused,
    BadConfiguration,
    DnsFault,
    Malformed,
    RanvierError,
    StoreFault,
)
from ranvier.faces.text import printable, render_trail
from ranvier.trail import Trail

GOOD, NO, USAGE, COULD_NOT_ASK = 0, 1, 2, 3

COULD_NOT = {
    "address-refused",
    "address-unknown",
    "connect-unreachable",
    "dns-garbage",
    "dns-silent",
    "srv-unknown",
}
"""Codes of steps that say something about us, not about the server asked."""

CURES = {
    "address-refused": "If you do mean to connect there: again with --allow-private.",
    "tls-self-signed": "If you know this certificate: again with --ca FILE or --trust.",
    "tls-unknown-authority": "If the authority is your own: again with --ca FILE.",
    "dns-silent": "If another DNS server should be asked: again with --dns IP[:PORT].",
}
"""What the person at the terminal can do at once, by the code of a step or error."""


def exit_code_of(error: RanvierError) -> int:
    """2 for our call or file, 3 if we could not ask, else 1."""
    if isinstance(error, BadConfiguration | Malformed):
        return USAGE
    if isinstance(error, StoreFault | DnsFault | AddressRefused):
        return COULD_NOT_ASK
    return COULD_NOT_ASK if never_asked(error.trail) else NO


def never_asked(trail: Trail) -> bool:
    """Whether every last step towards the server failed on our side."""
    tried = [step for step in trail.steps if step.what in ("dial", "address", "srv")]
    failed = [step.code for step in tried if step.code]
    return bool(failed) and all(code in COULD_NOT for code in failed)


def error_as_data(error: RanvierError) -> dict[str, Any]:
    """The same facts that :func:`say_error` prints."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "clause": error.clause,
            "kind": type(error).__name__,
        },
        "trail": msgspec.to_builtins(error.trail.steps),
    }


def print_json(data: Any) -> None:
    """One JSON document on standard output; only ASCII, so that no peer's text acts."""
    print(json.dumps(data, indent=2, sort_keys=False, ensure_ascii=True))


def say_error(error: RanvierError) -> None:
    """The trail if there is one, then one line: what is wrong, and by which clause."""
    if error.trail:
        print(render_trail(error.trail), file=sys.stderr)
    clause = f" {error.clause}" if error.clause else ""
    print(f"ranvier: {printable(error.message)} ({error.code}){clause}", file=sys.stderr)
    codes = {error.code, *(step.code for step in error.trail.steps)}
    for code, cure in CURES.items():
        if code in codes:
            print(f"  {cure}", file=sys.stderr)
