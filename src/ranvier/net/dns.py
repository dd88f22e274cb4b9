"""Questions to name servers: one question, one answer, whatever it says.

Each server is asked in turn, ``Limits.dns_tries`` rounds, each for
``Limits.dns_seconds``; over UDP, and over TCP if the answer is cut. A server that is
silent, unreadable or out of order (SERVFAIL, REFUSED ...) gives way to the next one;
if none does better, the response code that was heard is the answer, and only if
nothing was heard is it a fault. Every question has a random id and a random port, and
only what comes from the asked server, with that id and that question, is read.

dnspython costs much at import: this module is loaded by name, when it is needed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path

import dns.message
import msgspec

from ranvier.errors import DnsFault
from ranvier.limits import Limits
from ranvier.net.dnsmessage import (
    Reply,
    is_truncated,
    parse_message,
    question,
    read_reply,
    response_code,
)
from ranvier.net.hosts import HOSTS_FILE, Hosts
from ranvier.plugs import Clock
from ranvier.protocol.addresses import Address
from ranvier.protocol.records import DnsAnswer, RecordKind, checked_name

RESOLV_CONF = "/etc/resolv.conf"

_DNS_PORT = 53
_MOST_SERVERS = 3
_MOST_BYTES = 65_535
_CONCLUSIVE = frozenset({"NOERROR", "NXDOMAIN"})


class _Heard(msgspec.Struct):
    """The best that the servers have come up with so far."""

    message: dns.message.Message | None = None
    server: str = ""
    faults: list[DnsFault] = []
    edns: bool = True


class DnsResolver:
    """The :class:`~ranvier.plugs.Dns` of production and diagnosis.

    Without ``servers`` the system's are used (``resolv_conf``, read again when needed).
    ``hosts_file`` may be ``None``.
    """

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        servers: tuple[Address, ...] = (),
        hosts_file: str | None = HOSTS_FILE,
        *,
        resolv_conf: str = RESOLV_CONF,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._servers = servers
        self._hosts = Hosts(hosts_file)
        self._resolv_conf = Path(resolv_conf)

    async def ask(self, name: str, kind: RecordKind) -> DnsAnswer:
        """The answer, after the hosts file and the localhost rule; aliases are followed.

        Raises: DnsFault: ``dns-silent``, ``dns-garbage``, ``dns-alias-loop``,
        ``dns-too-many-records``, ``dns-name-unusable``, ``dns-name-numeric``.
        """
        bare = checked_name(name)
        local = self._hosts.answer(bare, kind)
        return local or await self._follow(bare, kind)

    async def _follow(self, name: str, kind: RecordKind) -> DnsAnswer:
        """Ask again at the end of an alias chain that an answer leaves open."""
        aliases: list[str] = []
        ttls: list[int] = []
        current, authentic = name, True
        while True:
            reply, server = await self._one(current, kind, self._limits.alias_hops - len(aliases))
            aliases += reply.aliases
            ttls += [] if reply.ttl is None else [reply.ttl]
            authentic = authentic and reply.authentic
            if reply.settled:
                break
            current = checked_name(reply.final)
        return DnsAnswer(
            name=name,
            kind=kind,
            rcode=reply.rcode,
            addresses=reply.addresses,
            services=reply.services,
            aliases=tuple(aliases),
            ttl=min(*ttls, self._limits.dns_ttl_max_seconds) if ttls else 0,
            authentic=authentic,
            server=server,
        )

    async def _one(self, name: str, kind: RecordKind, hops: int) -> tuple[Reply, str]:
        heard = _Heard()
        servers = self._servers or read_resolv_conf(self._resolv_conf)
        for server in servers * max(self._limits.dns_tries, 1):
            if await self._try(server, name, kind, heard):
                break
        if heard.message is None:
            raise _nobody(name, kind, servers, heard.faults)
        return read_reply(heard.message, name, kind, hops), heard.server

    async def _try(self, server: Address, name: str, kind: RecordKind, heard: _Heard) -> bool:
        """Ask one server once; whether its answer lets us conclude anything."""
        ident = int.from_bytes(self._clock.random_bytes(2), "big")
        asked = question(name, kind, ident, edns=heard.edns)
        faults: list[DnsFault] = []
        try:
            async with self._clock.timeout(self._limits.dns_seconds):
                message = await self._exchange(server, asked, faults)
        except TimeoutError:
            silent = DnsFault("dns-silent", f"{server} did not answer in time")
            heard.faults.append(faults[-1] if faults else silent)
            return False
        except DnsFault as fault:
            heard.faults.append(fault)
            return False
        except OSError as error:
            heard.faults.append(DnsFault("dns-silent", f"{server}: {error.strerror or error}"))
            return False
        rcode = response_code(message)
        heard.edns = heard.edns and rcode not in ("FORMERR", "NOTIMP")
        conclusive = rcode in _CONCLUSIVE
        if conclusive or heard.message is None:
            heard.message, heard.server = message, str(server)
        return conclusive

    async def _exchange(
        self, server: Address, asked: dns.message.Message, faults: list[DnsFault]
    ) -> dns.message.Message:
        message = await self._by_udp(server, asked, faults)
        if is_truncated(message):
            return await self._by_tcp(server, asked)
        return message

    async def _by_udp(
        self, server: Address, asked: dns.message.Message, faults: list[DnsFault]
    ) -> dns.message.Message:
        """Wait for a readable answer; others' noise on the port is passed over, within limits."""
        loop = asyncio.get_running_loop()
        with _socket(server, socket.SOCK_DGRAM) as sock:
            await loop.sock_connect(sock, (server.ip, server.port))
            await loop.sock_sendall(sock, asked.to_wire())
            for _ in range(self._limits.dns_strays):
                data = await loop.sock_recv(sock, _MOST_BYTES)
                try:
                    return parse_message(data, asked, self._limits)
                except DnsFault as fault:
                    if fault.code != "dns-stray":
                        raise
                    faults.append(fault)
        raise faults[-1]

    async def _by_tcp(self, server: Address, asked: dns.message.Message) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        wire = asked.to_wire()
        with _socket(server, socket.SOCK_STREAM) as sock:
            await loop.sock_connect(sock, (server.ip, server.port))
            await loop.sock_sendall(sock, len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(await _exactly(sock, 2), "big")
            return parse_message(await _exactly(sock, size), asked, self._limits)


def _socket(server: Address, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in server.ip else socket.AF_INET, kind)
    made.setblocking(False)
    return made


async def _exactly(sock: socket.socket, count: int) -> bytes:
    """``count`` bytes (at most 65,535). Raises: DnsFault, OSError."""
    data = bytearray()
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        if not more:
            raise DnsFault("dns-garbage", "the answer by TCP ends too early")
        data += more
    return bytes(data)


def _nobody(
    name: str, kind: RecordKind, servers: tuple[Address, ...], faults: list[DnsFault]
) -> DnsFault:
    """The fault that says most: something unreadable says more than silence."""
    told = next((each for each in faults if each.code not in ("dns-silent", "dns-stray")), None)
    code = told.code if told else "dns-silent"
    asked = ", ".join(str(each) for each in servers)
    reason = (told or faults[-1]).message
    return DnsFault(code, f"no answer to {name!r} {kind} from {asked}: {reason}")


def read_resolv_conf(path: Path) -> tuple[Address, ...]:
    """The first three name servers; 127.0.0.1 if there are none (resolv.conf(5))."""
    servers = []
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                servers.append(Address(str(ipaddress.ip_address(words[1])), _DNS_PORT))
            except ValueError:
                continue
    return tuple(servers[:_MOST_SERVERS]) or (Address("127.0.0.1", _DNS_PORT),)
