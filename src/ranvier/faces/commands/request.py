"""``ranvier request METHOD NAME PATH``: one signed request, with the trail that led there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from ranvier.errors import BadConfiguration, Malformed, RanvierError, Rejected
from ranvier.faces.going import Going
from ranvier.faces.outcome import GOOD, error_as_data, exit_code_of, print_failure, print_json
from ranvier.faces.text import printable, render_trail
from ranvier.protocol.canonical import JsonObject, parse_json_object
from ranvier.services.client import Answer
from ranvier.trail import NO_TRAIL, Trail

DATA = Path("ranvier-data")
"""Where ``ranvier serve`` keeps its key when nothing is configured."""


async def request(
    method: str,
    name: str,
    path: str,
    /,
    *,
    content: Annotated[str | None, Parameter(name=["--content", "-d"])] = None,
    unsigned: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    origin: Annotated[str | None, Parameter(name="--as")] = None,
    going: Going | None = None,
) -> int:
    """Ask, print, and give the exit code. The command's help stands in ``faces.cli``.

    Parameters
    ----------
    method:
        GET, PUT, POST, DELETE.
    name:
        A server name: matrix.org, example.org:8448, [::1]:8448.
    path:
        Path and query, sent and signed byte for byte:
        /_matrix/federation/v1/query/profile?user_id=@a:example.org
    content:
        The JSON object to send, or @FILE. PUT and POST without it send {}.
    unsigned:
        Do not sign the request: for what needs no signature, such as the version.
    origin:
        Our own server name, instead of the configured one or of localhost:8448.
    """
    going = going or Going()
    try:
        body = None if content is None else _content(content)
        async with going.federation(name, data=DATA, origin=origin) as federation:
            answer = await federation.request(
                method.upper(), name, path, content=body, signed=not unsigned, insist=True
            )
    except Rejected as error:
        return _refused(name, error, as_json=going.json)
    except RanvierError as error:
        if not going.json:
            raise
        return print_failure(name, error)
    if going.json:
        print_json(_as_data(answer))
    else:
        _show(answer.trail, answer.body)
    return GOOD


def _refused(name: str, error: Rejected, *, as_json: bool) -> int:
    """A "no" is an answer: it is printed like one, and what to make of it after it."""
    if as_json:
        answer = {"server_name": name, "status": error.status, "body": _value(error.body)}
        print_json({**answer, **error_as_data(error)})
        return exit_code_of(error)
    _show(error.trail, error.body)
    print(end="", flush=True)  # the answer comes first, also where both streams are one file
    raise error.with_trail(NO_TRAIL) from None


def _content(text: str) -> JsonObject:
    """Raises: Malformed, BadConfiguration."""
    if text.startswith("@"):
        try:
            data = Path(text[1:]).read_bytes()
        except OSError as error:
            raise BadConfiguration(
                "request-content-file",
                f"--content: {text[1:]!r} cannot be read: {error.strerror or error}",
            ) from None
    else:
        data = text.encode("utf-8", "surrogateescape")
    try:
        return parse_json_object(data, max_bytes=len(data))
    except Malformed as error:
        raise Malformed(error.code, f"--content: {error.message}", clause=error.clause) from None


def _as_data(answer: Answer) -> dict[str, Any]:
    return {
        "server_name": answer.server_name,
        "status": answer.status,
        "headers": answer.headers,
        "body": _value(answer.body),
        "step": answer.step,
        "trail": msgspec.to_builtins(answer.trail.steps),
    }


def _show(trail: Trail, body: bytes) -> None:
    """JSON indented, anything else as text; nothing in it is obeyed by a terminal."""
    print(render_trail(trail))
    shown = _indented(body) or body.decode("utf-8", "replace")
    if shown.strip():
        lines = shown.rstrip().replace("\r\n", "\n").split("\n")
        print("", *(printable(line) for line in lines), sep="\n")


def _value(body: bytes) -> Any:
    """What the body says, or its text if it is not JSON that we can write again."""
    return json.loads(body) if _indented(body) else body.decode("utf-8", "replace")


def _indented(body: bytes) -> str:
    """Empty if it is no JSON (NaN is none) or too deep."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return ""
