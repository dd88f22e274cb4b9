"""Server names, identifiers, key ids and TLS names: text that names somebody.

A *server name* is an identity, ``host`` or ``host:port``, and compares letter by
letter: ``Example.org`` and ``example.org`` are two servers that happen to share
their DNS records. So nothing here changes what was written; :attr:`ServerName.dns_name`
is the folded form to ask DNS for.

There are two grammars. Today's ``[app:server-name]`` is the default. The one of
2014 ``[2014:resolving-server-names]`` takes any host of RFC 3986 (underscores,
percent-escapes) and an empty port. By the letter it takes an empty host as well;
such a name leads nowhere, and both our parsers refuse it. The two grammars read
``1.2.3.256`` differently: today's calls it a broken IPv4 address, RFC 3986 a
registered name (which is then never looked up, see :attr:`ServerName.resolvable`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import msgspec

from ranvier.errors import Malformed
from ranvier.protocol.text import shown

_NAME = "[app:server-name]"
_NAME_2014 = "[2014:resolving-server-names]"
_COMMON = "[app:common-identifier-format]"
_KEYS = "[s2s:publishing-keys]"

LONGEST_ADVISED = 230
"""Characters that a whole server name should not exceed ``[app:server-name]``."""
_LONGEST_TEXT = 512  # Nothing that either grammar could use is longer.
_LONGEST_IDENTIFIER = 255  # bytes
_LONGEST_KEY_ID = 255

# server_name = hostname [ ":" port ]             today: port = 1*5DIGIT
# hostname    = IPv4address / "[" IPv6address "]" / dns-name
_SPLIT = re.compile(r"(?P<hostname>\[[^\[\]]*\]|[^\[\]:]*)(?P<rest>:(?P<port>.*))?", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
# 2014: tls_port = *DIGIT
_PORT_2014 = re.compile(r"[0-9]*", re.ASCII)
# IPv4address = 1*3DIGIT "." 1*3DIGIT "." 1*3DIGIT "." 1*3DIGIT    (more digits: still meant as one)
_IPV4_LIKE = re.compile(r"[0-9]+(\.[0-9]+){3}", re.ASCII)
# IPv6address = 2*45( DIGIT / %x41-46 / %x61-66 / ":" / "." )
_IPV6_CHARS = re.compile(r"[0-9A-Fa-f:.]{2,45}", re.ASCII)
# dns-name    = 1*255( DIGIT / ALPHA / "-" / "." )
_DNS = re.compile(r"[0-9A-Za-z.-]{1,255}", re.ASCII)
# reg-name    = *( unreserved / pct-encoded / sub-delims )         [rfc3986 3.2.2], here 1*255
_REG_NAME = re.compile(r"(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255}", re.ASCII)
# IPvFuture   = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )
_IP_FUTURE = re.compile(r"v[0-9A-Fa-f]+\.[0-9A-Za-z._~!$&'()*+,;=:-]+", re.ASCII | re.IGNORECASE)
# numeric     = 1*DIGIT / "0x" *HEXDIG
NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
"""A last label that the system's resolver would read as (part of) an IPv4 address (D27)."""
_LOOKUP = re.compile(r"[0-9A-Za-z._-]+", re.ASCII)
# key id      = algorithm ":" version; version = 1*( ALPHA / DIGIT / "_" ), read so by AMB-05
_PUBLISHABLE = re.compile(r"[a-z0-9_]+:[0-9A-Za-z_]+", re.ASCII)


class Grammar(StrEnum):
    """Which grammar took the name."""

    CURRENT = "current"
    SEED = "2014"


class HostKind(StrEnum):
    """What stands before the port. ``OTHER`` comes out of the 2014 grammar only."""

    DNS = "dns"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    OTHER = "other"


class TlsName(msgspec.Struct, frozen=True):
    """What a certificate must be for: a DNS name, or an IP address (then no SNI)."""

    text: str
    is_ip: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, init=False, repr=False)
