"""Our side as a program that uses the library: asks, sends, receives, and fails when told."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec

from tests.peers.authority import Pair
from tests.peers.internet import Internet
from tests.peers.naming import wait_until
from tests.peers.ours import Ours

_SCRIPT = Path(__file__).parent / "scripts" / "member.py"
_OUTGOING = """
[outgoing]
allow_private = true
ca_file = "{ca}"
client_certificate = "{shown.cert}"
client_key = "{shown.key}"
"""
PATIENCE = 40.0
"""Seconds after which a test has failed rather than waited."""


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """One item that a handler took, by its own transaction. ``key`` begins with ``origin/id/``."""

    key: str
    origin: str
    type: str
    content: dict[str, Any]

    @property
    def txn_id(self) -> str:
        """The transaction that brought it."""
        return self.key.split("/")[1]


class Member(Ours):
    """A federation with handlers, served in the mini-internet (see ``scripts/member.py``).

    ``more`` is added to its configuration, at the end of ``[listen]``. ``shown`` is the
    client certificate for peers that are to see one; by default, that of the server.
    """

    def __init__(
        self,
        internet: Internet,
        name: str,
        *,
        ip: str,
        port: int = 8448,
        pair: Pair | None = None,
        outer: Pair | None = None,
        shown: Pair | None = None,
        more: str = "",
    ) -> None:
        more += _OUTGOING.format(ca=internet.ca.pem, shown=shown or pair or outer)
        super().__init__(internet, name, ip=ip, port=port, pair=pair, outer=outer, more=more)

    def ask(self, name: str, method: str, target: str, content: Any = None) -> dict[str, Any]:
        """A signed request; its status, and the body or the error."""
        order = {"name": name, "method": method, "target": target, "content": content}
        return dict(self._order("ask", **order))

    def forge(self, name: str, method: str, target: str, content: Any = None) -> dict[str, Any]:
        """The same request, but signed by another key under our key's id."""
        order = {"name": name, "method": method, "target": target, "content": content}
        return dict(self._order("ask", forged=True, **order))

    def send(
        self, to: str, *, pdus: list[Any] | None = None, edus: list[Any] | None = None
    ) -> None:
        """Queue for one destination."""
        self._order("send", to=[to], pdus=pdus or [], edus=edus or [])

    def fail(self, *how: str) -> None:
        """What to do to the next transactions: ``again``, ``cut``, ``kill``."""
        self._order("fail", how=list(how))

    @property
    def lanes(self) -> list[dict[str, Any]]:
        """What waits to be sent."""
        return list(self._order("lanes"))

    @property
    def told(self) -> list[dict[str, Any]]:
        """How each delivery ended since the start."""
        return list(self._order("told"))

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests that were answered since the start: method, raw target, status."""
        return list(self._order("asked"))

    @property
    def sends(self) -> list[dict[str, Any]]:
        """Those of them that brought transactions."""
        return [each for each in self.asked if "/send/" in each["target"]]

    def came(self, kind: str = "") -> list[Came]:
        """What its handlers took, in order; of one type, if that is given."""
        with sqlite3.connect(self.place / "ranvier.db") as database:
            rows = database.execute("SELECT key, origin, type, content FROM came ORDER BY n")
            found = [
                Came(key=key, origin=origin, type=of, content=json.loads(content))
                for key, origin, of, content in rows
            ]
        return [each for each in found if kind in ("", each.type)]

    @property
    def mail(self) -> list[dict[str, Any]]:
        """The messages to devices in order, each once by origin and ``message_id``."""
        with sqlite3.connect(self.place / "ranvier.db") as database:
            rows = database.execute("SELECT content FROM mail ORDER BY rowid").fetchall()
        return [json.loads(content) for (content,) in rows]

    def until(self, condition: Callable[[], Any], *, meanwhile: str = "") -> Any:
        """Wait for something true, and give it.

        ``meanwhile``: sign a request to that server each time, so that it holds off from us
        no longer.
        """
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < end, f"it never came:\n{self.log[-3000:]}"
            if meanwhile:
                self.ask(meanwhile, "GET", "/_matrix/federation/v1/query/profile?user_id=@x:x")
            time.sleep(0.1)
        return found

    def revive(self, seconds: float = PATIENCE) -> None:
        """Wait until it is dead, and start it again with the same files."""
        self._process.wait(seconds)
        self.restart()

    def _order(self, do: str, **order: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE)
            control.connect(str(self._control))
            control.sendall(json.dumps({"do": do, **order}).encode() + b"\n")
            with control.makefile("rb") as answer:
                line = answer.readline()
        assert line, self.log[-3000:]
        return json.loads(line)

    @property
    def _control(self) -> Path:
        return self.place / "control"

    def _start(self) -> Popen[bytes]:
        self._control.unlink(missing_ok=True)
        command = [self.internet.python, str(_SCRIPT), str(self.config), str(self._control)]
        process = self.internet.spawn(command, log=self._log, cwd=self.place)
        wait_until(self._control.exists, f"the member {self.name}", process, self._log)
        return process
