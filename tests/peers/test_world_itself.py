"""The mini-internet itself: its parts answer before anything of ours is judged by them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.peers.internet import Internet
from tests.peers.synapse import Synapse

_ABANDONED = """
import sys, time
from pathlib import Path
from tests.peers.namespace import Namespace
inside = Namespace(Path(sys.argv[1]))
inside.spawn(["sleep", "600"])
inside.spawn(["sh", "-c", "sleep 600 & sleep 600"])  # a grandchild, too
time.sleep(0.5)
print(inside.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.peer("namespace")
def test_nothing_leads_out_of_the_namespace(internet: Internet) -> None:
    routes = internet.run(["cat", "/proc/net/route", "/proc/net/dev"]).stdout.decode()
    interfaces = [line.split(":")[0].strip() for line in routes.splitlines() if ":" in line]
    assert interfaces == ["lo"]


@pytest.mark.peer("namespace")
def test_killing_the_test_run_ends_everything_inside(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _ABANDONED, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]},
    ) as run:
        assert run.stdout is not None
        holder = int(run.stdout.readline())
        inside = _processes_in(os.stat(f"/proc/{holder}/ns/net").st_ino)
        run.send_signal(signal.SIGKILL)
    assert len(inside) >= 4
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in inside) and time.monotonic() < until:
        time.sleep(0.05)
    assert [pid for pid in inside if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.peer("dnsmasq")
def test_the_system_resolver_asks_our_dns_and_sees_changes(internet: Internet) -> None:
    name, ip = internet.name("fresh"), internet.ip()
    look = [internet.python, "-c", f"import socket; print(socket.gethostbyname({name!r}))"]
    assert internet.run(look).returncode != 0
    internet.dns.host_record(name, ip)
    assert internet.run(look).stdout.decode().strip() == ip
    assert f"A {name}" in internet.dns.questions()


@pytest.mark.peer("synapse")
def test_current_synapse_publishes_its_keys_over_its_own_tls(
    internet: Internet, alpha: Synapse
) -> None:
    answer = internet.client("https://127.0.0.2:8449").get("/_matrix/key/v2/server")
    assert answer.json["server_name"] == alpha.server_name == "alpha.test"


@pytest.mark.peer("synapse")
@pytest.mark.peer("nginx")
def test_current_synapse_is_delegated_to_behind_nginx(internet: Internet, beta: Synapse) -> None:
    well_known = internet.client("https://127.0.0.3").get("/.well-known/matrix/server")
    assert well_known.json == {"m.server": "hs.beta.test:8500"}
    answer = internet.client("https://127.0.0.4:8500").get("/_matrix/key/v2/server")
    assert answer.json["server_name"] == beta.server_name == "beta.test"


@pytest.mark.peer("synapse")
def test_the_two_current_servers_find_and_believe_each_other(alpha: Synapse, beta: Synapse) -> None:
    for asker, asked in ((alpha, beta), (beta, alpha)):
        key_id = next(iter(asked.request("GET", "/_matrix/key/v2/server").json["verify_keys"]))
        (document,) = asker.fetch_keys(asked.server_name, key_id, 1)
        assert set(document["signatures"]) == {asker.server_name, asked.server_name}
        assert alpha.token


@pytest.mark.peer("synapse-0.33.8")
def test_the_old_synapse_publishes_version_1_keys_with_its_own_leaf(
    internet: Internet, old: Synapse
) -> None:
    answer = internet.client("https://127.0.0.5:8449").get("/_matrix/key/v1/")
    assert answer.json["server_name"] == "old.test"
    assert set(answer.json) == {"server_name", "signatures", "tls_certificate", "verify_keys"}
    assert "perspectives" not in json.dumps(answer.json)
    assert old.token


def _processes_in(network: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino == network:
                    found.append(int(entry))
    return found
