"""A whole internet in a few lines: names, hosts, certificates, time, and what is wrong with it.

::

    world = World({"example.org": "10.0.0.1"})
    world.dns.srv("_matrix-fed._tcp.example.org", (10, 5, 8448, "fed1.example.org"))
    world.dns.address("fed1.example.org", "10.0.0.2", "fd00::2")
    world.host("10.0.0.2", 8448, certificate=world.certificate("example.org"), serves=handler)
    world.host("fd00::2", 8448, fault=Fault.BLACK_HOLE)

Its public addresses are 10.0.0.0/8 and fd00::/8; all else that is private in
life is private here too. Nothing takes real time, and the same seed gives the
same world.
"""

from __future__ import annotations

from collections.abc import Mapping

from ranvier.limits import Limits, Ms
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.world.certs import Authority, Credential, Flaw
from ranvier.world.clock import NEW_YEAR_2026, VirtualClock
from ranvier.world.dns import WorldDns, Zone
from ranvier.world.faults import Fault
from ranvier.world.host import Handler, Host, nothing_here
from ranvier.world.store import MemoryStore
from ranvier.world.wire import WorldWire, usual

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
        self.limits = limits or Limits()
        self.clock = VirtualClock(start=start, seed=seed)
        self.authority = Authority(now=start, seed=seed)
        self.dns = WorldDns(self.clock, self.limits, zone)
        self.store = MemoryStore()
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

    def dark(self, *ips: str) -> None:
        """Nothing ever comes back from these addresses, whatever the port."""
        self.wire.dark.update(usual(Address(ip, 0)).ip for ip in ips)
