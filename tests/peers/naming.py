"""The names of the mini-internet: a real dnsmasq, changed while it runs.

dnsmasq reads its records once, so each change starts it anew (10 ms). Use
:meth:`Dns.add` with several records at once where a test needs several.
Every name that was not given is NXDOMAIN, as the real DNS would say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

from tests.peers.namespace import Namespace

RESOLVER = "127.0.0.53"

_HEAD = """\
port=53
listen-address={resolver}
bind-interfaces
no-resolv
no-hosts
no-poll
user={user}
group=
pid-file=
local=/#/
log-queries
log-facility=-
"""


def host(name: str, *addresses: str) -> str:
    """An A or AAAA record for each address."""
    return f"host-record={name},{','.join(addresses)}"


def srv(service: str, target: str, port: int, *, priority: int = 10, weight: int = 5) -> str:
    """One SRV record: ``service`` is whole (``_matrix._tcp.old.test``); ``.`` means none."""
    if target == ".":
        return f"srv-host={service}"
    return f"srv-host={service},{target},{port},{priority},{weight}"


def cname(alias: str, target: str) -> str:
    """An alias; dnsmasq follows it only to names that it has itself."""
    return f"cname={alias},{target}"


class Dns:
    """The zone of the namespace."""

    def __init__(self, namespace: Namespace, program: str, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._namespace = namespace
        self._program = program
        self._config = directory / "dnsmasq.conf"
        self._log = directory / "dnsmasq.log"
        self._records: list[str] = []
        self._process: Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it answers: ``address:port``."""
        return f"{RESOLVER}:53"

    def add(self, *records: str) -> None:
        """Publish records, as written by :func:`host`, :func:`srv`, :func:`cname`."""
        self._records += records
        self._restart()

    def remove(self, *records: str) -> None:
        """Take back records that were added."""
        for record in records:
            self._records.remove(record)
        self._restart()

    def host_record(self, name: str, *addresses: str) -> None:
        """Publish addresses of a name."""
        self.add(host(name, *addresses))

    def srv(
        self, service: str, target: str, port: int, *, priority: int = 10, weight: int = 5
    ) -> None:
        """Publish one SRV record."""
        self.add(srv(service, target, port, priority=priority, weight=weight))

    def cname(self, alias: str, target: str) -> None:
        """Publish an alias."""
        self.add(cname(alias, target))

    def questions(self) -> list[str]:
        """What has been asked so far, as ``SRV _matrix._tcp.old.test``, oldest first."""
        asked = []
        for line in self._log.read_text(errors="replace").splitlines():
            before, mark, after = line.partition("query[")
            if before.startswith("dnsmasq") and mark:
                kind, _, rest = after.partition("] ")
                asked.append(f"{kind} {rest.split(' ')[0]}")
        return asked

    def _restart(self) -> None:
        if self._process is not None:
            self._namespace.end(self._process)
        head = _HEAD.format(resolver=RESOLVER, user="root")
        self._config.write_text(head + "\n".join(self._records) + "\n")
        started = self._started()
        self._process = self._namespace.spawn(
            [self._program, "--keep-in-foreground", f"--conf-file={self._config}"], log=self._log
        )
        wait_until(lambda: self._started() > started, "dnsmasq", self._process, self._log)

    def _started(self) -> int:
        return self._log.read_text(errors="replace").count("started") if self._log.exists() else 0


def wait_until(
    done: Callable[[], bool], what: str, process: Popen[bytes], log: Path, seconds: float = 20
) -> None:
    """Wait for a process to be ready; if it ends before, say what it said last."""
    until = time.monotonic() + seconds
    while not done():
        if process.poll() is not None or time.monotonic() > until:
            tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise RuntimeError(f"{what} did not start (exit {process.poll()}):\n{tail}")
        time.sleep(0.01)
