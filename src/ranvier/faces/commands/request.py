"""``ranvier request METHOD NAME PATH``: one signed request, with the trail that led there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from ranvier.edges import load_edge
from ranvier.errors import BadConfiguration, Malformed, RanvierError, Rejected
from ranvier.faces.going import Going
from ranvier.faces.outcome import GOOD, print_failure, print_json
from ranvier.faces.text import printable, render_trail
from ranvier.protocol.canonical import JsonObject, parse_json_object
from ranvier.services.client import Answer

DATA = Path("ranvier-data")
"""Where ``ranvier serve`` keeps its key when nothing is configured."""


async def request(
    method: str,
    name: str,
    path: str,
    /,
    content: Annotated[str | None, Parameter(name=["--content", "-d"])] = None,
    *,
    unsigned: Annotated[bool, Parameter(negative="")] = False,
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
    """
    going = going or Going()
    try:
        body = None if content is None else _content(content)
        federation = going.federation(name, data=DATA)
        async with federation:
            answer = await federation.request(
                method.upper(), name, path, content=body, signed=not unsigned, insist=True
            )
    except RanvierError as error:
        if going.json:
            return print_failure(name, error)
        if isinstance(error, Rejected) and error.body:
            print(render_trail(error.trail), _shown_body(error.body), sep="\n\n")
            raise error.with_trail(type(error.trail)()) from None
        raise
    if going.json:
        print_json(_as_data(answer))
    else:
        print(render_trail(answer.trail), _shown_body(answer.body), sep="\n\n")
    return GOOD


def _content(text: str) -> JsonObject:
    """Raises: Malformed, BadConfiguration."""
    if text.startswith("@"):
        path = Path(text[1:])
        if not load_edge("is-there")(path):
            raise BadConfiguration("request-content-file", f"--content: there is no file {path}")
        data = path.read_bytes()
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
        "body": _json_or_text(answer.body),
        "step": answer.step,
        "trail": msgspec.to_builtins(answer.trail.steps),
    }


def _json_or_text(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _shown_body(body: bytes) -> str:
    """JSON indented; anything else as text that no terminal obeys."""
    value = _json_or_text(body)
    if isinstance(value, str):
        return printable(value)
    shown = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(printable(line) for line in shown.split("\n"))
