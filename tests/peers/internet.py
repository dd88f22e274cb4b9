"""The mini-internet of one test session: DNS, an authority, proxies, home servers.

==========  =============================================  ========================
name        found by                                       listens
==========  =============================================  ========================
alpha.test  SRV ``_matrix-fed`` and ``_matrix``            Synapse's own TLS,
            to fed1.alpha.test:8449                        127.0.0.2:8449
beta.test   well-known (nginx, 127.0.0.3:443)              nginx 127.0.0.4:8500, for
            to hs.beta.test:8500                           a plain Synapse
old.test    SRV ``_matrix`` only, to hs.old.test:8449      Synapse 0.33.8's own TLS,
                                                           127.0.0.5:8449, self-signed
==========  =============================================  ========================

Tests run outside; what has to be inside is run as a process of its own with
:meth:`Internet.run` and :meth:`Internet.spawn`. Home servers are started when
they are first asked for, and stay until the session ends.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, Popen

from tests.peers import installs, naming, proxy
from tests.peers.authority import Authority, Pair
from tests.peers.availability import availability, find_program
from tests.peers.client import Client
from tests.peers.namespace import Namespace
from tests.peers.settings import Plan
from tests.peers.synapse import Synapse

ALPHA, BETA, OLD = "alpha", "beta", "old"
_NETWORK = {ALPHA: "127.0.0.2", BETA: "127.0.0.4", OLD: "127.0.0.5"}
_BETA_WELL_KNOWN = "127.0.0.3"
_TLS_PORT, _BETA_PORT = 8449, 8500

python = sys.executable
"""The project's own Python, for commands that run inside."""


class Internet:
    """Everything that a test needs of the world. Made by the ``internet`` fixture.

    ``quiet``: home servers log warnings only (for benchmarks).
    """

    def __init__(self, directory: Path, *, quiet: bool = False) -> None:
        self.directory = directory
        self._quiet = quiet
        self.python = python
        self._count = itertools.count(1)
        self._synapses: dict[str, Synapse] = {}
        self.namespace = Namespace(directory / "namespace")
        try:
            self.ca = Authority(directory / "certificates")
            dnsmasq = _need("dnsmasq")
            self.dns = naming.Dns(self.namespace, dnsmasq, directory / "dns")
            self.dns.add(*_zone())
        except BaseException:
            self.close()
            raise

    def ip(self) -> str:
        """A loopback address that nobody has had before in this session."""
        number = next(self._count)
        return f"127.1.{number // 250}.{number % 250 + 1}"

    def name(self, label: str) -> str:
        """A name that nobody has had before: peers remember keys and routes."""
        return f"{label}{next(self._count)}.test"

    def certificate(self, *names: str) -> Pair:
        """A certificate of the authority that every current Synapse here trusts."""
        return self.ca.certificate(*names)

    def place(self, label: str) -> Path:
        """A fresh directory."""
        place = self.directory / f"{label}-{next(self._count)}"
        place.mkdir(parents=True)
        return place

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float = 30,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
    ) -> CompletedProcess[bytes]:
        """Run a command inside and return its end. Raises: subprocess.TimeoutExpired."""
        return self.namespace.run(command, timeout=timeout, cwd=cwd, env=env, input=input)

    def spawn(
        self,
        command: Sequence[str],
        *,
        log: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Popen[bytes]:
        """Start a command inside; end it with :meth:`end` (the session does at last)."""
        return self.namespace.spawn(command, log=log, cwd=cwd, env=env)

    def end(self, process: Popen[bytes]) -> None:
        """End one process."""
        self.namespace.end(process)

    def client(self, base: str) -> Client:
        """A plain HTTP client inside, for ``https://address:port``."""
        return Client(self.namespace, base)

    def nginx(self, *servers: str) -> Popen[bytes]:
        """A new nginx with these server blocks (see :mod:`tests.peers.proxy`)."""
        return proxy.start_nginx(self.namespace, _need("nginx"), self.place("nginx"), *servers)

    def haproxy(self, *frontends: str) -> Popen[bytes]:
        """A new HAProxy with these sections (see :mod:`tests.peers.proxy`)."""
        place = self.place("haproxy")
        return proxy.start_haproxy(self.namespace, _need("haproxy"), place, *frontends)

    def synapse(self, name: str) -> Synapse:
        """``alpha``, ``beta`` or ``old``, healthy. Raises: PeerMissing."""
        return self.start(name)[0].wait()

    def start(self, *names: str) -> list[Synapse]:
        """Start home servers side by side, without waiting. Raises: PeerMissing."""
        for name in names:
            if name not in self._synapses:
                self._synapses[name] = self._synapse(name)
        return [self._synapses[name] for name in names]

    def close(self) -> None:
        """End everything."""
        self.namespace.close()

    def _synapse(self, name: str) -> Synapse:
        directory, server_name = self.directory / name, f"{name}.test"
        plan = Plan(
            server_name=server_name,
            ip=_NETWORK[name],
            tls_port=0 if name == BETA else _TLS_PORT,
            pair=self.certificate(server_name) if name == ALPHA else None,
            python=installs.old_synapse() if name == OLD else installs.synapse(),
            ca=self.ca.pem,
            directory=directory,
            old=name == OLD,
            quiet=self._quiet,
        )
        if name == BETA:
            self._front_of_beta()
        return Synapse(plan, self.namespace)

    def _front_of_beta(self) -> None:
        apex, host = self.certificate("beta.test"), self.certificate("hs.beta.test")
        ip = _NETWORK[BETA]
        self.nginx(
            proxy.well_known(_BETA_WELL_KNOWN, apex, f"hs.beta.test:{_BETA_PORT}"),
            proxy.reverse_proxy(ip, _BETA_PORT, host, f"{ip}:8008"),
        )


def _zone() -> list[str]:
    alpha, old = "fed1.alpha.test", "hs.old.test"
    return [
        naming.host(alpha, _NETWORK[ALPHA]),
        naming.srv("_matrix-fed._tcp.alpha.test", alpha, _TLS_PORT),
        naming.srv("_matrix._tcp.alpha.test", alpha, _TLS_PORT),
        naming.host("beta.test", _BETA_WELL_KNOWN),
        naming.host("hs.beta.test", _NETWORK[BETA]),
        naming.host(old, _NETWORK[OLD]),
        naming.srv("_matrix._tcp.old.test", old, _TLS_PORT),
    ]


def _need(program: str) -> str:
    found = find_program(program)
    if found is None:
        raise installs.PeerMissing(str(availability()[program]))
    return found
