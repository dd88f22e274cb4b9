"""The configuration file: TOML, read into frozen values; an error names its place.

::

    server_name = "example.org"
    data = "/var/lib/ranvier"            # where the files below are, if they are relative

    [signing]
    key_file = "signing.key"             # Synapse's format; made at first start

    [[signing.old_keys]]                 # retired keys: they verify events, never requests
    key_id = "ed25519:a_old1"
    key = "<unpadded base64 of the public key>"
    expired_ts = 1700000000000           # ms

    [listen]
    host = "0.0.0.0"
    port = 8448
    tls = true                           # false: plain HTTP, behind a proxy that ends TLS
    certificate = "tls.crt"              # PEM, leaf first; read again when it changes
    private_key = "tls.key"
    proxy_certificate = "proxy.crt"      # with tls = false: what peers see, for key version 1
    client_certificates = "ask"          # "off"; needs the extra `client-certs`

    [[listen.proxies]]                   # proxies that end TLS and tell what client they saw
    networks = ["10.0.0.1/32"]           # believed from these addresses alone
    client_certificate_header = "X-Client-Certificate"

    [publish]
    well_known = "matrix.example.org:443"   # answer /.well-known/matrix/server with this

    [store]
    path = "ranvier.db"

    [outgoing]
    dns = ["127.0.0.53:53"]              # default: the system's
    ca_file = "/etc/ssl/own-ca.pem"      # default: the system's authorities
    allow_private = false
    timeout = 60.0                       # seconds for one whole answer
    proxy = "http://127.0.0.1:3128"      # go out by CONNECT through this proxy
    client_certificate = "tls.crt"       # offered to peers with present_certificate = true
    client_key = "tls.key"

    [[peers]]                            # names that do not live under the default rule
    names = ["old.example", "*.closed.example"]
    networks = ["10.0.0.0/8"]            # server names that are such IP addresses
    trust = "published-certificate"      # or "web-pki"
    mode = "2014"                        # or "current"
    certificate_sha256 = ["<hex>"]
    verify_keys = { "ed25519:auto" = "<unpadded base64>" }
    present_certificate = true           # offer our client certificate to them
    client_certificate = "require"       # and theirs: "ignore", "record" or "require"

Relative paths are taken from ``data``; ``data`` from the file's own folder.
"""

from __future__ import annotations

import ipaddress
import tomllib
from enum import StrEnum
from pathlib import Path

import msgspec

from ranvier.errors import BadConfiguration, Malformed, RanvierError
from ranvier.limits import Limits, Ms
from ranvier.protocol.addresses import Address, parse_address, parse_ip
from ranvier.protocol.canonical import decode_base64
from ranvier.protocol.keys import OldVerifyKey
from ranvier.protocol.names import parse_server_name, parse_server_name_2014
from ranvier.protocol.proxy import Proxy, parse_proxy
from ranvier.protocol.routes import Mode
from ranvier.protocol.signing import VerifyKey
from ranvier.services.trust import ClientCertificate, TrustBook, TrustMode, TrustRule


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: a word that is not known is an error, not a silence."""


class OldKey(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A retired key of our own. ``expired_ts`` in ms."""

    key_id: str
    key: str
    expired_ts: int


