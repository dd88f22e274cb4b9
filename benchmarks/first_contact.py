"""Row 2: the first key fetch of a server that nobody asked before, port 443 refusing.

The server asked is the same foreign one for both sides (a script with a name
for each contact); it has no well-known and no SRV record, so the way is step 6.
Ours is the library call; Synapse's is its notary endpoint, asked over its plain
listener. Both run warm in one process each, and take turns.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from benchmarks.table import Row, Side
from canonicaljson import encode_canonical_json

from tests.peers import naming, scripted
from tests.peers.internet import Internet
from tests.peers.scripted import Scripted

_SCRIPT = Path(__file__).parent / "scripts" / "contact.py"
_DAY_MS = 86_400_000


def first_contact(internet: Internet, *, rounds: int) -> list[Row]:
    """The row of wall time, and the row of CPU time."""
    alpha = internet.synapse("alpha")
    label = internet.name("fc")
    names = [f"n{number}.{label}" for number in range(2 * rounds + 4)]
    publisher = Scripted(internet, internet.certificate(f"*.{label}"))
    internet.dns.add(*(naming.host(name, publisher.ip) for name in names))
    key = scripted.new_key("a_fc")
    for name in names:
        publisher.say(name, "/_matrix/key/v2/server", _document(name, key))
    order = {
        "names": names,
        "key_id": scripted.key_id(key),
        "notary": alpha.plan.ip,
        "notary_pid": alpha.pid,
        "ca": str(internet.ca.pem),
        "dns": internet.dns.address,
    }
    done = internet.run(
        [internet.python, str(_SCRIPT)],
        input=json.dumps(order).encode(),
        timeout=60 + 2 * rounds,
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    publisher.close()
    if done.returncode != 0:
        raise SystemExit(done.stderr.decode(errors="replace"))
    said = json.loads(done.stdout)
    return [
        Row(
            "first contact, port 443 refuses",
            "ms until verified",
            Side(said["ours"]),
            Side(said["synapse"]),
            larger_is_better=False,
        ),
        Row(
            "first contact, port 443 refuses",
            "CPU ms each",
            Side([said["ours_cpu"]]),
            Side([said["synapse_cpu"]]),
            larger_is_better=False,
        ),
    ]


def _document(name: str, key: object) -> bytes:
    document = {
        "server_name": name,
        "verify_keys": {scripted.key_id(key): {"key": scripted.public(key)}},
        "valid_until_ts": int(time.time() * 1000) + _DAY_MS,
    }
    return bytes(encode_canonical_json(scripted.signed(document, name, key)))
