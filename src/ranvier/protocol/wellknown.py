"""The well-known file: which server stands in for this name, and for how long.

``https://<hostname>/.well-known/matrix/server`` answers ``{"m.server": "..."}``
``[s2s:resolving-server-names 3]``. An answer that breaks any rule is not an
error: discovery goes on as if there were no file (WK-06). So nothing here
raises on what a stranger sent, except :func:`next_redirect`, whose caller makes
"no file" of it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias
from urllib.parse import urljoin, urlsplit

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import encode_canonical, parse_json_lenient
from ranvier.protocol.conditions import Condition, condition, first_fatal
from ranvier.protocol.names import ServerName, TlsName, parse_server_name
from ranvier.protocol.text import shown

CLAUSE = "[s2s:resolving-server-names 3]"
PATH = "/.well-known/matrix/server"
REDIRECTS = frozenset({301, 302, 303, 307, 308})

Headers: TypeAlias = tuple[tuple[str, str], ...]

# Location, as far as we follow it: visible ASCII.
_VISIBLE = re.compile(r"[!-~]{1,2048}", re.ASCII)
# Cache-Control = 1#( token [ "=" ( token / quoted-string ) ] )    [rfc9111 5.2]
_MAX_AGE = re.compile(r'max-age="?([0-9]{1,18})"?', re.ASCII | re.IGNORECASE)


class WellKnownFound(msgspec.Struct, frozen=True, kw_only=True, tag="found", omit_defaults=True):
    """A valid file. ``delegated`` is a server name; ``seconds`` how long it holds."""

    delegated: str
    seconds: int = 0
    conditions: tuple[Condition, ...] = ()


class WellKnownInvalid(
    msgspec.Struct, frozen=True, kw_only=True, tag="invalid", omit_defaults=True
):
    """No file, a bad one, or no answer: all the same to discovery.

    ``temporary`` says that asking again may bring another answer, so that a
    remembered good one may serve a while longer (WK-11).
    """

    code: str
    reason: str
    temporary: bool = False
    seconds: int = 0
    conditions: tuple[Condition, ...] = ()


WellKnown: TypeAlias = WellKnownFound | WellKnownInvalid


def examine_well_known(status: int, headers: Headers, body: bytes, limits: Limits) -> WellKnown:
    """Judge the last answer after all redirects. Never raises.

    The content type is a condition, but not a fatal one (WK-03).
    """
    conditions: list[Condition] = [
        _content_type(headers),
        condition(
            "well-known-status",
            status == 200,
            f"the well-known file answers 200 (it answered {status})",
            clause=CLAUSE,
        ),
    ]
    delegated = _examine_body(body, limits, conditions) if status == 200 else ""
    broken = first_fatal(tuple(conditions))
    if broken is None:
        return WellKnownFound(delegated=delegated, conditions=tuple(conditions))
    return WellKnownInvalid(
        code=broken.id,
        reason=broken.evidence.get("why") or broken.sentence,
        temporary=status >= 500 or status == 429,
        conditions=tuple(conditions),
    )


def _content_type(headers: Headers) -> Condition:
    shown_type = next((value for name, value in headers if name == "content-type"), "")
    return condition(
        "well-known-content-type",
        shown_type.split(";")[0].strip().lower() == "application/json",
        "the well-known file is sent as application/json",
        clause=CLAUSE,
        fatal=False,
        content_type=shown(shown_type),
    )


def _examine_body(body: bytes, limits: Limits, conditions: list[Condition]) -> str:
    """The delegated server name; anything if a condition failed."""
    document, why = _document(body, limits)
    is_object = isinstance(document, dict)
    conditions.append(
        condition(
            "well-known-json",
            is_object,
            "the file is a JSON object",
            clause=CLAUSE,
            why=why,
        )
    )
    if not is_object:
        return ""
    value = document.get("m.server")
    is_text = isinstance(value, str)
    conditions.append(
        condition(
            "well-known-member",
            is_text,
            "the file has a string 'm.server'",
            clause=CLAUSE,
            why="" if is_text else f"'m.server' is {shown(value)}, not a string",
        )
    )
    if is_text:
        conditions.append(_server_name(value))
    return value if is_text else ""


def _document(body: bytes, limits: Limits) -> tuple[Any, str]:
    """Lenient about numbers, for nobody signs them; but one member has one value (AMB-12)."""
    try:
        document = parse_json_lenient(
            body, max_bytes=limits.wellknown_bytes, max_depth=limits.json_depth, unique=True
        )
    except Malformed as error:
        return None, error.message
    return document, "" if isinstance(document, dict) else "the file is JSON, but not an object"


def _server_name(value: str) -> Condition:
    why = ""
    try:
        parse_server_name(value)
    except Malformed as error:
        why = error.message
    return condition(
        "well-known-server-name",
        not why,
        "'m.server' is a server name: a host, perhaps a port, nothing else",
        clause="[app:server-name]",
        why=why,
    )


def build_well_known(delegated: ServerName) -> bytes:
    """The file to publish at :data:`PATH`, as ``application/json`` (WK-04)."""
    return encode_canonical({"m.server": delegated.text})


# --- How long it holds ---


def lifetime(headers: Headers, now: Ms, found: bool, limits: Limits, *, failures: int = 0) -> int:
    """Seconds for which a result holds (WK-07 to WK-11, D30).

    Found: what the cache headers say, else 24 h; at least 5 min, at most 48 h.
    Not found: what they say, else a time that doubles with each of the
    ``failures`` before it; at most 1 h, so that a new file is seen (WK-12).
    """
    said = _said(headers, now)
    if found:
        seconds = limits.wellknown_default_seconds if said is None else said
        return _within(seconds, limits.wellknown_min_seconds, limits.wellknown_max_seconds)
    least, most = limits.wellknown_error_min_seconds, limits.wellknown_error_max_seconds
    backed_off = min(most, least * 2 ** min(failures, 30))
    return _within(backed_off if said is None else said, least, most)


def _within(seconds: int, least: int, most: int) -> int:
    return max(least, min(most, seconds))


def _said(headers: Headers, now: Ms) -> int | None:
    """What the headers say, in seconds; ``max-age`` wins over ``Expires`` (D30)."""
    directives = [
        part.strip()
        for name, value in headers
        if name == "cache-control"
        for part in value.split(",")
    ]
    if any(each.lower() in ("no-store", "no-cache") for each in directives):
        return 0
    for each in directives:
        match = _MAX_AGE.fullmatch(each)
        if match:
            return int(match[1])
    expires = next((value for name, value in headers if name == "expires"), None)
    return None if expires is None else _until(expires, now)


def _until(expires: str, now: Ms) -> int:
    """Seconds to an HTTP date; one that cannot be read is in the past ``[rfc9111 5.3]``."""
    try:
        moment = parsedate_to_datetime(expires)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        left = moment - datetime.fromtimestamp(now / 1000, UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0
    return max(0, int(left.total_seconds()))


# --- Where it is ---


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An ``https`` URL, taken apart for the wire: target and ``Host`` byte for byte."""

    host: str
    port: int
    host_header: str
    target: str
    tls_name: TlsName
    is_ip: bool = False

    @property
    def url(self) -> str:
        """As text."""
        return f"https://{self.host_header}{self.target}"


