"""A whole internet in a few lines: names, hosts, certificates, time, and what is wrong with it.

::

    world = World({"example.org": "10.0.0.1"})
    world.dns.srv("_matrix-fed._tcp.example.org", (10, 5, 8448, "fed1.example.org"))
    world.dns.address("fed1.example.org", "10.0.0.2", "fd00::2")
    world.host("10.0.0.2", 8448, certificate=world.certificate("example.org"), serves=handler)
    world.host("fd00::2", 8448, fault=Fault.BLACK_HOLE)
    server = world.server("healthy.example")
    server.flaw = DocumentFlaw.FLIPPED_BIT

Its public addresses are 10.0.0.0/8 and fd00::/8; all else that is private in
life is private here too. Nothing takes real time, and the same seed gives the
same world.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from ranvier.limits import Limits, Ms
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.names import parse_server_name
from ranvier.protocol.signing import SigningKey, generate_signing_key, new_key_version
from ranvier.world.certs import Authority, Credential, Flaw
from ranvier.world.clock import NEW_YEAR_2026, VirtualClock
from ranvier.world.dns import WorldDns
from ranvier.world.faults import Fault
from ranvier.world.host import Handler, Host, nothing_here
from ranvier.world.server import MatrixServer
from ranvier.world.store import MemoryStore
from ranvier.world.wire import WorldWire, usual
from ranvier.world.zone import Zone

PUBLIC = ("10.0.0.0/8", "fd00::/8")
"""The networks that count as the public internet of a world."""


class World:
    """All four plugs, tied together: ``clock``, ``dns``, ``wire`` and ``store``.

    ``policy`` replaces the address policy, ``limits`` the budgets; ``start`` is
    the wall clock at the beginning, ``seed`` fixes all chance.
    """

    def __init__(
        self,
        zone: Zone | None = None,
        *,
        seed: int = 0,
        start: Ms = NEW_YEAR_2026,
        limits: Limits | None = None,
        policy: AddressPolicy | None = None,
    ) -> None:
        self._seed = seed
        self._servers = 0
        self.limits = limits or Limits()
        self.clock = VirtualClock(start=start, seed=seed)
        self.authority = Authority(now=start, seed=seed)
        self.dns = WorldDns(self.clock, self.limits, zone)
        self.store = MemoryStore(self.clock, self.limits)
        self.wire = WorldWire(
            self.clock,
            self.limits,
            policy=policy or AddressPolicy(networks=PUBLIC),
            roots=(self.authority.root,),
        )

    def certificate(self, *names: str, flaw: Flaw | None = None) -> Credential:
        """A certificate for these names from the world's authority, valid now unless flawed."""
        return self.authority.issue(*names, flaw=flaw, now=self.clock.now())

    def host(
        self,
        ip: str,
        port: int,
        *,
        certificate: Credential | None = None,
        sni: Mapping[str, Credential] | None = None,
        serves: Handler = nothing_here,
        fault: Fault | None = None,
    ) -> Host:
        """Put a host at an address; what stood there before is gone.

        ``certificate`` is shown to all but the names in ``sni``. The returned
        host may be changed while the world runs: delays, loss, faults.
        """
        host = Host(address=usual(Address(ip, port)), serves=serves, fault=fault)
        host.certificates = {name.lower(): each.certificates for name, each in (sni or {}).items()}
        if certificate is not None:
            host.certificates[None] = certificate.certificates
        self.wire.hosts[host.address] = host
        return host

    def server(
        self,
        name: str,
        *,
        ip: str = "",
        port: int = 0,
        well_known: str | None = None,
        certificate: Credential | None = None,
    ) -> MatrixServer:
        """A whole healthy Matrix server, reachable by its name.

        It gets an address record and listens on the port that its name (or
        ``well_known``, its ``m.server``) leads to, 8448 if none; ``port`` says
        otherwise, for instance where an SRV record points. With ``well_known`` it
        listens on 443 too. Its certificate is for the hostnames of both names.
        """
        own, led = parse_server_name(name), parse_server_name(well_known or name)
        ip = ip or next((each.host for each in (led, own) if each.is_ip), "") or self._next_ip()
        hosts = dict.fromkeys([own.host, led.host])
        shown = certificate or self.certificate(*hosts)
        server = MatrixServer(self.clock, name, (self._signing_key(name),), shown)
        server.well_known = well_known
        server.host = self.host(
            ip, port or led.port or 8448, certificate=shown, serves=server.serve
        )
        if well_known is not None:
            server.web = self.host(ip, 443, certificate=shown, serves=server.serve)
        for each in (own, led):
            if not each.is_ip and not self.dns.knows(each.host):
                self.dns.address(each.host, ip)
        return server

    def _signing_key(self, name: str) -> SigningKey:
        seed = sha256(f"ranvier world {self._seed}: {name}".encode()).digest()
        return generate_signing_key(seed, new_key_version(seed[:4]))

    def _next_ip(self) -> str:
        self._servers += 1
        return f"10.99.{self._servers // 250}.{self._servers % 250 + 1}"

    def dark(self, *ips: str) -> None:
        """Nothing ever comes back from these addresses, whatever the port."""
        self.wire.dark.update(usual(Address(ip, 0)).ip for ip in ips)
