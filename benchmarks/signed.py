"""Rows of signed traffic: profiles, forged signatures, transactions.

Thirty-two origins ask, on a connection each. Every side has discovered them and
fetched their keys, in its own way and from the same scripted server, before the
first round. Both sides speak plain HTTP, as behind a proxy that ends TLS, and keep
what they keep in SQLite. Requests per CPU second *of the server*; rounds take turns.
"""

from __future__ import annotations

import functools
import json
import secrets
import time
from pathlib import Path

import signedjson.key
from benchmarks.scripts.server import USERS
from benchmarks.table import Row, Side
from canonicaljson import encode_canonical_json

from tests.peers import naming, scripted
from tests.peers.internet import Internet
from tests.peers.scripted import Scripted

_HERE = Path(__file__).parent
_ORIGINS = 32
_AT_ONCE = 8
_DAY_MS = 86_400_000
_UNIT = "requests per CPU second"
_CONFIG = """\
server_name = "{name}"
[listen]
host = "{ip}"
tls = false
[outgoing]
dns = ["{dns}"]
ca_file = "{ca}"
allow_private = true
"""


class Asked:
    """One side: where it is, and what it costs there."""

    def __init__(self, name: str, ip: str, port: int, process: int) -> None:
        self.name, self.ip, self.port, self.pid = name, ip, port, process


class Traffic:
    """Origins with keys, the two servers that they ask, and what they ask."""

    def __init__(self, internet: Internet, *, rounds: int, seconds: int) -> None:
        self._internet, self._rounds, self._seconds = internet, rounds, seconds
        label = internet.name("origins")
        self._names = [f"o{number}.{label}" for number in range(_ORIGINS)]
        self._seed = secrets.token_bytes(32)
        self._key = signedjson.key.decode_signing_key_base64(
            "ed25519", "a_load", scripted.unpadded(self._seed)
        )
        publisher = Scripted(internet, internet.certificate(f"*.{label}"))
        internet.dns.add(*(naming.host(name, publisher.ip) for name in self._names))
        for name in self._names:
            publisher.say(name, "/_matrix/key/v2/server", self._document(name))

    def profiles(self) -> list[Row]:
        """Signed GETs of profiles, each of 1,024 in turn."""
        what = "signed GET of a profile"
        mine, other, here = self._turns("get", (self.ours, self.synapse, self.ours_here))
        return [
            Row(what, _UNIT, mine, other),
            Row(f"{what}, read in the loop", _UNIT, here, other),
        ]

    def forged(self) -> list[Row]:
        """The same, signed by another key under the same id."""
        mine, other = self._turns("forged", (self.ours, self.synapse))
        return [Row("forged signature, answered 401", _UNIT, mine, other)]

    def transactions(self) -> list[Row]:
        """``PUT /send`` with one EDU, answered once it is on disk."""
        what = "PUT /send with one EDU"
        mine, other, plain = self._turns("send", (self.ours, self.synapse, self.ours_plain))
        return [
            Row(what, _UNIT, mine, other),
            Row(f"{what}, without uvloop", _UNIT, plain, other),
        ]

    @functools.cached_property
    def synapse(self) -> Asked:
        """The real one, with our users."""
        alpha = self._internet.synapse("alpha")
        for number in range(USERS):
            alpha.register(f"u{number}")
        return self._warm(Asked(alpha.server_name, alpha.plan.ip, 8008, alpha.pid))

    @functools.cached_property
    def ours(self) -> Asked:
        """Ourselves as ``ranvier serve`` runs, on uvloop."""
        return self._serve("uvloop")

    @functools.cached_property
    def ours_here(self) -> Asked:
        """The same, but its handler of queries reads SQLite in the event loop."""
        return self._serve("uvloop", "here")

    @functools.cached_property
    def ours_plain(self) -> Asked:
        """Ourselves on asyncio's own loop."""
        return self._serve("asyncio")

    def _turns(self, what: str, sides: tuple[Asked, ...]) -> list[Side]:
        found = [Side([]) for _ in sides]
        for _ in range(self._rounds):
            for side, asked in zip(found, sides, strict=True):
                side.add(self._round(what, asked, self._seconds))
        return found

    def _warm(self, asked: Asked) -> Asked:
        """Make it fetch all keys, a few at a time as nobody is to fetch more, and then some."""
        for first in range(0, _ORIGINS, _AT_ONCE):
            self._round("get", asked, 0, self._names[first : first + _AT_ONCE])
        for what in ("get", "forged", "send"):
            self._round(what, asked, 1)
        return asked

    def _round(
        self, what: str, asked: Asked, seconds: float, origins: list[str] | None = None
    ) -> float:
        order = {
            "what": what,
            "origins": origins or self._names,
            "key_id": scripted.key_id(self._key),
            "seed": self._seed.hex(),
            "other_seed": secrets.token_bytes(32).hex(),
            "destination": asked.name,
            "ip": asked.ip,
            "port": asked.port,
            "pid": asked.pid,
            "users": USERS,
            "seconds": seconds,
        }
        done = self._internet.run(
            [self._internet.python, str(_HERE / "scripts" / "load.py")],
            input=json.dumps(order).encode(),
            timeout=60 + seconds,
            env={"PYTHONPATH": str(_HERE.parent)},
        )
        if done.returncode != 0:
            raise SystemExit(done.stderr.decode(errors="replace"))
        said = json.loads(done.stdout)
        return float(said["requests"] / max(said["cpu"], 0.01))

    def _serve(self, loop: str, read: str = "thread") -> Asked:
        internet = self._internet
        name, ip, place = internet.name("bench"), internet.ip(), internet.place("ours")
        at = {"name": name, "ip": ip, "dns": internet.dns.address, "ca": internet.ca.pem}
        (place / "ranvier.toml").write_text(_CONFIG.format(**at))
        log = place / "serve.log"
        process = internet.spawn(
            [
                *(internet.python, str(_HERE / "scripts" / "server.py")),
                *(str(place / "ranvier.toml"), loop, read),
            ],
            log=log,
            cwd=place,
            env={"PYTHONPATH": str(_HERE.parent)},
        )
        client = internet.client(f"http://{ip}:8448")

        def answers() -> bool:
            return client.get("/_matrix/key/v2/server", retry_seconds=2).status == 200

        naming.wait_until(answers, f"our side on {loop}", process, log)
        return self._warm(Asked(name, ip, 8448, process.pid))

    def _document(self, name: str) -> bytes:
        document = {
            "server_name": name,
            "verify_keys": {scripted.key_id(self._key): {"key": scripted.public(self._key)}},
            "valid_until_ts": int(time.time() * 1000) + 7 * _DAY_MS,
        }
        return bytes(encode_canonical_json(scripted.signed(document, name, self._key)))
