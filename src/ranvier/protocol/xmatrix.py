"""The ``Authorization: X-Matrix`` header: read by RFC 9110, written so that everybody can read it.

A request carries ``X-Matrix origin="..",destination="..",key="..",sig=".."``, once for
each key that signed it ``[s2s:request-authentication]``. What comes in is read by the
whole grammar of ``[rfc9110 11.4]``: names in any case and order, quotes that are
optional, backslashes, white space and empty elements between the commas. Unknown
parameters are passed over, a parameter that stands twice is not: two readers could
take two different ones.

Beyond a token, a value without quotes may hold ``:`` as the specification advises,
and ``/``, ``=``, ``[`` and ``]`` because servers used to write ``origin`` and ``sig``
bare, whatever was in them ``[ranvier:bare-values]``.

What goes out is the narrowest form (AUTH-14, D23): deployed readers split at commas
inside quotes, do not unescape, or want lower-case names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.text import shown

_CLAUSE = "[s2s:request-authentication]"
_GRAMMAR = "[rfc9110 11.4]"
_LONGEST = Limits().authorization_bytes

_TCHAR = r"!#$%&'*+.^_`|~0-9A-Za-z-"
# credentials   = auth-scheme 1*SP #auth-param                       [rfc9110 11.4]
# auth-scheme   = token; ours in any case                            [rfc9110 11.1]
_SCHEME = re.compile(rf"[ \t]*+x-matrix(?![{_TCHAR}])", re.ASCII | re.IGNORECASE)
# #element      = [ element ] *( OWS "," OWS [ element ] )           [rfc9110 5.6.1.2]
_BEFORE = re.compile(r" ++[ \t,]*+|[ \t]*+\Z", re.ASCII)
# auth-param    = token BWS "=" BWS ( bare / quoted-string )
# bare          = 1*( tchar / ":" / "/" / "=" / "[" / "]" )          [ranvier:bare-values]
# quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE            [rfc9110 5.6.4], here ASCII
# qdtext        = HTAB / SP / %x21 / %x23-5B / %x5D-7E
# quoted-pair   = "\" ( HTAB / SP / VCHAR )
_PARAMETER = re.compile(
    rf"([{_TCHAR}]++)[ \t]*+=[ \t]*+"
    rf'(?:"((?:[\t !#-\[\]-~]++|\\[\t -~])*+)"|([{_TCHAR}:/=\[\]]++))'
    r"[ \t]*+(?:,[ \t,]*+|\Z)"
    r"|(.+)",  # The rest, if it is none.
    re.ASCII | re.DOTALL,
)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
# What every reader takes between quotes: visible, and never a quote, backslash or comma.
_WRITABLE = re.compile(r"[!#-+\--\[\]-~]+", re.ASCII)


class XMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """One header: who says to have signed, with which key. Nothing in it is checked yet.

    All are a stranger's text of ASCII; ``origin``, ``key`` and ``sig`` are not empty.
    ``destination`` is ``None`` if the sender did not name us, as in 2014 (AUTH-17).
    """

    origin: str
    key: str
    sig: str
    destination: str | None = None


def parse_authorization(value: str, *, max_bytes: int = _LONGEST) -> XMatrix | None:
    """The value of one ``Authorization`` header; ``None`` if its scheme is another one.

    Raises Malformed. ``[s2s:request-authentication]``, ``[rfc9110 11.4]``
    """
    scheme = _SCHEME.match(value)
    if scheme is None:
        return None
    if len(value) > max_bytes:
        raise Malformed(
            "xmatrix-too-long", f"{len(value)} characters; at most {max_bytes}", clause=_CLAUSE
        )
    found = _parameters(value, scheme.end())
    missing = [name for name in ("origin", "key", "sig") if not found.get(name)]
    if missing:
        raise Malformed(
            "xmatrix-missing-parameter",
            f"the header has no {missing[0]}, or an empty one",
            clause=_CLAUSE,
        )
    return XMatrix(
        origin=found["origin"],
        key=found["key"],
        sig=found["sig"],
        destination=found.get("destination"),
    )


def _parameters(text: str, at: int) -> dict[str, str]:
    """Every parameter after the scheme, unescaped, by its name in lower case."""
    before = _BEFORE.match(text, at)
    if before is None:
        raise _no_parameter(text[at:])
    parts = _PARAMETER.findall(text, before.end())
    if parts and parts[-1][3]:
        raise _no_parameter(parts[-1][3])
    found = {
        name.lower(): bare or (_PAIR.sub(r"\1", quoted) if "\\" in quoted else quoted)
        for name, quoted, bare, _ in parts
    }
    if len(found) != len(parts):
        [(twice, _)] = Counter(part[0].lower() for part in parts).most_common(1)
        raise Malformed(
            "xmatrix-duplicate", f"the parameter {shown(twice)} stands twice", clause=_GRAMMAR
        )
    return found


def _no_parameter(rest: str) -> Malformed:
    return Malformed(
        "xmatrix-syntax", f"no name=value begins at {shown(rest, 20)}", clause=_GRAMMAR
    )


def format_authorization(header: XMatrix) -> str:
    """The value to send, in the one form that every deployed server reads (AUTH-14, D23).

    Raises Malformed if a value is empty or holds anything but visible ASCII, or a
    quote, backslash or comma: no name, key id or signature does.
    """
    parts = [
        ("origin", header.origin),
        ("destination", header.destination),
        ("key", header.key),
        ("sig", header.sig),
    ]
    return "X-Matrix " + ",".join(
        f'{name}="{_writable(name, value)}"' for name, value in parts if value is not None
    )


def _writable(name: str, value: str) -> str:
    if not _WRITABLE.fullmatch(value):
        raise Malformed(
            "xmatrix-unwritable",
            f"{name} {shown(value)} cannot stand in a header that everybody reads",
            clause=_CLAUSE,
        )
    return value


_LIMITS = Limits()


def parse_authorizations(values: Sequence[str], limits: Limits = _LIMITS) -> tuple[XMatrix, ...]:
    """All ``X-Matrix`` headers of one request: one origin, one destination, each key once.

    ``values`` are those of every ``Authorization`` header, in order; other schemes are
    passed over. Never empty. Raises Malformed; ``xmatrix-missing`` means that the
    request is simply not signed.
    """
    if len(values) > limits.authorization_headers:
        raise Malformed(
            "xmatrix-too-many",
            f"{len(values)} Authorization headers; at most {limits.authorization_headers}",
            clause=_CLAUSE,
        )
    parsed = [parse_authorization(each, max_bytes=limits.authorization_bytes) for each in values]
    headers = tuple(each for each in parsed if each is not None)
    if not headers:
        raise Malformed("xmatrix-missing", "there is no X-Matrix header", clause=_CLAUSE)
    if len(headers) > 1:
        _check_together(headers)
    return headers


def _check_together(headers: tuple[XMatrix, ...]) -> None:
    if len({each.origin for each in headers}) > 1:
        raise Malformed(
            "xmatrix-mixed-origins", "the headers name more than one origin", clause=_CLAUSE
        )
    if len({each.destination for each in headers}) > 1:
        raise Malformed(
            "xmatrix-mixed-destinations", "the headers differ in their destination", clause=_CLAUSE
        )
    if len({each.key for each in headers}) != len(headers):
        raise Malformed("xmatrix-same-key-twice", "two headers are by the same key", clause=_CLAUSE)
