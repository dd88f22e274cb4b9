"""The requirement rows against the tests: ``./dev spec``.

``docs/spec/requirements.toml`` says what we claim; a run of the whole suite
leaves what the tests showed in ``.cache/requirements.json``. From both comes
``docs/spec/table.md``. A row that says *yes* without a passing test fails.

``--rows`` only checks the rows themselves and the ids that tests name (no run
needed); ``--check`` fails if the table in the tree is not the one it would write.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tomllib
from pathlib import Path

ROWS = Path("docs/spec/requirements.toml")
TABLE = Path("docs/spec/table.md")
OUTCOMES = Path(".cache/requirements.json")

ID = re.compile(r"[A-Z]+[0-9]*(?:-[0-9]+)?", re.ASCII)
LEVELS = ("MUST", "SHOULD", "MAY", "FACT")
STATUSES = ("yes", "partial", "later", "no")
FIELDS = {"id", "clause", "level", "sentence", "status"}

Row = dict[str, str]
Outcomes = dict[str, dict[str, str]]

HEAD = """\
# Requirements and the tests that show them

Made by `./dev spec` from `requirements.toml` and the last whole run of the tests; do not edit.
What the texts get wrong, and what we decided, stands in [errata.md](errata.md).

"""


def load_rows(root: Path) -> list[Row]:
    """The rows as they are written."""
    place = root / ROWS
    rows = tomllib.loads(place.read_text()).get("row", []) if place.exists() else []
    return [dict(row) for row in rows]


def wrong_rows(rows: list[Row]) -> list[str]:
    """What is wrong with the rows themselves."""
    wrong = []
    seen: set[str] = set()
    for row in rows:
        name = row.get("id", "(no id)")
        if set(row) - {"note"} != FIELDS:
            wrong.append(f"{name}: a row has {', '.join(sorted(FIELDS))} and perhaps a note")
        if row.get("level") not in LEVELS:
            wrong.append(f"{name}: level is one of {', '.join(LEVELS)}")
        if row.get("status") not in STATUSES:
            wrong.append(f"{name}: status is one of {', '.join(STATUSES)}")
        if row.get("status") in ("partial", "no") and not row.get("note"):
            wrong.append(f"{name}: {row.get('status')} needs a note that says what is missing")
        if name in seen:
            wrong.append(f"{name}: stands there twice")
        seen.add(name)
    return wrong


def named_in_tests(root: Path) -> dict[str, str]:
    """Row -> a file that names it in a ``req`` mark."""
    named: dict[str, str] = {}
    for path in sorted((root / "tests").rglob("*.py")):
        if path.parent.name == "plugins":  # the plugins' own tests make rows up
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.req"):
                for each in ast.walk(node):
                    if isinstance(each, ast.Constant) and ID.fullmatch(str(each.value)):
                        named[str(each.value)] = str(path.relative_to(root))
    return named


def unknown_ids(rows: list[Row], root: Path) -> list[str]:
    """Tests that name a row that does not exist."""
    ids = {row["id"] for row in rows}
    named = named_in_tests(root)
    return [
        f"{place} names {row}, which is no row" for row, place in named.items() if row not in ids
    ]


def unshown(rows: list[Row], outcomes: Outcomes, *, skips_count: bool = False) -> list[str]:
    """Rows that say yes without a passing test.

    ``skips_count``: a skipped test is no complaint, because its peer is missing here.
    """
    enough = {"passed", "skipped"} if skips_count else {"passed"}
    return [
        f"{row['id']} says yes, but no test that passes shows it: {row['sentence']}"
        for row in rows
        if row["status"] == "yes" and not enough & set(outcomes.get(row["id"], {}).values())
    ]


def table(rows: list[Row], outcomes: Outcomes) -> str:
    """The document."""
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    lines = [HEAD, f"{len(rows)} rows: {summary}.\n\n"]
    lines.append("| id | level | clause | what it asks | status | tests |\n")
    lines.append("|---|---|---|---|---|---|\n")
    for row in rows:
        tests = "<br>".join(_short(each) for each in sorted(outcomes.get(row["id"], {})))
        status = row["status"] + (f": {row['note']}" if row.get("note") else "")
        cells = [row["id"], row["level"], f"`{row['clause']}`", row["sentence"], status, tests]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(lines)


def _short(test: str) -> str:
    """``tests/protocol/test_names.py::test_x`` as a reader wants it."""
    place, _, name = test.partition("::")
    return f"{place.removeprefix('tests/').removesuffix('.py')}: {name}"


def main() -> int:
    """Write or check; complaints go to standard error."""
    parser = argparse.ArgumentParser(prog="./dev spec", description=__doc__)
    parser.add_argument("--rows", action="store_true", help="check the rows only")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    wanted = parser.parse_args()
    root = Path(__file__).parent.parent
    rows = load_rows(root)
    complaints = wrong_rows(rows) + unknown_ids(rows, root)
    if not wanted.rows:
        complaints += _with_outcomes(root, rows, compare=wanted.check)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


def _with_outcomes(root: Path, rows: list[Row], *, compare: bool) -> list[str]:
    if not (root / OUTCOMES).exists():
        return ["No whole run of the tests has left its outcomes yet: ./dev test"]
    outcomes: Outcomes = json.loads((root / OUTCOMES).read_text())
    made = table(rows, outcomes)
    place = root / TABLE
    if not compare:
        place.write_text(made)
        print(f"{TABLE}: {len(rows)} rows")
    elif not place.exists() or place.read_text() != made:
        return [f"{TABLE} is not what ./dev spec would write", *unshown(rows, outcomes)]
    return unshown(rows, outcomes)


if __name__ == "__main__":
    sys.exit(main())
