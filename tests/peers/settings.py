"""How an unmodified Synapse is configured here, of today and of November 2018.

Both generations take JSON. Everything that would make a test wait (back-off,
rate limits, presence) is turned down; nothing else is changed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from tests.peers.authority import Pair

SECRET = "registration"  # of a server that lives for one test run
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
    quiet: bool = False


def current_config(plan: Plan) -> dict[str, Any]:
    """The configuration of a current Synapse."""
    seed = hashlib.sha256(plan.server_name.encode()).digest()
    signing = plan.directory / "signing.key"
    text = base64.b64encode(seed).decode().rstrip("=")
    signing.write_text(f"ed25519 a_{plan.server_name[:4]} {text}\n")
    (plan.directory / "log.json").write_text(json.dumps(_logging(plan.quiet)))
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


def _common(plan: Plan) -> dict[str, Any]:
    database = {"name": "sqlite3", "args": {"database": str(plan.directory / "homeserver.db")}}
    return {
        "server_name": plan.server_name,
        "pid_file": str(plan.directory / "homeserver.pid"),
        "listeners": _listeners(plan),
        "database": database,
        "media_store_path": str(plan.directory / "media"),
        "registration_shared_secret": SECRET,
        "report_stats": False,
    }


def _logging(quiet: bool) -> dict[str, Any]:
    told = [] if quiet else ["synapse.http.federation", "synapse.crypto.keyring"]
    return {
        "version": 1,
        "formatters": {"line": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": "WARNING", "handlers": ["console"]},
        "loggers": {name: {"level": "DEBUG"} for name in told},
        "disable_existing_loggers": False,
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
