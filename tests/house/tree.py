"""The source tree as the house tests see it: modules, their syntax, their imports."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src"
_BY_NAME = re.compile(r"(ranvier(?:\.[a-z_0-9]+)+)(?::[a-z_A-Z0-9]+)?")


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """One edge out of a module."""

    target: str
    line: int
    by_name: bool = False
    """From a string such as ``"ranvier.net.dial:NetWire"`` in a table."""
    for_types: bool = False
    """Inside ``if TYPE_CHECKING:``."""


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """One file, parsed."""

    name: str
    path: Path
    text: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        """``ranvier.protocol.keys`` lives in ``protocol``, ``ranvier.plugs`` in ``plugs``."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    @property
    def shown(self) -> str:
        """The path as people write it."""
        return str(self.path.relative_to(ROOT))


@functools.cache
def modules() -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    paths = sorted((SOURCE / "ranvier").rglob("*.py"))
    names = {_dotted(path): path for path in paths}
    return {name: _read(name, path, names) for name, path in names.items()}


def _dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read(name: str, path: Path, names: dict[str, Path]) -> Module:
    text = path.read_text()
    tree = ast.parse(text)
    imports = tuple(_imports(tree, names))
    return Module(name=name, path=path, text=text, tree=tree, imports=imports)


def _imports(tree: ast.Module, names: dict[str, Path]) -> list[Import]:
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        types = id(node) in typing_only
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = [_target(node, alias.name, names) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = _BY_NAME.fullmatch(node.value)
            if match and match[1] in names:
                found.append(Import(target=match[1], line=node.lineno, by_name=True))
            continue
        else:
            continue
        found += [Import(target=each, line=node.lineno, for_types=types) for each in targets]
    return found


def _target(node: ast.ImportFrom, name: str, names: dict[str, Path]) -> str:
    """``from ranvier.net import dial`` is the module ``ranvier.net.dial``."""
    base = "." * node.level + (node.module or "")
    return f"{base}.{name}" if f"{base}.{name}" in names else base
