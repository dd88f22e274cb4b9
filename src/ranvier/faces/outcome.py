"""Exit codes, and errors as lines for people or as data."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import msgspec

from ranvier.errors import (
    AddressRefused,
    BadConfiguration,
    DnsFault,
    Malformed,
    RanvierError,
    Rejected,
    StoreFault,
)
from ranvier.faces.text import printable, render_trail, wrapped
from ranvier.trail import Step, Trail

GOOD, NO, USAGE, COULD_NOT_ASK = 0, 1, 2, 3

COULD_NOT = {
    "address-refused",
    "address-unknown",
    "connect-unreachable",
    "dns-garbage",
    "dns-silent",
    "proxy-not-http",
    "proxy-timeout",
    "proxy-unreachable",
    "srv-unknown",
}
"""Codes of steps that say something about us, not about the server asked."""

A_NAME = "A server name is HOST or HOST:PORT (IPv6 in [ ]); no https://, path or @user."

CURES = {
    "M_LIMIT_EXCEEDED": "It asks us to come more slowly: again later.",
    "M_UNAUTHORIZED": "It must be able to fetch our keys: is our server running, and reachable by"
    " the name that we sign with? And is its clock right? Its log knows (Ranvier's: serve"
    " --verbose).",
    "answer-redirect": "Something in front of it redirects; its owner should pass this path on.",
    "answer-unsupported": "Either it has no such endpoint, or a proxy in front of it lacks this"
    " path; key version 1 is for servers of 2014 alone.",
    "address-refused": "If you do mean to connect there: again with --allow-private.",
    "client-certificate-refused": "Our certificate is outgoing.client_certificate in ranvier.toml:"
    " is it the one they expect, and one for clients?",
    "config-not-toml": 'In TOML text goes in "quotes". All settings: docs/reference/config.md',
    "config-value": "All settings and their values: docs/reference/config.md",
    "connect-refused": "Is it running, and is the port right?",
    "dns-silent": "If another DNS server should be asked: again with --dns IP[:PORT].",
    "key-name-matches": "If the server that the document names is the one you mean: ask by that"
    " name, port and all.",
    "no-address": "Is the name right, and does the DNS that was asked know it?",
    "proxy-not-http": "Our proxy is outgoing.proxy in ranvier.toml.",
    "proxy-refused": "Our proxy is outgoing.proxy in ranvier.toml: may it connect there, and are"
    " its user and password right?",
    "proxy-timeout": "Our proxy is outgoing.proxy in ranvier.toml.",
    "proxy-unreachable": "Our proxy is outgoing.proxy in ranvier.toml: is it running there?",
    "request-target": "A path begins with a slash: /_matrix/federation/v1/version",
    "request-timeout": "If it is only slow: again with --timeout SECONDS.",
    "tls-closed": "Does it speak TLS there, and is the port right?",
    "tls-name-mismatch": "Ask by a name that is in the certificate; or its owner needs another.",
    "tls-pin-mismatch": "If its owner says that it was renewed: again with the new sha256:HEX.",
    "tls-self-signed": "If you know this certificate: again with --ca FILE. If it is a server of"
    " 2014: again with --trust published-certificate.",
    "tls-unknown-authority": "If the authority is your own: again with --ca FILE.",
    "tls-expired": "Only its owner can cure this, by renewing the certificate.",
}
"""What the person at the terminal can do at once, by the code of a step or error, or by what
the other server calls it."""


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
    failed = [step for step in tried if step.code]
    return bool(failed) and all(_our_doing(step) for step in failed)


def _our_doing(step: Step) -> bool:
    """A question that DNS left open until the time was over counts as not answered."""
    return step.code in COULD_NOT or (step.code == "given-up" and step.what != "dial")


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


def print_failure(name: str, error: RanvierError) -> int:
    """A failure about ``name`` as data; its exit code."""
    print_json({"server_name": name, **error_as_data(error)})
    return exit_code_of(error)


def our_command() -> str:
    """How the person at the terminal calls us."""
    return os.environ.get("RANVIER_COMMAND", "ranvier")


def say_error(error: RanvierError) -> None:
    """The trail if there is one, then what is wrong, by which clause, and the cure."""
    clause = f" {error.clause}" if error.clause else ""
    said = f"ranvier: {printable(error.message)} ({error.code}){clause}"
    if error.trail:
        print(render_trail(error.trail), end="\n\n", file=sys.stderr)
    if error.trail or isinstance(error, Rejected):  # wrong usage stays one line, to be searched for
        said = "\n".join(wrapped(said))
    print(said, file=sys.stderr)
    if isinstance(error, Malformed) and error.code.startswith("name-"):
        print(f"  {A_NAME}", file=sys.stderr)
    told = error.errcode if isinstance(error, Rejected) else ""
    _say_cures([error.code, told, *_codes(error.trail)])


def say_own_doing(trail: Trail) -> None:
    """What kept *us* from asking, though there is an answer, and what can be done about it."""
    print(end="", flush=True)  # the answer comes first, also where both streams are one file
    ours = [step for step in trail.steps if step.code in COULD_NOT]
    for answer in dict.fromkeys(each.answer for each in ours if each.what.endswith("dial")):
        print("\n".join(wrapped(f"note: {printable(answer)}")), file=sys.stderr)
    _say_cures([step.code for step in ours])


def _codes(trail: Trail) -> list[str]:
    """The codes on the way to the server.

    A fault on the way to a well-known file counts only if it is our own doing:
    the text goes on without the file.
    """
    return [
        step.code
        for step in trail.steps
        if step.code in COULD_NOT or not step.what.startswith("well-known")
    ]


def _say_cures(codes: list[str]) -> None:
    """What the person at the terminal can do at once, each advice once."""
    for cure in dict.fromkeys(CURES[each] for each in codes if each in CURES):
        print("\n".join(wrapped(cure, first="  ")), file=sys.stderr)
