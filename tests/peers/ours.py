"""Our side in the mini-internet: ``ranvier serve`` and the commands that ask, as users run them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec
import signedjson.key

from tests.peers.authority import Pair
from tests.peers.client import Answer
from tests.peers.internet import Internet
from tests.peers.naming import wait_until
from tests.peers.scripted import decode, key_id, new_key

_CONFIG = """\
server_name = "{name}"
[listen]
host = "{ip}"
port = {port}
{listen}
{more}
"""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a command said with ``--json``, and its exit code."""

    exit: int
    data: dict[str, Any]
    errors: str

    @property
    def code(self) -> str:
        """The error's code, or nothing if there was none."""
        return str(self.data.get("error", {}).get("code", ""))


def ask(internet: Internet, *words: str, ca: bool = True) -> Said:
    """Run a command that goes out; ``ca``: believe the mini-internet's authority."""
    authorities = ["--ca", str(internet.ca.pem)] if ca else []
    command = [internet.python, "-m", "ranvier", *words, "--json", "--allow-private"]
    done = internet.run([*command, *authorities], timeout=60)
    try:
        data = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"{words}: {done.stdout!r} {done.stderr!r}") from None
    return Said(exit=done.returncode, data=data, errors=done.stderr.decode(errors="replace"))


class Ours:
    """One ``ranvier serve`` with a configuration file of its own.

    Without ``pair`` it speaks plain HTTP; ``outer`` is then the certificate of the
    proxy in front, if version 1 is to be published. ``more`` is added to the configuration.
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
        more: str = "",
    ) -> None:
        self.internet, self.name, self.ip, self.port = internet, name, ip, port
        self._scheme = "https" if pair else "http"
        self.key = new_key("a_" + re.sub(r"[^a-z0-9]", "", name))
        self.key_id = key_id(self.key)
        self.place = internet.place("ours")
        self._write_files(pair, outer, more)
        self._log = self.place / "serve.log"
        self._process = self._start()

    @property
    def seed(self) -> bytes:
        """The secret half of its key."""
        return decode(signedjson.key.encode_signing_key_base64(self.key))

    @property
    def config(self) -> Path:
        """Its ``ranvier.toml``."""
        return self.place / "ranvier.toml"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace")

    def get(self, path: str, *, retry_seconds: float = 0) -> Answer:
        """GET at its own listener, without judging the certificate."""
        client = self.internet.client(f"{self._scheme}://{self.ip}:{self.port}")
        return client.get(path, headers={"Host": self.name}, retry_seconds=retry_seconds)

    def restart(self) -> None:
        """End it and start it again with the same files."""
        self.close()
        self._process = self._start()

    def close(self) -> None:
        """End the server."""
        self.internet.end(self._process)

    def _start(self) -> Popen[bytes]:
        command = [self.internet.python, "-m", "ranvier", "serve", "--config", str(self.config)]
        process = self.internet.spawn(command, log=self._log, cwd=self.place)
        wait_until(self._answers, f"ranvier serve for {self.name}", process, self._log)
        return process

    def _answers(self) -> bool:
        return self.get("/_matrix/key/v2/server", retry_seconds=2).status == 200

    def _write_files(self, pair: Pair | None, outer: Pair | None, more: str) -> None:
        listen = "tls = false"
        if pair is not None:
            listen = f'certificate = "{pair.cert}"\nprivate_key = "{pair.key}"'
        elif outer is not None:
            listen += f'\nproxy_certificate = "{outer.cert}"'
        at = {"name": self.name, "ip": self.ip, "port": self.port}
        self.config.write_text(_CONFIG.format(**at, listen=listen, more=more))
        keys = self.place / "signing.key"
        with keys.open("w") as file:
            signedjson.key.write_signing_keys(file, [self.key])
        keys.chmod(0o600)
