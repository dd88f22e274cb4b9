"""How much a reader has to hold: 400 lines of code a file, 60 a function, 5 positional parameters.

Code only: docstrings, comments, blank lines and module-level tables do not
count. What reads better whole is listed with its reason in tests/house.toml.
"""

from __future__ import annotations

import ast
import io
import tokenize
import tomllib
from collections.abc import Iterator

from tests.house.tree import ROOT, Module, modules

FILE_LINES = 400
FUNCTION_LINES = 60
POSITIONAL = 5

_REASONS = tomllib.loads((ROOT / "tests" / "house.toml").read_text())
_SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip
_TABLES = (ast.Dict, ast.List, ast.Set, ast.Tuple, ast.Constant)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(module: Module) -> set[int]:
    """The numbers of the lines that hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    lines: set[int] = set()
    for token in tokens:
        if token.type not in _SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= _span(node)
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, _TABLES):
            lines -= _span(node)
    return lines


def _span(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def functions() -> Iterator[tuple[Module, Function]]:
    """Every function and method of the package."""
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, Function):
                yield module, node


def test_no_file_is_too_long() -> None:
    reasons = _REASONS.get("files", {})
    wrong = [
        f"{module.shown}: {len(lines)} lines of code"
        for module in modules().values()
        if len(lines := code_lines(module)) > FILE_LINES and module.shown not in reasons
    ]
    assert not wrong


def test_no_function_is_too_long() -> None:
    reasons = _REASONS.get("functions", {})
    code = {module.name: code_lines(module) for module in modules().values()}
    wrong = []
    for module, node in functions():
        count = len(code[module.name] & _span(node))
        if count > FUNCTION_LINES and f"{module.shown}:{node.name}" not in reasons:
            wrong.append(f"{module.shown}:{node.lineno} {node.name}: {count} lines of code")
    assert not wrong


def test_no_function_takes_too_many_positional_parameters() -> None:
    wrong = []
    for module, node in functions():
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > POSITIONAL:
            wrong.append(f"{module.shown}:{node.lineno} {node.name}: {count}")
    assert not wrong


def test_every_listed_exception_still_exists() -> None:
    files = {module.shown for module in modules().values()}
    names = {f"{module.shown}:{node.name}" for module, node in functions()}
    assert set(_REASONS.get("files", {})) <= files
    assert set(_REASONS.get("functions", {})) <= names
