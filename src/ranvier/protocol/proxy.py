"""The proxy through which we go out, as it is written down by whoever runs us."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import unquote_to_bytes

import msgspec

from ranvier.errors import Malformed

CLAUSE = "[ranvier:proxy]"

# "http://" [ user [ ":" password ] "@" ] host ":" port [ "/" ], percent-encoded as in any URL
_URL = re.compile(
    r"http://(?:(?P<user>[!-.0-9;=A-Z_a-z~%]*)(?::(?P<password>[!-.0-~]*))?@)?"
    r"(?:(?P<host>[0-9A-Za-z.-]+)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]):(?P<port>[0-9]{1,5})/?",
    re.ASCII | re.IGNORECASE,
)


class Proxy(msgspec.Struct, frozen=True):
    """Where it listens, and what it wants to hear; ``str`` and ``repr`` tell no secret."""

    host: str
    """A name, or an IP address without brackets."""
    port: int
    authorization: str = ""
    """The value of ``Proxy-Authorization``, empty for none."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({self})"


def parse_proxy(url: str) -> Proxy:
    """``http://[user:password@]host:port``; the port has to be there.

    Raises: Malformed (``proxy-url``), without a word of what was given: it may be a password.
    """
    found = _URL.fullmatch(url)
    if found is None or not 0 < int(found["port"]) < 65536 or "@" in (found["password"] or ""):
        message = "the proxy is not written as http://[user:password@]host:port"
        raise Malformed("proxy-url", message, clause=CLAUSE)
    host = found["host"] or found["ipv6"]
    return Proxy(host, int(found["port"]), _basic(found["user"], found["password"]))


def _basic(user: str | None, password: str | None) -> str:
    """``Basic`` credentials ``[rfc7617 2]``."""
    if user is None:
        return ""
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password or "")
    return "Basic " + b64encode(pair).decode("ascii")