def well_known_place(host: str) -> Place:
    """Where a host's own file is: port 443, ordinary names (WK-01).

    Raises: Malformed, if ``host`` is not a hostname.
    """
    return _place(parse_server_name(host), PATH)


def next_redirect(place: Place, location: str) -> Place:
    """Where a redirect leads. ``https`` only (D30, AMB-18), to a name we can look up.

    Raises: Malformed.
    """
    if not _VISIBLE.fullmatch(location):
        raise Malformed(
            "redirect-unreadable",
            f"the redirect to {shown(location)} is empty, too long or not plain ASCII",
            clause=CLAUSE,
        )
    try:
        parts = urlsplit(urljoin(place.url, location))
    except ValueError as error:
        raise Malformed(
            "redirect-malformed", f"the redirect to {shown(location)}: {error}", clause=CLAUSE
        ) from None
    if parts.scheme != "https":
        raise Malformed(
            "redirect-not-https",
            f"the redirect to {shown(location)} leaves https",
            clause="[ranvier:well-known-redirects]",
        )
    name = parse_server_name(parts.netloc)
    return _place(name, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _place(name: ServerName, target: str) -> Place:
    if not name.resolvable:
        raise Malformed(
            "redirect-not-resolvable",
            f"{shown(name.text)} leads to no host: {name.unresolvable}",
            clause="[ranvier:numeric-names]",
        )
    port = 443 if name.port is None else name.port
    return Place(
        host=name.host if name.is_ip else name.dns_name,
        port=port,
        host_header=name.hostname if port == 443 else f"{name.hostname}:{port}",
        target=target,
        tls_name=name.tls_name,
        is_ip=name.is_ip,
    )
