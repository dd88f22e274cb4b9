"""A JSON answer, ready to send, and how it is sent over ASGI."""

from __future__ import annotations

from typing import Any

import msgspec

from ranvier.protocol.canonical import encode_canonical


class Answer(msgspec.Struct, frozen=True):
    """A JSON answer, ready to send."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def refused(status: int, errcode: str, error: str) -> Answer:
    """An error's JSON body."""
    return Answer(status, encode_canonical({"errcode": errcode, "error": error}))


async def send_answer(answer: Answer, method: str, send: Any) -> None:
    """All of it, never chunked; to HEAD without its body."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer.body)).encode("ascii")),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if method == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})
