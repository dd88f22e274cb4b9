"""Row 1: our own key document over TLS, keep-alive, as fast as the client can ask.

Requests per CPU second *of the server*, so that the load generator on the same
machine does not count. Rounds alternate between the two servers.
"""

from __future__ import annotations

import re

from benchmarks.meters import peak_memory, spending
from benchmarks.table import Row, Side

from tests.peers.availability import find_program
from tests.peers.internet import Internet
from tests.peers.namespace import Namespace
from tests.peers.ours import Ours

_PATH = "/_matrix/key/v2/server"
_CONNECTIONS = 16


def own_keys(internet: Internet, *, rounds: int, seconds: int) -> list[Row]:
    """The row of speed, and the memory that the same load took.

    A first start makes keys and database and takes more memory than a later one.
    """
    alpha = internet.synapse("alpha")
    name, ip = internet.name("bench"), internet.ip()
    ours = Ours(internet, name, ip=ip, pair=internet.certificate(name))
    first_start = peak_memory(ours.pid)
    ours.restart()
    theirs_at = f"https://{alpha.plan.ip}:{alpha.plan.tls_port}{_PATH}"
    ours_at = f"https://{ip}:{ours.port}{_PATH}"
    for url, host in ((ours_at, name), (theirs_at, alpha.server_name)):
        _wrk(internet.namespace, url, host, 1)  # warm both
    mine, other = Side(), Side()
    for _ in range(rounds):
        mine.add(_round(internet, ours.pid, ours_at, name, seconds))
        other.add(_round(internet, alpha.pid, theirs_at, alpha.server_name, seconds))
    theirs = Side([peak_memory(alpha.pid) / 1e6])
    loaded = Side([peak_memory(ours.pid) / 1e6])
    first = Side([first_start / 1e6])
    ours.close()
    return [
        Row("own keys over TLS, keep-alive", "requests per CPU second", mine, other),
        Row("peak memory after that", "MB", loaded, theirs, larger_is_better=False),
        Row("peak memory, first start", "MB", first, theirs, larger_is_better=False),
    ]


def _round(internet: Internet, pid: int, url: str, host: str, seconds: int) -> float:
    with spending(pid) as spent:
        requests = _wrk(internet.namespace, url, host, seconds)
    return requests / spent.seconds


def _wrk(namespace: Namespace, url: str, host: str, seconds: int) -> int:
    program = find_program("wrk")
    if program is None:
        raise SystemExit("wrk is not installed: apt-get install --no-install-recommends wrk")
    command = [program, "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "-H", f"Host: {host}", url]
    said = namespace.run(command, timeout=seconds + 30).stdout.decode()
    done = re.search(r"(\d+) requests in", said)
    if done is None or "Non-2xx" in said:
        raise SystemExit(f"{url} did not answer well:\n{said}")
    return int(done[1])
