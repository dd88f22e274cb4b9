"""The command line: it only translates.

Exit codes: **0** good, **1** the answer is no, **2** wrong usage or wrong
configuration, **3** we could not ask (our DNS does not answer, our own policy
or disk is in the way). ``--json`` prints the same facts as data on standard
output; what is said to people about failures goes to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from ranvier import __version__
from ranvier.errors import RanvierError
from ranvier.faces.outcome import USAGE, exit_code_of, say_error

app = App(
    name="ranvier",
    version=__version__,
    help="Matrix federation: discover, trust, publish. Every answer carries its trail.",
    help_flags=["--help", "-h"],
    version_flags=["--version"],
)
keys = App(name="keys", help="Signing keys: other servers' and our own.")

app.command("ranvier.faces.commands.resolve:resolve", name="resolve")
app.command("ranvier.faces.commands.serve:serve", name="serve")
app.command(keys)
keys.command("ranvier.faces.commands.keys:fetch", name="fetch")
keys.command("ranvier.faces.commands.ownkeys:generate", name="generate")
keys.command("ranvier.faces.commands.ownkeys:show", name="show")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


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
        print("Try: ranvier --help", file=sys.stderr)
        return USAGE
    except RanvierError as error:
        say_error(error)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _one_line(error: CycloptsError) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