class ServerName:
    """An identity in the federation; equal and hashed by :attr:`text`, case included.

    ``ServerName(text)`` validates by today's grammar and raises
    :class:`~ranvier.errors.Malformed`; :func:`parse_server_name_2014` is the other way in.
    """

    text: str
    host: str = field(compare=False)
    """The host without brackets, in the letters it was written in."""
    port: int | None = field(compare=False)
    """1 to 65535, which rules out every SRV lookup; ``None`` if none, or 2014's empty one."""
    kind: HostKind = field(compare=False)
    grammar: Grammar = field(compare=False)

    def __init__(self, text: str, grammar: Grammar = Grammar.CURRENT) -> None:
        hostname, port = _split(text, grammar)
        host, kind = _host(hostname) if grammar is Grammar.CURRENT else _host_2014(hostname)
        for name, value in zip(self.__slots__, (text, host, port, kind, grammar), strict=True):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"ServerName({self.text!r})"

    @property
    def hostname(self) -> str:
        """The host as written, with the brackets of an IP literal: what ``Host`` carries."""
        return f"[{self.host}]" if self.text.startswith("[") else self.host

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP literal: there is nothing to look up."""
        return self.kind in (HostKind.IPV4, HostKind.IPV6)

    @property
    def dns_name(self) -> str:
        """The host as DNS is asked for it: lower case, no final dot (DISC-17)."""
        return self.host.lower().removesuffix(".")

    @property
    def tls_name(self) -> TlsName:
        """The host as a certificate must name it."""
        return tls_name_of(self.host, self.kind)

    @property
    def unresolvable(self) -> str:
        """Why the host leads to no address, whatever DNS says; empty if it may lead to one."""
        return "" if self.is_ip else _unresolvable(self.hostname.lower().removesuffix("."))

    @property
    def resolvable(self) -> bool:
        """Whether the host is an IP literal or a name that DNS may be asked for (D27)."""
        return not self.unresolvable

    @property
    def notes(self) -> tuple[str, ...]:
        """What a careful operator would not have chosen; none of it is an error."""
        return tuple(_notes(self))


def parse_server_name(text: str) -> ServerName:
    """Today's grammar. Raises Malformed. ``[app:server-name]``"""
    return ServerName(text)


def parse_server_name_2014(text: str) -> ServerName:
    """The grammar of 2014: ``example.org:`` has no port. Raises Malformed.

    ``[2014:resolving-server-names]``
    """
    return ServerName(text, Grammar.SEED)


def _split(text: str, grammar: Grammar) -> tuple[str, int | None]:
    """Hostname (brackets kept) and port."""
    clause = _NAME if grammar is Grammar.CURRENT else _NAME_2014
    if len(text) > _LONGEST_TEXT:
        raise Malformed("name-too-long", f"a name of {len(text)} characters", clause=clause)
    parts = _SPLIT.fullmatch(text)
    if parts is None:
        raise Malformed("name-brackets", f"{shown(text)} is not host or host:port", clause=clause)
    if not parts["hostname"]:
        raise Malformed("name-empty-host", f"{shown(text)} has no host", clause=clause)
    if parts["rest"] is None:
        return parts["hostname"], None
    return parts["hostname"], _port(text, parts["port"], grammar)


def _port(text: str, digits: str, grammar: Grammar) -> int | None:
    if grammar is Grammar.SEED:
        if digits == "":
            return None
        form, clause, what = _PORT_2014, _NAME_2014, "digits"
    else:
        form, clause, what = _PORT, _NAME, "1 to 5 digits"
    if not form.fullmatch(digits):
        raise Malformed("name-port", f"the port in {shown(text)} is not {what}", clause=clause)
    port = int(digits)
    if not 1 <= port <= 65535:
        raise Malformed(
            "name-port-range", f"the port in {shown(text)} is not 1 to 65535", clause=clause
        )
    return port


def _host(hostname: str) -> tuple[str, HostKind]:
    """Today's host. Four decimal parts mean an IPv4 literal, before a dns-name (NAME-09)."""
    if hostname.startswith("["):
        return _ipv6(hostname[1:-1]), HostKind.IPV6
    if _IPV4_LIKE.fullmatch(hostname):
        if not _is_ipv4(hostname):
            raise Malformed(
                "name-ipv4",
                f"{shown(hostname)} is not four numbers from 0 to 255 without leading zeros",
                clause=_NAME,
            )
        return hostname, HostKind.IPV4
    if not _DNS.fullmatch(hostname):
        raise Malformed(
            "name-dns",
            f"{shown(hostname)} is not 1 to 255 letters, digits, hyphens and dots"
            " (an international name goes in its xn-- form)",
            clause=_NAME,
        )
    return hostname, HostKind.DNS


def _host_2014(hostname: str) -> tuple[str, HostKind]:
    """Any host of RFC 3986: IP-literal, IPv4address or reg-name, in that order."""
    if hostname.startswith("["):
        host = hostname[1:-1]
        if _IP_FUTURE.fullmatch(host):
            return host, HostKind.OTHER
        return _ipv6(host), HostKind.IPV6
    if _is_ipv4(hostname):
        return hostname, HostKind.IPV4
    if _DNS.fullmatch(hostname):
        return hostname, HostKind.DNS
    if not _REG_NAME.fullmatch(hostname):
        raise Malformed(
            "name-reg-name", f"{shown(hostname)} is no host of RFC 3986", clause=_NAME_2014
        )
    return hostname, HostKind.OTHER