class Signing(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our signing keys."""

    key_file: str = "signing.key"
    old_keys: tuple[OldKey, ...] = ()


class ProxyRule(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Proxies in front of us, whose header about the client is believed (D20)."""

    networks: tuple[str, ...]
    client_certificate_header: str = ""


class ClientCertificates(StrEnum):
    """Whether our listener asks for client certificates."""

    ASK = "ask"
    OFF = "off"


class Listen(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where we are reached, and what others see there."""

    host: str = "127.0.0.1"
    port: int = 8448
    tls: bool = True
    certificate: str = "tls.crt"
    private_key: str = "tls.key"
    proxy_certificate: str = ""
    client_certificates: ClientCertificates = ClientCertificates.OFF
    proxies: tuple[ProxyRule, ...] = ()

    @property
    def ip(self) -> str:
        """The address to listen on."""
        return "127.0.0.1" if self.host == "localhost" else self.host


class Publish(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What we publish besides our keys."""

    well_known: str = ""


class Storage(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things are kept."""

    path: str = "ranvier.db"


class Outgoing(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How we ask others. ``timeout`` in seconds, for one whole answer."""

    dns: tuple[str, ...] = ()
    ca_file: str = ""
    allow_private: bool = False
    timeout: float = 60.0
    proxy: str = ""
    client_certificate: str = ""
    client_key: str = ""

    def servers(self) -> tuple[Address, ...]:
        """The DNS servers to ask; none means the system's. Raises: Malformed."""
        return tuple(parse_address(each, 53) for each in self.dns)

    def through(self) -> Proxy | None:
        """The proxy to go out through. Raises: Malformed."""
        return parse_proxy(self.proxy) if self.proxy else None

    def limits(self) -> Limits:
        """All budgets, with our own total. Raises: BadConfiguration."""
        if not 0 < self.timeout <= 3600:
            raise BadConfiguration(
                "config-timeout",
                f"the time-out is {self.timeout:g} s; use more than 0, at most 3600",
            )
        return Limits(total_seconds=self.timeout)


class Peer(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names that are found or judged otherwise than everybody else."""

    names: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    trust: TrustMode = TrustMode.WEB_PKI
    mode: Mode = Mode.CURRENT
    certificate_sha256: tuple[str, ...] = ()
    verify_keys: dict[str, str] = {}
    present_certificate: bool = False
    client_certificate: ClientCertificate = ClientCertificate.IGNORE

    def rule(self) -> TrustRule:
        """The same as a rule, checked. Raises: BadConfiguration, Malformed, NotValid."""
        if not self.names and not self.networks:
            raise BadConfiguration("config-peer-empty", "peers: list names or networks")
        for pattern in self.names:
            bare = pattern.removeprefix("*.")
            (parse_server_name_2014 if self.mode is Mode.SEED else parse_server_name)(bare)
        return TrustRule(
            names=self.names,
            networks=tuple(_network(each) for each in self.networks),
            trust=self.trust,
            mode=self.mode,
            leaves=frozenset(fingerprint_text(each) for each in self.certificate_sha256),
            verify_keys=tuple(
                VerifyKey(key_id=key_id, key=decode_base64(text))
                for key_id, text in self.verify_keys.items()
            ),
            present=self.present_certificate,
            client_certificate=self.client_certificate,
        )


class Config(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. ``folder`` is what relative paths are taken from."""

    server_name: str = "localhost:8448"
    data: str = "."
    signing: Signing = Signing()
    listen: Listen = Listen()
    publish: Publish = Publish()
    store: Storage = Storage()
    outgoing: Outgoing = Outgoing()
    peers: tuple[Peer, ...] = ()

    def path(self, name: str) -> Path:
        """A file of ours, taken from ``data`` if it is relative."""
        return Path(self.data) / name

    def paths(self) -> tuple[str, ...]:
        """All that name a file or folder, as written."""
        listen = self.listen
        out = self.outgoing
        own = (self.data, self.signing.key_file, self.store.path)
        outgoing = (out.ca_file, out.client_certificate, out.client_key)
        return (
            *own,
            *outgoing,
            listen.certificate,
            listen.private_key,
            listen.proxy_certificate,
        )

    def client_pair(self) -> tuple[Path, Path] | None:
        """The files of the certificate that we offer as a client."""
        out = self.outgoing
        if not out.client_certificate:
            return None
        return self.path(out.client_certificate), self.path(out.client_key)

    def book(self) -> TrustBook:
        """The listed rules. Raises: BadConfiguration, Malformed, NotValid."""
        return TrustBook(tuple(peer.rule() for peer in self.peers))

    def old_keys(self) -> tuple[OldVerifyKey, ...]:
        """Our retired keys. Raises: Malformed, NotValid."""
        return tuple(
            OldVerifyKey(
                key=VerifyKey(key_id=each.key_id, key=decode_base64(each.key)),
                expired_ts=Ms(each.expired_ts),
            )
            for each in self.signing.old_keys
        )


def load_config(path: Path) -> Config:
    """Read and check a file; every error is one line with the place in the file.

    Raises: BadConfiguration.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadConfiguration("config-unreadable", f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadConfiguration("config-not-toml", f"{path}: {error}") from None
    try:
        config = msgspec.convert(table, Config, strict=True)
    except msgspec.ValidationError as error:
        raise BadConfiguration("config-value", f"{path}: {_place(str(error))}") from None
    config = msgspec.structs.replace(config, data=str(path.parent / config.data))
    try:
        check_config(config)
    except RanvierError as error:
        raise BadConfiguration("config-value", f"{path}: {error.message}") from None
    return config


def check_config(config: Config) -> None:
    """Everything that can be known to be wrong without I/O. Raises: RanvierError."""
    parse_server_name(config.server_name)
    if config.publish.well_known:
        parse_server_name(config.publish.well_known)
    config.book()
    config.old_keys()
    config.outgoing.servers()
    config.outgoing.limits()
    config.outgoing.through()
    for network in (each for proxy in config.listen.proxies for each in proxy.networks):
        _network(network)
    if bool(config.outgoing.client_certificate) != bool(config.outgoing.client_key):
        raise BadConfiguration(
            "config-client-certificate",
            "outgoing.client_certificate and outgoing.client_key go together",
        )
    for path in config.paths():
        if "\0" in path:
            raise BadConfiguration("config-path", f"{path!r} is no path: it holds a zero byte")
    try:
        parse_ip(config.listen.ip)
    except Malformed as error:
        raise BadConfiguration("config-host", f"listen.host: {error.message}") from None
    if not 0 <= config.listen.port <= 65535:
        raise BadConfiguration("config-port", f"listen.port is {config.listen.port}; use 0-65535")


def fingerprint_text(text: str) -> str:
    """A certificate's SHA-256 as people write it (any case, colons) as 64 hex digits.

    Raises: BadConfiguration.
    """
    plain = text.replace(":", "").lower()
    if len(plain) != 64 or any(each not in "0123456789abcdef" for each in plain):
        raise BadConfiguration(
            "config-fingerprint", f"{text!r} is not the SHA-256 of a certificate: 64 hex digits"
        )
    return plain


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise BadConfiguration("config-network", f"{text!r} is not a network: {error}") from None


def _place(message: str) -> str:
    """``msgspec``'s ``... - at `$.listen.port` `` as ``listen.port: ...``."""
    text, found, place = message.partition(" - at `$")
    return f"{place.strip('`.')}: {text}" if found else text
