"""Key documents version 1 of the test's own making, and a server that says them.

Built with ``signedjson``, the reference implementation of JSON signing, so that
nothing of ours takes part in what the other side judges.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import signedjson.key
import signedjson.sign
from canonicaljson import encode_canonical_json

from tests.peers.authority import Pair
from tests.peers.internet import Internet
from tests.peers.naming import wait_until

_SCRIPT = Path(__file__).parent / "scripts" / "answers.py"
V1_PATHS = ("/_matrix/key/v1", "/_matrix/key/v1/")


class Scripted:
    """A server at one address that answers from files, by ``Host`` and path."""

    def __init__(self, internet: Internet, pair: Pair, *, port: int = 8448) -> None:
        self.internet, self.pair, self.port = internet, pair, port
        self.ip = internet.ip()
        self._folder = internet.place("answers")
        self._log = self._folder / "requests.log"
        self._process = internet.spawn(
            [
                *(internet.python, "-I", str(_SCRIPT), self.ip, str(port)),
                *(str(pair.cert), str(pair.key), str(self._folder)),
            ],
            log=self._log,
        )
        wait_until(lambda: "listening" in self.log, "the scripted server", self._process, self._log)

    @property
    def log(self) -> str:
        """What was asked: a line a request."""
        return self._log.read_text(errors="replace")

    def publish(self, host: str, document: dict[str, Any]) -> None:
        """Say this key document to whoever asks ``host`` for version 1."""
        for path in V1_PATHS:
            self.say(host, path, encode_canonical_json(document))

    def say(self, host: str, path: str, body: bytes) -> None:
        """Answer 200 with ``body``."""
        folder = self._folder / quote(host, safe="")
        folder.mkdir(exist_ok=True)
        (folder / quote(path, safe="")).write_bytes(body)

    def close(self) -> None:
        """End the server."""
        self.internet.end(self._process)


def new_key(version: str) -> Any:
    """A signing key of ``signedjson``."""
    return signedjson.key.generate_signing_key(version)


def key_id(key: Any) -> str:
    """``ed25519:version``."""
    return f"{key.alg}:{key.version}"


def public(key: Any) -> str:
    """The public half, unpadded."""
    return str(signedjson.key.encode_verify_key_base64(signedjson.key.get_verify_key(key)))


def unsigned_v1(name: str, certificate: bytes, *keys: Any) -> dict[str, Any]:
    """The three members that are signed."""
    return {
        "server_name": name,
        "tls_certificate": unpadded(certificate),
        "verify_keys": {key_id(key): public(key) for key in keys},
    }


def signed(document: dict[str, Any], name: str, *keys: Any) -> dict[str, Any]:
    """A copy, signed under ``name`` by every key."""
    copy = json.loads(json.dumps(document))
    for key in keys:
        copy = signedjson.sign.sign_json(copy, name, key)
    return dict(copy)


def v1_document(name: str, certificate: bytes, *keys: Any) -> dict[str, Any]:
    """A good key document version 1."""
    return signed(unsigned_v1(name, certificate, *keys), name, *keys)


def authorization(origin: str, destination: str, key: Any, method: str, uri: str) -> str:
    """The header of a signed request without a body, as the peers of 2018 wrote it."""
    request = {"method": method, "uri": uri, "origin": origin, "destination": destination}
    signature = signed(request, origin, key)["signatures"][origin][key_id(key)]
    return f'X-Matrix origin={origin},key="{key_id(key)}",sig="{signature}"'


def unpadded(data: bytes) -> str:
    """Base64 without its padding."""
    return base64.b64encode(data).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Base64, padded or not."""
    return base64.b64decode(text + "=" * (-len(text) % 4))