def _ipv6(text: str) -> str:
    """The text between the brackets, unchanged. Zone ids do not pass (NAME-04)."""
    try:
        if _IPV6_CHARS.fullmatch(text):
            IPv6Address(text)
            return text
    except AddressValueError:
        pass
    raise Malformed("name-ipv6", f"[{shown(text)}] is not an IPv6 address", clause=_NAME)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _unresolvable(name: str) -> str:
    labels = name.split(".")
    if name.startswith("["):
        return "the host is an IP literal of a form that nobody has defined"
    if "" in labels:
        return "the host has an empty label"
    if not _LOOKUP.fullmatch(name):
        return "the host has characters that no host name in DNS has"
    if len(name) > 253 or max(map(len, labels)) > 63:
        return "the host is longer than DNS allows (63 a label, 253 in all)"
    if NUMERIC_LABEL.fullmatch(labels[-1]):
        return "its last label is a number, which resolvers read as an IPv4 address"
    return ""


def _notes(name: ServerName) -> list[str]:
    notes = []
    if len(name.text) > LONGEST_ADVISED:
        notes.append(f"longer than {LONGEST_ADVISED} characters leaves no room for user ids")
    if name.text.endswith(":"):
        notes.append("the port is empty: only the grammar of 2014 takes this name")
    if name.is_ip:
        return notes
    if name.host != name.host.lower():
        notes.append("upper case makes another server than lower case, with the same DNS records")
    if name.host.endswith("."):
        notes.append("the final dot makes another server than without it")
    if any(each[:1] == "-" or each[-1:] == "-" for each in name.dns_name.split(".")):
        notes.append("a label should not begin or end with a hyphen")
    if name.unresolvable:
        notes.append(f"it can never be found: {name.unresolvable}")
    return notes


def tls_name_of(host: str, kind: HostKind) -> TlsName:
    """What the certificate of ``host`` (no brackets) must be for."""
    if kind is HostKind.IPV6:
        return TlsName(str(IPv6Address(host)), is_ip=True)
    if kind is HostKind.IPV4:
        return TlsName(host, is_ip=True)
    return TlsName(host.lower().removesuffix("."))


class Identifier(msgspec.Struct, frozen=True):
    """A user id, room alias, or room or event id of the old form, taken apart."""

    sigil: str
    localpart: str
    server_name: ServerName


def split_identifier(text: str) -> Identifier:
    """Split at the first colon: the server name may hold more of them. Raises Malformed.

    What the localpart may hold is another question, with another answer for each
    sigil. An id without a server name (newer event and room ids) does not split.
    ``[app:common-identifier-format]``
    """
    if text[:1] not in ("@", "!", "#", "$"):
        raise Malformed(
            "identifier-sigil", f"{shown(text)} does not begin with @, !, # or $", clause=_COMMON
        )
    if len(text.encode("utf-8", "surrogatepass")) > _LONGEST_IDENTIFIER:
        raise Malformed(
            "identifier-too-long",
            f"{shown(text)} is longer than {_LONGEST_IDENTIFIER} bytes",
            clause=_COMMON,
        )
    localpart, colon, server_name = text[1:].partition(":")
    if not colon:
        raise Malformed(
            "identifier-no-server", f"{shown(text)} has no colon: no server name", clause=_COMMON
        )
    return Identifier(text[0], localpart, _server(server_name))


@lru_cache(maxsize=1024)
def _server(text: str) -> ServerName:
    """A room's events are of few servers, again and again."""
    return ServerName(text)


class KeyId(msgspec.Struct, frozen=True):
    """``ed25519:a_1``: an algorithm, and which of the server's keys."""

    algorithm: str
    version: str

    @property
    def text(self) -> str:
        """As on the wire."""
        return f"{self.algorithm}:{self.version}"

    def __str__(self) -> str:
        return self.text


def parse_key_id(text: str) -> KeyId:
    """Lenient: split at the first colon; the version may be anything (AMB-04, KEY2-06).

    Never put the version unescaped into a URL, a header or a file name. Raises Malformed.
    """
    if len(text) > _LONGEST_KEY_ID:
        raise Malformed("key-id-too-long", f"a key id of {len(text)} characters", clause=_KEYS)
    algorithm, colon, version = text.partition(":")
    if not colon or not algorithm:
        raise Malformed("key-id", f"{shown(text)} is not algorithm:version", clause=_KEYS)
    return KeyId(algorithm, version)


def is_publishable_key_id(text: str) -> bool:
    """Whether we may publish under it: the version is letters, digits and underscores (KEY2-05)."""
    return _PUBLISHABLE.fullmatch(text) is not None
