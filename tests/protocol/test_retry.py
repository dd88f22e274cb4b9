"""When to try again, when to halve and when to park."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.limits import Limits, Ms
from ranvier.protocol.retry import (
    AgainSoon,
    HalveAt,
    NoGood,
    Ok,
    ParkIt,
    TryLater,
    after_refusal,
    classify,
    next_try,
)

LIMITS = Limits()
NOW = Ms(1_767_225_600_000)  # 2026-01-01 00:00:00 UTC
NONE = Ms(0)
MINUTE = Ms(NOW + 60_000)
DAY = LIMITS.back_off_max_seconds


def seconds(failures: int, draw: float = 0.5) -> float:
    return (next_try(failures, now=NOW, draw=draw, limits=LIMITS) - NOW) / 1000


@pytest.mark.req("TXN-19")
@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        (1, 2),
        (2, 4),
        (3, 8),
        (10, 1024),
        (16, 65_536),
        (17, DAY),  # 2 * 2**16 is more than a day
        (10_000, DAY),
        (0, 2),  # nobody fails 0 times, but a caller may miscount
    ],
)
def test_the_wait_doubles_up_to_a_day(failures: int, expected: float) -> None:
    assert seconds(failures) == pytest.approx(expected)


@pytest.mark.req("TXN-19")
@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_the_lot_moves_it_by_a_fifth(failures: int, draw: float) -> None:
    middle = seconds(failures)
    assert 0.8 * middle - 0.001 <= seconds(failures, draw) <= 1.2 * middle + 0.001
    assert seconds(1, 0.0) == pytest.approx(1.6)


def error(errcode: object = "M_UNKNOWN", **members: object) -> bytes:
    return json.dumps({"errcode": errcode, **members}).encode()


@pytest.mark.req("TXN-08", "TXN-10", "D36")
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"", Ok()),
        (200, b"null", Ok()),
        (None, b"", TryLater(NONE, "no answer")),
        (500, b"", TryLater(NONE, "status 500")),
        (502, b"<html>", TryLater(NONE, "status 502")),
        (503, error("M_UNKNOWN"), TryLater(NONE, "status 503 M_UNKNOWN")),
        (599, b"[]", TryLater(NONE, "status 599")),
        (429, b"{}", TryLater(NONE, "status 429")),
        (400, b"{}", NoGood("status 400")),  # what Synapse says to 51 PDUs
        (400, error("M_BAD_JSON"), NoGood("status 400 M_BAD_JSON")),
        (413, error("M_TOO_LARGE"), NoGood("status 413 M_TOO_LARGE")),
        (413, b"<html>too large", NoGood("status 413")),  # a proxy's limit is about the bytes
        (400, b"", NoGood("status 400")),
        # of a 400, these speak of the head and not of the items
        (400, error("M_UNAUTHORIZED"), TryLater(MINUTE, "status 400 M_UNAUTHORIZED")),
        (400, error("M_UNRECOGNIZED"), TryLater(MINUTE, "status 400 M_UNRECOGNIZED")),
        # the destination or we are not ready: this may end, and the items are good
        (401, b"", TryLater(MINUTE, "status 401")),
        (403, error("M_FORBIDDEN"), TryLater(MINUTE, "status 403 M_FORBIDDEN")),
        (404, b"", TryLater(MINUTE, "status 404")),
        (405, b"", TryLater(MINUTE, "status 405")),
        (302, b"", TryLater(MINUTE, "status 302")),
        (204, b"", TryLater(MINUTE, "status 204")),  # TXN-08: until 200
        # a stranger's code is shown only if it is one
        (500, error("\x1b[2J"), TryLater(NONE, "status 500")),
        (500, error(7), TryLater(NONE, "status 500")),
        (500, error("M" * 65), TryLater(NONE, "status 500")),
        (500, error("M_UNKNOWN", error="x" * 70_000), TryLater(NONE, "status 500")),
        (500, b"[" * 60_000, TryLater(NONE, "status 500")),
    ],
)  # fmt: skip
def test_what_an_answer_means(
    status: int | None, body: bytes, expected: Ok | TryLater | NoGood
) -> None:
    assert classify(status, now=NOW, limits=LIMITS, body=body) == expected


@pytest.mark.req("D36", "TXN-19")
@pytest.mark.parametrize(
    ("retry_after", "body", "expected"),
    [
        ("120", b"", 120),
        (None, error("M_LIMIT_EXCEEDED", retry_after_ms=1500), 1.5),
        ("1", error("M_LIMIT_EXCEEDED", retry_after_ms=1500), 1.5),  # the longer one
        ("2", error("M_LIMIT_EXCEEDED", retry_after_ms=1500), 2),
        ("Thu, 01 Jan 2026 00:05:00 GMT", b"", 300),
        ("Thu, 01 Jan 2026 00:05:00 -0000", b"", 300),  # no zone known: UTC
        ("Wed, 31 Dec 2025 00:05:00 GMT", b"", 0),  # past
        ("Thu, 01 Jan 2099 00:00:00 GMT", b"", DAY),  # nobody keeps us away for longer
        ("999999999999", b"", DAY),
        (None, error(retry_after_ms=10**300), DAY),
        (None, error(retry_after_ms=-(10**400)), 0),
        (None, error(retry_after_ms="1500"), 0),
        (None, error(retry_after_ms=True), 0),
        (None, error(retry_after_ms=1.5), 0),
        ("-5", b"", 0),
        ("1.5", b"", 0),
        ("", b"", 0),
        ("soon", b"", 0),
        ("9" * 5000, b"", 0),
        ("Thu, 01 Jan 99999 00:00:00 GMT", b"", 0),
        ("Thu, 99 Jan 2026 00:00:00 GMT", b"", 0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", b"", 0),
    ],
)
def test_what_the_destination_asks_for_is_honoured_within_bounds(
    retry_after: str | None, body: bytes, expected: float
) -> None:
    for status in (429, 503):
        outcome = classify(status, now=NOW, limits=LIMITS, retry_after=retry_after, body=body)
        assert isinstance(outcome, TryLater)
        assert outcome.not_before == (NOW + expected * 1000 if expected else 0)


def test_a_wish_does_not_shorten_the_wait_of_the_unwelcome() -> None:
    for wish, expected in (("5", 60), ("600", 600)):
        outcome = classify(403, now=NOW, limits=LIMITS, retry_after=wish)
        assert outcome == TryLater(Ms(NOW + expected * 1000), "status 403")


@pytest.mark.req("D36")
@pytest.mark.parametrize(
    ("items", "refusals", "expected"),
    [
        (150, 1, AgainSoon(5)),
        (1, 2, AgainSoon(5)),
        (150, 3, HalveAt(75)),
        (75, 3, HalveAt(37)),
        (3, 3, HalveAt(1)),
        (2, 9, HalveAt(1)),
        (1, 3, ParkIt()),
        (0, 3, ParkIt()),
    ],
)
def test_refused_several_times_is_halved_down_to_one_and_then_parked(
    items: int, refusals: int, expected: AgainSoon | HalveAt | ParkIt
) -> None:
    assert after_refusal(items, refusals, LIMITS) == expected
