"""Every error code and condition id in the source, found by reading its syntax.

A code is the first argument of an exception of :mod:`ranvier.errors`, an id the
first of ``condition(...)`` or ``Condition(...)``. It may be written there, be
one of two literals, a local name that only ever holds literals, an entry of a
literal table, or a parameter; then the callers are read in the same way. A code
that is handed on from another error (``error.code``) is nobody's new code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

import msgspec

from tests.house.tree import Module, modules

CONDITION = "condition"
_CONDITION_MAKERS = {"condition": "id", "Condition": "id"}
_HANDED_ON = {"code", "id"}
_ERRORS = "ranvier.errors"
_CONDITIONS = "ranvier.protocol.conditions"

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Code(msgspec.Struct, frozen=True, order=True):
    """One code at one place. ``owner`` is the exception's name, or ``condition``."""

    owner: str
    code: str
    text: str
    """The sentence with ``{}`` for what varies; ``(computed)`` if it is made elsewhere."""
    where: str


class Maker(msgspec.Struct, frozen=True):
    """A function that makes ``owner`` from its parameter: ``place`` counts without self."""

    owner: str
    parameter: str
    place: int


Makers = dict[tuple[str, str], set[Maker]]
"""By module and function."""


def error_names() -> set[str]:
    """The exceptions of the tree."""
    tree = modules()["ranvier.errors"].tree
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def find_codes() -> tuple[list[Code], list[str]]:
    """All codes, and the places where a code could not be read."""
    makers: Makers = {
        (_ERRORS, name): {Maker(name, "code", 0)}
        for name in error_names()
        if name != "RanvierError"
    }
    for name, parameter in _CONDITION_MAKERS.items():
        makers[_CONDITIONS, name] = {Maker(CONDITION, parameter, 0)}
    while True:
        codes, unread, found = _pass(makers)
        new = {name: each - makers.get(name, set()) for name, each in found.items()}
        if not any(new.values()):
            return sorted(set(codes)), unread
        for key, each in new.items():
            makers.setdefault(key, set()).update(each)


def _pass(makers: Makers) -> tuple[list[Code], list[str], Makers]:
    codes: list[Code] = []
    unread: list[str] = []
    found: Makers = {}
    for module in modules().values():
        if module.name in (_ERRORS, _CONDITIONS):
            continue
        names = _names(module)
        for call, function in _calls(module.tree, None):
            for maker in makers.get(_callee(call, module, names), ()):
                where = f"{module.shown}:{call.lineno}"
                argument = _argument(call, maker)
                if argument is None:
                    unread.append(f"{where} gives no code")
                    continue
                parameter = _parameter(argument, function)
                if parameter is not None and function is not None:
                    new = Maker(maker.owner, *parameter)
                    found.setdefault((module.name, function.name), set()).add(new)
                    continue
                values = _values(argument, function, module)
                if values is None:
                    unread.append(f"{where} {ast.unparse(argument)}")
                    continue
                text = _text(call, maker)
                codes += [Code(maker.owner, value, text, module.shown) for value in values]
    return codes, unread, found


def _names(module: Module) -> dict[str, tuple[str, str]]:
    """What each imported name stands for: (module, name)."""
    names: dict[str, tuple[str, str]] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = (node.module, alias.name)
    return names


def _calls(node: ast.AST, function: Function | None) -> Iterator[tuple[ast.Call, Function | None]]:
    for child in ast.iter_child_nodes(node):
        inside = child if isinstance(child, Function) else function
        if isinstance(child, ast.Call):
            yield child, function
        yield from _calls(child, inside)


def _callee(call: ast.Call, module: Module, names: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """(module, function) of what is called, as far as names tell."""
    match call.func:
        case ast.Name(id=name):
            return names.get(name, (module.name, name))
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            return module.name, name
        case ast.Attribute(value=ast.Name(id=base), attr=name) if base in names:
            return ".".join(names[base]), name
    return "", ""


def _argument(call: ast.Call, maker: Maker) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == maker.parameter:
            return keyword.value
    return call.args[maker.place] if len(call.args) > maker.place else None


def _parameter(argument: ast.expr, function: Function | None) -> tuple[str, int] | None:
    """If the code is a parameter of the function around it: its name and place."""
    if function is None or not isinstance(argument, ast.Name):
        return None
    names = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args)]
    names = [name for name in names if name not in ("self", "cls")]
    if argument.id in names:
        return argument.id, names.index(argument.id)
    if argument.id in {arg.arg for arg in function.args.kwonlyargs}:
        return argument.id, 99
    return None


def _values(expression: ast.expr, function: Function | None, module: Module) -> list[str] | None:
    """The strings an expression can be; ``[]`` if handed on, ``None`` if unreadable."""
    match expression:
        case ast.Constant(value=str(value)):
            return [value]
        case ast.IfExp(body=body, orelse=orelse):
            return _join(_values(each, function, module) for each in (body, orelse))
        case ast.Attribute(attr=attr) if attr in _HANDED_ON:
            return []
        case ast.Subscript(value=ast.Name(id=name)):
            return _table(module, name)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[_, default]):
            return _join((_table(module, name), _values(default, function, module)))
        case ast.Call(func=ast.Name(id=name)):
            return _returned(module, name)
        case ast.Name(id=name):
            given = list(_assigned(function, name)) if function is not None else []
            if given:
                return _join(_values(each, function, module) for each in given)
            return _table(module, name)
    return None


def _returned(module: Module, name: str) -> list[str] | None:
    """The strings that a function of the same module can return."""
    for node in module.tree.body:
        if isinstance(node, Function) and node.name == name:
            returns = [
                each.value
                for each in ast.walk(node)
                if isinstance(each, ast.Return) and each.value is not None
            ]
            return _join(_values(each, node, module) for each in returns)
    return None


def _join(parts: Iterable[list[str] | None]) -> list[str] | None:
    joined: list[str] = []
    for part in parts:
        if part is None:
            return None
        joined += part
    return joined


def _table(module: Module, name: str) -> list[str] | None:
    """The strings of a literal table at the top of the module."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(each, ast.Name) and each.id == name for each in targets):
                values = node.value.values if isinstance(node.value, ast.Dict) else []
                if isinstance(node.value, ast.Tuple | ast.List):
                    values = node.value.elts
                strings = [each.value for each in values if isinstance(each, ast.Constant)]
                return [each for each in strings if isinstance(each, str)] or None
    return None


def _assigned(function: Function, name: str) -> Iterator[ast.expr]:
    """What a local name is set to."""
    for node in ast.walk(function):
        if isinstance(node, ast.For | ast.comprehension):
            if isinstance(node.target, ast.Name) and node.target.id == name:
                yield node.iter
            continue
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == name:
                yield node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=False)
                yield from (v for t, v in pairs if isinstance(t, ast.Name) and t.id == name)


def _text(call: ast.Call, maker: Maker) -> str:
    """The sentence beside the code, if it stands there."""
    place = maker.place + (2 if maker.owner == CONDITION else 1)
    given = [keyword.value for keyword in call.keywords if keyword.arg in ("message", "sentence")]
    argument = given[0] if given else None
    if argument is None and len(call.args) > place:
        argument = call.args[place]
    return _template(argument) if argument is not None else "(computed)"


def _template(expression: ast.expr) -> str:
    match expression:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(
                str(each.value) if isinstance(each, ast.Constant) else "{}" for each in values
            )
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _template(left) + _template(right)
        case ast.IfExp(body=body, orelse=orelse):
            return f"{_template(body)} | {_template(orelse)}"
    return "(computed)"
