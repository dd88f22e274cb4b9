"""When to send a transaction again, when to wait longer, and when to set an item aside.

A destination gets the same id and the same bytes until it answers 200 (TXN-08), so
nothing is lost to an outage of any length. There is one thing that waiting does not
cure: **400 and 413 say that these very bytes are wrong**. After a few such answers the
transaction is halved, again and again, until the one item that is refused stands alone
and is parked; so no item blocks a lane for ever (D36).

Every other answer speaks of the destination or of us, not of the items: 5xx and 429, but
also a 400 that is a web page (a proxy in front minds something), 401 (it could not fetch
our keys), 403 (it does not federate with us), 404 (nothing is installed there yet), a
redirect, or a 2xx that is no 200. Each of these may end, and giving up would lose items
that are good. They are tried again, after ``Limits.back_off_unwelcome_seconds`` at least.

Pure: the time and the draw of the lot are arguments.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import parse_json_lenient

# delay-seconds = 1*DIGIT                                             [rfc9110 10.2.3]
_DELAY = re.compile(r"[0-9]{1,12}", re.ASCII)
# errcode = "M_..." or a reversed domain: what is fit to be shown of them
_ERRCODE = re.compile(r"[0-9A-Za-z_.]{1,64}", re.ASCII)
_MOST_ERROR_BYTES = 65_536
_JITTER = 0.2
_MOST_DOUBLINGS = 64  # What is far beyond any cap, and no float overflows.
_ABOUT_US = frozenset({"M_UNAUTHORIZED", "M_FORBIDDEN", "M_UNRECOGNIZED", "M_LIMIT_EXCEEDED"})
"""Error codes of a 400 that speak of the request's head: the items are not to blame."""


# --- How long ---


def next_try(failures: int, *, now: Ms, draw: float, limits: Limits) -> Ms:
    """The instant of the next attempt after ``failures`` (1 or more) in a row.

    Doubles from ``back_off_min_seconds`` up to ``back_off_max_seconds``; then up to a
    fifth is put on or taken off by ``draw``, from 0 (inclusive) to 1, so that many
    senders do not come back at once.
    """
    doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
    seconds = min(limits.back_off_min_seconds * 2.0**doublings, limits.back_off_max_seconds)
    return Ms(now + round(seconds * (1 - _JITTER + 2 * _JITTER * draw) * 1000))


# --- What an answer means ---


class Ok(msgspec.Struct, frozen=True, tag="ok"):
    """200: it has everything."""


class TryLater(msgspec.Struct, frozen=True, tag="try-later"):
    """The same id and bytes again, after the back-off and not before an instant (0: none)."""

    not_before: Ms
    because: str


class NoGood(msgspec.Struct, frozen=True, tag="no-good"):
    """These bytes are refused; see :func:`after_refusal`."""

    because: str


Outcome = Ok | TryLater | NoGood


def classify(
    status: int | None,
    *,
    now: Ms,
    limits: Limits,
    retry_after: str | None = None,
    body: bytes = b"",
) -> Outcome:
    """What a transaction's answer means for it. ``None``: there was none. Never raises.

    ``retry_after`` is the header's value. It, and a body's ``retry_after_ms``, are
    honoured up to ``back_off_max_seconds`` (D36).
    """
    if status is None:
        return TryLater(Ms(0), "no answer")
    if status == 200:
        return Ok()
    errcode, wish = _said(body)
    because = f"status {status}{f' {errcode}' if errcode else ''}"
    if status == 413 or (status == 400 and errcode not in _ABOUT_US and not _is_a_page(body)):
        return NoGood(because)
    least = max(wish, _seconds(retry_after or "", now), 0.0)
    if status < 500 and status != 429:
        least = max(least, limits.back_off_unwelcome_seconds)
    wait = round(min(least, limits.back_off_max_seconds) * 1000)
    return TryLater(Ms(now + wait if wait else 0), because)


def _is_a_page(body: bytes) -> bool:
    """Whether a 400 is by some front, such as one that wants a client certificate."""
    return body.lstrip()[:1] == b"<"


def _said(body: bytes) -> tuple[str, float]:
    """A Matrix error's code, if it is fit to be shown, and for how many seconds it asks."""
    try:
        error = parse_json_lenient(body, max_bytes=_MOST_ERROR_BYTES)
    except Malformed:
        return "", 0.0
    if not isinstance(error, dict):
        return "", 0.0
    errcode, wish = error.get("errcode"), error.get("retry_after_ms")
    shown = errcode if isinstance(errcode, str) and _ERRCODE.fullmatch(errcode) else ""
    return shown, min(max(wish, 0), 2**53) / 1000 if type(wish) is int else 0.0


def _seconds(retry_after: str, now: Ms) -> float:
    """``Retry-After``, in seconds or as a date; 0 for anything else."""
    if _DELAY.fullmatch(retry_after):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now / 1000
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


# --- What to do about a refusal ---


class AgainSoon(msgspec.Struct, frozen=True, tag="again-soon"):
    """The same once more, in ``seconds``: it may not have been about the bytes."""

    seconds: float


class HalveAt(msgspec.Struct, frozen=True, tag="halve-at"):
    """Unseal; the same items go again, at most ``most`` in one transaction."""

    most: int


class ParkIt(msgspec.Struct, frozen=True, tag="park-it"):
    """It is this one item: set it aside and go on."""


AfterRefusal = AgainSoon | HalveAt | ParkIt


def after_refusal(items: int, refusals: int, limits: Limits) -> AfterRefusal:
    """What follows the ``refusals``-th refusal of a transaction of ``items`` items.

    ``refusals`` counts this one.
    """
    if refusals < limits.refusals_before_halving:
        return AgainSoon(limits.refusal_retry_seconds)
    return HalveAt(most=items // 2) if items > 1 else ParkIt()
