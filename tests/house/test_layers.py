"""Who may import whom, as data. The order of the rooms is the design.

faces -> federation -> doctor -> services -> plugs, deeds -> protocol -> errors -> trail, limits;
net, store and world implement plugs. Only edges.py knows them, in a table of names
that federation and the faces load from; the names in such tables count as imports.
"""

from __future__ import annotations

import ast
import sys

from tests.house.tree import Module, modules

BASE = {"errors", "trail", "limits"}
CORE = BASE | {"protocol", "plugs", "deeds", "lanerows", "lanes"}
EDGES = {"net", "store", "world"}

MAY_IMPORT: dict[str, set[str]] = {
    "limits": set(),
    "trail": set(),
    "errors": {"trail"},
    "protocol": BASE,
    "deeds": BASE | {"protocol"},
    "lanerows": BASE | {"deeds"},
    "lanes": BASE | {"protocol", "deeds", "lanerows"},
    "plugs": BASE | {"protocol", "deeds"},
    "net": CORE,
    "store": CORE,
    "world": CORE,
    "services": CORE,
    "doctor": CORE | {"services"},
    "config": CORE | {"services"},
    "edges": EDGES | {"plugs"},
    "publishing": CORE | {"services", "config", "edges"},
    "parts": CORE | {"services", "config", "edges"},
    "queue": CORE | {"parts"},
    "handlers": CORE | {"services"},
    "federation": CORE
    | {"services", "doctor", "config", "edges", "handlers", "parts", "publishing", "queue"},
    "faces": CORE
    | {"services", "doctor", "config", "edges", "federation", "parts", "publishing", "__init__"},
    "web": CORE | {"services", "faces"},
    "__init__": CORE | {"federation", "config", "edges", "services"},
    "__main__": {"faces"},
}

ALSO: dict[str, set[str]] = {
    "ranvier.faces.lab": EDGES,
    "ranvier.edges": {"faces"},  # the application that federation hands out
}
"""Single modules that may do more than their room."""

IMPURE = {
    "asyncio", "concurrent", "http", "io", "logging", "os", "pathlib", "random", "secrets",
    "select", "selectors", "shutil", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile",
    "threading", "time", "urllib.request", "urllib.error",
}  # fmt: skip
"""What protocol must not know. `now` and randomness are its arguments."""

PURE_ALLOWED = {"msgspec", "nacl"}
X509_ONLY_IN = {"ranvier.protocol.certificates", "ranvier.protocol.chains"}

THIRD_PARTY: dict[str, set[str]] = {
    "protocol": PURE_ALLOWED | {"cryptography"},
    "plugs": {"msgspec"},
    "deeds": {"msgspec"},
    "lanerows": {"msgspec"},
    "limits": {"msgspec"},
    "trail": {"msgspec"},
    "errors": set(),
    "services": {"msgspec", "cryptography", "nacl"},
    "world": {"msgspec", "cryptography", "h11"},
    "store": {"msgspec", "alembic", "sqlalchemy"},
    "net": {"msgspec", "dns", "h11", "httptools", "uvicorn", "uvloop", "cryptography", "OpenSSL"},
    "config": {"msgspec"},
    "edges": {"msgspec"},
    "federation": {"msgspec"},
    "parts": set(),
    "publishing": {"msgspec"},
    "faces": {"msgspec", "cyclopts", "rich"},
    "web": {"starlette"},
}


def _top(target: str) -> str:
    return target.split(".")[0]


def _room(target: str) -> str:
    parts = target.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _allowed(module: Module) -> set[str]:
    return MAY_IMPORT[module.room] | {module.room} | ALSO.get(module.name, set())


def test_every_room_is_in_the_table() -> None:
    assert {module.room for module in modules().values()} <= set(MAY_IMPORT)


def test_no_room_imports_a_room_above_it() -> None:
    wrong = [
        f"{module.shown}:{edge.line} must not know {edge.target}"
        for module in modules().values()
        for edge in module.imports
        if _top(edge.target) == "ranvier" and _room(edge.target) not in _allowed(module)
    ]
    assert not wrong


def test_there_is_no_cycle() -> None:
    edges = {
        name: {
            edge.target
            for edge in module.imports
            if edge.target in modules()
            and not edge.for_types
            and edge.target != name
            # what hangs on the plug board is taken from it at run time, not on import
            and not (edge.by_name and name == "ranvier.edges")
        }
        for name, module in modules().items()
    }
    while edges:
        leaves = [name for name, targets in edges.items() if not targets & edges.keys()]
        assert leaves, f"these import each other in a circle: {sorted(edges)}"
        for name in leaves:
            del edges[name]


def test_imports_stand_at_the_top() -> None:
    wrong = [
        f"{module.shown}:{inner.lineno} in {node.name}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert not wrong


def test_imports_are_absolute() -> None:
    wrong = [
        f"{module.shown}:{edge.line}"
        for module in modules().values()
        for edge in module.imports
        if edge.target.startswith(".")
    ]
    assert not wrong


def test_protocol_is_pure() -> None:
    wrong = [
        f"{module.shown}:{edge.line} imports {edge.target}"
        for module in modules().values()
        if module.room == "protocol"
        for edge in module.imports
        if edge.target in IMPURE or _top(edge.target) in IMPURE
    ]
    assert not wrong


def test_x509_stays_in_the_certificate_rooms() -> None:
    wrong = [
        f"{module.shown}:{edge.line} imports {edge.target}"
        for module in modules().values()
        if module.room == "protocol" and module.name not in X509_ONLY_IN
        for edge in module.imports
        if _top(edge.target) == "cryptography"
    ]
    assert not wrong


def test_each_library_is_known_only_where_it_belongs() -> None:
    wrong = []
    for module in modules().values():
        known = THIRD_PARTY.get(module.room, set()) | {"ranvier"} | sys.stdlib_module_names
        wrong += [
            f"{module.shown}:{edge.line} imports {edge.target}"
            for edge in module.imports
            if not edge.target.startswith(".") and _top(edge.target) not in known
        ]
    assert not wrong


def test_nobody_uses_ed25519_from_cryptography() -> None:
    wrong = [
        module.shown
        for module in modules().values()
        if "asymmetric.ed25519" in module.text or "import ed25519" in module.text
    ]
    assert not wrong
