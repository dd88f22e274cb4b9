"""HTTP from inside the namespace, for tests that run outside of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.peers.namespace import Namespace

_SCRIPT = Path(__file__).parent / "scripts" / "request.py"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. ``status`` 0 means that nothing did; ``fault`` says why."""

    status: int = 0
    headers: list[tuple[str, str]] = []
    text: str = ""
    fault: str = ""
    certificate: str = ""
    """The leaf of the connection: hex of the DER."""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class Client:
    """A plain client: no discovery, and no judgement of certificates."""

    def __init__(self, namespace: Namespace, base: str) -> None:
        self._namespace = namespace
        self._base = base

    def get(
        self, path: str, *, headers: dict[str, str] | None = None, retry_seconds: float = 0
    ) -> Answer:
        """GET; a refused connection is tried again for ``retry_seconds``."""
        return self.request("GET", path, headers=headers, retry_seconds=retry_seconds)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        retry_seconds: float = 0,
        timeout: float = 30,
    ) -> Answer:
        """One request; ``body`` goes out as JSON if there is one."""
        order = {
            "method": method,
            "url": self._base + path,
            "body": None if body is None else json.dumps(body),
            "headers": headers or {},
            "retry_seconds": retry_seconds,
            "timeout": timeout,
        }
        done = self._namespace.run(
            [sys.executable, "-I", str(_SCRIPT)],
            input=json.dumps(order).encode(),
            timeout=timeout + retry_seconds + 10,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace"))
        return msgspec.json.decode(done.stdout, type=Answer)
