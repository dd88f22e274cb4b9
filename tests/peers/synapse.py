"""Unmodified Synapse home servers: their start, and the local client side.

A process is started at once and waited for when it is first used.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import itertools
import json
import subprocess
from typing import Any

from tests.peers.client import Answer, Client
from tests.peers.namespace import Namespace
from tests.peers.naming import wait_until
from tests.peers.settings import SECRET, Plan, current_config, old_config


class Synapse:
    """A running home server of somebody else's making."""

    def __init__(self, plan: Plan, namespace: Namespace) -> None:
        self.plan = plan
        self.server_name = plan.server_name
        self._namespace = namespace
        self._client = Client(namespace, f"http://{plan.ip}:8008")
        self._log = plan.directory / "output.log"
        self._process = self._start()
        self._ready = False
        self._count = itertools.count(1)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace")

    def wait(self, seconds: float = 60) -> Synapse:
        """Return when it is healthy. Raises: RuntimeError with its last words."""
        if not self._ready:
            path = "/_matrix/client/versions" if self.plan.old else "/health"
            answer: list[Answer] = []

            def healthy() -> bool:
                answer[:] = [self._client.get(path, retry_seconds=2)]
                return answer[0].status == 200

            what = f"Synapse {self.server_name}"
            wait_until(healthy, what, self._process, self._log, seconds)
            self._ready = True
        return self

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask its plain listener (clients, administration and federation alike)."""
        self.wait()
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        return self._client.request(method, path, body, headers=sent)

    @functools.cached_property
    def token(self) -> str:
        """The access token of the local user ``alice``."""
        return self.register("alice")

    def register(self, user: str) -> str:
        """Make a local user; its access token. The password is the user's name."""
        path = "/_matrix/client/r0/admin/register"
        if not self.plan.old:
            path = "/_synapse/admin/v1/register"
        nonce = self.request("GET", path).json["nonce"]
        parts = "\0".join([nonce, user, user, "notadmin"]).encode()
        mac = hmac.new(SECRET.encode(), parts, hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": user, "password": user, "admin": False, "mac": mac}
        answer = self.request("POST", path, body)
        if answer.status != 200:
            raise RuntimeError(f"could not register {user} on {self.server_name}: {answer}")
        return str(answer.json["access_token"])

    def send_to_device(self, kind: str, user: str, content: Any) -> None:
        """Let alice send one message to all devices of ``user``, wherever that is."""
        version = "r0" if self.plan.old else "v3"
        number = next(self._count)
        answer = self.request(
            "PUT",
            f"/_matrix/client/{version}/sendToDevice/{kind}/t{number}",
            {"messages": {user: {"*": content}}},
            token=self.token,
        )
        if answer.status != 200:
            raise RuntimeError(f"{self.server_name} did not send to {user}: {answer}")

    def inbox(self, token: str) -> list[dict[str, Any]]:
        """All that was sent to the device of this token, in order, at most some hundreds."""
        version = "r0" if self.plan.old else "v3"
        found: list[dict[str, Any]] = []
        since = ""
        while True:
            path = f"/_matrix/client/{version}/sync?timeout=0{since}"
            said = self.request("GET", path, token=token).json
            new = said.get("to_device", {}).get("events", [])
            found += new
            since = f"&since={said['next_batch']}"
            if not new:
                return found

    def fetch_keys(self, server_name: str, key_id: str, minimum_ms: int) -> list[dict[str, Any]]:
        """Make it discover a server and verify its keys now; what it hands on as a notary.

        The key id and the minimum are what make it fetch instead of looking
        into its cache; nothing comes back if it could not or would not.
        """
        query = {server_name: {key_id: {"minimum_valid_until_ts": minimum_ms}}}
        answer = self.request("POST", "/_matrix/key/v2/query", {"server_keys": query})
        if answer.status != 200:
            raise RuntimeError(f"{self.server_name} as notary: {answer}")
        return list(answer.json["server_keys"])

    def _start(self) -> subprocess.Popen[bytes]:
        plan = self.plan
        plan.directory.mkdir(parents=True, exist_ok=True)
        config = plan.directory / "homeserver.json"
        config.write_text(json.dumps(old_config(plan) if plan.old else current_config(plan)))
        run = [str(plan.python), "-m", "synapse.app.homeserver", "-c", str(config)]
        if plan.old:
            generate = self._namespace.run([*run, "--generate-keys"], cwd=plan.directory)
            if generate.returncode != 0:
                raise RuntimeError(generate.stderr.decode(errors="replace")[-1500:])
        return self._namespace.spawn(run, log=self._log, cwd=plan.directory)


def to_device(sender: str, user: str, message_id: str, content: Any) -> dict[str, Any]:
    """An EDU that reaches every device of ``user``."""
    edu = {
        "sender": sender,
        "type": "m.test",
        "message_id": message_id,
        "messages": {user: {"*": content}},
    }
    return {"edu_type": "m.direct_to_device", "content": edu}
