"""The command line: it only translates.

Exit codes: **0** good, **1** the answer is no, **2** wrong usage or wrong
configuration, **3** we could not ask (our DNS does not answer, our own policy
or disk is in the way). ``--json`` prints the same facts as data on standard
output; what is said to people about failures goes to standard error.

A command's module is loaded only when the command is used. Its help stands
here, so that ``ranvier --help`` can list every command without loading any.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError, UnusedCliTokensError

from ranvier import __version__
from ranvier.errors import RanvierError
from ranvier.faces.outcome import (
    COULD_NOT_ASK,
    USAGE,
    exit_code_of,
    our_command,
    say_error,
)

BROKEN_PIPE = 141
"""As a shell counts a program that SIGPIPE ended; Ctrl-C is 130 likewise."""

app = App(
    name="ranvier",
    version=__version__,
    help="""Matrix federation: find, trust, ask, exchange. Every answer carries its trail.

    Exit codes: 0 good, 1 the answer is no, 2 wrong usage or configuration,
    3 we could not ask.""",
    help_flags=["--help", "-h"],
    version_flags=["--version"],
)
demo = App(name="demo", help="See a federation at work inside this process; no network is used.")
keys = App(name="keys", help="Signing keys: other servers' and our own.")
app.command(
    "ranvier.faces.commands.resolve:resolve",
    name="resolve",
    help="""Find a server: which step of the specification leads where.

    Prints every question with its answer, then the addresses to connect to, the
    Host header to send and the name that the certificate must be good for.
    Nothing but the well-known file is fetched.

    Exit code 0 if there is an address to connect to, 1 if not, 3 if nobody could
    be asked.""",
)
app.command(
    "ranvier.faces.commands.serve:serve",
    name="serve",
    help="""Run a home server's federation identity: its keys, its version.

    Without --config it is localhost:8448, for this machine alone. A signing key
    and a certificate are made at the first start and kept; if the port is busy,
    the next free one is taken. Ctrl-C ends it.""",
)
app.command(
    "ranvier.faces.commands.request:request",
    name="request",
    help="""Ask another server, signed by our key: found, authenticated, sent, answered.

    Prints every step, then the answer's JSON. Without --config we are localhost:8448
    with the key of ./dev serve and ranvier serve: ranvier-data/signing.key, made if it
    is not there.

    Exit code 0 if the answer is a success, 1 if not, 3 if nobody could be asked.""",
)
app.command(
    "ranvier.faces.commands.queue:queue",
    name="queue",
    help="""What waits to be sent, why, and when it is tried next.

    With --retry a destination is tried at once, and what was parked goes back in its
    queue; with --drop what waits is forgotten. Without --config it is the queue of
    ./dev serve and ranvier serve.

    Exit code 0, or 1 if there was nothing to retry or to drop.""",
)
app.command(demo)
demo.command(
    "ranvier.faces.commands.demo:demo_2014",
    name="2014",
    help="""The federation text of November 2014, played through from end to end.

    Two servers with certificates of their own making, found by SRV records with
    weights, known by key version 1; a signed transaction with a client certificate;
    an endpoint that dies; a man in the middle who is refused. No network is used.

    Exit code 0 if everything went as it was meant to.""",
)
app.command(keys)
keys.command(
    "ranvier.faces.commands.keys:fetch",
    name="fetch",
    help="""Fetch and verify another server's signing keys.

    Prints every question with its answer, then each key with a verdict: good for
    requests now, or why not.

    Exit code 0 if at least one key is good for requests now, 1 if not, 3 if
    nobody could be asked.""",
)
keys.command(
    "ranvier.faces.commands.ownkeys:generate",
    name="generate",
    help="""Make a new signing key, in Synapse's signing.key format.

    Without --out the line is printed, private half and all. With it a new file is
    made, readable by its owner only, and only the public half is printed. A file
    that is there is never overwritten.""",
)
keys.command(
    "ranvier.faces.commands.ownkeys:show",
    name="show",
    help="""Show the public halves of our own signing keys.

    The first one signs requests. Without options it is the key of ./dev serve and
    ranvier serve: ranvier-data/signing.key.""",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    if isinstance(sys.stdout, TextIOWrapper):  # a letter that the terminal lacks is no failure
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
        print(end="", flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        code = _not_printed(error)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    try:
        result = app(
            list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        print(f"ranvier: {_one_line(error)}", file=sys.stderr)
        command = " ".join([our_command(), *(error.command_chain or ())])
        print(f"  Try: {command} --help", file=sys.stderr)
        return USAGE
    except RanvierError as error:
        say_error(error)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _not_printed(error: OSError) -> int:
    """Nobody reads our answer any more, or there is no room for it; say so at most once."""
    with open(os.devnull, "wb") as nowhere:  # else Python tries, and complains, again at exit
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    print(f"ranvier: the answer cannot be written: {error.strerror}", file=sys.stderr)
    return COULD_NOT_ASK


def _one_line(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"Too many words: {' '.join(map(repr, error.unused_tokens or ()))}."
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
