"""Unmodified Synapse home servers: configuration, start, and the local client side.

Both generations take their configuration as JSON. Everything that would make
a test wait (back-off, rate limits, presence) is turned down, nothing else is
changed. A process is started at once and waited for when it is first used.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
from tests.peers.authority import Pair
from tests.peers.client import Answer, Client
from tests.peers.namespace import Namespace
from tests.peers.naming import wait_until

_SECRET = "registration"  # of a server that lives for one test run
_PLENTY = {"per_second": 10_000, "burst_count": 10_000}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One Synapse: who it is and where it listens."""

    server_name: str
    ip: str
    tls_port: int = 0
    """Its own TLS listener; 0 if a proxy does TLS."""
    pair: Pair | None = None
    python: Path
    ca: Path
    directory: Path
    old: bool = False


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
        mac = hmac.new(_SECRET.encode(), parts, hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": user, "password": user, "admin": False, "mac": mac}
        answer = self.request("POST", path, body)
        if answer.status != 200:
            raise RuntimeError(f"could not register {user} on {self.server_name}: {answer}")
        return str(answer.json["access_token"])

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


def current_config(plan: Plan) -> dict[str, Any]:
    """The configuration of a current Synapse."""
    seed = hashlib.sha256(plan.server_name.encode()).digest()
    signing = plan.directory / "signing.key"
    text = base64.b64encode(seed).decode().rstrip("=")
    signing.write_text(f"ed25519 a_{plan.server_name[:4]} {text}\n")
    (plan.directory / "log.json").write_text(json.dumps(_LOGGING))
    return {
        **_common(plan),
        **_tls(plan),
        "signing_key_path": str(signing),
        "log_config": str(plan.directory / "log.json"),
        "macaroon_secret_key": "macaroon",
        "form_secret": "form",
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "ip_range_blacklist": [],
        "federation_verify_certificates": True,
        "federation_custom_ca_list": [str(plan.ca)],
        "federation": _FEDERATION,
        "rc_federation": {
            "window_size": 1000,
            "sleep_limit": 100_000,
            "sleep_delay": 1,
            "reject_limit": 100_000,
            "concurrent": 1000,
        },
        "rc_message": _PLENTY,
        "rc_registration": _PLENTY,
        "rc_login": {"address": _PLENTY, "account": _PLENTY, "failed_attempts": _PLENTY},
        "allow_public_rooms_over_federation": True,
        "room_list_publication_rules": [{"action": "allow"}],
        "presence": {"enabled": False},
        "bcrypt_rounds": 4,
    }


def old_config(plan: Plan) -> dict[str, Any]:
    """The configuration of Synapse 0.33.8, which makes its own keys and certificate."""
    directory = plan.directory
    return {
        **_common(plan),
        "tls_certificate_path": str(directory / "tls.crt"),
        "tls_private_key_path": str(directory / "tls.key"),
        "tls_dh_params_path": str(directory / "tls.dh"),
        "no_tls": False,
        "tls_fingerprints": [],
        "signing_key_path": str(directory / "signing.key"),
        "log_file": str(directory / "homeserver.log"),
        "verbose": 0,
        "macaroon_secret_key": "macaroon",
        "perspectives": {"servers": {}},
        "uploads_path": str(directory / "uploads"),
        "use_presence": False,
        "federation_rc_sleep_limit": 100_000,
        "federation_rc_reject_limit": 100_000,
        "federation_rc_concurrent": 1000,
        "enable_registration_captcha": False,
        "enable_metrics": False,
        "url_preview_enabled": False,
    }


_FEDERATION = {
    "client_timeout": "20s",
    "max_short_retries": 1,
    "max_long_retries": 1,
    "max_short_retry_delay": "1s",
    "max_long_retry_delay": "1s",
    "destination_min_retry_interval": "1s",
    "destination_max_retry_interval": "1s",
}
_LOGGING = {
    "version": 1,
    "formatters": {"line": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "WARNING", "handlers": ["console"]},
    "loggers": {
        "synapse.http.federation": {"level": "DEBUG"},
        "synapse.crypto.keyring": {"level": "DEBUG"},
    },
    "disable_existing_loggers": False,
}


def _common(plan: Plan) -> dict[str, Any]:
    database = {"name": "sqlite3", "args": {"database": str(plan.directory / "homeserver.db")}}
    return {
        "server_name": plan.server_name,
        "pid_file": str(plan.directory / "homeserver.pid"),
        "listeners": _listeners(plan),
        "database": database,
        "media_store_path": str(plan.directory / "media"),
        "registration_shared_secret": _SECRET,
        "report_stats": False,
    }


def _listeners(plan: Plan) -> list[dict[str, Any]]:
    resources = [{"names": ["client", "federation"], "compress": False}]
    plain = {
        "port": 8008,
        "bind_addresses": [plan.ip],
        "type": "http",
        "tls": False,
        "x_forwarded": True,
        "resources": resources,
    }
    if not plan.tls_port:
        return [plain]
    return [plain, {**plain, "port": plan.tls_port, "tls": True, "x_forwarded": False}]


def _tls(plan: Plan) -> dict[str, str]:
    if plan.pair is None:
        return {}
    return {
        "tls_certificate_path": str(plan.pair.cert),
        "tls_private_key_path": str(plan.pair.key),
    }
