"""Everything that can go wrong, by name.

A test says ``Fault.BLACK_HOLE`` and not "a socket that drops SYN packets". Each
name is one condition of the real world, with the layer at which it strikes.
"""

from __future__ import annotations

from enum import StrEnum


class DnsSays(StrEnum):
    """What a name server does with a question instead of answering it well."""

    NXDOMAIN = "nxdomain"
    """An answer: there is no such name."""
    SERVFAIL = "servfail"
    """An answer: the server could not find out."""
    REFUSED = "refused"
    """An answer: the server will not say."""
    NOTHING = "nothing"
    """An answer: the name exists, but has no record of this kind."""
    SILENT = "silent"
    """No answer, ever."""
    GARBAGE = "garbage"
    """Something that is no DNS message."""


class Fault(StrEnum):
    """What a host does wrong: TCP first, then TLS, then HTTP."""

    # TCP
    REFUSE = "refuse"
    """Nothing listens: the connection is refused at once."""
    BLACK_HOLE = "black-hole"
    """Packets vanish: the connection never comes."""
    UNREACHABLE = "unreachable"
    """A router says that there is no way."""
    RESET = "reset"
    """The connection is accepted and reset before the handshake."""

    # TLS
    TLS_SILENT = "tls-silent"
    """Connected, but the handshake is never answered."""
    TLS_GARBAGE = "tls-garbage"
    """Speaks something else, plain HTTP for instance."""
    TLS_ALERT = "tls-alert"
    """Ends the handshake with an alert: an SNI or a version it does not want."""

    # HTTP
    CLOSES = "closes"
    """Reads the request and closes without a word."""
    REFUSES_CLIENT = "refuses-client"
    """Reads the request, and only then says that it does not like our client certificate,
    or wanted one: TLS 1.3 (D24)."""
    HANGS = "hangs"
    """Reads the request and never answers."""
    GARBAGE = "garbage"
    """Answers with something that is no HTTP."""
    HALF = "half"
    """Closes in the middle of the body that it announced."""
    HALF_HEAD = "half-head"
    """Closes in the middle of the head."""
    SLOW = "slow"
    """One byte each second, without end: each is in time, the whole never is."""
    ENDLESS = "endless"
    """A body without end."""
    ENDLESS_HEAD = "endless-head"
    """Header after header, without end."""
    TOO_LARGE = "too-large"
    """Announces a body beyond any limit."""


TCP_FAULTS = frozenset({Fault.REFUSE, Fault.BLACK_HOLE, Fault.UNREACHABLE})
TLS_FAULTS = frozenset({Fault.RESET, Fault.TLS_SILENT, Fault.TLS_GARBAGE, Fault.TLS_ALERT})
HTTP_FAULTS = frozenset(Fault) - TCP_FAULTS - TLS_FAULTS
