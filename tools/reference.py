"""The pages of docs/reference that are made from the source: ``./dev run``'s help, every code.

``python -m tools.reference`` writes them; ``--check`` fails if they are not what
it would write. In ``cli.md`` only the screens below a ``<!-- help ... -->`` mark
are made; ``errors.md`` is made whole, from the source's syntax and, where a
sentence is composed at run time, from ``tools/sentences.toml``.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tomllib
from pathlib import Path

from rich.console import Console

from ranvier import errors
from ranvier.faces.cli import app
from ranvier.protocol.keyconditions import V1_RULES, V2_RULES
from tests.house.codes import CONDITION, Code, find_codes

ROOT = Path(__file__).parent.parent
CLI = ROOT / "docs/reference/cli.md"
ERRORS = ROOT / "docs/reference/errors.md"
SENTENCES = ROOT / "tools/sentences.toml"

_SCREEN = re.compile(r"(<!-- help(?P<words>[a-z0-9 ]*) -->\n```\n).*?(?=```)", re.DOTALL)

_WORD = re.compile(r"[a-z]{3}")

HEAD = """\
# Errors and conditions

Made by `python -m tools.reference` from the source; do not edit.

Every exception is a `ranvier.RanvierError` with a stable `code` that programs may compare, a
sentence (texts may change), the `clause` that it rests on and, where a service raised it, the
`trail`. `{}` below stands for what varies. With `--json` the same is `error.code`,
`error.message`, `error.clause`, `error.kind` and `trail`.

"""
CONDITIONS = """\
## Conditions

A rule that was judged; a key document, certificate, well-known file, request or event is held
against all of them, and the first *fatal* one that fails becomes the error's code. Failed
conditions that are not fatal stand in the trail.

"""


def screen(words: list[str]) -> str:
    """The help of one command at 80 columns."""
    out = io.StringIO()
    app.help_print([*words], console=Console(file=out, width=80, color_system=None))
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def with_screens(text: str) -> str:
    """``text`` with every marked screen made anew."""
    return _SCREEN.sub(lambda found: found[1] + screen(found["words"].split()) + "\n", text)


def composed() -> dict[str, str]:
    """The sentences of codes whose source composes them."""
    return tomllib.loads(SENTENCES.read_text())


def needed(codes: list[Code]) -> set[str]:
    """The codes that have no readable sentence in the source."""
    read = {each.code for each in codes if _WORD.search(each.text.replace("(computed)", ""))}
    rules = {rule.id for rule in (*V1_RULES, *V2_RULES)}
    return rules | ({each.code for each in codes} - read)


def errors_page() -> str:
    """All classes with their codes, then the conditions."""
    codes, _ = find_codes()
    ours = composed()
    parts = [HEAD]
    for name, kind in vars(errors).items():
        rows = _rows([each for each in codes if each.owner == name], ours)
        if rows:
            first = (kind.__doc__ or "").strip().splitlines()[0]
            parts.append(f"## {name}\n\n{first}\n\n{_table(('code', 'sentence'), rows)}\n")
    conditions = _rows([each for each in codes if each.owner == CONDITION], ours)
    parts.append(CONDITIONS + "### Key documents\n\n" + _key_rules(ours) + "\n")
    parts.append(
        "### Certificates, the well-known file, requests and events\n\n"
        + _table(("id", "sentence"), conditions)
    )
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _rows(codes: list[Code], ours: dict[str, str]) -> list[tuple[str, ...]]:
    """One row a code: the composed sentence, or those that stand in the source."""
    rows: list[tuple[str, ...]] = []
    for code in sorted({each.code for each in codes}):
        texts = sorted({each.text for each in codes if each.code == code})
        readable = [text for text in texts if "(computed)" not in text]
        rows.append((f"`{code}`", ours.get(code) or " / ".join(readable)))
    return rows


def _key_rules(ours: dict[str, str]) -> str:
    rules = {rule.id: rule for rule in (*V1_RULES, *V2_RULES)}
    fatal = ({rule.id: rule.fatal for rule in V1_RULES}, {rule.id: rule.fatal for rule in V2_RULES})
    words = {True: "fatal", False: "told", None: "-"}
    rows = [
        (f"`{rule}`", ours.get(rule, ""), *(words[version.get(rule)] for version in fatal))
        for rule in rules
    ]
    return _table(("id", "holds if", "version 1", "version 2"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    shown = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "\n".join(f"| {line} |" for line in shown) + "\n"


def main() -> int:
    """Write the pages, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    pages = {CLI: with_screens(CLI.read_text()), ERRORS: errors_page()}
    old = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    for path in old:
        print(f"{path} is out of date" if check else f"writing {path}")
        if not check:
            path.write_text(pages[path])
    return 1 if old and check else 0


if __name__ == "__main__":
    sys.exit(main())
